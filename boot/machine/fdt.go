package machine

import (
	"bytes"
	"fmt"
	"strings"
)

// FromDeviceTree reads the flattened device tree at pa. The format and the
// standard properties are those of the Devicetree Specification v0.4, devices
// those of Linux's bindings.
func FromDeviceTree(read Reader, pa uint64) (*Info, error) {
	in, err := fromDeviceTree(read, pa)
	if err != nil {
		return nil, fmt.Errorf("device tree at %#x: %w", pa, err)
	}
	return in, nil
}

func fromDeviceTree(read Reader, pa uint64) (*Info, error) {
	tree, reserved, size, err := parseTree(read, pa)
	if err != nil {
		return nil, err
	}
	root := &node{Node: tree}
	in := &Info{Model: root.text("model"), Reserved: []Range{{pa, size}}}
	if in.Model == "" {
		in.Model = root.text("compatible")
	}
	for _, e := range reserved {
		r, err := newRange("memory reservation", e.Address, e.Size)
		if err != nil {
			return nil, err
		}
		in.Reserved = append(in.Reserved, r)
	}
	for _, step := range []func(*node) error{
		in.fdtMemory, in.fdtChosen, in.fdtInterrupts, in.fdtConsole, in.fdtTimer, in.fdtCPUs,
	} {
		if err := step(root); err != nil {
			return nil, err
		}
	}
	return in, in.finish()
}

func (in *Info) fdtMemory(root *node) (err error) {
	root.walk(func(n *node) bool {
		var rs []Range
		switch {
		case n.text("device_type") == "memory" && n.enabled():
			if rs, err = n.regs(); err == nil {
				in.Memory = append(in.Memory, rs...)
			}
		case n.parent != nil && n.parent.String() == "/reserved-memory" && n.prop("reg") != nil && n.enabled():
			if rs, err = n.regs(); err == nil {
				in.Reserved = append(in.Reserved, rs...)
			}
		}
		return err == nil
	})
	return err
}

func (in *Info) fdtChosen(root *node) error {
	n := root.path("/chosen")
	if n == nil {
		return nil
	}
	in.CommandLine = n.text("bootargs")
	if len(in.CommandLine) > maxCommand {
		return fmt.Errorf("/chosen: bootargs has %d bytes, want at most %d", len(in.CommandLine), maxCommand)
	}
	in.Seed = bytes.Clone(n.prop("rng-seed"))
	if n.prop("linux,initrd-start") == nil {
		return nil
	}
	start, err := n.number("linux,initrd-start")
	if err != nil {
		return err
	}
	end, err := n.number("linux,initrd-end")
	if err != nil {
		return err
	}
	if end < start {
		return fmt.Errorf("/chosen: linux,initrd-end %#x is before linux,initrd-start %#x", end, start)
	}
	in.Initrd, err = newRange("/chosen: initrd", start, end-start)
	return err
}

// fdtInterrupts finds the GIC (Linux bindings arm,gic.yaml and arm,gic-v3.yaml).
func (in *Info) fdtInterrupts(root *node) error {
	v2 := []string{"arm,cortex-a15-gic", "arm,cortex-a9-gic", "arm,cortex-a7-gic", "arm,gic-400"}
	n := root.find(func(n *node) bool {
		return n.enabled() && (n.compatible(v2...) || n.compatible("arm,gic-v3"))
	})
	if n == nil {
		return fmt.Errorf("no interrupt controller compatible with arm,gic-v3 or %s", strings.Join(v2, ", "))
	}
	rs, err := n.regs()
	if err != nil {
		return err
	}
	if len(rs) < 2 {
		return fmt.Errorf("%s: reg has %d ranges, want at least 2", n, len(rs))
	}
	ic := &in.Interrupts
	ic.Dist = rs[0]
	if !n.compatible("arm,gic-v3") {
		ic.Kind, ic.CPU = "gicv2", rs[1]
		return nil
	}
	regions := int(n.u32("#redistributor-regions", 1))
	if regions < 1 || regions > len(rs)-1 {
		return fmt.Errorf("%s: #redistributor-regions is %d, reg has %d ranges", n, regions, len(rs))
	}
	ic.Kind, ic.Redist = "gicv3", rs[1:1+regions]
	return nil
}

// gicInterrupt reads interrupt number i of n's "interrupts" as a GIC INTID;
// -1 if there is none or it goes to another controller.
func (n *node) gicInterrupt(i int) (intid int, level bool) {
	v := n.prop("interrupts")
	if len(v) < 12*(i+1) || len(v)%12 != 0 {
		return -1, false
	}
	// The controller is the one of the nearest "interrupt-parent" above, which
	// has three cells an interrupt if it is a GIC.
	var phandle uint32
	root := n
	for m := n; m != nil; m = m.parent {
		if phandle == 0 {
			phandle = m.u32("interrupt-parent", 0)
		}
		root = m
	}
	gic := root.find(func(m *node) bool { return phandle != 0 && m.u32("phandle", 0) == phandle })
	if gic == nil || gic.u32("#interrupt-cells", 0) != 3 {
		return -1, false
	}
	v = v[12*i:]
	kind, num, flags := be.Uint32(v), be.Uint32(v[4:]), be.Uint32(v[8:])
	level = flags&0xc != 0 // bits 2 and 3: high and low level
	switch {
	case kind == 0 && num < 988: // shared: INTIDs 32 to 1019
		return int(num) + 32, level
	case kind == 1 && num < 16: // per CPU: INTIDs 16 to 31
		return int(num) + 16, level
	}
	return -1, false
}

// fdtConsole finds what stdout-path names, or else the first serial port that
// there is a driver for. A machine without one boots silently.
func (in *Info) fdtConsole(root *node) error {
	in.Console.IRQ = -1
	known := func(n *node) bool {
		return n.enabled() && n.compatible("arm,pl011", "ns16550a", "ns16550", "snps,dw-apb-uart", "brcm,bcm2835-aux-uart")
	}
	var n *node
	if chosen := root.path("/chosen"); chosen != nil {
		out, _, _ := strings.Cut(chosen.text("stdout-path"), ":")
		if out != "" && !strings.HasPrefix(out, "/") {
			if a := root.path("/aliases"); a != nil {
				out = a.text(out)
			}
		}
		if out != "" {
			n = root.path(out)
		}
	}
	if n == nil || !known(n) {
		n = root.find(known)
	}
	if n == nil {
		return nil
	}
	r, err := n.reg()
	if err != nil {
		return err
	}
	c := Console{Kind: "16550", Base: r.Base, Size: r.Size}
	c.IRQ, _ = n.gicInterrupt(0)
	c.Hz = n.u32("clock-frequency", 0)
	if c.Hz == 0 {
		c.Hz = n.clockHz(root)
	}
	if n.compatible("arm,pl011") {
		c.Kind = "pl011"
	} else {
		shift, width := n.u32("reg-shift", 0), n.u32("reg-io-width", 1)
		if n.compatible("brcm,bcm2835-aux-uart") {
			shift, width = 2, 4
		}
		if shift > 3 || width != 1 && width != 2 && width != 4 {
			return fmt.Errorf("%s: reg-shift %d, reg-io-width %d", n, shift, width)
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
	phandle := be.Uint32(v)
	c := root.find(func(m *node) bool {
		return m.u32("phandle", 0) == phandle && m.compatible("fixed-clock")
	})
	if phandle == 0 || c == nil {
		return 0
	}
	return c.u32("clock-frequency", 0)
}

// fdtTimer finds the generic timer (Linux binding arm,arch_timer.yaml): its
// third interrupt is the virtual timer's.
func (in *Info) fdtTimer(root *node) error {
	n := root.find(func(n *node) bool { return n.compatible("arm,armv8-timer", "arm,armv7-timer") })
	if n == nil {
		return fmt.Errorf("no timer compatible with arm,armv8-timer")
	}
	irq, level := n.gicInterrupt(2)
	if irq < 0 {
		return fmt.Errorf("%s: interrupts %x has no third entry for a GIC, the virtual timer's", n, n.prop("interrupts"))
	}
	in.Timer = Timer{IRQ: irq, Level: level, Hz: uint64(n.u32("clock-frequency", 0))}
	return nil
}

func (in *Info) fdtCPUs(root *node) error {
	if cpus := root.path("/cpus"); cpus != nil {
		for _, c := range cpus.Children {
			if (&node{c, cpus}).text("device_type") == "cpu" {
				in.CPUs++
			}
		}
	}
	n := root.find(func(n *node) bool { return n.compatible("arm,psci-0.2", "arm,psci-1.0", "arm,psci") })
	if n == nil {
		return nil
	}
	m := n.text("method")
	if m != "hvc" && m != "smc" {
		return fmt.Errorf("%s: method is %q, want hvc or smc", n, m)
	}
	in.PSCI = m
	return nil
}
