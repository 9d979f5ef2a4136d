package main

// System calls that package syscall lacks (arch/x86/entry/syscalls/syscall_64.tbl).
const (
	sysPpoll       = 271
	sysGetrandom   = 318
	sysMemfdCreate = 319
	sysPidfdOpen   = 434
	sysSemget      = 64
	sysMsgget      = 68
	sysMsgsnd      = 69
	sysShmget      = 29
	sysShmctl      = 31
	sysMsgctl      = 71
	sysSemctl      = 66
	sysTimerCreate = 222
	sysSignalfd4   = 289
	sysSetgroups   = 116
)
