package arm64

// bcmPower is the Raspberry Pi's power management block. Its watchdog resets the machine.
// It is not in "BCM2835 ARM Peripherals"; the registers are those of Linux's driver
// bcm2835_wdt. Every write needs the password.
type bcmPower struct{ window }

const (
	pmRSTC = 0x1c
	pmRSTS = 0x20
	pmWDOG = 0x24

	pmPassword = 0x5a000000
	pmRSTCMask = 0x30
	pmFull     = 0x20  // full reset when the watchdog expires
	pmStop     = 0x102 // no reset when it expires: this stops it
	pmHalt     = 0x555 // partition 63: the firmware then stops instead of booting
	pmTicks    = 10    // in units of 16 us
)

// off resets the machine, and makes the firmware stop after that instead of booting.
func (p *bcmPower) off() {
	p.write(pmRSTS, pmPassword|p.read(pmRSTS)|pmHalt)
	p.reset()
}

func (p *bcmPower) reset() {
	p.write(pmWDOG, pmPassword|pmTicks)
	p.write(pmRSTC, pmPassword|p.read(pmRSTC)&^pmRSTCMask|pmFull)
}
