package vm

import (
	"sync/atomic"

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
	err = vs.forkMemory(c)
	vs.mu.Unlock()
	if err != nil {
		c.Purge(nil)
		c.Release()
		return nil, err
	}
	return c, nil
}

// forkRanges is how many ranges are copied in one go: more than most processes
// have, as only memory that the copy does not get ends one.
const forkRanges = 8

// forkMemory copies the map and the private pages to c, which nobody else can see
// yet. Neighbours are copied in one go: between them nothing is mapped.
// Preconditions: mu held.
func (vs *VMSpace) forkMemory(c *VMSpace) error {
	before := invalidations.Load()
	vs.forkEntries(c)
	var ranges [forkRanges]pmap.Range
	n := 0
	var end *entry // of the last range; nil if it has ended
	for e := vs.tree.first; e != nil; e = e.next {
		if !e.private() || e.flags&(entDontFork|entWipeOnFork) != 0 {
			end = nil
			continue
		}
		if end == nil {
			if n == len(ranges) {
				if err := vs.pm.Copy(c.pm, ranges[:]); err != nil {
					return err
				}
				n = 0
			}
			ranges[n].Start = e.start
			n++
		}
		ranges[n-1].End = e.end
		end = e
	}
	if err := vs.pm.Copy(c.pm, ranges[:n]); err != nil {
		return err
	}
	if invalidations.Load() != before {
		return vs.forkAgain(c)
	}
	return nil
}

// invalidations counts what Mappings.Invalidate does, in any object.
var invalidations atomic.Uint64

// forkAgain copies the private mappings of objects once more, because of a
// truncation: it visits the mappings one by one, and may have visited c's first,
// then the pages were copied, then it visited ours. Under Mappings.mu it has either
// not begun or is over. Preconditions: mu held.
func (vs *VMSpace) forkAgain(c *VMSpace) error {
	for e := vs.tree.first; e != nil; e = e.next {
		if e.obj == nil || !e.private() || e.flags&(entDontFork|entWipeOnFork) != 0 {
			continue
		}
		m := e.obj.Mapped()
		m.mu.Lock()
		err := c.pm.Remove(e.start, e.end, nil)
		if err == nil {
			err = vs.pm.Copy(c.pm, []pmap.Range{{Start: e.start, End: e.end}})
		}
		m.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// forkEntries gives c the entries of the map. Those that only a memory lock kept
// apart become one. c's tree is built when it is first asked for. Preconditions:
// mu held.
func (vs *VMSpace) forkEntries(c *VMSpace) {
	c.sizes = sizes{total: vs.sizes.total, data: vs.sizes.data, stack: vs.sizes.stack, exec: vs.sizes.exec}
	var held *Mappings // of the last entry with an object; locked
	wired := false     // the last entry was
	left := vs.tree.n
	spare := vs.sys.newEntries(left)
	for e := vs.tree.first; e != nil; e = e.next {
		if e.flags&entDontFork != 0 {
			c.account(e, -1)
			continue
		}
		n := spare
		next := n.next
		*n = entry{}
		n.start, n.end, n.off, n.obj, n.prot = e.start, e.end, e.off, e.obj, e.prot
		n.flags = e.flags &^ (entWired | entDirtied)
		apart := wired
		wired = e.flags&entWired != 0
		if last := c.tree.last; (apart || wired) && last != nil && last.continues(n) {
			last.end = n.end
			n.obj, n.next = nil, next
			continue
		}
		spare, left = next, left-1
		n.space = c
		c.tree.append(n)
		if vs.hint == e {
			c.hint = n
		}
		if n.obj == nil {
			continue
		}
		n.obj.Ref()
		m := n.obj.Mapped()
		if m != held {
			if held != nil {
				held.mu.Unlock()
			}
			m.mu.Lock()
			held = m
		}
		m.addLocked(n)
	}
	if held != nil {
		held.mu.Unlock()
	}
	c.sizes.locked, c.sizes.peakTotal = 0, c.sizes.total
	if left > 0 {
		end := spare
		for end.next != nil {
			end = end.next
		}
		vs.sys.freeEntries(spare, end, left)
	}
}
