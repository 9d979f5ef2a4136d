package main

// System calls that package syscall lacks (arch/x86/entry/syscalls/syscall_64.tbl).
const (
	sysPpoll       = 271
	sysGetrandom   = 318
	sysMemfdCreate = 319
	sysPidfdOpen   = 434
)
