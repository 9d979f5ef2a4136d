package fs

// largeFile is O_LARGEFILE as the architecture has it; package syscall says 0.
const largeFile = 0x8000
