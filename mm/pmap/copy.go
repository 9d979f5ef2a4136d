package pmap

import (
	"errors"
	"fmt"
	"math/bits"
	"syscall"

	"grim/arch"
	"grim/mm/phys"
)

// Range is the user addresses [Start, End), in whole pages.
type Range struct{ Start, End arch.VA }

// Own is a page that the copy gets for itself instead of sharing it: Frame, mapped at VA
// with the rights Prot. If Frame is 0 there is no such page.
type Own struct {
	VA    arch.VA
	Frame phys.Frame
	Prot  arch.Prot
}

// copyTables is how many table pages Copy takes from the stock at a time: more than a small
// process has.
const copyTables = 16

// copyStep is how many pages are copied before others may run, at some 80 instructions
// each. A block or a table counts as copyTable pages.
const (
	copyStep  = 128
	copyTable = 8
)

// errMore says that one step of a copy is done and that more remains. c.ranges and c.from
// say where to go on.
var errMore = errors.New("more to copy")

// Copy maps in dst what p maps in the ranges, at the same addresses, for fork. Each frame
// gets one more reference. Both sides lose Write and are COW from now on. Wired is not
// inherited. The ranges ascend, dst maps nothing in them, and nothing else uses dst yet. On
// return no CPU can write to a page that is COW now.
//
// own describes a page that p maps, inside a range and not as part of a block: p keeps its
// page as it is, and dst maps own's frame there. The caller's reference to that frame is
// used up in any case.
//
// ENOMEM if a table page is needed, in dst, or in p to cut a block at the edge of a range.
// The caller must purge dst then. Pages of p may be COW by then, which is harmless: Reuse
// undoes it at the next write.
//
// Copy works in steps and calls the yield function between them, with no lock held.
// Meanwhile pages of p may be unmapped, but none may be mapped. If stop (may be nil)
// returns true after a step, Copy ends with EINTR; dst is then as after ENOMEM.
func (p *Pmap) Copy(dst *Pmap, ranges []Range, own Own, stop func() bool) error {
	if len(ranges) == 0 {
		return nil
	}
	for _, r := range ranges {
		checkRange(r.Start, r.End)
	}
	s := p.s
	c := copier{p: p, dst: dst, ranges: ranges, own: own, left: copyStep}
	c.how = phys.Sharing{Lose: s.f.WriteMask, Gain: s.f.ReadOnly | s.cow, Drop: s.wired, Skip: -1}
	p.mu.Lock()
	dst.mu.Lock()
	err := c.root()
	for err == errMore {
		// Until the flush below, other CPUs may use writable translations from their TLBs,
		// and so write to frames that dst shares. These writes come before the fork, as dst
		// does not run yet. Pages that other threads unmap meanwhile are flushed by them.
		dst.mu.Unlock()
		p.mu.Unlock()
		s.yield()
		if stop != nil && stop() {
			err = syscall.EINTR
		}
		p.mu.Lock()
		dst.mu.Lock()
		if err == errMore {
			c.left = copyStep
			err = c.root()
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
	if c.own.Frame != 0 {
		if err == nil {
			panic(fmt.Sprintf("pmap: copy: the old address space maps no page at %#x", uint64(own.VA)))
		}
		s.mem.Unref(c.own.Frame)
	}
	return err
}

// copier is the state of one Copy: one walk over p's tables. A table of dst is made when
// the first leaf below it is copied.
type copier struct {
	p, dst *Pmap
	ranges []Range // those whose end lies above what has been done
	how    phys.Sharing
	own    Own // Frame 0: there is none, or dst has it

	left    int      // pages to copy in this step
	from    arch.VA  // everything below this address was done in earlier steps
	changed arch.PTE // bits that any entry of p gained or lost

	d2, d1 phys.Frame // dst's tables on the way to the current address; 0: none yet

	spare  [copyTables]phys.Frame // zero, for dst's tables
	nspare int
}

// root copies all ranges, until an error or the end of a step (errMore).
func (c *copier) root() error {
	s := c.p.s
	info, rows := s.mem.Info(c.p.root), s.mem.Rows(c.p.root)
	left := info.Used
	for g := info.Groups; left > 0; g = nextRow(g, left) {
		r := bits.TrailingZeros64(g) & 63
		for i := phys.FirstUsed(&rows[r]); i < 8; i++ {
			e := rows[r][i]
			if e == 0 {
				continue
			}
			at := arch.VA(r<<3+i) << (arch.PageShift + 9*3)
			if c.from == 0 || at+1<<(arch.PageShift+9*3) > c.from {
				c.d2 = s.frame(c.dst.top[r<<3+i])
				if err := c.level2(s.frame(e), at); err != nil {
					return err
				}
			}
			if left--; left == 0 || len(c.ranges) == 0 {
				return nil
			}
		}
	}
	return nil
}

// level2 copies the parts of the ranges that the level-2 table f covers; its first entry
// translates va.
func (c *copier) level2(f phys.Frame, va arch.VA) error {
	s := c.p.s
	info, rows := s.mem.Info(f), s.mem.Rows(f)
	left := info.Used
	for g := info.Groups; left > 0; g = nextRow(g, left) {
		r := bits.TrailingZeros64(g) & 63
		for i := phys.FirstUsed(&rows[r]); i < 8; i++ {
			e := rows[r][i]
			if e == 0 {
				continue
			}
			at := va + arch.VA(r<<3+i)<<(arch.PageShift+9*2)
			if c.from == 0 || at+1<<(arch.PageShift+9*2) > c.from {
				c.d1 = 0
				if c.d2 != 0 {
					c.d1 = s.frame(s.mem.Rows(c.d2)[r][i])
				}
				if err := c.level1(s.frame(e), at); err != nil {
					return err
				}
			}
			if left--; left == 0 || len(c.ranges) == 0 {
				return nil
			}
		}
	}
	return nil
}

// level1 copies the parts of the ranges that the level-1 table f covers; its first entry
// translates va.
func (c *copier) level1(f phys.Frame, va arch.VA) error {
	s := c.p.s
	info, rows := s.mem.Info(f), s.mem.Rows(f)
	left := info.Used
	for g := info.Groups; left > 0; g = nextRow(g, left) {
		r := bits.TrailingZeros64(g) & 63
		for i := phys.FirstUsed(&rows[r]); i < 8; i++ {
			e := rows[r][i]
			if e == 0 {
				continue
			}
			left--
			at := va + arch.VA(r<<3+i)<<arch.BlockShift
			for at >= c.ranges[0].End {
				if c.ranges = c.ranges[1:]; len(c.ranges) == 0 {
					return nil
				}
			}
			if at+arch.BlockSize <= max(c.ranges[0].Start, c.from) {
				continue
			}
			if c.left <= 0 {
				c.from = at
				return errMore
			}
			c.left -= copyTable
			if s.isBlock(e) {
				if at >= c.ranges[0].Start && at+arch.BlockSize <= c.ranges[0].End {
					ne, err := c.block(e, at)
					if err != nil {
						return err
					}
					rows[r][i] = ne
					continue
				}
				cut, err := c.p.demote(node{s.mem.Table(f), f}, at)
				if err != nil {
					return err
				}
				e = c.p.tableEntry(cut.f)
			}
			if err := c.leaf(s.frame(e), at); err != nil {
				return err
			}
			if left == 0 || len(c.ranges) == 0 {
				return nil
			}
		}
	}
	return nil
}

// leaf copies the parts of the ranges that leaf table src maps; its first entry maps va.
func (c *copier) leaf(src phys.Frame, va arch.VA) error {
	mem := c.p.s.mem
	from := mem.Info(src)
	if from.Used == 0 {
		return nil
	}
	if err := c.reserve(1); err != nil {
		return err
	}
	if from.Sole != 0 {
		mem.CountTable(mem.Rows(src), from.Groups, c.p.s.sole)
		from.Sole = 0
	}
	e := arch.PTE(0)
	if c.d1 != 0 {
		e = mem.Table(c.d1)[va.Index(1)]
	}
	dst := c.p.s.frame(e)
	if e == 0 {
		dst = c.newTable()
	} else if c.p.s.isBlock(e) {
		c.panicMapped(va, e)
	}
	to := mem.Info(dst)
	own := c.own.Frame != 0 && c.own.VA.BlockDown() == va
	if own {
		c.how.Skip = c.own.VA.Index(0)
	}
	var more error
	for end := va + arch.BlockSize; ; {
		r := c.ranges[0]
		lo, hi := 0, arch.Entries
		if start := max(r.Start, c.from); start > va {
			lo = start.Index(0)
		}
		if r.End < end {
			hi = r.End.Index(0)
		}
		// If the table has many more entries than the step has left, only a part is copied.
		if int(from.Used) > c.left+copyTable {
			if stop := lo + max(c.left, copyTable); stop < hi {
				hi = stop
				more = errMore
			}
		}
		n, changed, at := mem.ShareLeaf(mem.Rows(dst), mem.Rows(src), from.Groups, int(from.Used), lo, hi, &c.how)
		if at < hi {
			c.panicMapped(va+arch.VA(at)<<arch.PageShift, mem.Table(dst)[at])
		}
		c.changed |= changed
		to.Used += uint16(n)
		c.dst.resident += n
		c.left -= n
		if more != nil {
			c.from = va + arch.VA(hi)<<arch.PageShift
			break
		}
		if r.End > end {
			break
		}
		if c.ranges = c.ranges[1:]; len(c.ranges) == 0 || c.ranges[0].Start >= end {
			break
		}
	}
	if own && (more == nil || c.own.VA < c.from) {
		c.putOwn(mem.Table(src), node{mem.Table(dst), dst})
	}
	if e != 0 {
		to.Groups |= from.Groups
		return more
	}
	if to.Used == 0 { // src maps nothing in the ranges
		c.dst.tables--
		c.spare[c.nspare] = dst
		c.nspare++
		return more
	}
	to.Groups |= from.Groups // an upper bound: perhaps only a part was copied
	c.put(va, c.dst.tableEntry(dst))
	return more
}

// putOwn maps c.own in dst, a leaf table, if src maps a page there.
func (c *copier) putOwn(src *table, dst node) {
	k := c.how.Skip
	c.how.Skip = -1
	if src[k] == 0 {
		return
	}
	if dst.t[k] != 0 {
		c.panicMapped(c.own.VA, dst.t[k])
	}
	s := c.p.s
	if c.own.Prot&arch.Exec != 0 {
		s.syncFetch(c.own.Frame)
	}
	c.dst.put(dst, k, s.page[c.own.Prot&7][0]|arch.PTE(c.own.Frame.PA()))
	c.dst.resident++
	c.own.Frame = 0
}

// block maps in dst the block that e maps at va. It returns the new value of e.
func (c *copier) block(e arch.PTE, va arch.VA) (arch.PTE, error) {
	if err := c.reserve(0); err != nil {
		return 0, err
	}
	mem := c.p.s.mem
	if c.d1 != 0 {
		if d := mem.Table(c.d1)[va.Index(1)]; d != 0 {
			c.panicMapped(va, d)
		}
	}
	mem.RefBlock(c.p.s.frame(e))
	ne := e&^c.how.Lose | c.how.Gain
	c.changed |= e ^ ne
	c.put(va, ne&^c.how.Drop)
	c.dst.resident += arch.BlockPages
	return ne, nil
}

func (c *copier) panicMapped(va arch.VA, e arch.PTE) {
	panic(fmt.Sprintf("pmap: copy to %#x: the new address space maps %#x there", uint64(va), uint64(e)))
}

// put writes e to dst's empty level-1 entry for va. It makes missing tables above it.
// Preconditions: reserve.
func (c *copier) put(va arch.VA, e arch.PTE) {
	mem := c.p.s.mem
	if c.d1 == 0 {
		if c.d2 == 0 {
			c.d2 = c.newTable()
			c.dst.put(c.dst.rootNode(), va.Index(3), c.dst.tableEntry(c.d2))
		}
		c.d1 = c.newTable()
		c.dst.put(node{mem.Table(c.d2), c.d2}, va.Index(2), c.dst.tableEntry(c.d1))
	}
	c.dst.put(node{mem.Table(c.d1), c.d1}, va.Index(1), e)
}

// reserve gets the table pages that are needed to put one entry into dst, and n more. They
// are got beforehand so that no table is left empty after an error. ENOMEM.
func (c *copier) reserve(n int) error {
	if c.d1 == 0 {
		if n++; c.d2 == 0 {
			n++
		}
	}
	if c.nspare >= n {
		return nil
	}
	// As many at once as dst will need if all of p is copied, up to copyTables.
	mem := c.p.s.mem
	want := min(max(c.p.tables-c.dst.tables, n), copyTables)
	c.nspare += mem.Stocked(phys.Table, c.spare[c.nspare:want])
	for c.nspare < n {
		f, err := mem.AllocZero(phys.Table)
		if err != nil {
			return err
		}
		c.spare[c.nspare] = f
		c.nspare++
	}
	return nil
}

// newTable returns one of the reserved table pages, for dst.
func (c *copier) newTable() phys.Frame {
	c.nspare--
	c.dst.tables++
	return c.spare[c.nspare]
}
