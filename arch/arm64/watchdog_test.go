package arm64

import (
	"testing"
	"unsafe"
)

// half returns the 16-bit register at an offset.
func (r *registers) half(off uintptr) *uint16 {
	return (*uint16)(unsafe.Add(unsafe.Pointer(r), off))
}

// TestWatchdogs: a watchdog that does not run is left alone. A running one is stopped or
// gets its longest time. feed writes the device's final value last. It fails if an i.MX
// watchdog is left as it is, and if a Cadence watchdog is not stopped.
func TestWatchdogs(t *testing.T) {
	var r registers
	for kind := range watchdogDrivers {
		r = registers{}
		var w watchdogs
		if err := w.adopt([]WatchdogConfig{}); err != nil || len(w) != 0 {
			t.Fatal(err)
		}
		if watchdogDrivers[kind](r.window()).adopt() || r != (registers{}) {
			t.Errorf("%s: one that does not run was changed: %#x", kind, r[:4])
		}
	}

	// U-Boot's settings: 60 seconds, WDA, SRS, WDE and WDZST.
	r = registers{}
	*r.half(imxWCR), *r.half(imxWMCR) = 119<<8|0x35, 1
	d := watchdogDrivers["imx-wdt"](r.window())
	if !d.adopt() || *r.half(imxWCR) != 255<<8|0x35 || *r.half(imxWMCR) != 0 || *r.half(imxWSR) != 0xaaaa {
		t.Errorf("imx-wdt: WCR %#x, WSR %#x, WMCR %#x", *r.half(imxWCR), *r.half(imxWSR), *r.half(imxWMCR))
	}
	*r.half(imxWSR) = 0
	if d.feed(); *r.half(imxWSR) != 0xaaaa {
		t.Errorf("imx-wdt: fed with %#x", *r.half(imxWSR))
	}

	// The device does not return the key; here it does, with the enable bit clear.
	r = registers{swdtMode / 4: swdtEnable | 1<<1}
	d = watchdogDrivers["cadence-wdt"](r.window())
	if d.adopt() || r.at(swdtMode) != swdtModeKey|1<<1 {
		t.Errorf("cadence-wdt: mode %#x", r.at(swdtMode))
	}
	if d.feed(); r.at(swdtRestart) != 0x1999 {
		t.Errorf("cadence-wdt: fed with %#x", r.at(swdtRestart))
	}

	r = registers{pmRSTC / 4: pmFull}
	if watchdogDrivers["bcm2835-wdt"](r.window()).adopt() || r.at(pmRSTC) != 0x5a000102 {
		t.Errorf("bcm2835-wdt: RSTC %#x", r.at(pmRSTC))
	}
	if err := (&watchdogs{}).adopt([]WatchdogConfig{{Kind: "cat"}}); err == nil {
		t.Error("a watchdog without a driver was adopted")
	}
}

// TestParkedWatchdog: while a light blinks, the watchdog is fed.
func TestParkedWatchdog(t *testing.T) {
	fed := 0
	defer func() {
		if recover() != "enough" || fed < 2 {
			t.Errorf("fed %d times while the light blinked", fed)
		}
	}()
	var r registers
	l := led{pin: imxPin{r.window(), 3}}
	l.show(false, func() {}, func() {
		if fed++; fed == 3 {
			panic("enough")
		}
	})
}
