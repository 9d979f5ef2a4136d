package pmap

import (
	"fmt"
	"math/bits"

	"grim/arch"
	"grim/mm/phys"
)

// node is a table page, with its frame, found on the way to an address.
type node struct {
	t *table
	f phys.Frame
}

func (p *Pmap) rootNode() node { return node{p.top, p.root} }

// below returns the table that entry e points to.
func (p *Pmap) below(e arch.PTE) node {
	f := p.s.frame(e)
	return node{p.s.mem.Table(f), f}
}

// put writes e to entry i of n, which is empty.
func (p *Pmap) put(n node, i int, e arch.PTE) {
	info := p.s.mem.Info(n.f)
	info.Used++
	info.Groups |= 1 << (i >> 3)
	n.t[i].Publish(e)
}

// take empties entry i of n, which is in use, and returns how many remain in use.
func (p *Pmap) take(n node, i int) (left uint16) {
	n.t[i] = 0
	info := p.s.mem.Info(n.f)
	info.Used--
	return info.Used
}

// checkVA panics if va is not the address of a user page: that is a mistake of the caller.
func checkVA(va arch.VA) {
	if va >= arch.UserMax || va < arch.UserMin || va&(arch.PageSize-1) != 0 {
		panic(fmt.Sprintf("pmap: %#x is not a user page", uint64(va)))
	}
}

// checkRange panics if the range is not whole user pages: that is a mistake of the caller.
func checkRange(start, end arch.VA) {
	if start > end || end > arch.UserMax || (start|end)&(arch.PageSize-1) != 0 {
		panic(fmt.Sprintf("pmap: [%#x, %#x) is not a range of user pages", uint64(start), uint64(end)))
	}
}

// level1 returns the level-1 table for va. Its t is nil if there is none.
func (p *Pmap) level1(va arch.VA) node {
	e := p.top[va.Index(3)]
	if e == 0 {
		return node{}
	}
	e = p.s.mem.Table(p.s.frame(e))[va.Index(2)]
	if e == 0 {
		return node{}
	}
	return p.below(e)
}

// makeLevel1 is level1, but adds missing tables. On ENOMEM none was added.
func (p *Pmap) makeLevel1(va arch.VA) (node, error) {
	n := p.rootNode()
	for level := 3; level > 1; level-- {
		e := n.t[va.Index(level)]
		if e == 0 {
			return p.grow(n, va, level, 1)
		}
		n = p.below(e)
	}
	return n, nil
}

// makeLeaf returns the leaf table for va. It adds missing tables and cuts a block if
// needed. On ENOMEM nothing has changed.
func (p *Pmap) makeLeaf(va arch.VA) (node, error) {
	n := p.rootNode()
	for level := 3; level > 0; level-- {
		e := n.t[va.Index(level)]
		if e == 0 {
			return p.grow(n, va, level, 0)
		}
		if level == 1 && p.s.isBlock(e) {
			return p.demote(n, va)
		}
		n = p.below(e)
	}
	return n, nil
}

// grow adds the tables between n, at the given level, and level target, for va, and returns
// the last. They are linked when all have been allocated, so that no table is ever left
// empty.
func (p *Pmap) grow(n node, va arch.VA, level, target int) (node, error) {
	var add [arch.Levels - 1]node
	for k := range level - target {
		next, err := p.newTable()
		if err != nil {
			for _, a := range add[:k] {
				p.tables--
				p.s.mem.FreeZeroed(a.f)
			}
			return node{}, err
		}
		add[k] = next
	}
	for _, next := range add[:level-target] {
		p.put(n, va.Index(level), p.tableEntry(next.f))
		n = next
		level--
	}
	return n, nil
}

func (p *Pmap) newTable() (node, error) {
	f, err := p.s.mem.AllocZero(phys.Table)
	if err != nil {
		return node{}, err
	}
	p.tables++
	return node{p.s.mem.Table(f), f}, nil
}

func (p *Pmap) tableEntry(f phys.Frame) arch.PTE {
	return p.s.f.Table | arch.PTE(f.PA())
}

// Lookup returns what the page of va is mapped to, and whether it is mapped. It costs four
// loads.
func (p *Pmap) Lookup(va arch.VA) (Mapping, bool) {
	p.mu.Lock()
	m, ok := p.LookupLocked(va)
	p.mu.Unlock()
	return m, ok
}

// LookupLocked is Lookup; the caller holds p's lock. Until the unlock p keeps its reference
// to the frame, and the mapping stays as returned.
func (p *Pmap) LookupLocked(va arch.VA) (Mapping, bool) {
	if va >= arch.UserMax {
		return Mapping{}, false
	}
	n1 := p.level1(va)
	if n1.t == nil {
		return Mapping{}, false
	}
	e := n1.t[va.Index(1)]
	if e == 0 {
		return Mapping{}, false
	}
	if p.s.isBlock(e) {
		m := p.s.mapping(e, true)
		m.Frame += phys.Frame(va.Index(0))
		return m, true
	}
	if e = p.s.mem.Table(p.s.frame(e))[va.Index(0)]; e == 0 {
		return Mapping{}, false
	}
	return p.s.mapping(e, false), true
}

// FrameLocked returns the frame behind va if its mapping allows the access want (0: any
// resident page). It costs a third of LookupLocked, and serves every system call that
// copies to or from user memory. The caller holds p's lock, and may use the frame until the
// unlock.
func (p *Pmap) FrameLocked(va arch.VA, want arch.Prot) (phys.Frame, bool) {
	if va >= arch.UserMax {
		return 0, false
	}
	s := p.s
	e := p.top[va.Index(3)]
	if e == 0 {
		return 0, false
	}
	if e = s.mem.Table(s.frame(e))[va.Index(2)]; e == 0 {
		return 0, false
	}
	if e = s.mem.Table(s.frame(e))[va.Index(1)]; e == 0 {
		return 0, false
	}
	in := phys.Frame(0) // place in a block
	if s.isBlock(e) {
		in = phys.Frame(va.Index(0))
	} else if e = s.mem.Table(s.frame(e))[va.Index(0)]; e == 0 {
		return 0, false
	}
	if want != 0 && e&s.f.Present == 0 ||
		want&arch.Write != 0 && e&s.f.WriteMask != s.f.WriteBits ||
		want&arch.Exec != 0 && e&s.f.ExecMask != s.f.ExecBits {
		return 0, false
	}
	return s.frame(e) + in, true
}

// span is a piece of a table that leaves hands to its function: entries [lo, hi) of the
// node, the first of which maps va. At level 0 any entry may be empty. At level 1 it is one
// entry, a block.
type span struct {
	node
	level  int
	lo, hi int
	va     arch.VA
}

// leaves calls fn for every leaf table and block that overlaps [start, end), in order,
// until fn returns false. It skips empty entries in whole groups. A block at an edge is
// handed over whole. Preconditions: p.mu held; fn does not free tables.
func (p *Pmap) leaves(start, end arch.VA, fn func(sp span) bool) {
	for va := start; va < end; {
		n1, skip := p.nextLevel1(va, end)
		va = skip
		if n1.t == nil {
			return
		}
		groups := p.s.mem.Info(n1.f).Groups
		for i := va.Index(1); va < end; {
			k := nextUsed(n1.t, groups, i)
			if k > i {
				i = k
				if va = va&^(1<<30-1) + arch.VA(i)<<arch.BlockShift; i == arch.Entries || va >= end {
					break
				}
			}
			next := va.BlockDown() + arch.BlockSize
			e := n1.t[i]
			sp := span{node: n1, level: 1, lo: i, hi: i + 1, va: va.BlockDown()}
			if !p.s.isBlock(e) {
				sp = span{node: p.below(e), lo: va.Index(0), hi: arch.Entries, va: va}
				if end < next {
					sp.hi = end.Index(0)
				}
			}
			if !fn(sp) {
				return
			}
			va = next
			if i++; i == arch.Entries {
				break
			}
		}
	}
}

// nextLevel1 returns the level-1 table that covers va, or the next one above, and the first
// address at or after va that it covers. Its t is nil if there is none below end.
func (p *Pmap) nextLevel1(va, end arch.VA) (node, arch.VA) {
	for va < end {
		i := va.Index(3)
		if p.top[i] == 0 {
			va = p.skip(p.root, va, 3)
			continue
		}
		n2 := p.below(p.top[i])
		for {
			if e := n2.t[va.Index(2)]; e != 0 {
				return p.below(e), va
			}
			va = p.skip(n2.f, va, 2)
			if va >= end {
				return node{}, va
			}
			if va.Index(3) != i {
				break
			}
		}
	}
	return node{}, va
}

// skip returns the first address after va's entry of table f that an entry in use maps. If
// there is none it returns the end of what the table covers.
func (p *Pmap) skip(f phys.Frame, va arch.VA, level int) arch.VA {
	shift := uint(arch.PageShift + 9*level)
	i := nextUsed(p.s.mem.Table(f), p.s.mem.Info(f).Groups, va.Index(level)+1)
	return va&^(1<<(shift+9)-1) + arch.VA(i)<<shift
}

// nextUsed returns the index of the first entry of t, from i on, that is not zero, or
// arch.Entries. It skips an empty group of eight entries at once, so that the 510 empty
// entries between program and stack cost as much as four used ones.
func nextUsed(t *table, groups uint64, i int) int {
	for i < arch.Entries {
		g := groups >> (i >> 3)
		if g == 0 {
			break
		}
		if g&1 == 0 {
			i = (i>>3 + bits.TrailingZeros64(g)) << 3
		}
		for last := i | 7; i <= last; i++ {
			if t[i&(arch.Entries-1)] != 0 {
				return i
			}
		}
	}
	return arch.Entries
}

// Walk calls fn for every mapped page and block of [start, end), in order, until fn returns
// false. For a block m.Block is true, and va and m.Frame are those of its first page. p is
// locked meanwhile.
func (p *Pmap) Walk(start, end arch.VA, fn func(va arch.VA, m Mapping) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaves(start.PageDown(), min(end, arch.UserMax).PageDown(), func(sp span) bool {
		for k := sp.lo; k < sp.hi; k++ {
			if e := sp.t[k]; e != 0 && !fn(sp.va+arch.VA(k-sp.lo)<<arch.PageShift, p.s.mapping(e, sp.level == 1)) {
				return false
			}
		}
		return true
	})
}
