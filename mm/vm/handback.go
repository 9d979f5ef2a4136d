package vm

import (
	"grim/mm/phys"
	"grim/mm/pmap"
)

// handback collects the dirty pages of shared mappings while the map is locked.
// They are taken out before it is unlocked and given to their objects afterwards,
// when PutDirty may take its time without delaying the other threads of the
// address space.
type handback struct {
	vs    *VMSpace // [I]
	pages dirtyPages
}

type dirtyPages []dirtyPage

// dirtyPage holds a reference of obj and of f.
type dirtyPage struct {
	obj   Object
	index int64
	f     phys.Frame
}

// Dirty is called by pmap with the pages it has unlinked or cleaned.
// Preconditions: vs.mu held, the entries not yet removed.
func (h *handback) Dirty(pages []pmap.DirtyPage) {
	var e *entry
	for _, p := range pages {
		if e == nil || p.VA < e.start || p.VA >= e.end {
			if e = h.vs.tree.find(p.VA); e == nil || e.obj == nil {
				panic("vm: dirty shared page outside every object mapping")
			}
		}
		e.obj.Ref()
		h.vs.sys.mem.Ref(p.Frame)
		h.pages = append(h.pages, dirtyPage{e.obj, e.index(p.VA), p.Frame})
	}
}

// take removes what has been collected. Preconditions: vs.mu held.
func (h *handback) take() dirtyPages {
	p := h.pages
	h.pages = nil
	return p
}

// finish hands the pages over and returns the first error. No lock is held.
func (pages dirtyPages) finish(s *System) (err error) {
	for _, p := range pages {
		if e := p.obj.PutDirty(p.index, p.f); e != nil && err == nil {
			err = e
		}
		s.mem.Unref(p.f)
		p.obj.Unref()
	}
	return err
}
