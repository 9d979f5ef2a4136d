package vm

import (
	"grim/arch"
	"grim/mm/pmap"
)

// Fork makes a copy of the space, with one reference, under layout l. Private
// memory is shared copy-on-write; objects are mapped again, and their pages left
// for faults to find. Memory locks are not inherited (mlock(2)). ENOMEM, and
// then nothing is left of the copy. It does not sleep.
//
// The caller owns the space: no sibling thread changes it meanwhile for long,
// because mu is held throughout.
func (vs *VMSpace) Fork(l arch.Layout) (*VMSpace, error) {
	c, err := New(vs.sys, l)
	if err != nil {
		return nil, err
	}
	vs.mu.Lock()
	c.limits, c.mmapBase, c.brkStart, c.brkEnd = vs.limits, vs.mmapBase, vs.brkStart, vs.brkEnd
	vs.rs.BreakAll() // a reservation's frames have one owner
	for e := vs.tree.first; e != nil && err == nil; e = e.next {
		if e.flags&entDontFork == 0 {
			err = vs.forkEntry(c, e)
		}
	}
	vs.mu.Unlock()
	if err != nil {
		c.Purge(nil)
		c.Release()
		return nil, err
	}
	return c, nil
}

// forkEntry copies one entry and its private pages to c, which nobody else can
// see yet. Preconditions: mu held.
func (vs *VMSpace) forkEntry(c *VMSpace, e *entry) error {
	n := vs.sys.newEntry()
	n.start, n.end, n.off, n.obj, n.prot = e.start, e.end, e.off, e.obj, e.prot
	n.flags = e.flags &^ (entWired | entDirtied)
	if e.obj != nil {
		e.obj.Ref()
	}
	c.link(n)
	if !e.private() || e.flags&entWipeOnFork != 0 {
		return nil
	}
	if e.obj != nil {
		// Truncation visits the mappings in the order of the list, and may have
		// visited n already: it must not find pages in e that we then copy to n.
		m := e.obj.Mapped()
		m.mu.Lock()
		defer m.mu.Unlock()
	}
	return vs.pm.Copy(c.pm, e.start, e.end, pmap.CopyCOW)
}
