package pmap

import (
	"fmt"

	"grim/arch"
	"grim/mm/phys"
)

// Enter maps the page at va to f, replacing what is there; a block there is cut
// up first. On success the caller's reference to f is the pmap's, and the
// replaced page's is given up (a replaced dirty Shared page is not shown to
// anyone). ENOMEM if a table page is needed and there is none.
func (p *Pmap) Enter(va arch.VA, f phys.Frame, prot arch.Prot, fl Flags) error {
	p.mu.Lock()
	err := p.EnterLocked(va, f, prot, fl)
	p.mu.Unlock()
	return err
}

// EnterLocked is Enter with p locked by the caller.
func (p *Pmap) EnterLocked(va arch.VA, f phys.Frame, prot arch.Prot, fl Flags) error {
	checkVA(va)
	n, err := p.makeLeaf(va)
	if err != nil {
		return err
	}
	s := p.s
	if prot&arch.Exec != 0 {
		s.syncFetch(f)
	}
	i := va.Index(0)
	e := s.page[prot&7][fl&7] | arch.PTE(f.PA())
	old := n.t[i]
	if old == 0 {
		p.put(n, i, e)
		p.resident++
		return nil
	}
	of := s.frame(old)
	if old&s.f.Present != 0 {
		if of != f {
			n.t[i] = 0 // break before make
			p.flushPage(va)
			n.t[i] = e
		} else {
			n.t[i] = e
			p.flushPage(va)
		}
	} else {
		n.t[i] = e
	}
	s.mem.Unref(of)
	return nil
}

// EnterRun maps n pages from va on to the frames f, f+1, ..., all in one 2 MB
// block of addresses. Pages that are mapped already keep their mapping; done
// tells how many were entered. The references to the frames of entered pages are
// the pmap's afterwards, those of the others are given up. On ENOMEM nothing has
// changed.
func (p *Pmap) EnterRun(va arch.VA, f phys.Frame, n int, prot arch.Prot, fl Flags) (done int, err error) {
	checkVA(va)
	i := va.Index(0)
	if n < 1 || i+n > arch.Entries {
		panic(fmt.Sprintf("pmap: run of %d pages at %#x leaves its 2 MB block", n, uint64(va)))
	}
	s := p.s
	p.mu.Lock()
	defer p.mu.Unlock()
	leaf, err := p.makeLeaf(va)
	if err != nil {
		return 0, err
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

// syncFetch makes f's contents visible to instruction fetch if that was not done
// since the kernel last wrote them.
func (s *System) syncFetch(f phys.Frame) {
	if !s.mem.Synced(f) {
		s.mmu.SyncInstructions(f.PA(), arch.PageSize)
	}
}
