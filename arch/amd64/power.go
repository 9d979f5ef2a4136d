//go:build tamago && amd64

package amd64

// debugExitPort is the port at which the runner puts QEMU's isa-debug-exit. QEMU then ends
// with status code<<1 | 1.
const (
	debugExitPort = 0xf4
	exitPassed    = 0x10
)

// debugExit ends QEMU if the device is there. For success the code is 0x10, because 0 would
// look like a failure of QEMU itself; otherwise the code is the kernel's status.
func debugExit(status int32) {
	code := uint32(exitPassed)
	if status != 0 {
		code = uint32(status) & 0x7f
		if code == 0 || code == exitPassed {
			code = 1
		}
	}
	out32(debugExitPort, code)
}

// Exit ends the machine. It tries QEMU's debug-exit device, then ACPI soft-off if off is
// not zero (FindSoftOff), then a reset, and last a triple fault, to which "microvm" reacts
// if it has neither. It does not return, takes no lock and allocates nothing.
func Exit(status int32, off SoftOff) {
	debugExit(status)
	if off.PM1a != 0 {
		const sleepEnable = 1 << 13 // ACPI specification 6.5, 4.8.3.2.1
		out16(off.PM1a, uint16(off.Sleep&7)<<10|sleepEnable)
	}
	Restart()
}

// Restart resets the machine.
func Restart() {
	out8(0xcf9, 0x06) // reset control register of the chipset
	out8(0x64, 0xfe)  // reset line of the keyboard controller
	tripleFault()
}
