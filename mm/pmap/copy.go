package pmap

import (
	"fmt"
	"math/bits"

	"grim/arch"
	"grim/mm/phys"
)

// Range is [Start, End) of user addresses, in whole pages.
type Range struct{ Start, End arch.VA }

// copyTables is how many table pages Copy takes from the stock at a time: more
// than a small process has.
const copyTables = 16

// Copy maps what p maps in the ranges in dst too, at the same addresses, for fork:
// each frame gets a reference more, both sides lose Write and are COW from now on,
// and Wired is not inherited. The ranges ascend; dst maps nothing in them and
// nobody else uses it yet. On return no CPU can write to a page that is COW now.
// ENOMEM if a table page is needed, in dst, or in p to cut a block at an edge; what
// was copied until then stays in dst (Purge it), and COW in p, which is harmless:
// Reuse undoes it at the next write.
func (p *Pmap) Copy(dst *Pmap, ranges []Range) (err error) {
	s := p.s
	c := copier{p: p, dst: dst}
	c.how = phys.Sharing{Addr: s.addr, Lose: s.f.WriteMask, Gain: s.f.ReadOnly | s.cow, Drop: s.wired}
	p.mu.Lock()
	dst.mu.Lock()
	for _, r := range ranges {
		checkRange(r.Start, r.End)
		if r.Start == r.End {
			continue
		}
		c.start, c.last = r.Start, r.End-1
		if err = c.upper(p.root, dst.root, 3, 0); err != nil {
			break
		}
	}
	if c.changed&^(s.cow|s.wired) != 0 {
		p.flushAll() // a TLB may still give the rights that p lost
	}
	dst.mu.Unlock()
	p.mu.Unlock()
	for _, f := range c.spare[:c.nspare] {
		s.mem.FreeZeroed(f)
	}
	return err
}

// copier is one Copy's work: one walk over both trees at once for each range.
type copier struct {
	p, dst      *Pmap
	start, last arch.VA // of the range; the last address in it
	how         phys.Sharing
	changed     arch.PTE // bits that any entry of p gained or lost

	spare  [copyTables]phys.Frame // zero, for dst's tables
	nspare int
}

// upper copies what lies in the range from table src, of level 1 to 3, to dst;
// both map from va on.
func (c *copier) upper(src, dst phys.Frame, level int, va arch.VA) error {
	s := c.p.s
	shift := uint(arch.PageShift+9*level) & 63
	info, rows := s.mem.Info(src), s.mem.Rows(src)
	g := info.Groups
	if c.start > va { // else from the first entry on
		i := (c.start - va) >> (shift + 3) & 63
		g = g >> i << i
	}
	for left := info.Used; g != 0; g &= g - 1 {
		r := bits.TrailingZeros64(g) & 63
		for i := firstUsed(&rows[r]); i < 8; i++ {
			e := rows[r][i]
			if e == 0 {
				continue
			}
			k := r<<3 + i
			at := va + arch.VA(k)<<shift
			if at > c.last {
				return nil
			}
			if at+(1<<shift-1) >= c.start {
				if level == 1 && s.isBlock(e) {
					if at >= c.start && at+(1<<shift-1) <= c.last {
						rows[r][i] = c.block(e, dst, k, at)
						goto next
					}
					cut, err := c.p.demote(node{s.mem.Table(src), src}, at)
					if err != nil {
						return err
					}
					e = c.p.tableEntry(cut.f)
				}
				if err := c.below(s.frame(e), dst, k, level-1, at); err != nil {
					return err
				}
			}
		next:
			if left--; left == 0 {
				return nil
			}
		}
	}
	return nil
}

// below copies what lies in the range from table src, of level 0 to 2, to the table
// that entry k of dst, a level higher, points to; both map from va on.
func (c *copier) below(src, dst phys.Frame, k, level int, va arch.VA) (err error) {
	mem := c.p.s.mem
	if mem.Info(src).Used == 0 {
		return nil
	}
	d := mem.Table(dst)[k&(arch.Entries-1)]
	f := c.p.s.frame(d)
	if d == 0 {
		if f, err = c.newTable(); err != nil {
			return err
		}
	} else if level == 0 && c.p.s.isBlock(d) {
		c.panicMapped(va, d)
	}
	if level > 0 {
		err = c.upper(src, f, level, va)
	} else {
		c.leaf(src, f, va)
	}
	if d != 0 {
		return err
	}
	if mem.Info(f).Used == 0 {
		// Nothing of src lies in the range. No table is ever left empty.
		c.dst.tables--
		mem.FreeZeroed(f)
		return err
	}
	c.dst.put(node{mem.Table(dst), dst}, k, c.dst.tableEntry(f))
	return err
}

// leaf copies the part of leaf table src that lies in the range.
func (c *copier) leaf(src, dst phys.Frame, va arch.VA) {
	mem := c.p.s.mem
	lo, hi := 0, arch.Entries
	if c.start > va {
		lo = int((c.start - va) >> arch.PageShift)
	}
	if last := int((c.last - va) >> arch.PageShift); last < hi {
		hi = last + 1
	}
	from, to := mem.Info(src), mem.Info(dst)
	n, changed, at := mem.ShareLeaf(mem.Rows(dst), mem.Rows(src), from.Groups, int(from.Used), lo, hi, &c.how)
	if at < hi {
		c.panicMapped(va+arch.VA(at)<<arch.PageShift, mem.Table(dst)[at])
	}
	c.changed |= changed
	to.Used += uint16(n)
	to.Groups |= from.Groups // more than there are, if only a part was copied
	c.dst.resident += n
}

// block copies the block that e, entry k of a level-1 table, maps at va to table
// dst, and returns what e is from now on.
func (c *copier) block(e arch.PTE, dst phys.Frame, k int, va arch.VA) arch.PTE {
	mem := c.p.s.mem
	t := mem.Table(dst)
	if t[k] != 0 {
		c.panicMapped(va, t[k])
	}
	mem.RefBlock(c.p.s.frame(e))
	ne := e&^c.how.Lose | c.how.Gain
	c.changed |= e ^ ne
	c.dst.put(node{t, dst}, k, ne&^c.how.Drop)
	c.dst.resident += arch.BlockPages
	return ne
}

func (c *copier) panicMapped(va arch.VA, e arch.PTE) {
	panic(fmt.Sprintf("pmap: copy to %#x: the new address space maps %#x there", uint64(va), uint64(e)))
}

// newTable is a table page for dst.
func (c *copier) newTable() (phys.Frame, error) {
	mem := c.p.s.mem
	if c.nspare == 0 {
		// As many as dst will need if all of p is copied.
		n := min(max(c.p.tables-c.dst.tables, 1), copyTables)
		if c.nspare = mem.Stocked(phys.Table, c.spare[:n]); c.nspare == 0 {
			n, err := c.dst.newTable()
			return n.f, err
		}
	}
	c.nspare--
	c.dst.tables++
	return c.spare[c.nspare], nil
}
