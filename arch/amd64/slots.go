package amd64

import "grim/arch"

// Slots of arch.Frame for code that names registers: signal frames, arch_prctl, register
// dumps.
const (
	RAX, RBX, RCX, RDX = slotAX, slotBX, slotCX, slotDX
	RSI, RDI, RBP, RSP = slotSI, slotDI, slotBP, slotSP
	R8, R9, R10, R11   = slotR8, slotR9, slotR10, slotR11
	R12, R13, R14, R15 = slotR12, slotR13, slotR14, slotR15
	RIP, RFLAGS        = slotPC, slotFlags
	FSBase, GSBase     = slotFS, slotGS
)

// ABI returns the Linux amd64 ABI, as Machine.ABI does.
func ABI() *arch.ABI { return &abi }
