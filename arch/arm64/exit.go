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
	psciVersion     = 0x84000000
	psciSystemOff   = 0x84000008
	psciSystemReset = 0x84000009
	psciFeatures    = 0x8400000a

	smcccVersion = 0x80000000
)

// Semihosting operations ("Semihosting for AArch32 and AArch64", section 6).
const (
	sysExitExtended = 0x20
	adpExit         = 0x20026 // ADP_Stopped_ApplicationExit
)

// defined in exit.s
func smccc(function, arg uint64, smc bool) int64
func halt()

// defined in entry.s
//
//go:noescape
func semihosting(op uintptr, arg unsafe.Pointer) uintptr

// Exit ends the machine: under a debugger (QEMU -semihosting) with the status,
// else by PSCI, else by the board's own device, else by stopping the CPU with
// the board's light, if there is one, on for status 0 and blinking for others.
// It does not return.
func (m *Machine) Exit(code int32) {
	m.Feed()
	block := [2]uint64{adpExit, uint64(uint32(code))}
	semihosting(sysExitExtended, unsafe.Pointer(&block))
	m.psci(psciSystemOff)
	if m.power != nil {
		m.power.off()
		m.settle()
	}
	m.led.show(code == 0, m.park, m.Feed)
}

// Reset starts the machine anew, by PSCI or the board's own device; where both
// are missing, it stops.
func (m *Machine) Reset() {
	m.psci(psciSystemReset)
	if m.power != nil {
		m.power.reset()
		m.settle()
	}
	m.park()
}

// park stops the CPU for good. With a watchdog that cannot be stopped it goes on
// feeding, so that what the console shows stays there.
func (m *Machine) park() {
	for len(m.dogs) > 0 {
		m.Feed()
		m.settle()
	}
	halt()
}

// settle gives a power device a second to act. The counter runs even when the
// rest of the kernel is in pieces.
func (m *Machine) settle() {
	for end := readCNTVCT() + m.timer.hz; readCNTVCT() < end; {
	}
}

func (m *Machine) psci(function uint64) { m.call(function, 0) }

// call calls firmware; negative if there is none to call, or it does not know the
// function.
func (m *Machine) call(function, arg uint64) int64 {
	if m.conduit == NoPSCI {
		return -1
	}
	return int64(int32(smccc(function, arg, m.conduit == SMC)))
}

// firmwareFeature asks the firmware whether it has one of its workarounds; see
// coreFacts.firmware. Functions of SMCCC 1.1 may be called only where the firmware
// says that it has that (DEN 0028, section 7.5).
func (m *Machine) firmwareFeature(function uint32) int32 {
	if m.call(psciVersion, 0) < 1<<16 || m.call(psciFeatures, smcccVersion) < 0 || m.call(smcccVersion, 0) < 1<<16|1 {
		return -1
	}
	return int32(m.call(smcccFeatures, uint64(function)))
}
