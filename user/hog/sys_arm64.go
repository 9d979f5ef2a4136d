package main

// System calls that package syscall lacks (include/uapi/asm-generic/unistd.h).
const (
	sysPpoll       = 73
	sysGetrandom   = 278
	sysMemfdCreate = 279
	sysPidfdOpen   = 434
)
