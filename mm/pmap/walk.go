package pmap

import (
	"fmt"
	"math/bits"

	"grim/arch"
	"grim/mm/phys"
)

// node is a table page on the way to an address.
type node struct {
	t *table
	f phys.Frame
}

func (p *Pmap) rootNode() node { return node{p.top, p.root} }

// below is the table that entry e points to.
func (p *Pmap) below(e arch.PTE) node {
	f := p.s.frame(e)
	return node{p.s.mem.Table(f), f}
}

// put writes e to an empty entry.
func (p *Pmap) put(n node, i int, e arch.PTE) {
	info := p.s.mem.Info(n.f)
	info.Used++
	info.Groups |= 1 << (i >> 3)
	n.t[i].Publish(e)
}

// take empties an entry that is in use and says how many remain.
func (p *Pmap) take(n node, i int) (left uint16) {
	n.t[i] = 0
	info := p.s.mem.Info(n.f)
	info.Used--
	return info.Used
}

// checkVA refuses an address that is not a user page: the caller's mistake.
func checkVA(va arch.VA) {
	if va >= arch.UserMax || va < arch.UserMin || va&(arch.PageSize-1) != 0 {
		panic(fmt.Sprintf("pmap: %#x is not a user page", uint64(va)))
	}
}

// checkRange refuses a range that is not whole user pages: the caller's mistake.
func checkRange(start, end arch.VA) {
	if start > end || end > arch.UserMax || (start|end)&(arch.PageSize-1) != 0 {
		panic(fmt.Sprintf("pmap: [%#x, %#x) is not a range of user pages", uint64(start), uint64(end)))
	}
}

// level1 finds the level-1 table for va; nil t if there is none.
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

// makeLevel1 is level1 that adds missing tables. ENOMEM; then none was added.
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

// makeLeaf finds the leaf table for va, adding tables and cutting a block as
// needed. ENOMEM; then nothing has changed.
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

// grow adds the tables between n, at level, and the one for va at target. They
// are linked when all are there, so that no table is ever left empty.
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

// Lookup tells what the page of va is mapped to. Cheap: four loads.
func (p *Pmap) Lookup(va arch.VA) (Mapping, bool) {
	p.mu.Lock()
	m, ok := p.LookupLocked(va)
	p.mu.Unlock()
	return m, ok
}

// LookupLocked is Lookup with p locked by the caller: the frame is p's, and the
// mapping as told, until it unlocks.
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

// FrameLocked is the frame behind va if its mapping allows the access want (0: any
// resident page). It is LookupLocked for who only wants to copy: a third of the
// cost, in every system call with a pointer. p is locked by the caller, who may
// use the frame until it unlocks.
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

// span is a piece of a table that leaves hands to its function: entries [lo, hi)
// of n, the first of which maps va. level 0: any may be empty. level 1: one
// entry, a block.
type span struct {
	node
	level  int
	lo, hi int
	va     arch.VA
}

// leaves calls fn for every leaf table and block that overlaps [start, end), in
// order, until fn returns false. It skips what is not there in steps of whole
// groups of entries. A block at an edge is handed over whole. Preconditions:
// p.mu held; fn does not free tables.
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

// nextLevel1 finds the level-1 table that covers va, or the first one above it,
// and the first address at or after va in its reach. A nil t: none below end.
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

// skip is the first address after va's entry in table f that an entry in use
// maps; the end of the table's reach if there is none.
func (p *Pmap) skip(f phys.Frame, va arch.VA, level int) arch.VA {
	shift := uint(arch.PageShift + 9*level)
	i := nextUsed(p.s.mem.Table(f), p.s.mem.Info(f).Groups, va.Index(level)+1)
	return va&^(1<<(shift+9)-1) + arch.VA(i)<<shift
}

// nextUsed is the first entry of t from i on that is not zero, arch.Entries if
// there is none. Groups of eight that hold nothing are stepped over at once: the
// 510 empty entries between program and stack cost as much as four used ones.
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

// Walk calls fn for every mapped page and block (m.Block, its first page) of
// [start, end), in order, until it returns false. p is locked meanwhile.
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
