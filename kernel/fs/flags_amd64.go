package fs

// largeFile is O_LARGEFILE of the architecture. Package syscall has 0 for it.
const largeFile = 0x8000
