//go:build tamago && arm64

package arm64

import (
	"errors"
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

// init starts the timer's clock. hz is the frequency in the device tree, or 0. It is for
// boards whose firmware does not set CNTFRQ_EL0. The runtime has read CNTFRQ_EL0 already.
func (t *timer) init(hz uint64) error {
	if have := readCNTFRQ(); have != 0 {
		hz = have
	} else if hz != 0 {
		runtime.SetClock(hz)
	} else {
		return errors.New("arm64: CNTFRQ_EL0 is 0, for firmware has not set the timer's frequency, and the device tree's timer has no clock-frequency")
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
