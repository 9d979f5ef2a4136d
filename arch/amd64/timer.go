//go:build tamago && amd64

package amd64

import (
	"errors"
	"math"
	"runtime"
)

// timerClock says how the local APIC timer is programmed. In TSC-deadline mode (deadline)
// it takes values of the TSC; otherwise it takes a count of LAPIC ticks.
type timerClock struct {
	deadline bool
	mult     uint64 // for the count: ticks = ns * mult >> 32
}

// ErrNoClock means that nothing on this machine runs at a known frequency.
var ErrNoClock = errors.New("amd64: no usable clock: CPUID tells no TSC frequency and neither an HPET nor a PIT is there to measure it with")

// startTimer makes the TSC the runtime's clock and gets the local APIC timer ready. The
// frequencies come from CPUID, or are measured against the HPET (2 ms) or the PIT (20 ms).
func (m *Machine) startTimer() error {
	f := &m.Features
	m.timer.deadline = f.Deadline
	if f.TSCHz == 0 || f.LAPICHz == 0 && !f.Deadline {
		if err := m.measure(); err != nil {
			return err
		}
	}
	runtime.SetClock(f.TSCHz)
	m.timer.mult = f.LAPICHz << 32 / 1e9
	m.startTimerHere()
	return nil
}

// startTimerHere gets this CPU's timer ready.
func (m *Machine) startTimerHere() {
	if m.timer.deadline {
		m.apicWrite(lapicTimer, vecTimer|lvtDeadline)
		return
	}
	m.apicWrite(lapicDivide, lapicDivideByOne)
	m.apicWrite(lapicTimer, vecTimer)
}

// SetTimer implements arch.Machine. Setting the same deadline again costs nothing.
func (m *Machine) SetTimer(deadline int64) {
	c := thisCPU()
	if deadline == c.deadline {
		return
	}
	c.deadline = deadline
	if m.timer.deadline {
		ticks := uint64(0) // disarmed
		if deadline != math.MaxInt64 {
			ticks = max(runtime.TicksAt(deadline), 1)
		}
		wrmsr(msrTSCDeadline, ticks)
		return
	}
	if deadline == math.MaxInt64 {
		m.apicWrite(lapicInitial, 0)
		return
	}
	m.apicWrite(lapicInitial, timerTicks(deadline-runtime.Nanotime(), m.timer.mult))
}
