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
	err = vs.forkEntries(c)
	c.tree.build()
	vs.mu.Unlock()
	if err != nil {
		c.Purge(nil)
		c.Release()
		return nil, err
	}
	return c, nil
}

// forkEntries copies the map and the private pages to c, which nobody else can
// see yet. Neighbours without objects are copied in one go: between them nothing
// is mapped. Preconditions: mu held.
func (vs *VMSpace) forkEntries(c *VMSpace) error {
	var lo, hi arch.VA // private anonymous memory not copied yet
	for e := vs.tree.first; e != nil; e = e.next {
		keep := e.flags&entDontFork == 0
		if keep {
			vs.forkEntry(c, e)
			keep = e.private() && e.flags&entWipeOnFork == 0
		}
		if keep && e.obj == nil {
			if hi == 0 {
				lo = e.start
			}
			hi = e.end
			continue
		}
		if hi != 0 {
			if err := vs.pm.Copy(c.pm, lo, hi, pmap.CopyCOW); err != nil {
				return err
			}
			hi = 0
		}
		if keep {
			if err := vs.forkFile(c, e); err != nil {
				return err
			}
		}
	}
	if hi != 0 {
		return vs.pm.Copy(c.pm, lo, hi, pmap.CopyCOW)
	}
	return nil
}

// forkEntry gives c an entry like e, as part of its last if only a memory lock
// kept the two apart.
func (vs *VMSpace) forkEntry(c *VMSpace, e *entry) {
	n := vs.sys.newEntry()
	n.start, n.end, n.off, n.obj, n.prot = e.start, e.end, e.off, e.obj, e.prot
	n.flags = e.flags &^ (entWired | entDirtied)
	if l := c.tree.last; l != nil && l.continues(n) {
		c.resize(l, l.start, n.end)
		n.obj = nil
		vs.sys.freeEntries(n, n, 1)
		return
	}
	if e.obj != nil {
		e.obj.Ref()
	}
	c.tree.append(n)
	c.linked(n)
}

// forkFile copies the pages of a private mapping of an object. Truncation visits
// the mappings one by one and may have visited c's already: it must not find
// pages in e afterwards that are then copied to c.
func (vs *VMSpace) forkFile(c *VMSpace, e *entry) error {
	m := e.obj.Mapped()
	m.mu.Lock()
	defer m.mu.Unlock()
	return vs.pm.Copy(c.pm, e.start, e.end, pmap.CopyCOW)
}
