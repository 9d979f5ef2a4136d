package machine

import (
	"fmt"
	"strings"
)

// Device is a device of which only the kind and the registers' place must be known.
type Device struct {
	Kind string // "": there is no such device
	Range
}

// LED is a light that the tree describes (Linux binding leds-gpio.yaml).
type LED struct {
	GPIO      Device
	Pin       int
	ActiveLow bool
	Label     string
}

// fdtCPUs finds the CPUs and how they, and the machine, are controlled. The word on which a
// boot loader left a secondary CPU spinning is reserved: the CPU reads it until it is
// started.
func (in *Info) fdtCPUs(root *node) error {
	if cpus := root.path("/cpus"); cpus != nil {
		for _, c := range cpus.Children {
			n := &node{c, cpus}
			if n.text("device_type") != "cpu" {
				continue
			}
			if !n.enabled() && n.text("enable-method") == "" {
				continue // it cannot be started
			}
			id, err := n.number("reg")
			if err != nil {
				in.warn("%s: not used: %v", n, err)
				continue
			}
			c := CPU{ID: id, Method: n.text("enable-method")}
			if c.Method == "spin-table" {
				if c.Release, err = n.number("cpu-release-addr"); err != nil {
					return err
				}
				if c.Release%8 != 0 {
					return fmt.Errorf("%s: cpu-release-addr %#x is not on 8 bytes", n, c.Release)
				}
				r, err := newRange(n.String()+": cpu-release-addr", c.Release, 8)
				if err != nil {
					return err
				}
				in.Reserved = append(in.Reserved, r)
			}
			in.addCPU(c)
		}
	}
	n := root.find(func(n *node) bool { return n.compatible("arm,psci-0.2", "arm,psci-1.0", "arm,psci") })
	if n == nil || !n.enabled() {
		return nil
	}
	m := n.text("method")
	if m != "hvc" && m != "smc" {
		return fmt.Errorf("%s: method is %q, want hvc or smc", n, m)
	}
	in.PSCI = m
	return nil
}

// fdtPower finds a device that switches the machine off or resets it.
func (in *Info) fdtPower(root *node) error {
	n, kind := root.findBound(powers)
	if n == nil {
		return nil
	}
	r, err := n.reg()
	in.Power = Device{kind, r}
	return err
}

// fdtWatchdogs finds all watchdogs that are in use on this board. A watchdog that the tree
// disables may have no clock, and its registers must not be touched.
func (in *Info) fdtWatchdogs(root *node) (err error) {
	root.walk(func(n *node) bool {
		if kind := n.bind(watchdogs); kind != "" {
			var r Range
			if r, err = n.reg(); err == nil {
				in.Watchdogs = append(in.Watchdogs, Device{kind, r})
			}
		}
		return err == nil
	})
	return err
}

// fdtClock finds a clock that has the time of day.
func (in *Info) fdtClock(root *node) error {
	n, kind := root.findBound(clocks)
	if n == nil {
		return nil
	}
	r, err := n.reg()
	in.Clock = Device{kind, r}
	return err
}

// fdtLEDs finds the first light on a GPIO for which there is a driver. A light that is
// described wrongly does not prevent booting.
func (in *Info) fdtLEDs(root *node) error {
	root.find(func(n *node) bool {
		if n.parent == nil || !n.parent.compatible("gpio-leds") || !n.parent.enabled() || !n.enabled() {
			return false
		}
		v := n.prop("gpios")
		if len(v) != 12 {
			return false
		}
		gpio := root.phandle(be.Uint32(v))
		if gpio == nil || gpio.u32("#gpio-cells", 0) != 2 {
			return false
		}
		kind, pin := gpio.bind(gpios), be.Uint32(v[4:])
		if kind == FirmGPIO {
			// Its registers are those of the mailbox through which the firmware is asked.
			fw := gpio.parent
			if gpio = root.phandle(fw.u32("mboxes", 0)); gpio == nil {
				return false
			}
		}
		r, err := gpio.reg()
		if err != nil || kind == "" || pin > 255 {
			return false
		}
		in.LED = LED{Device{kind, r}, int(pin), be.Uint32(v[8:])&1 != 0, n.text("label")}
		if in.LED.Label == "" {
			in.LED.Label, _, _ = strings.Cut(n.Name, "@")
		}
		return true
	})
	return nil
}
