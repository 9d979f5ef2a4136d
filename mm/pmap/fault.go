package pmap

import (
	"fmt"

	"grim/arch"
	"grim/mm/phys"
)

// Place is the leaf table that holds the entry of a page, as found by AbsentLocked. It is
// valid until the pmap is unlocked.
type Place struct{ leaf node }

// AbsentLocked reports whether nothing is mapped at va, and returns the leaf table in which
// its entry is or would be, if there is that table. It is the first question of every
// fault, and costs one walk. The caller holds p's lock.
func (p *Pmap) AbsentLocked(va arch.VA) (at Place, absent bool) {
	s := p.s
	e := p.top[va.Index(3)]
	if e == 0 {
		return Place{}, true
	}
	if e = s.mem.Table(s.frame(e))[va.Index(2)]; e == 0 {
		return Place{}, true
	}
	if e = s.mem.Table(s.frame(e))[va.Index(1)]; e == 0 {
		return Place{}, true
	}
	if s.isBlock(e) {
		return Place{}, false
	}
	leaf := p.below(e)
	return Place{leaf}, leaf.t[va.Index(0)] == 0
}

// FillLocked maps n pages from va on to the frames f, f+1, ... The pages lie in one 2 MB
// block of addresses, and at is the place that AbsentLocked returned for a page of that
// block. Pages that are mapped already keep their mapping. done is the number of pages
// entered. The references to their frames belong to the pmap afterwards; the references to
// the other frames are given up. If fl has Sole, all the frames are sole. On ENOMEM nothing
// has changed. The caller holds p's lock.
func (p *Pmap) FillLocked(at Place, va arch.VA, f phys.Frame, n int, prot arch.Prot, fl Flags) (done int, err error) {
	checkVA(va)
	i := va.Index(0)
	if n < 1 || i+n > arch.Entries {
		panic(fmt.Sprintf("pmap: run of %d pages at %#x leaves its 2 MB block", n, uint64(va)))
	}
	s, leaf := p.s, at.leaf
	if leaf.t == nil {
		if leaf, err = p.makeLeaf(va); err != nil {
			return 0, err
		}
	}
	if prot&arch.Exec != 0 {
		for k := range n {
			s.syncFetch(f + phys.Frame(k))
		}
	}
	e := s.page[prot&7][fl&15] | arch.PTE(f.PA())
	groups := uint64(0)
	for k := i; k < i+n; k++ {
		if leaf.t[k] == 0 {
			leaf.t[k].Publish(e)
			groups |= 1 << (k >> 3)
			done++
		} else {
			s.giveBack(e)
		}
		e += arch.PageSize
	}
	info := s.mem.Info(leaf.f)
	info.Used += uint16(done)
	info.Groups |= groups
	info.Sole |= uint8(fl & Sole)
	p.resident += done
	return done, nil
}

// giveBack gives up the reference to a frame that leaf entry e held.
func (s *System) giveBack(e arch.PTE) {
	if e&s.sole != 0 {
		s.mem.FreeSole(s.frame(e))
	} else {
		s.mem.Unref(s.frame(e))
	}
}

// AbsentMaskLocked returns a mask of the n <= 32 pages from va on: bit k is set if nothing
// is mapped at page k. The pages lie in the 2 MB block that at is the place for. The caller
// holds p's lock.
func (p *Pmap) AbsentMaskLocked(at Place, va arch.VA, n int) (mask uint32) {
	if at.leaf.t == nil {
		return 1<<n - 1
	}
	i := va.Index(0)
	for k, e := range at.leaf.t[i : i+n] {
		if e == 0 {
			mask |= 1 << k
		}
	}
	return mask
}

// FillFramesLocked maps the pages from va on, one for each element of frames. They lie in
// the 2 MB block that at is the place for. The references belong to the pmap afterwards.
// Where an element is 0 the page stays as it is; at all other pages nothing is mapped yet.
// On ENOMEM nothing is mapped, and the references are given up. The caller holds p's lock.
func (p *Pmap) FillFramesLocked(at Place, va arch.VA, frames []phys.Frame, prot arch.Prot, fl Flags) (err error) {
	checkVA(va)
	s, leaf, i := p.s, at.leaf, va.Index(0)
	if leaf.t == nil {
		if leaf, err = p.makeLeaf(va); err != nil {
			for _, f := range frames {
				if f != 0 {
					s.mem.Unref(f)
				}
			}
			return err
		}
	}
	bits := s.page[prot&7][fl&7]
	groups, n := uint64(0), 0
	t := leaf.t[i : i+len(frames)]
	for k, f := range frames {
		if f == 0 {
			continue
		}
		if t[k] != 0 {
			panic(fmt.Sprintf("pmap: fill of %#x: the page is mapped", uint64(va)+uint64(k)<<arch.PageShift))
		}
		if prot&arch.Exec != 0 {
			s.syncFetch(f)
		}
		t[k].Publish(bits | arch.PTE(f.PA()))
		groups |= 1 << ((i + k) >> 3)
		n++
	}
	info := s.mem.Info(leaf.f)
	info.Used += uint16(n)
	info.Groups |= groups
	p.resident += n
	return nil
}
