package pmap

import (
	"math/bits"

	"grim/arch"
	"grim/mm/phys"
)

// How much one step of Remove unlinks before it flushes once, unlocks and frees. This
// bounds how long others wait for the lock. A full table takes 12 000 to 23 000
// instructions.
const (
	stepTables = 1
	stepPages  = 64
	stepBlocks = 64
	stepEmpty  = 16
	maxDirty   = arch.Entries // pages shown to a Visitor at once: those of a leaf table
	flushEach  = 8            // up to so many pages are flushed by address, more by flushing all
)

// teardown holds what one step has unlinked and must flush and free. System keeps a pool of
// them.
type teardown struct {
	batch phys.Batch
	// tableBatch frees the table pages of a purge. They lie in other superblocks than the
	// pages, and a batch works on one superblock at a time.
	tableBatch phys.Batch
	npages     int // entries unlinked one by one
	ntables    int
	nblocks    int
	nempty     int
	ndirty     int
	visible    bool // something unlinked was present: a flush is due
	pages      [stepPages]DirtyPage
	isDirty    [stepPages]bool
	tables     [stepTables]DirtyPage // unlinked leaf tables, whose entries are still in place; VA is the address of entry 0
	blocks     [stepBlocks]DirtyPage
	empty      [stepEmpty]DirtyPage // unlinked empty table pages; VA is an address that they cover
	dirty      [maxDirty]DirtyPage
	where      [flushEach]arch.VA // scratch of flushUnlinked: addresses to flush
	purger     purger
}

func (s *System) getTeardown() *teardown {
	s.mu.Lock()
	td := s.getTeardownLocked()
	s.mu.Unlock()
	return td
}

// getTeardownLocked is getTeardown; the caller holds s.mu.
func (s *System) getTeardownLocked() *teardown {
	if n := len(s.work); n > 0 {
		td := s.work[n-1]
		s.work = s.work[:n-1]
		return td
	}
	td := &teardown{batch: phys.Batch{M: s.mem}, tableBatch: phys.Batch{M: s.mem}}
	td.purger.td, td.purger.s = td, s
	return td
}

func (s *System) putTeardown(td *teardown) {
	s.mu.Lock()
	s.work = append(s.work, td)
	s.mu.Unlock()
}

// Remove unmaps [start, end). It unlinks, flushes, and then gives back the references to
// the frames. Before that it shows dirty Shared pages to v (may be nil). It works in steps,
// and holds no lock between them nor while v runs, so another thread may enter a page in
// the part that is done. ENOMEM if a block at an edge must be cut and there is no table
// page; then nothing was removed.
func (p *Pmap) Remove(start, end arch.VA, v Visitor) error {
	checkRange(start, end)
	p.mu.Lock()
	if err := p.cutEdges(start, end); err != nil {
		p.mu.Unlock()
		return err
	}
	td := p.s.getTeardown()
	for va := start; ; {
		va = p.unlink(va, end, td)
		p.flushUnlinked(td)
		p.mu.Unlock()
		p.free(td, v)
		if va >= end {
			break
		}
		p.s.yield()
		p.mu.Lock()
	}
	p.s.putTeardown(td)
	return nil
}

// unlink takes mappings of [va, end) out of the tables until td is full. It returns where
// to go on. Preconditions: p.mu held; edges cut.
func (p *Pmap) unlink(va, end arch.VA, td *teardown) arch.VA {
	s := p.s
	for va < end {
		if td.nempty > stepEmpty-3 {
			return va // no room for a leaf table and the two above it
		}
		n1, next := p.nextLevel1(va, end)
		va = next
		if n1.t == nil {
			return end
		}
		upper := va
		info := s.mem.Info(n1.f)
		for va < end && va>>30 == upper>>30 {
			i := va.Index(1)
			if i = nextUsed(n1.t, info.Groups, i); i == arch.Entries {
				va = (va &^ (1<<30 - 1)) + 1<<30
				break
			}
			if at := upper&^(1<<30-1) + arch.VA(i)<<arch.BlockShift; at > va {
				if va = at; va >= end {
					break
				}
			}
			e := n1.t[i]
			blockEnd := va.BlockDown() + arch.BlockSize
			switch {
			case s.isBlock(e):
				if td.nblocks == stepBlocks {
					return va
				}
				td.blocks[td.nblocks] = DirtyPage{va, s.frame(e)}
				td.nblocks++
				td.visible = td.visible || e&s.f.Present != 0
				p.resident -= arch.BlockPages
				p.take(n1, i)
			case va == va.BlockDown() && end >= blockEnd:
				if td.ntables == stepTables {
					return va
				}
				n0 := p.below(e)
				td.tables[td.ntables] = DirtyPage{va, n0.f}
				td.ntables++
				td.visible = true
				p.resident -= int(s.mem.Info(n0.f).Used)
				p.tables--
				p.take(n1, i)
			default:
				n0 := p.below(e)
				if va = p.unlinkPages(n0, va, min(end, blockEnd), td); va < min(end, blockEnd) {
					return va
				}
				if s.mem.Info(n0.f).Used == 0 {
					p.take(n1, i)
					p.emptied(blockEnd-arch.BlockSize, n0.f, td)
				}
			}
			va = blockEnd
			if info.Used == 0 {
				break
			}
		}
		if info.Used == 0 {
			p.unlinkUpper(upper, td)
			va = (upper &^ (1<<30 - 1)) + 1<<30
		}
	}
	return va
}

// unlinkPages takes the entries for [va, end) out of leaf table n, until td is full. It
// returns where to go on. The table stays linked, even if it is empty then.
func (p *Pmap) unlinkPages(n node, va, end arch.VA, td *teardown) arch.VA {
	s := p.s
	for ; va < end; va += arch.PageSize {
		i := va.Index(0)
		e := n.t[i]
		if e == 0 {
			continue
		}
		if td.npages == stepPages {
			return va
		}
		if e&s.sole != 0 {
			s.mem.Counted(s.frame(e))
		}
		td.pages[td.npages] = DirtyPage{va, s.frame(e)}
		td.isDirty[td.npages] = e&s.sharedDirty == s.sharedDirty
		td.npages++
		td.visible = td.visible || e&s.f.Present != 0
		p.resident--
		p.take(n, i)
	}
	return va
}

// unlinkUpper unlinks the empty level-1 table that covers va, and the level-2 table above
// it if that is empty then. The root stays.
func (p *Pmap) unlinkUpper(va arch.VA, td *teardown) {
	i := va.Index(3)
	n2 := p.below(p.top[i])
	j := va.Index(2)
	p.emptied(va, p.s.frame(n2.t[j]), td)
	if p.take(n2, j) == 0 {
		p.take(p.rootNode(), i)
		p.emptied(va, n2.f, td)
	}
}

func (p *Pmap) emptied(va arch.VA, f phys.Frame, td *teardown) {
	td.empty[td.nempty] = DirtyPage{va, f}
	td.nempty++
	td.visible = true // walk caches may point to it
	p.tables--
}

// flushUnlinked drops the translations of what td unlinked. Preconditions: p.mu
// held.
func (p *Pmap) flushUnlinked(td *teardown) {
	if !td.visible {
		return
	}
	td.visible = false
	if td.ntables != 0 || td.npages+td.nblocks+td.nempty > flushEach {
		p.flushAll()
		return
	}
	// The flush of an address also drops the walk-cache entries above it. So a table needs
	// no flush of its own if the address flushed last lies in the same 2 MB. noAddress lies
	// in the 2 MB of no user address, not even of the first.
	const noAddress = ^arch.VA(0)
	last := noAddress
	n := 0
	for _, u := range td.pages[:td.npages] {
		td.where[n] = u.VA
		last = u.VA
		n++
	}
	for _, u := range td.blocks[:td.nblocks] {
		td.where[n] = u.VA
		last = u.VA
		n++
	}
	for _, u := range td.empty[:td.nempty] {
		if last.BlockDown() != u.VA.BlockDown() {
			td.where[n] = u.VA
			last = u.VA
			n++
		}
	}
	p.flushPages(td.where[:n])
}

// free gives back what td holds. Nothing can reach it any more. No lock is held.
func (p *Pmap) free(td *teardown, v Visitor) {
	mem := p.s.mem
	for k, u := range td.pages[:td.npages] {
		if v != nil && td.isDirty[k] {
			td.addDirty(u, v)
		} else {
			td.batch.Unref(u.Frame)
		}
	}
	td.visit(v)
	for _, u := range td.tables[:td.ntables] {
		p.s.releaseLeaf(u.Frame, u.VA, td, v)
		p.retire(u.Frame)
	}
	td.batch.Flush()
	for _, u := range td.blocks[:td.nblocks] {
		mem.UnrefBlock(u.Frame)
	}
	for _, u := range td.empty[:td.nempty] {
		p.retire(u.Frame)
	}
	td.npages, td.ntables, td.nblocks, td.nempty, td.visible = 0, 0, 0, 0, false
}

// leafStep is how many pages of a leaf table are given back without letting others run, at up
// to 45 instructions each.
const leafStep = arch.Entries / 2

// releaseLeaf gives back the frames that the unlinked leaf table f maps, from va on. The
// table is all zero afterwards. Dirty Shared pages are shown to v while their entries are
// still in place: no entry is looked at more than twice.
func (s *System) releaseLeaf(f phys.Frame, va arch.VA, td *teardown, v Visitor) {
	rows, info := s.mem.Rows(f), s.mem.Info(f)
	if info.Used == 0 {
		return
	}
	stop := s.sharedDirty
	if v == nil {
		stop = phys.NoStop
	}
	used, groups := int(info.Used), info.Groups
	if used > leafStep {
		_, left := td.batch.ReleaseLeaf(rows, groups, used/2, stop, s.sole)
		if used == arch.Entries && left == 0 {
			groups = groups >> 32 << 32 // the first half of a full table is its first 32 groups
		}
		used -= used/2 - left
		if left == 0 {
			s.yield()
		}
	}
	if k, left := td.batch.ReleaseLeaf(rows, groups, used, stop, s.sole); left != 0 {
		groups = groups >> (k >> 3 & 63) << (k >> 3 & 63)
		s.showDirty(va, rows, groups, td, v)
		td.batch.ReleaseLeaf(rows, groups, left, phys.NoStop, s.sole)
	}
}

// showDirty shows v the dirty Shared pages of a leaf table that maps from va on. groups
// says which groups of its entries to look at.
func (s *System) showDirty(va arch.VA, rows *phys.Rows, groups uint64, td *teardown, v Visitor) {
	stop, n := s.sharedDirty, 0
	for ; groups != 0; groups &= groups - 1 {
		g := bits.TrailingZeros64(groups)
		at := va + arch.VA(g)<<(arch.PageShift+3)
		for _, e := range &rows[g&63] {
			if e&stop == stop {
				td.dirty[n&(maxDirty-1)] = DirtyPage{at, s.frame(e)} // n is below: a table has no more entries
				n++
			}
			at += arch.PageSize
		}
	}
	if n > 0 {
		v.Dirty(td.dirty[:n])
		s.yield()
	}
}

// addDirty keeps u, with its reference, to be shown to v.
func (td *teardown) addDirty(u DirtyPage, v Visitor) {
	if td.ndirty == maxDirty {
		td.visit(v)
	}
	td.dirty[td.ndirty] = u
	td.ndirty++
}

// visit shows the collected dirty pages to v and gives up their references.
func (td *teardown) visit(v Visitor) {
	if td.ndirty == 0 {
		return
	}
	v.Dirty(td.dirty[:td.ndirty])
	for _, u := range td.dirty[:td.ndirty] {
		td.batch.Unref(u.Frame)
	}
	td.ndirty = 0
}
