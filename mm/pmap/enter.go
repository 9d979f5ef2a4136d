package pmap

import (
	"grim/arch"
	"grim/mm/phys"
)

// Enter maps the page at va to f and replaces what is mapped there. If a block maps va, it
// is demoted first. On success the caller's reference to f belongs to the pmap, and the
// replaced page's reference is given up; if that page was Shared and dirty, no Visitor sees
// it. ENOMEM if a table page is needed and there is none.
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
			n.t[i].Publish(e)
		} else {
			n.t[i] = e
			p.flushPage(va)
		}
	} else {
		n.t[i].Publish(e)
	}
	s.giveBack(old)
	return nil
}

// SyncFetch makes what was just written to f, which p maps executable, visible to
// instruction fetch. The caller holds p's lock.
func (p *Pmap) SyncFetch(f phys.Frame) { p.s.syncFetch(f) }

// syncFetch makes f's contents visible to instruction fetch, unless that was done since the
// kernel last wrote to f. It reports whether it had to.
func (s *System) syncFetch(f phys.Frame) bool {
	state := s.mem.FetchOf(f)
	if state.Synced() {
		return false
	}
	s.mmu.SyncInstructions(f.PA(), arch.PageSize)
	s.mem.SetSynced(f, state)
	return true
}
