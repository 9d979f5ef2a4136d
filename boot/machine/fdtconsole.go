package machine

import (
	"errors"
	"fmt"
	"strings"
)

// stdout returns the node that /chosen's stdout-path names, or nil. The path may be an
// alias, and may have options after a colon (Devicetree Specification, 3.6).
func (n *node) stdout() *node {
	chosen := n.path("/chosen")
	if chosen == nil {
		return nil
	}
	out, _, _ := strings.Cut(chosen.text("stdout-path"), ":")
	if out != "" && !strings.HasPrefix(out, "/") {
		if a := n.path("/aliases"); a != nil {
			out = a.text(out)
		}
	}
	if out == "" {
		return nil
	}
	return n.path(out)
}

// fdtConsole finds the serial port that stdout-path names, or else the first serial port
// for which there is a driver. Without a serial port it fails, because the kernel
// could not report anything.
func (in *Info) fdtConsole(root *node) error {
	in.Console.IRQ = -1
	n := root.stdout()
	if n != nil && n.bind(consoles) == "" {
		in.warn("the console that stdout-path names, %s, is compatible with %q: no driver for that", n, n.compatibles())
		n = nil
	}
	if n == nil {
		n, _ = root.findBound(consoles)
	}
	if n == nil {
		return fmt.Errorf("no serial port that there is a driver for: compatible with one of %s", names(consoles))
	}
	c, err := n.console(root)
	if err != nil {
		return err
	}
	in.Console = c
	in.fdtPins(root)
	return nil
}

// Pins describes the serial ports on a Raspberry Pi's header: its GPIO 14 and 15 can carry
// either of two.
type Pins struct {
	GPIO        Range // registers; Size 0: the machine is not a Raspberry Pi
	PL011, Mini Console
}

// gpfsel1 is the offset of the register with the functions of GPIO 10 to 19, three bits for
// each ("BCM2835 ARM Peripherals", 6.1).
const gpfsel1 = 4

// PinFunctions returns the address of the register whose value PickConsole needs.
func (p *Pins) PinFunctions() uint64 { return p.GPIO.Base + gpfsel1 }

// fdtPins finds both serial ports of a Raspberry Pi. The tree may have one of them
// disabled, or name the wrong one; only the pins' functions tell which is connected.
func (in *Info) fdtPins(root *node) {
	gpio := root.find(func(n *node) bool { return n.bind(gpios) == BCMGPIO })
	pl := root.find(func(n *node) bool { return n.compatible("arm,pl011") && strings.HasSuffix(n.Name, "@7e201000") })
	mini := root.find(func(n *node) bool { return n.compatible("brcm,bcm2835-aux-uart") })
	if gpio == nil || pl == nil || mini == nil {
		return
	}
	var p Pins
	var errs [3]error
	p.GPIO, errs[0] = gpio.reg()
	p.PL011, errs[1] = pl.console(root)
	p.Mini, errs[2] = mini.console(root)
	if errors.Join(errs[:]...) != nil {
		return
	}
	p.PL011.Kind, p.Mini.Kind = PL011, MiniU
	in.Pins = p
}

// PickConsole makes the serial port that the header's pins carry the console. functions is
// the value of the register at PinFunctions: ALT0 is the PL011, ALT5 the mini UART. With
// any other value, the console stays as the tree says.
func (in *Info) PickConsole(functions uint32) {
	const alt0, alt5 = 4<<12 | 4<<15, 2<<12 | 2<<15
	c := in.Console
	switch functions & (7<<12 | 7<<15) {
	case alt0:
		c = in.Pins.PL011
	case alt5:
		c = in.Pins.Mini
	}
	if c.Base != in.Console.Base {
		in.warn("the tree names %s at %#x as the console, but GPIO 14 and 15 carry %s at %#x", in.Console.Kind, in.Console.Base, c.Kind, c.Base)
		in.Console = c
	}
}

// console returns what the node says about a serial port.
func (n *node) console(root *node) (Console, error) {
	r, err := n.reg()
	if err != nil {
		return Console{}, err
	}
	c := Console{Kind: n.bind(consoles), Base: r.Base, Size: r.Size, Hz: n.u32("clock-frequency", 0)}
	c.IRQ, _ = n.interrupt(0)
	if c.Hz == 0 {
		c.Hz = n.clockHz(root)
	}
	if c.Kind == UART16 {
		shift, width := n.u32("reg-shift", 0), n.u32("reg-io-width", 1)
		if shift > 3 || width != 1 && width != 4 || width == 4 && shift < 2 {
			return Console{}, fmt.Errorf("%s: reg-shift %d, reg-io-width %d: accesses of 1 byte are driven, and of 4 where registers are 4 apart", n, shift, width)
		}
		c.RegShift, c.RegWidth = int(shift), int(width)
	}
	return c, nil
}

// clockHz returns the rate of n's first clock if that has a fixed rate, else 0.
func (n *node) clockHz(root *node) uint32 {
	v := n.prop("clocks")
	if len(v) < 4 {
		return 0
	}
	c := root.phandle(be.Uint32(v))
	if c == nil || !c.compatible("fixed-clock") {
		return 0
	}
	return c.u32("clock-frequency", 0)
}
