package arm64

import "fmt"

// Watchdogs. Some boot loaders start a watchdog and leave it running: U-Boot does so on the
// i.MX 8M Plus EVK and on ZynqMP boards, with 60 seconds. A watchdog that can be stopped is
// stopped. The others are set to their longest time and fed as long as the machine has
// something to say: by the kernel, from a timer, and by this package while the machine
// ends. A watchdog that does not run is left alone.

// watchdog is a timer that resets the machine unless it is fed.
type watchdog interface {
	// adopt stops the watchdog if it runs and can be stopped. If it cannot be stopped,
	// adopt sets the longest time and feeds it. It reports whether the watchdog keeps
	// running.
	adopt() bool
	feed()
}

// WatchdogConfig is a watchdog of the device tree.
type WatchdogConfig struct {
	Kind string
	Regs Span
}

// WatchdogPeriod is how often Feed must be called, in seconds. The longest time of an i.MX
// watchdog is 128 seconds.
const WatchdogPeriod = 20

// watchdogs are the watchdogs that keep running.
type watchdogs []watchdog

func (w *watchdogs) adopt(cs []WatchdogConfig) error {
	for _, c := range cs {
		d := watchdogDrivers[c.Kind]
		if d == nil {
			return fmt.Errorf("arm64: no driver for watchdog %q", c.Kind)
		}
		if dog := d(windowAt(c.Regs)); dog.adopt() {
			*w = append(*w, dog)
		}
	}
	return nil
}

func (w watchdogs) feed() {
	for _, d := range w {
		d.feed()
	}
}

// imxWatchdog is NXP's watchdog (i.MX 8M Plus reference manual, 6.6). It has registers of
// 16 bits, which take only stores of 16 bits. Once enabled, it is disabled only by a reset.
type imxWatchdog struct{ window }

const (
	imxWCR  = 0x00
	imxWSR  = 0x02
	imxWMCR = 0x08

	wcrTimeout = 0xff << 8 // in half seconds, minus one; may be written at any time
	wcrEnable  = 1 << 2    // WDE
	wsrFirst   = 0x5555
	wsrSecond  = 0xaaaa
)

func (d imxWatchdog) adopt() bool {
	// The power-down counter runs from reset on, for 16 seconds, and then asserts a pin.
	// Its enable bit may be cleared once.
	d.write16(imxWMCR, 0)
	wcr := d.read16(imxWCR)
	if wcr&wcrEnable == 0 {
		return false
	}
	// Bits that can be written only once (suspend in the low-power modes, in debug mode,
	// and WDW) stay as they are.
	d.write16(imxWCR, wcr|wcrTimeout)
	d.feed() // the new time counts from here
	return true
}

func (d imxWatchdog) feed() {
	d.write16(imxWSR, wsrFirst)
	d.write16(imxWSR, wsrSecond)
}

// cadenceWatchdog is the ZynqMP's watchdog (UG1087, module SWDT). Every write needs a key.
type cadenceWatchdog struct{ window }

const (
	swdtMode    = 0x00
	swdtControl = 0x04
	swdtRestart = 0x08

	swdtModeKey    = 0xabc << 12
	swdtControlKey = 0x248 << 14
	swdtRestartKey = 0x1999
	swdtEnable     = 1 << 0
	swdtLongest    = 0xfff<<2 | 3 // the counter's upper bits, and the clock divided by 4096
)

func (d cadenceWatchdog) adopt() bool {
	mode := d.read(swdtMode)
	if mode&swdtEnable == 0 {
		return false
	}
	d.write(swdtMode, swdtModeKey|mode&0xfff&^swdtEnable)
	if d.read(swdtMode)&swdtEnable == 0 {
		return false
	}
	d.write(swdtControl, swdtControlKey|swdtLongest)
	d.feed()
	return true
}

func (d cadenceWatchdog) feed() { d.write(swdtRestart, swdtRestartKey) }

// bcmWatchdog is the watchdog in a Raspberry Pi's power management block, which bcmPower
// uses to reset. The firmware's kernel_watchdog_timeout and U-Boot start it.
type bcmWatchdog struct{ bcmPower }

func (d bcmWatchdog) adopt() bool {
	if d.read(pmRSTC)&pmRSTCMask == pmFull {
		d.write(pmRSTC, pmPassword|pmStop)
	}
	return false
}

func (d bcmWatchdog) feed() {}
