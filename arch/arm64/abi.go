package arm64

import "grim/arch"

// Slots of arch.Frame. R0 to R30 are 0 to 30; entry.s has the same offsets.
const (
	slotSP     = 31
	slotPC     = 32
	slotPSTATE = 33 // SPSR_EL1
	slotTPIDR  = 34 // TPIDR_EL0
)

// UserPSTATE are the bits of PSTATE that user code may choose: N, Z, C, V, DIT and SSBS
// (Arm ARM C5.2.18). run sets all other bits itself. entry.s has this number too.
const UserPSTATE = 0xf1001000

// ABI is the Linux arm64 ABI: system-call number in X8, arguments in X0 to X5.
var ABI = arch.ABI{
	Name:         "arm64",
	Machine:      183, // EM_AARCH64
	PC:           slotPC,
	SP:           slotSP,
	Number:       8,
	Arg:          [6]int{0, 1, 2, 3, 4, 5},
	TLS:          slotTPIDR,
	SyscallBytes: 4,
	Cause:        cause,
}
