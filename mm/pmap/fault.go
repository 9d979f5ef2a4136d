package pmap

import (
	"fmt"

	"grim/arch"
	"grim/mm/phys"
)

// Place is the leaf table in which the page that AbsentLocked was asked about has
// its entry. It is good until the pmap is unlocked.
type Place struct{ leaf node }

// AbsentLocked reports whether nothing is mapped at va, and if so in which table
// its entry would be: what a fault asks first of all, at the price of the walk.
// p is locked by the caller.
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

// FillLocked maps n pages from va on to the frames f, f+1, ..., all in one 2 MB
// block of addresses: the one of the page that AbsentLocked gave at for. Pages that
// are mapped already keep their mapping; done tells how many were entered. The
// references to the frames of entered pages are the pmap's afterwards, those of the
// others are given up. On ENOMEM nothing has changed. p is locked by the caller.
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
	e := s.page[prot&7][fl&7] | arch.PTE(f.PA())
	groups := uint64(0)
	for k := i; k < i+n; k++ {
		if leaf.t[k] == 0 {
			leaf.t[k] = e
			groups |= 1 << (k >> 3)
			done++
		} else {
			s.mem.Unref(f + phys.Frame(k-i))
		}
		e += arch.PageSize
	}
	info := s.mem.Info(leaf.f)
	info.Used += uint16(done)
	info.Groups |= groups
	p.resident += done
	return done, nil
}
