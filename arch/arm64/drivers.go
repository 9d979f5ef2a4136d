package arm64

import (
	"fmt"
	"maps"
	"slices"
)

// Span is a range of the physical address space.
type Span struct {
	Base, Size uint64
}

// Drivers by the kind of device. The reader of the device tree derives the kind from
// "compatible". A driver is one file. A new driver must be listed here, and its compatible
// strings where the tree is read. The interrupt controllers are listed in newController.
var (
	portDrivers = map[string]func(window, *UARTConfig) port{
		"pl011":        func(w window, _ *UARTConfig) port { return &pl011{w} },
		"16550":        func(w window, c *UARTConfig) port { return &uart16550{w, c.Shift, c.Width == 1} },
		"sbsa-uart":    func(w window, _ *UARTConfig) port { return &sbsaUART{pl011{w}} },
		"bcm2835-aux":  func(w window, _ *UARTConfig) port { return &miniUART{uart16550{w, 2, false}} },
		"cadence-uart": func(w window, _ *UARTConfig) port { return &cadence{w} },
		"imx-uart":     func(w window, _ *UARTConfig) port { return &imxUART{w} },
	}
	powerDrivers = map[string]func(window) power{
		"bcm2835-pm": func(w window) power { return &bcmPower{w} },
	}
	watchdogDrivers = map[string]func(window) watchdog{
		"imx-wdt":     func(w window) watchdog { return imxWatchdog{w} },
		"cadence-wdt": func(w window) watchdog { return cadenceWatchdog{w} },
		"bcm2835-wdt": func(w window) watchdog { return bcmWatchdog{bcmPower{w}} },
	}
	clockDrivers = map[string]func(window) clock{
		"pl031":      func(w window) clock { return pl031{w} },
		"zynqmp-rtc": func(w window) clock { return zynqRTC{w} },
	}
	pinDrivers = map[string]func(w window, pin uintptr) pin{
		"bcm2835-gpio":      func(w window, n uintptr) pin { return bcmPin{w, n} },
		"rpi-firmware-gpio": func(w window, n uintptr) pin { return firmwarePin{w, uint32(n)} },
		"zynqmp-gpio":       func(w window, n uintptr) pin { return zynqPin{w, n} },
		"imx-gpio":          func(w window, n uintptr) pin { return imxPin{w, n} },
	}
)

// Kinds lists the drivers: "console", "controller", "power", "watchdog", "clock" and "gpio".
func Kinds() map[string][]string {
	return map[string][]string{
		"console":    slices.Sorted(maps.Keys(portDrivers)),
		"controller": {"bcm2836", "gicv2", "gicv3"},
		"power":      slices.Sorted(maps.Keys(powerDrivers)),
		"watchdog":   slices.Sorted(maps.Keys(watchdogDrivers)),
		"clock":      slices.Sorted(maps.Keys(clockDrivers)),
		"gpio":       slices.Sorted(maps.Keys(pinDrivers)),
	}
}

// power is a device that turns the machine off or restarts it. Both happen some time after
// the method has returned.
type power interface {
	off()
	reset()
}

// PowerConfig is a device that turns the machine off if PSCI does not. Kind "": none.
type PowerConfig struct {
	Kind string
	Regs Span
}

func newPower(c PowerConfig) (power, error) {
	if c.Kind == "" {
		return nil, nil
	}
	d := powerDrivers[c.Kind]
	if d == nil {
		return nil, fmt.Errorf("arm64: no driver for power control by %q", c.Kind)
	}
	return d(windowAt(c.Regs)), nil
}
