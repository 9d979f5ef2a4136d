package pmap

import (
	"syscall"

	"grim/arch"
)

// change applies fn to every leaf of [start, end), and flushes those that were present and
// have changed. fn gets the entry and the table of leaf bits for its level; it returns the
// new entry and how much work it did. Preconditions: edges cut, p.mu held; the lock is
// given up now and then, to let others run.
func (p *Pmap) change(start, end arch.VA, fn func(e arch.PTE, bits *[8][16]arch.PTE) (ne arch.PTE, work int)) {
	for {
		if start = p.changeSome(start, end, fn); start >= end {
			return
		}
		p.mu.Unlock()
		p.s.yield()
		p.mu.Lock()
	}
}

// changeSome does one step of change, and returns where to go on.
func (p *Pmap) changeSome(start, end arch.VA, fn func(e arch.PTE, bits *[8][16]arch.PTE) (ne arch.PTE, work int)) (next arch.VA) {
	s := p.s
	n, work := 0, 0
	var where [flushEach]arch.VA
	next = end
	p.leaves(start, end, func(sp span) bool {
		row := &s.page
		if sp.level == 1 {
			row = &s.block
		}
		for k := sp.lo; k < sp.hi; k++ {
			e := sp.t[k]
			if e == 0 {
				continue
			}
			if work >= stepWork {
				next = sp.va + arch.VA(k-sp.lo)<<arch.PageShift
				return false
			}
			ne, w := fn(e, row)
			work += w
			if ne == e {
				continue
			}
			sp.t[k] = ne
			if e&s.f.Present != 0 && (e^ne)&^(s.cow|s.wired|s.soft(Shared)) != 0 {
				if n < flushEach {
					where[n] = sp.va + arch.VA(k-sp.lo)<<arch.PageShift
				}
				n++
			}
		}
		work += tableWork
		return true
	})
	if n > flushEach {
		p.flushAll()
		return next
	}
	p.flushPages(where[:n])
	return next
}

// Costs of the work that changeSome and its like do; see stepWork for the unit.
const (
	tableWork   = 64 // to find a table, and to look at its 512 entries if they are empty
	protectWork = 5  // to change a page's rights
	wireWork    = 4  // to change a page's Wired flag
	syncWork    = 64 // to synchronise a page for instruction fetch
	cleanWork   = 1  // to look whether a page is dirty
	dirtyWork   = 20 // to clean a dirty page, and for what the visitor does
)

// The array of dirty pages has room for all that one step of Clean can find.
const _ = uint(maxDirty - (stepWork+dirtyWork)/dirtyWork)

// Protect sets the rights of what is mapped in [start, end), and flushes. It never makes a
// COW page writable, nor a clean Shared page: the next write to these faults. ENOMEM if a
// block at an edge must be cut and there is no table page; then nothing has changed.
func (p *Pmap) Protect(start, end arch.VA, prot arch.Prot) error {
	checkRange(start, end)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cutEdges(start, end); err != nil {
		return err
	}
	s := p.s
	prot &= 7
	p.change(start, end, func(e arch.PTE, row *[8][16]arch.PTE) (ne arch.PTE, work int) {
		work = protectWork
		fl := s.flags(e)
		dirty := e & s.f.DirtyBits
		r := prot // the COW flag has no writable entry in row
		if fl&Shared != 0 && dirty == 0 {
			if r &^= arch.Write; r == 0 && prot != 0 {
				r = arch.Read // Write implies Read
			}
		}
		if r&arch.Exec != 0 {
			if row == &s.page {
				if s.syncFetch(s.frame(e)) {
					work = syncWork
				}
			} else {
				// The whole block in one step: to yield in between, the block would have to
				// be looked up again.
				s.mmu.SyncInstructions(s.frame(e).PA(), arch.BlockSize)
				work = stepWork
			}
		}
		return row[r][fl] | dirty | e&s.addr, work
	})
	return nil
}

// Wire sets or clears the Wired flag of what is mapped in [start, end). It fails as Protect
// does. If stop is not nil, it is asked between steps, and Wire returns EINTR once it returns
// true.
func (p *Pmap) Wire(start, end arch.VA, on bool, stop func() bool) error {
	checkRange(start, end)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cutEdges(start, end); err != nil {
		return err
	}
	for {
		start = p.changeSome(start, end, func(e arch.PTE, _ *[8][16]arch.PTE) (arch.PTE, int) {
			if on {
				return e | p.s.wired, wireWork
			}
			return e &^ p.s.wired, wireWork
		})
		if start >= end {
			return nil
		}
		p.mu.Unlock()
		p.s.yield()
		stopped := stop != nil && stop()
		p.mu.Lock()
		if stopped {
			return syscall.EINTR
		}
	}
}

// Clean write-protects dirty Shared pages of [start, end), marks them clean, flushes, and
// shows them to v, for msync. It does one step, and returns where to go on. The frames stay
// referenced while v runs. No lock is held then.
func (p *Pmap) Clean(start, end arch.VA, v Visitor) (next arch.VA) {
	checkRange(start, end)
	if start >= end {
		return end
	}
	s := p.s
	td := s.getTeardown()
	next = end
	work := 0
	p.mu.Lock()
	p.leaves(start, end, func(sp span) bool {
		for k := sp.lo; k < sp.hi; k++ {
			e := sp.t[k]
			if e == 0 || sp.level != 0 {
				continue
			}
			if work >= stepWork {
				next = sp.va + arch.VA(k-sp.lo)<<arch.PageShift
				return false
			}
			work += cleanWork
			if e&s.sharedDirty != s.sharedDirty {
				continue
			}
			work += dirtyWork
			sp.t[k] = e&^(s.f.DirtyBits|s.f.WriteMask) | s.f.ReadOnly
			s.mem.Ref(s.frame(e))
			td.dirty[td.ndirty] = DirtyPage{sp.va + arch.VA(k-sp.lo)<<arch.PageShift, s.frame(e)}
			td.ndirty++
		}
		work += tableWork
		return true
	})
	if td.ndirty > flushEach {
		p.flushAll()
	} else {
		var where [flushEach]arch.VA
		for k, u := range td.dirty[:td.ndirty] {
			where[k] = u.VA
		}
		p.flushPages(where[:td.ndirty])
	}
	p.mu.Unlock()
	td.visit(v)
	td.batch.Flush()
	s.putTeardown(td)
	return next
}

// Reuse makes the COW leaf at va (page or block) writable in place, with the given rights,
// and clears COW, if this pmap holds the only reference to its memory. It reports whether
// va is writable afterwards. If not, the caller must copy the page.
func (p *Pmap) Reuse(va arch.VA, prot arch.Prot) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ReuseLocked(va, prot)
}

// ReuseLocked is Reuse; the caller holds p's lock.
func (p *Pmap) ReuseLocked(va arch.VA, prot arch.Prot) bool {
	s := p.s
	n := p.level1(va)
	if n.t == nil {
		return false
	}
	i, row := va.Index(1), &s.block
	e := n.t[i]
	switch {
	case e == 0:
		return false
	case s.isBlock(e):
		if s.mem.BlockRefs(s.frame(e)) != 1 {
			return false
		}
	default:
		n = p.below(e)
		i, row = va.Index(0), &s.page
		if e = n.t[i]; e == 0 || s.mem.Refs(s.frame(e)) != 1 {
			return false
		}
	}
	fl := s.flags(e)
	if fl&COW == 0 {
		return s.prot(e)&arch.Write != 0
	}
	n.t[i] = row[(prot|arch.Write)&7][fl&^COW] | e&s.addr
	if e&s.f.Present != 0 {
		p.flushPage(va)
	}
	return true
}
