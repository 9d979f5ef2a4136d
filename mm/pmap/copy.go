package pmap

import (
	"fmt"

	"grim/arch"
)

// CopyMode says what Copy does with the pages it copies.
type CopyMode uint8

const (
	CopyCOW   CopyMode = iota // both sides lose Write and are COW from now on
	CopyShare                 // the copy has the same rights and flags
)

// Copy maps what p maps in [start, end) in dst too, at the same addresses, for
// fork: each frame gets a reference more, and Wired is not inherited. dst maps
// nothing in the range and nobody else uses it yet. On return no CPU can write to
// a page that is COW now. ENOMEM if dst needs a table page; what was copied until
// then stays in dst (Purge it), and COW in p, which is harmless: Reuse undoes it
// at the next write.
func (p *Pmap) Copy(dst *Pmap, start, end arch.VA, mode CopyMode) error {
	checkRange(start, end)
	p.mu.Lock()
	dst.mu.Lock()
	err := p.copyLocked(dst, start, end, mode)
	dst.mu.Unlock()
	p.mu.Unlock()
	return err
}

// copyLocked is Copy with both locked.
func (p *Pmap) copyLocked(dst *Pmap, start, end arch.VA, mode CopyMode) error {
	if err := p.cutEdges(start, end); err != nil {
		return err
	}
	s := p.s
	lose, gain := arch.PTE(0), arch.PTE(0)
	if mode == CopyCOW {
		lose, gain = s.f.WriteMask, s.f.ReadOnly|s.cow
	}
	lost := false // p lost rights that a TLB may still give
	var err error
	p.leaves(start, end, func(sp span) bool {
		if sp.level == 1 {
			err = dst.copyBlock(sp, lose, gain, &lost)
		} else {
			err = dst.copyLeaf(sp, lose, gain, &lost)
		}
		return err == nil
	})
	if lost {
		p.flushAll()
	}
	return err
}

func (dst *Pmap) copyBlock(sp span, lose, gain arch.PTE, lost *bool) error {
	s := dst.s
	n, err := dst.makeLevel1(sp.va)
	if err != nil {
		return err
	}
	e := sp.t[sp.lo]
	ne := e&^lose | gain
	if n.t[sp.lo] != 0 {
		panic(fmt.Sprintf("pmap: copy to %#x: the new address space maps a table or block there", uint64(sp.va)))
	}
	s.mem.RefBlock(s.frame(e))
	sp.t[sp.lo] = ne
	dst.put(n, sp.lo, ne&^s.wired)
	dst.resident += arch.BlockPages
	*lost = *lost || ne != e
	return nil
}

func (dst *Pmap) copyLeaf(sp span, lose, gain arch.PTE, lost *bool) error {
	s := dst.s
	from := s.mem.Info(sp.f)
	if from.Used == 0 {
		return nil
	}
	n, err := dst.makeLeaf(sp.va)
	if err != nil {
		return err
	}
	count, groups, changed := 0, uint64(0), arch.PTE(0)
	for k := nextUsed(sp.t, from.Groups, sp.lo); k < sp.hi; k++ {
		e := sp.t[k]
		if e == 0 {
			k = nextUsed(sp.t, from.Groups, k) - 1
			continue
		}
		if n.t[k] != 0 {
			panic(fmt.Sprintf("pmap: copy to %#x: the new address space maps %#x there", uint64(sp.va)+uint64(k-sp.lo)<<arch.PageShift, uint64(n.t[k])))
		}
		s.mem.Ref(s.frame(e))
		ne := e&^lose | gain
		changed |= ne ^ e
		sp.t[k] = ne
		n.t[k] = ne &^ s.wired
		groups |= 1 << (k >> 3)
		count++
	}
	info := s.mem.Info(n.f)
	info.Used += uint16(count)
	info.Groups |= groups
	dst.resident += count
	*lost = *lost || changed != 0
	return nil
}
