//go:build tamago && arm64

package arm64

import "unsafe"

// Conduit is how PSCI is called, from the device tree's psci node.
type Conduit uint8

const (
	NoPSCI Conduit = iota
	HVC
	SMC
)

// PSCI functions (DEN 0022, section 5.1).
const (
	psciSystemOff   = 0x84000008
	psciSystemReset = 0x84000009
)

// Semihosting operations ("Semihosting for AArch32 and AArch64", section 6).
const (
	sysExitExtended = 0x20
	adpExit         = 0x20026 // ADP_Stopped_ApplicationExit
)

// defined in exit.s
func psci(function uint64, smc bool) int64
func halt()

// defined in entry.s
//
//go:noescape
func semihosting(op uintptr, arg unsafe.Pointer) uintptr

// Exit ends the machine: under a debugger (QEMU -semihosting) with the status,
// else by PSCI, else by stopping the CPU. It does not return.
func (m *Machine) Exit(code int32) {
	block := [2]uint64{adpExit, uint64(uint32(code))}
	semihosting(sysExitExtended, unsafe.Pointer(&block))
	m.psci(psciSystemOff)
	halt()
}

// Reset starts the machine anew, by PSCI; where that is missing, it stops.
func (m *Machine) Reset() {
	m.psci(psciSystemReset)
	halt()
}

func (m *Machine) psci(function uint64) {
	if m.conduit != NoPSCI {
		psci(function, m.conduit == SMC)
	}
}
