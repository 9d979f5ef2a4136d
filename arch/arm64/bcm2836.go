//go:build tamago && arm64

package arm64

import "math/bits"

// bcm2836 is the Raspberry Pi 3's pair of controllers: one with inputs for each
// CPU ("Quad-A7 control", QA7 rev 3.4), and behind input 8 of it the older one
// ("BCM2835 ARM Peripherals", 7.5). Numbers here: local inputs 0 to 31, then
// bank b, input i as 32 + 32*b + i; bank 0 has 8 inputs. Neither latches: an
// interrupt is over when the device says so.
type bcm2836 struct {
	local, banks window
	cpu          uintptr
	on           [3]uint32 // banks' inputs that are enabled
	timers       uint32    // the same of the timers
}

const (
	qaRouting  = 0x0c // input 8 goes to which CPU
	qaTimerIRQ = 0x40 // + 4*CPU: enables inputs 0 to 3
	qaMailbox  = 0x50 // + 4*CPU
	qaSource   = 0x60 // + 4*CPU

	qaTimers = 4
	qaGPU    = 8
	bcmBank0 = 32
)

// Offsets of the older controller for basic, 1 and 2, in that order.
var (
	bcmPending = [3]uintptr{0x00, 0x04, 0x08}
	bcmEnable  = [3]uintptr{0x18, 0x10, 0x14}
	bcmDisable = [3]uintptr{0x24, 0x1c, 0x20}
)

// bcmFIQ selects an interrupt to come as FIQ.
const bcmFIQ = 0x0c

func (g *bcm2836) init() error {
	g.cpu = uintptr(readMPIDR() & 3)
	g.local.write(qaRouting, uint32(g.cpu))
	g.local.write(qaTimerIRQ+4*g.cpu, 0)
	g.local.write(qaMailbox+4*g.cpu, 0)
	g.banks.write(bcmFIQ, 0)
	for _, off := range bcmDisable {
		g.banks.write(off, ^uint32(0))
	}
	return nil
}

func (g *bcm2836) enable(line int) {
	if line < qaTimers {
		g.timers |= 1 << line
		g.local.write(qaTimerIRQ+4*g.cpu, g.timers)
	} else if b := line/32 - 1; b >= 0 && b < len(g.on) {
		g.on[b] |= 1 << (line % 32)
		g.banks.write(bcmEnable[b], 1<<(line%32))
	}
}

func (g *bcm2836) disable(line int) {
	if line < qaTimers {
		g.timers &^= 1 << line
		g.local.write(qaTimerIRQ+4*g.cpu, g.timers)
	} else if b := line/32 - 1; b >= 0 && b < len(g.on) {
		g.on[b] &^= 1 << (line % 32)
		g.banks.write(bcmDisable[b], 1<<(line%32))
	}
}

func (g *bcm2836) acknowledge() int {
	source := g.local.read(qaSource + 4*g.cpu)
	if t := source & g.timers; t != 0 {
		return bits.TrailingZeros32(t)
	}
	if source&(1<<qaGPU) == 0 {
		return firstSpecial
	}
	for b, off := range bcmPending {
		if p := g.banks.read(off) & g.on[b]; p != 0 {
			return bcmBank0 + 32*b + bits.TrailingZeros32(p)
		}
	}
	return firstSpecial
}

func (g *bcm2836) done(int) {}
