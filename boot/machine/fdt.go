package machine

import (
	"bytes"
	"fmt"
)

// FromDeviceTree reads the flattened device tree at pa. The format and the standard
// properties are those of the Devicetree Specification v0.4, devices are those of Linux's
// bindings.
//
// After an error, the Info is either nil or incomplete. The screen and the console are read
// first, so that the error can be shown on them if they are there. Nothing in the Info
// points into the tree.
func FromDeviceTree(read Reader, pa uint64) (*Info, error) {
	in, err := fromDeviceTree(read, pa, nil, nil)
	if err != nil {
		err = fmt.Errorf("device tree at %#x: %w", pa, err)
	}
	return in, err
}

// fromDeviceTree does the same. screen and memory may be nil. Otherwise they fill in what
// firmware knows better than the tree.
func fromDeviceTree(read Reader, pa uint64, screen func(*Info), memory func(*Info) error) (*Info, error) {
	tree, reserved, size, err := parseTree(read, pa)
	if err != nil {
		return nil, err
	}
	root := &node{Node: tree}
	// Page 0 is never handed out. Loaders keep the code and the words of secondary CPUs
	// there, and in the kernel PA 0 stands for "none".
	in := &Info{Model: root.text("model"), Reserved: []Range{{0, pageSize}, {pa, size}}}
	if in.Model == "" {
		in.Model = root.text("compatible")
	}
	// The devices that can show errors come first.
	steps := []func(*node) error{
		in.fdtScreen, in.fdtConsole, in.fdtMemory, in.fdtReserved, in.fdtChosen, in.fdtInterrupts, in.fdtTimer,
		in.fdtCPUs, in.fdtPower, in.fdtWatchdogs, in.fdtClock, in.fdtLEDs, in.fdtVirtIO, in.fdtCards, in.fdtEthernet,
	}
	if screen != nil {
		screen(in)
	}
	if memory != nil {
		steps[2] = func(*node) error { return memory(in) }
	}
	for _, e := range reserved {
		r, err := newRange("memory reservation", e.Address, e.Size)
		if err != nil {
			return nil, err
		}
		in.Reserved = append(in.Reserved, r)
	}
	for _, step := range steps {
		if err := step(root); err != nil {
			return in, err
		}
	}
	if err := in.finish(); err != nil {
		return in, err
	}
	return in, in.checkDevices()
}

// fdtMemory collects the memory nodes (Devicetree Specification, 3.4).
func (in *Info) fdtMemory(root *node) (err error) {
	root.walk(func(n *node) bool {
		if n.text("device_type") == "memory" && n.enabled() {
			var rs []Range
			if rs, err = n.regs(); err == nil {
				in.Memory = append(in.Memory, rs...)
			}
		}
		return err == nil
	})
	return err
}

// fdtReserved collects the children of /reserved-memory (Devicetree Specification, 3.5).
// Children without "reg" ask for memory anywhere, for devices that are not driven here.
// Boot loaders add nodes that overlap those of the tree, so overlapping ranges are merged.
// If one of two overlapping ranges must not be mapped, their common part is not mapped.
func (in *Info) fdtReserved(root *node) error {
	n := root.path("/reserved-memory")
	if n == nil {
		return nil
	}
	type named struct {
		Range
		by *node
	}
	var all []named
	for _, c := range n.Children {
		m := &node{c, n}
		if m.prop("reg") == nil || !m.enabled() {
			continue
		}
		rs, err := m.regs()
		if err != nil {
			return err
		}
		for _, r := range rs {
			for _, o := range all {
				if r.overlaps(o.Range) {
					in.warn("%s: %v overlaps %v of %s", m, r, o.Range, o.by)
				}
			}
			all = append(all, named{r, m})
			in.Reserved = append(in.Reserved, r)
			if m.prop("no-map") != nil {
				in.noMap = append(in.noMap, r)
			}
		}
	}
	return nil
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
