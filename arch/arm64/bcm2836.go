package arm64

import (
	"math/bits"
	"sync/atomic"
)

// bcm2836 is the Raspberry Pi 3's pair of interrupt controllers. One has inputs for each
// CPU ("Quad-A7 control", QA7 rev 3.4). Behind its input 8 is the older one ("BCM2835 ARM
// Peripherals", 7.5). Numbers here: local inputs are 0 to 31; bank b, input i is 32 + 32*b
// + i; bank 0 has 8 inputs. Neither controller latches: an interrupt ends when the device
// stops raising it.
type bcm2836 struct {
	local, banks window
	boot         uintptr          // the CPU that gets the banks' inputs
	on           [3]atomic.Uint32 // enabled inputs of the banks
	timers       [4]uint32        // enabled inputs of the timers, by CPU
	self         func() uintptr   // the calling CPU's number at the controller
}

const (
	qaRouting  = 0x0c // the CPU to which input 8 goes
	qaTimerIRQ = 0x40 // + 4*CPU: enables inputs 0 to 3
	qaMailbox  = 0x50 // + 4*CPU: enables mailboxes 0 to 3
	qaSource   = 0x60 // + 4*CPU
	qaSet      = 0x80 // + 16*CPU: sets bits of mailbox 0
	qaClear    = 0xc0 // + 16*CPU: reads these bits, and clears the bits written as 1

	qaTimers = 4
	qaBox    = 4
	qaGPU    = 8
	bcmBank0 = 32
)

// Offsets of the older controller for basic, 1 and 2, in that order.
var (
	bcmPending = [3]uintptr{0x00, 0x04, 0x08}
	bcmEnable  = [3]uintptr{0x18, 0x10, 0x14}
	bcmDisable = [3]uintptr{0x24, 0x1c, 0x20}
)

// bcmFIQ selects an interrupt that comes as FIQ.
const bcmFIQ = 0x0c

func (g *bcm2836) init(c *irqCPU) error {
	g.boot = uintptr(c.mpidr & 3)
	g.local.write(qaRouting, uint32(g.boot))
	g.banks.write(bcmFIQ, 0)
	for _, off := range bcmDisable {
		g.banks.write(off, ^uint32(0))
	}
	g.initCPU(c)
	return nil
}

func (g *bcm2836) prepare(*irqCPU) error { return nil }

func (g *bcm2836) initCPU(c *irqCPU) {
	cpu := uintptr(c.mpidr & 3)
	g.local.write(qaTimerIRQ+4*cpu, 0)
	g.local.write(qaClear+16*cpu, ^uint32(0))
	g.local.write(qaMailbox+4*cpu, 1)
}

// send sets a bit of the CPU's mailbox 0. The CPU is interrupted until it clears all bits.
func (g *bcm2836) send(c *irqCPU, sgi int) { g.local.write(qaSet+16*uintptr(c.mpidr&3), 1<<sgi) }

func (g *bcm2836) enable(line int) {
	if line < qaTimers {
		cpu := g.self()
		g.timers[cpu] |= 1 << line
		g.local.write(qaTimerIRQ+4*cpu, g.timers[cpu])
	} else if b := line/32 - 1; b >= 0 && b < len(g.on) {
		g.on[b].Or(1 << (line % 32))
		g.banks.write(bcmEnable[b], 1<<(line%32))
	}
}

func (g *bcm2836) disable(line int) {
	if line < qaTimers {
		cpu := g.self()
		g.timers[cpu] &^= 1 << line
		g.local.write(qaTimerIRQ+4*cpu, g.timers[cpu])
	} else if b := line/32 - 1; b >= 0 && b < len(g.on) {
		g.on[b].And(^uint32(1 << (line % 32)))
		g.banks.write(bcmDisable[b], 1<<(line%32))
	}
}

func (g *bcm2836) acknowledge() (int, uint32) {
	cpu := g.self()
	source := g.local.read(qaSource + 4*cpu)
	if source&(1<<qaBox) != 0 {
		if box := g.local.read(qaClear + 16*cpu); box != 0 {
			sgi := bits.TrailingZeros32(box)
			g.local.write(qaClear+16*cpu, 1<<sgi)
			return fromCPU(sgi), 0
		}
	}
	if t := source & g.timers[cpu]; t != 0 {
		return bits.TrailingZeros32(t), 0
	}
	if source&(1<<qaGPU) == 0 {
		return firstSpecial, 0
	}
	for b, off := range bcmPending {
		if p := g.banks.read(off) & g.on[b].Load(); p != 0 {
			return bcmBank0 + 32*b + bits.TrailingZeros32(p), 0
		}
	}
	return firstSpecial, 0
}

func (g *bcm2836) done(uint32) {}
