package vm

import (
	"syscall"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// fetched is a page that was fetched from an object while the map was unlocked. It may be
// used only if, after the map is locked again, the same page of the object is still wanted,
// and the object has not been truncated since gen was read.
type fetched struct {
	obj   Object // with a reference; nil: nothing to fetch
	index int64
	write bool
	gen   uint64
	f     phys.Frame // with a reference; 0: not fetched yet
}

func (g *fetched) fetch(s *System) (err error) {
	if g.f != 0 {
		panic("vm: page fetched twice")
	}
	g.f, err = g.obj.GetPage(g.index, g.write)
	return err
}

// want records what to fetch. Preconditions: the map is locked, so that e's reference keeps
// obj.
func (g *fetched) want(s *System, e *entry, index int64, write bool) {
	g.drop(s)
	e.obj.Ref()
	*g = fetched{obj: e.obj, index: index, write: write, gen: e.obj.Mapped().gen.Load()}
}

// take returns the page, with its reference, if it is the page that is wanted and still
// valid. Preconditions: Mappings.mu held.
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

// faultObject resolves a fault on a mapped object. errFetch: the page must be fetched
// first, and g says which. Preconditions: mu held.
func (vs *VMSpace) faultObject(e *entry, page arch.VA, access arch.Prot, g *fetched) error {
	m := e.obj.Mapped()
	m.mu.Lock()
	err := vs.faultMapped(e, page, access, g)
	m.mu.Unlock()
	return err
}

// faultMapped is faultObject with the object's Mappings.mu held.
func (vs *VMSpace) faultMapped(e *entry, page arch.VA, access arch.Prot, g *fetched) error {
	index := e.index(page)
	size := pagesOf(e.obj.Size())
	if !inObject(index, size) {
		return syscall.EIO
	}
	write := access&arch.Write != 0
	vs.pm.Lock()
	at, absent := vs.pm.AbsentLocked(page)
	if !absent {
		old, _ := vs.pm.LookupLocked(page)
		vs.pm.Unlock()
		if e.private() || old.Prot&access == access || e.flags&entTracked == 0 || !write {
			return vs.faultPresent(e, page, old, access)
		}
	} else {
		vs.pm.Unlock()
		if vs.limits.Resident != Unlimited {
			if err := vs.mayHold(1); err != nil {
				return err
			}
		} else if !write && g.f == 0 {
			if done, err := vs.enterAround(e, page, at, size); done {
				return err
			}
		}
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

// objectRights returns the protection and the flags for an object's own page, as opposed to
// a private copy.
func (e *entry) objectRights(write bool) (prot arch.Prot, fl pmap.Flags) {
	prot, fl = hardware(e.prot), e.pmapFlags()
	switch {
	case e.private():
		prot &^= arch.Write
		fl |= pmap.COW
	case e.flags&entTracked != 0:
		fl |= pmap.Shared
		if !write {
			prot &^= arch.Write // so that the first write faults
		}
	}
	return prot, fl
}

// enterObject maps an object's page. It takes over the caller's reference. Preconditions:
// mu and Mappings.mu held.
func (vs *VMSpace) enterObject(e *entry, page arch.VA, f phys.Frame, write bool) error {
	var err error
	if e.private() && write {
		err = vs.copyPage(e, page, f)
		vs.sys.mem.Unref(f)
		return err
	}
	if write && e.flags&entTracked != 0 {
		e.flags |= entDirtied
	}
	prot, fl := e.objectRights(write)
	if err = vs.pm.Enter(page, f, prot, fl); err != nil {
		vs.sys.mem.Unref(f)
	}
	return err
}

// enterAround maps an absent page for a read, together with those of its neighbours that
// the object has in memory. It pays for program text and data, because a fault costs more
// than a few entries. at is the page's place, size is the object's size in pages. done is
// false if the object does not have the page itself in memory; nothing has changed then.
// Preconditions: mu and Mappings.mu held.
func (vs *VMSpace) enterAround(e *entry, page arch.VA, at pmap.Place, size int64) (done bool, err error) {
	const around = AroundPages * arch.PageSize
	lo := max(e.start, page&^(around-1))
	hi := min(e.end, page&^(around-1)+around)
	hi = min(hi, e.start+arch.VA(size<<arch.PageShift-e.off)) // page is below it
	n := int((hi - lo) >> arch.PageShift)
	// No other thread maps or unmaps pages here, as that needs mu or Mappings.mu.
	pm := vs.pm
	pm.Lock()
	want := pm.AbsentMaskLocked(at, lo, n)
	pm.Unlock()
	var frames [AroundPages]phys.Frame
	e.obj.CachedRun(e.index(lo), want, &frames)
	if frames[(page-lo)>>arch.PageShift] == 0 {
		for _, f := range frames {
			if f != 0 {
				vs.sys.mem.Unref(f)
			}
		}
		return false, nil
	}
	prot, fl := e.objectRights(false)
	pm.Lock()
	err = pm.FillFramesLocked(at, lo, frames[:n], prot, fl)
	pm.Unlock()
	return true, err
}
