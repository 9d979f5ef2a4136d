//go:build tamago && amd64

package amd64

import (
	"math"
	"math/bits"
)

// Dispatch implements arch.Machine. pending has one bit for each vector taken since the
// last call. It also prints new NMIs.
func (m *Machine) Dispatch() {
	c := thisCPU()
	if c.area.nmis != c.reported {
		c.reportNMIs()
	}
	for c.area.pending != 0 {
		n := bits.TrailingZeros64(c.area.pending)
		c.area.pending &^= 1 << n
		switch vector := n + vecIRQ; {
		case vector == vecTimer:
			c.deadline = math.MaxInt64
			c.counts.Timer++
			m.endOfInterrupt()
		case vector == vecWake:
			c.counts.Wake++
			m.endOfInterrupt()
		case vector == vecShoot:
			c.counts.Shoot++
			m.endOfInterrupt()
		case n < irqLines:
			if m.lines[n].Level {
				// Mask it until its driver has served the device; it would come again at
				// once.
				m.MaskLine(n)
			}
			m.endOfInterrupt()
			m.raise(n)
		case vector != vecSpurious: // a spurious interrupt must not be acknowledged
			m.endOfInterrupt()
		}
	}
}

// Idle puts the CPU to sleep until an interrupt has come in, and dispatches it. If until is
// not negative it returns at that time of the monotonic clock at the latest. It is the
// runtime's idle hook (goos.Idle) and runs on the scheduler's stack.
//
// Interrupts are disabled here. So an interrupt that came in after the caller found nothing
// to do is still pending, and it ends the sleep at once: STI takes effect together with
// HLT.
func (m *Machine) Idle(until int64) {
	if until >= 0 {
		m.SetTimer(until)
	} else {
		m.SetTimer(math.MaxInt64)
	}
	if thisCPU().area.pending == 0 {
		sleep()
	}
	m.Dispatch()
}
