package machine

import (
	"fmt"
	"strings"
)

// stdout is the node that /chosen's stdout-path names, or nil. The path may be
// an alias and may have options behind a colon (Devicetree Specification, 3.6).
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

// fdtConsole finds what stdout-path names, or else the first serial port that
// there is a driver for. Without one nobody would see what the kernel does.
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
	r, err := n.reg()
	if err != nil {
		return err
	}
	c := Console{Kind: n.bind(consoles), Base: r.Base, Size: r.Size, Hz: n.u32("clock-frequency", 0)}
	c.IRQ, _ = n.interrupt(0)
	if c.Hz == 0 {
		c.Hz = n.clockHz(root)
	}
	if c.Kind == UART16 {
		shift, width := n.u32("reg-shift", 0), n.u32("reg-io-width", 1)
		if shift > 3 || width != 4 {
			// The driver makes 32-bit accesses only.
			return fmt.Errorf("%s: reg-shift %d, reg-io-width %d: only registers of 4 bytes are driven", n, shift, width)
		}
		c.RegShift, c.RegWidth = int(shift), int(width)
	}
	in.Console = c
	return nil
}

// clockHz is the rate of n's first clock if that is a fixed one, else 0.
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
