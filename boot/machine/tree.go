package machine

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/dt"
)

// node is a device tree node with its parent, which is needed to interpret addresses and
// interrupts.
type node struct {
	*dt.Node
	parent *node
}

// walk calls f for n and all nodes below, parents first, until f returns false. It returns
// false then.
func (n *node) walk(f func(*node) bool) bool {
	if !f(n) {
		return false
	}
	for _, c := range n.Children {
		if !(&node{c, n}).walk(f) {
			return false
		}
	}
	return true
}

// find returns the first node that f accepts, or nil.
func (n *node) find(f func(*node) bool) (found *node) {
	n.walk(func(m *node) bool {
		if f(m) {
			found = m
		}
		return found == nil
	})
	return found
}

// path returns the node at an absolute path, or nil. A unit address may be left
// out, as in the Devicetree Specification, 2.2.3.
func (n *node) path(p string) *node {
	for _, name := range strings.FieldsFunc(p, func(r rune) bool { return r == '/' }) {
		var next *node
		for _, c := range n.Children {
			base, _, _ := strings.Cut(c.Name, "@")
			if c.Name == name || base == name {
				next = &node{c, n}
				break
			}
		}
		if next == nil {
			return nil
		}
		n = next
	}
	return n
}

// prop returns a property's value, or nil if there is none.
func (n *node) prop(name string) []byte {
	if p, ok := n.LookProperty(name); ok {
		if p.Value == nil {
			return []byte{}
		}
		return p.Value
	}
	return nil
}

// text returns a string property without its terminating zero. Of a list it returns the
// first string.
func (n *node) text(name string) string {
	s, _, _ := bytes.Cut(n.prop(name), []byte{0})
	return string(s)
}

// u32 returns a property of one cell, or def if there is none of that size.
func (n *node) u32(name string, def uint32) uint32 {
	if v := n.prop(name); len(v) == 4 {
		return be.Uint32(v)
	}
	return def
}

// number returns a property of one or two cells.
func (n *node) number(name string) (uint64, error) {
	switch v := n.prop(name); len(v) {
	case 4:
		return uint64(be.Uint32(v)), nil
	case 8:
		return be.Uint64(v), nil
	default:
		return 0, fmt.Errorf("%s: property %q has %d bytes, want 4 or 8", n, name, len(v))
	}
}

// compatible reports whether n is one of the named devices.
func (n *node) compatible(names ...string) bool {
	for _, have := range n.compatibles() {
		if slices.Contains(names, have) {
			return true
		}
	}
	return false
}

// compatibles returns the strings of "compatible", the most specific first.
func (n *node) compatibles() []string {
	return strings.FieldsFunc(string(n.prop("compatible")), func(r rune) bool { return r == 0 })
}

// phandle returns the node with that number, or nil. No node has number 0.
func (n *node) phandle(h uint32) *node {
	if h == 0 {
		return nil
	}
	return n.find(func(m *node) bool { return m.u32("phandle", 0) == h })
}

// enabled reports whether the device may be used (Devicetree Specification,
// 2.3.4).
func (n *node) enabled() bool {
	s := n.text("status")
	return s == "" || s == "okay" || s == "ok"
}

// String returns the node's path, for messages.
func (n *node) String() string {
	if n.parent == nil {
		return "/"
	}
	return strings.TrimSuffix(n.parent.String(), "/") + "/" + n.Name
}

// cells returns how many 32-bit cells addresses and sizes take in the "reg" of n's
// children.
func (n *node) cells() (addr, size int, err error) {
	addr, size = int(n.u32("#address-cells", 2)), int(n.u32("#size-cells", 1))
	if addr > 4 || size > 4 {
		return 0, 0, fmt.Errorf("%s: #address-cells %d, #size-cells %d, want at most 4", n, addr, size)
	}
	return addr, size, nil
}

// cellsValue returns the last 64 bits of the big-endian number in b. PCI addresses have
// attributes before them.
func cellsValue(b []byte) (v uint64) {
	for len(b) >= 4 {
		v, b = v<<32|uint64(be.Uint32(b)), b[4:]
	}
	return v
}

// regs returns n's "reg" as physical ranges.
func (n *node) regs() ([]Range, error) {
	if n.parent == nil {
		return nil, fmt.Errorf("%s: has no parent to give its addresses a meaning", n)
	}
	ac, sc, err := n.parent.cells()
	if err != nil {
		return nil, err
	}
	v := n.prop("reg")
	step := 4 * (ac + sc)
	if step == 0 || len(v)%step != 0 {
		return nil, fmt.Errorf("%s: reg has %d bytes, want a multiple of %d", n, len(v), step)
	}
	var out []Range
	for ; len(v) > 0; v = v[step:] {
		base, err := n.parent.translate(cellsValue(v[:4*ac]))
		if err != nil {
			return nil, fmt.Errorf("%s: reg: %w", n, err)
		}
		r, err := newRange(n.String()+": reg", base, cellsValue(v[4*ac:step]))
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// reg returns the first element of regs.
func (n *node) reg() (Range, error) {
	rs, err := n.regs()
	if err == nil && len(rs) == 0 {
		err = fmt.Errorf("%s: has no reg", n)
	}
	if err != nil {
		return Range{}, err
	}
	return rs[0], nil
}

// translate turns an address on the bus n into a physical address, through the "ranges" of
// n and all buses above. A bus without "ranges" should have no translation. But nodes such
// as /cpus and /reserved-memory often lack an empty "ranges", so there the address is taken
// as it is.
func (n *node) translate(a uint64) (uint64, error) {
	for ; n.parent != nil; n = n.parent {
		v := n.prop("ranges")
		if len(v) == 0 {
			continue
		}
		ac, sc, err := n.cells()
		if err != nil {
			return 0, err
		}
		pc, _, err := n.parent.cells()
		if err != nil {
			return 0, err
		}
		step := 4 * (ac + pc + sc)
		if step == 0 || len(v)%step != 0 {
			return 0, fmt.Errorf("%s: ranges has %d bytes, want a multiple of %d", n, len(v), step)
		}
		found := false
		for ; len(v) > 0 && !found; v = v[step:] {
			child, size := cellsValue(v[:4*ac]), cellsValue(v[4*(ac+pc):step])
			if a-child < size {
				a, found = cellsValue(v[4*ac:4*(ac+pc)])+(a-child), true
			}
		}
		if !found {
			return 0, fmt.Errorf("address %#x is in none of the ranges of %s", a, n)
		}
	}
	return a, nil
}
