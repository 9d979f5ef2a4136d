package arm64

import (
	"errors"
	"fmt"
	"time"
)

// clock is a device that counts the seconds since 1970, also while the machine is off.
type clock interface{ seconds() uint32 }

// ClockConfig is a real-time clock. Kind "": none.
type ClockConfig struct {
	Kind string
	Regs Span
}

// ErrNoClock means that the machine has no real-time clock with a driver.
var ErrNoClock = errors.New("arm64: no real-time clock")

// time reads the clock. Its registers must be mapped.
func (c ClockConfig) time() (time.Time, error) {
	if c.Kind == "" {
		return time.Time{}, ErrNoClock
	}
	d := clockDrivers[c.Kind]
	if d == nil {
		return time.Time{}, fmt.Errorf("arm64: no driver for real-time clock %q", c.Kind)
	}
	return time.Unix(int64(d(windowAt(c.Regs)).seconds()), 0), nil
}

// pl031 is Arm's clock, DDI 0224. RTCDR is in section 3.3.1.
type pl031 struct{ window }

func (c pl031) seconds() uint32 { return c.read(0x00) }

// zynqRTC is the clock of Zynq UltraScale+ (UG1087, module RTC): CURRENT_TIME.
type zynqRTC struct{ window }

func (c zynqRTC) seconds() uint32 { return c.read(0x10) }
