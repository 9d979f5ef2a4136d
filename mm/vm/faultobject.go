package vm

import (
	"math/bits"
	"syscall"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// fetched is a page that an object was asked for while the map was unlocked.
// It counts only if, once the map is locked again, the same object page is
// still wanted and the object has not been truncated since gen was read.
type fetched struct {
	obj   Object // referenced; nil: none
	index int64
	write bool
	gen   uint64
	f     phys.Frame // referenced; 0: not there yet
}

func (g *fetched) fetch(s *System) (err error) {
	if g.f != 0 {
		panic("vm: page fetched twice")
	}
	g.f, err = g.obj.GetPage(g.index, g.write)
	return err
}

// want notes what to fetch. Preconditions: the map is locked, so that e's
// reference keeps obj.
func (g *fetched) want(s *System, e *entry, index int64, write bool) {
	g.drop(s)
	e.obj.Ref()
	*g = fetched{obj: e.obj, index: index, write: write, gen: e.obj.Mapped().gen.Load()}
}

// take returns the page if it is the one wanted and still valid, with the
// reference. Preconditions: Mappings.mu held.
func (g *fetched) take(e *entry, index int64, write bool) (phys.Frame, bool) {
	if g.f == 0 || g.obj != e.obj || g.index != index || write && !g.write || g.gen != e.obj.Mapped().gen.Load() {
		return 0, false
	}
	f := g.f
	g.f = 0
	return f, true
}

func (g *fetched) drop(s *System) {
	if g.f != 0 {
		s.mem.Unref(g.f)
	}
	if g.obj != nil {
		g.obj.Unref()
	}
	*g = fetched{}
}

// faultObject resolves a fault on a mapped object. errFetch: the page has to be
// fetched first, g says which. Preconditions: mu held.
func (vs *VMSpace) faultObject(e *entry, page arch.VA, access arch.Prot, g *fetched) error {
	index := e.index(page)
	m := e.obj.Mapped()
	m.mu.Lock()
	defer m.mu.Unlock()
	if index >= pagesOf(e.obj.Size()) {
		return syscall.EIO
	}
	write := access&arch.Write != 0
	if old, ok := vs.pm.Lookup(page); ok {
		if e.private() || old.Prot&access == access || e.flags&entTracked == 0 || !write {
			return vs.faultPresent(e, page, old, access)
		}
	} else if err := vs.mayHold(1); err != nil {
		return err
	}
	toObject := write && !e.private()
	f, ok := g.take(e, index, toObject)
	if !ok {
		if f, ok = e.obj.CachedPage(index, toObject); !ok {
			g.want(vs.sys, e, index, toObject)
			return errFetch
		}
	}
	return vs.enterObject(e, page, f, write)
}

// enterObject maps an object's page, whose reference it takes over.
// Preconditions: mu and Mappings.mu held.
func (vs *VMSpace) enterObject(e *entry, page arch.VA, f phys.Frame, write bool) error {
	mem := vs.sys.mem
	prot, fl := hardware(e.prot), e.pmapFlags()
	switch {
	case e.private() && write:
		err := vs.copyPage(e, page, f)
		mem.Unref(f)
		return err
	case e.private():
		prot &^= arch.Write
		fl |= pmap.COW
	case e.flags&entTracked != 0:
		fl |= pmap.Shared
		if write {
			e.flags |= entDirtied
		} else {
			prot &^= arch.Write // the first write must be seen
		}
	}
	if err := vs.pm.Enter(page, f, prot, fl); err != nil {
		mem.Unref(f)
		return err
	}
	if !write {
		vs.mapAround(e, page, prot, fl)
	}
	return nil
}

// aroundPages is how many pages of a file are looked at when one is read: the
// aligned 64 KB around it (Linux's fault_around_bytes).
const aroundPages = 16

// mapAround maps the neighbours of a page just read that the object has at
// hand: program text and data come from the cache, and a fault costs more than
// a few look-ups. Preconditions: as enterObject.
func (vs *VMSpace) mapAround(e *entry, page arch.VA, prot arch.Prot, fl pmap.Flags) {
	if vs.limits.Resident != Unlimited {
		return
	}
	lo := max(e.start, page&^(aroundPages*arch.PageSize-1))
	hi := min(e.end, page&^(aroundPages*arch.PageSize-1)+aroundPages*arch.PageSize)
	hi = min(hi, e.start+arch.VA(pagesOf(e.obj.Size())<<arch.PageShift-e.off)) // page is below it
	var absent uint32
	vs.pm.Lock()
	for va := lo; va < hi; va += arch.PageSize {
		if _, ok := vs.pm.LookupLocked(va); !ok {
			absent |= 1 << ((va - lo) >> arch.PageShift)
		}
	}
	vs.pm.Unlock()
	for ; absent != 0; absent &= absent - 1 {
		va := lo + arch.VA(bits.TrailingZeros32(absent))<<arch.PageShift
		f, ok := e.obj.CachedPage(e.index(va), false)
		if !ok {
			continue
		}
		if vs.pm.Enter(va, f, prot, fl) != nil {
			vs.sys.mem.Unref(f)
			return
		}
	}
}
