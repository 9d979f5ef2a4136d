package pmap

import (
	"fmt"

	"grim/arch"
	"grim/mm/phys"
)

// Check recounts everything below p's root, and returns an error if something does not
// agree with the counters, the tables' records or the frame allocator. For tests.
func (p *Pmap) Check() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := checker{p: p}
	if err := c.table(p.rootNode(), 3, 0); err != nil {
		return fmt.Errorf("pmap: root %#x: %w", p.root.PA(), err)
	}
	if c.resident != p.resident || c.tables != p.tables {
		return fmt.Errorf("pmap: root %#x: %d resident pages and %d table pages, counted %d and %d", p.root.PA(), c.resident, c.tables, p.resident, p.tables)
	}
	return nil
}

type checker struct {
	p                *Pmap
	resident, tables int
}

// table checks table n, at the given level, whose first entry translates va.
func (c *checker) table(n node, level int, va arch.VA) error {
	s := c.p.s
	info := s.mem.Info(n.f)
	used := 0
	last := arch.Entries
	if level == 3 {
		last = arch.KernelHalf
	}
	for i, e := range n.t[:last] {
		if e == 0 {
			continue
		}
		used++
		at := va + arch.VA(i)<<(arch.PageShift+9*uint(level))
		if info.Groups>>(i>>3)&1 == 0 {
			return fmt.Errorf("%#x, level %d: entry %#x is in a group recorded as empty", uint64(at), level, uint64(e))
		}
		if level == 0 && e&c.p.s.sole != 0 && info.Sole == 0 {
			return fmt.Errorf("%#x: entry %#x is marked in a table that has none of these", uint64(at), uint64(e))
		}
		if err := c.entry(e, level, at); err != nil {
			return err
		}
	}
	if used != int(info.Used) {
		return fmt.Errorf("%#x, level %d: table has %d entries in use, recorded %d", uint64(va), level, used, info.Used)
	}
	return nil
}

func (c *checker) entry(e arch.PTE, level int, at arch.VA) error {
	s := c.p.s
	f := s.frame(e)
	if !s.mem.InUse(f) {
		return fmt.Errorf("%#x, level %d: entry %#x points to a free frame", uint64(at), level, uint64(e))
	}
	if level > 0 && !(level == 1 && s.isBlock(e)) {
		if o := s.mem.Owner(f); o != phys.Table || e&^s.addr != s.f.Table&^s.f.HardwareBits&^s.addr|e&s.f.HardwareBits {
			return fmt.Errorf("%#x, level %d: entry %#x (frame of owner %v) is not a table entry", uint64(at), level, uint64(e), o)
		}
		c.tables++
		return c.table(node{s.mem.Table(f), f}, level-1, at)
	}
	row := &s.page
	n := 1
	if level == 1 {
		row, n = &s.block, arch.BlockPages
		if f&(arch.BlockPages-1) != 0 || !s.mem.InUse(f+arch.BlockPages-1) {
			return fmt.Errorf("%#x: block entry %#x: frames not aligned or not in use", uint64(at), uint64(e))
		}
	}
	if want := row[s.prot(e)][s.flags(e)]; (e^want)&^(s.addr|s.f.HardwareBits|s.f.DirtyBits) != 0 {
		return fmt.Errorf("%#x, level %d: leaf %#x, its rights and flags are written %#x", uint64(at), level, uint64(e), uint64(want))
	}
	if alone := e&s.sole != 0; level == 0 && alone != s.mem.Sole(f) || level != 0 && alone {
		return fmt.Errorf("%#x, level %d: leaf %#x says that it is its frame's only reference: %v, the frame: %v", uint64(at), level, uint64(e), alone, s.mem.Sole(f))
	}
	if at < arch.UserMin {
		return fmt.Errorf("page 0 is mapped: %#x", uint64(e))
	}
	c.resident += n
	return nil
}
