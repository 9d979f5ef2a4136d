package main

// System calls that package syscall lacks (include/uapi/asm-generic/unistd.h).
const (
	sysPpoll       = 73
	sysGetrandom   = 278
	sysMemfdCreate = 279
	sysPidfdOpen   = 434
	sysSemget      = 190
	sysMsgget      = 186
	sysMsgsnd      = 189
	sysShmget      = 194
	sysShmctl      = 195
	sysMsgctl      = 187
	sysSemctl      = 191
	sysTimerCreate = 107
	sysSignalfd4   = 74
	sysSetgroups   = 159
)
