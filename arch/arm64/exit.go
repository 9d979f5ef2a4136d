//go:build tamago && arm64

package arm64

import "unsafe"

// Conduit is the instruction that calls PSCI, from the device tree's psci node.
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

// Exit ends the machine and does not return. Under a debugger (QEMU -semihosting) it exits
// with code as the status. Otherwise it turns the machine off by PSCI, else by the board's
// own device. Otherwise it stops the CPU; the board's light, if there is one, is then on
// for code 0 and blinks for others.
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

// Reset restarts the machine, by PSCI or the board's own device. If there is neither, it
// stops the CPU.
func (m *Machine) Reset() {
	m.psci(psciSystemReset)
	if m.power != nil {
		m.power.reset()
		m.settle()
	}
	m.park()
}

// park stops the CPU for good. If there is a watchdog that cannot be stopped, it keeps
// feeding it, so that the console's text stays visible.
func (m *Machine) park() {
	for len(m.dogs) > 0 {
		m.Feed()
		m.settle()
	}
	halt()
}

// settle waits a second, so that a power device can act. It only needs the counter, which
// runs even when the rest of the kernel is broken.
func (m *Machine) settle() {
	for end := readCNTVCT() + m.timer.hz; readCNTVCT() < end; {
	}
}

func (m *Machine) psci(function uint64) { m.call(function, 0) }

// call calls the firmware. The result is negative if there is no firmware to call, or if it
// does not know the function.
func (m *Machine) call(function, arg uint64) int64 {
	if m.conduit == NoPSCI {
		return -1
	}
	return int64(int32(smccc(function, arg, m.conduit == SMC)))
}

// firmwareFeature asks the firmware whether it has a workaround; see coreFacts.firmware.
// Functions of SMCCC 1.1 may be called only if the firmware says that it has SMCCC 1.1 (DEN
// 0028, section 7.5).
func (m *Machine) firmwareFeature(function uint32) int32 {
	if m.call(psciVersion, 0) < 1<<16 || m.call(psciFeatures, smcccVersion) < 0 || m.call(smcccVersion, 0) < 1<<16|1 {
		return -1
	}
	return int32(m.call(smcccFeatures, uint64(function)))
}
