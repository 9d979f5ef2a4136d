//go:build tamago && arm64

package arm64

import (
	"math"
	"math/bits"
	"runtime"
)

// defined in timer.s
func readCNTFRQ() uint64
func readCNTVCT() uint64
func setCNTV(cval, ctl uint64)
func waitForInterrupt()

// timer is the virtual generic timer (Arm ARM D12.2). Its interrupt is asserted while it is
// enabled and CNTVCT_EL0 is at least the compare value. So a timer that is set to the past
// fires at once.
type timer struct {
	base  uint64 // CNTVCT_EL0 at start
	start int64  // the monotonic time of base
	mult  uint64 // ticks per nanosecond, times 1<<32, rounded up
	hz    uint64
}

// init starts the timer's clock. tree is the frequency in the device tree, or 0.
func (t *timer) init(tree uint64) error {
	hz, tell, err := counterFrequency(readCNTFRQ(), tree)
	if err != nil {
		return err
	}
	if tell {
		runtime.SetClock(hz)
	}
	t.hz = hz
	t.start, t.base = runtime.Nanotime(), readCNTVCT()
	// Rounded up, because nothing would be due when a timer fires early. The timer is late
	// by less than 1 ns in 4 s.
	t.mult = (hz<<32 + 1e9 - 1) / 1e9
	t.disarm()
	return nil
}

func (t *timer) disarm() {
	setCNTV(0, 0)
	thisCPU().armed = noTimer
}

// set implements arch.Machine.SetTimer.
func (t *timer) set(deadline int64) {
	c := thisCPU()
	if deadline == c.armed {
		return
	}
	if deadline == math.MaxInt64 {
		t.disarm()
		return
	}
	cval := t.base
	if d := deadline - t.start; d > 0 {
		hi, lo := bits.Mul64(uint64(d), t.mult)
		cval += hi<<32 | lo>>32
		cval++ // the multiplication has rounded down
	}
	setCNTV(cval, 1)
	c.armed = deadline
}
