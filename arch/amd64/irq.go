//go:build tamago && amd64

package amd64

import (
	"math"
	"math/bits"
)

// Dispatch implements arch.Machine: pending has one bit for each vector taken
// since the last call. NMIs are shown here too.
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
				// It would come again at once: the driver has not looked yet.
				m.MaskLine(n)
			}
			m.endOfInterrupt()
			m.raise(n)
		case vector != vecSpurious: // which must not be acknowledged
			m.endOfInterrupt()
		}
	}
}

// Idle sleeps the CPU until an interrupt came in and has been dispatched, or
// until the monotonic time until, if that is not negative. It is the runtime's
// idle hook (goos.Idle): it runs on the scheduler's stack.
//
// An interrupt that came in since the caller found nothing to do is still
// pending, because interrupts are disabled here; STI takes effect together with
// HLT, so it ends the sleep.
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
