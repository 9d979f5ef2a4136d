package vm

import (
	"grim/mm/phys"
	"grim/mm/pmap"
)

// owed is work that an operation on the map leaves for after the map is unlocked: dirty
// pages of shared mappings must be handed to their objects, and objects that are no longer
// mapped lose a reference. Both may take long or sleep. Every function that removes pages
// or entries returns what it owes, and its caller passes that on or settles it.
type owed struct {
	dirty, lastDirty *dirtyPages
	// Entries that are no longer in the map, linked through next. Each still holds a
	// reference to its object.
	first, last *entry
	entries     int
}

// dirtyPage is a dirty page to hand to its object. It holds a reference to obj and to f.
type dirtyPage struct {
	obj   Object
	index int64
	f     phys.Frame
}

// dirtyPages is a piece, of less than 4 KB, of a list of dirty pages. A single slice would
// be copied again and again as it grows.
type dirtyPages struct {
	pages []dirtyPage // a part of room
	next  *dirtyPages
	room  [120]dirtyPage
}

// add adds what p owes to o.
func (o *owed) add(p owed) {
	if p.dirty != nil {
		if o.dirty == nil {
			o.dirty = p.dirty
		} else {
			o.lastDirty.next = p.dirty
		}
		o.lastDirty = p.lastDirty
	}
	if p.first == nil {
		return
	}
	if o.first == nil {
		o.first = p.first
	} else {
		o.last.next = p.first
	}
	o.last = p.last
	o.entries += p.entries
}

// bury adds an entry that has been removed from the map.
func (o *owed) bury(e *entry) {
	o.add(owed{first: e, last: e, entries: 1})
}

// settle hands the dirty pages to their objects, then drops the references, and returns the
// first error of an object. No lock is held. It may sleep.
func (o owed) settle(s *System) (err error) {
	var work pace
	for d := o.dirty; d != nil; d = d.next {
		for _, p := range d.pages {
			work.spend(s, costDirty)
			if e := p.obj.PutDirty(p.index, p.f); e != nil && err == nil {
				err = e
			}
			s.mem.Unref(p.f)
			p.obj.Unref()
		}
	}
	for e := o.first; e != nil; e = e.next {
		work.spend(s, 2*costEntry)
		if e.obj != nil {
			e.obj.Unref()
			e.obj = nil
		}
	}
	s.freeEntries(o.first, o.last, o.entries)
	return err
}

// dirtyCollector collects the dirty pages that package pmap unlinks or cleans. It is a part
// of the address space, because an allocation for each call would cost more.
type dirtyCollector struct {
	vs *VMSpace // [I]
	owed
}

// Dirty is called by package pmap. Preconditions: vs.mu held, the entries not yet removed.
func (c *dirtyCollector) Dirty(pages []pmap.DirtyPage) {
	var e *entry
	for i, p := range pages {
		if e == nil || p.VA < e.start || p.VA >= e.end {
			if e = c.vs.tree.find(p.VA); e == nil || e.obj == nil {
				panic("vm: dirty shared page outside every object mapping")
			}
		}
		e.obj.Ref()
		c.vs.sys.mem.Ref(p.Frame)
		d := c.lastDirty
		if d == nil || len(d.pages) == len(d.room) {
			d = new(dirtyPages)
			d.pages = d.room[:0]
			c.add(owed{dirty: d, lastDirty: d})
		}
		d.pages = append(d.pages, dirtyPage{e.obj, e.index(p.VA), p.Frame})
		c.vs.sys.dirtyDone(i)
	}
}

// take returns what has been collected, and empties the collector. Preconditions: vs.mu
// held.
func (c *dirtyCollector) take() owed {
	o := c.owed
	c.owed = owed{}
	return o
}
