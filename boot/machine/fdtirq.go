package machine

import "fmt"

// Interrupt numbers of the BCM2836, which has two layers of controllers. The per-CPU
// controller has inputs 0 to 9. The older controller, with three banks of 32 inputs, is
// connected to its input 8.
const (
	BCMLocalTimer = 3  // local input: virtual timer
	BCMGPU        = 8  // local input: the older controller
	BCMBank0      = 32 // input i of bank b is BCMBank0 + 32*b + i
)

// fdtInterrupts finds the interrupt controller (Linux bindings arm,gic.yaml,
// arm,gic-v3.yaml and brcm,bcm2836-l1-intc.yaml).
func (in *Info) fdtInterrupts(root *node) error {
	// Take the controller that gets the timer's interrupt: a Raspberry Pi 4 has two.
	n, kind := root.findBound(controllers)
	if t := root.timer(); t != nil {
		if ctl, _ := t.interruptSpec(virtualTimer); ctl != nil && ctl.bind(controllers) != "" {
			n, kind = ctl, ctl.bind(controllers)
		}
	}
	if n == nil {
		return fmt.Errorf("no interrupt controller that there is a driver for: compatible with one of %s", names(controllers))
	}
	rs, err := n.regs()
	if err != nil {
		return err
	}
	ic := &in.Interrupts
	ic.Kind = kind
	if kind == BCM2836 {
		old := root.find(func(m *node) bool { return m.enabled() && m.compatible("brcm,bcm2836-armctrl-ic") })
		if len(rs) < 1 || old == nil {
			return fmt.Errorf("%s: %d ranges in reg, want 1, and a brcm,bcm2836-armctrl-ic beside it", n, len(rs))
		}
		ic.CPU = rs[0]
		ic.Dist, err = old.reg()
		return err
	}
	if len(rs) < 2 {
		return fmt.Errorf("%s: reg has %d ranges, want at least 2", n, len(rs))
	}
	ic.Dist = rs[0]
	if kind == GICv2 {
		ic.CPU = rs[1]
		return nil
	}
	regions := int(n.u32("#redistributor-regions", 1))
	if regions < 1 || regions > len(rs)-1 {
		return fmt.Errorf("%s: #redistributor-regions is %d, reg has %d ranges", n, regions, len(rs))
	}
	ic.Redist = rs[1 : 1+regions]
	return nil
}

// interrupt returns interrupt number i of n as the number that the controller's driver
// uses: a GIC's INTID, or a number as above. It returns -1 if there is none, or if it goes
// to a controller without a driver.
func (n *node) interrupt(i int) (line int, level bool) {
	ctl, spec := n.interruptSpec(i)
	switch {
	case ctl == nil:
	case len(spec) == 12 && (ctl.bind(controllers) == GICv2 || ctl.bind(controllers) == GICv3):
		kind, num, flags := be.Uint32(spec), be.Uint32(spec[4:]), be.Uint32(spec[8:])
		level = flags&0xc != 0 // bits 2 and 3: high and low level
		switch {
		case kind == 0 && num < 988: // shared: INTIDs 32 to 1019
			return int(num) + 32, level
		case kind == 1 && num < 16: // per CPU: INTIDs 16 to 31
			return int(num) + 16, level
		}
	case len(spec) == 8 && ctl.compatible("brcm,bcm2836-l1-intc"):
		if num := be.Uint32(spec); num < BCMBank0 {
			return int(num), true
		}
	case len(spec) == 8 && ctl.compatible("brcm,bcm2836-armctrl-ic"):
		if bank, num := be.Uint32(spec), be.Uint32(spec[4:]); bank < 3 && num < 32 {
			return BCMBank0 + 32*int(bank) + int(num), true
		}
	}
	return -1, false
}

// interruptSpec returns interrupt i of n, and the controller that gets it. They come from
// "interrupts-extended", which names a controller for each interrupt, or from "interrupts"
// and the nearest "interrupt-parent" above (Devicetree Specification, 2.4.1).
func (n *node) interruptSpec(i int) (*node, []byte) {
	root := n
	for root.parent != nil {
		root = root.parent
	}
	if v := n.prop("interrupts-extended"); v != nil {
		for ; len(v) >= 4; i-- {
			ctl := root.phandle(be.Uint32(v))
			if ctl == nil {
				return nil, nil
			}
			size := 4 * int(min(ctl.u32("#interrupt-cells", 0), 8))
			if len(v) < 4+size {
				return nil, nil
			}
			if i == 0 {
				return ctl, v[4 : 4+size]
			}
			v = v[4+size:]
		}
		return nil, nil
	}
	var ctl *node
	for m := n; m != nil && ctl == nil; m = m.parent {
		ctl = root.phandle(m.u32("interrupt-parent", 0))
	}
	if ctl == nil {
		return nil, nil
	}
	size := 4 * int(min(ctl.u32("#interrupt-cells", 0), 8))
	v := n.prop("interrupts")
	if size == 0 || len(v) < size*(i+1) {
		return nil, nil
	}
	return ctl, v[size*i : size*(i+1)]
}

// virtualTimer is the index of the virtual timer's interrupt among those of the generic
// timer (Linux binding arm,arch_timer.yaml).
const virtualTimer = 2

// timer returns the generic timer's node, or nil.
func (n *node) timer() *node {
	return n.find(func(m *node) bool { return m.enabled() && m.compatible("arm,armv8-timer", "arm,armv7-timer") })
}

// fdtTimer finds the virtual timer's interrupt.
func (in *Info) fdtTimer(root *node) error {
	n := root.timer()
	if n == nil {
		return fmt.Errorf("no timer compatible with arm,armv8-timer")
	}
	irq, level := n.interrupt(virtualTimer)
	if irq < 0 {
		return fmt.Errorf("%s: interrupts %x has no third entry, the virtual timer's, for a controller that there is a driver for", n, n.prop("interrupts"))
	}
	in.Timer = Timer{IRQ: irq, Level: level, Hz: uint64(n.u32("clock-frequency", 0))}
	return nil
}
