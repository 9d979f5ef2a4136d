package arm64

// Slots of arch.Frame by register name, for signal frames and register dumps. X0 to X30 are
// X0+n.
const (
	X0     = 0
	SP     = slotSP
	PC     = slotPC
	PSTATE = slotPSTATE
)

// Offsets in arch.UArea.FPU, where entry.s keeps the FP and SIMD state.
const (
	V0   = 0   // q0 to q31, 16 bytes each
	FPCR = 512 // 8 bytes each
	FPSR = 520
)
