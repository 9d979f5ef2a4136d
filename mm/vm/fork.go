package vm

import (
	"sync/atomic"
	"syscall"

	"grim/arch"
	"grim/mm/charge"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// Fork makes a copy of the space, with one reference, under layout l, that the same
// user pays for. Private memory is shared copy-on-write; objects are mapped again, and their pages left
// for faults to find. Memory locks are not inherited (mlock(2)). ENOMEM, and
// then nothing is left of the copy. It does not sleep, but others run now and then.
//
// The page of stack, the caller's stack pointer, is copied at once if it can be
// written: parent and child return from the call on it, and write there first of
// all. That saves both a fault; the one who came first would copy it anyway. 0, or
// any other address: nothing is.
//
// The caller owns the space: no sibling thread changes it meanwhile, because mu is
// held throughout.
func (vs *VMSpace) Fork(l arch.Layout, stack arch.VA) (*VMSpace, error) {
	return vs.fork(l, stack, vs.owner(), nil)
}

// Fork is VMSpace.Fork for a copy that owner pays for. EINTR: the thread is to end.
func (c Caller) Fork(l arch.Layout, stack arch.VA, owner *charge.User) (*VMSpace, error) {
	child, err := c.vs.fork(l, stack, owner, c.w.MayEnd)
	if err == syscall.EINTR && c.w.Pause() == nil {
		// A signal has come that does not end the thread. It will wait now.
		return c.vs.fork(l, stack, owner, nil)
	}
	return child, err
}

// fork is Fork that ends early, with EINTR, if stop is true in the middle; stop may be
// nil, and takes no lock.
func (vs *VMSpace) fork(l arch.Layout, stack arch.VA, owner *charge.User, stop func() bool) (*VMSpace, error) {
	c, err := New(vs.sys, l, owner)
	if err != nil {
		return nil, err
	}
	c.pm.SetDomain(vs.pm.Domain())
	vs.mu.Lock()
	if err := c.room(vs.tree.n); err != nil {
		vs.mu.Unlock()
		c.Release()
		return nil, err
	}
	c.limits, c.mmapBase, c.brkStart, c.brkEnd, c.marks = vs.limits, vs.mmapBase, vs.brkStart, vs.brkEnd, vs.marks
	vs.rs.BreakAll() // a reservation's frames have one owner
	err = vs.forkMemory(c, stack.PageDown(), stop)
	vs.mu.Unlock()
	if err != nil {
		c.Purge(nil)
		c.Release()
		return nil, err
	}
	return c, nil
}

// forkRanges is how many ranges are copied without an allocation: more than most
// processes have, as only memory that the copy does not get ends one.
const forkRanges = 8

// forkMemory copies the map and the private pages to c, which nobody else can see
// yet. Neighbours are copied in one go: between them nothing is mapped. stack is a
// page. Preconditions: mu held.
func (vs *VMSpace) forkMemory(c *VMSpace, stack arch.VA, stop func() bool) error {
	before := invalidations.Load()
	vs.forkEntries(c)
	var room [forkRanges]pmap.Range
	ranges := room[:0]
	ended := true // no range goes on at e
	for e, i := vs.tree.first, 1; e != nil; e, i = e.next, i+1 {
		if i%purgeEntries == 0 {
			vs.sys.yield()
		}
		switch {
		case e.flags&(entShared|entDontFork|entWipeOnFork) != 0:
			ended = true
		case ended:
			ranges = append(ranges, pmap.Range{Start: e.start, End: e.end})
			ended = false
		default:
			ranges[len(ranges)-1].End = e.end
		}
	}
	if err := vs.pm.Copy(c.pm, ranges, vs.forkPage(stack), stop); err != nil {
		return err
	}
	if invalidations.Load() != before {
		return vs.forkAgain(c)
	}
	return nil
}

// forkPage is a copy of the page at va, for the child alone, if that is a page of
// private anonymous memory that can be written now. Preconditions: mu held, which
// keeps the page.
func (vs *VMSpace) forkPage(va arch.VA) (none pmap.Own) {
	e := vs.tree.find(va)
	if e == nil || e.obj != nil || e.flags&(entDontFork|entWipeOnFork) != 0 {
		return none
	}
	m, ok := vs.pm.Lookup(va)
	if !ok || m.Block || m.Prot&arch.Write == 0 {
		return none
	}
	mem := vs.sys.mem
	f, err := mem.Alloc(phys.Anon)
	if err != nil {
		return none
	}
	copy(mem.Bytes(f), mem.Bytes(m.Frame))
	return pmap.Own{VA: va, Frame: f, Prot: m.Prot}
}

// invalidations counts what Mappings.Invalidate does, in any object.
var invalidations atomic.Uint64

// forkAgain copies the private mappings of objects once more, because of a
// truncation: it visits the mappings one by one, and may have visited c's first,
// then the pages were copied, then it visited ours. Under Mappings.mu it has either
// not begun or is over. Preconditions: mu held.
func (vs *VMSpace) forkAgain(c *VMSpace) error {
	for e := vs.tree.first; e != nil; e = e.next {
		if e.obj == nil || e.flags&(entShared|entDontFork|entWipeOnFork) != 0 {
			continue
		}
		m := e.obj.Mapped()
		m.mu.Lock()
		err := c.pm.Remove(e.start, e.end, nil)
		if err == nil {
			err = vs.pm.Copy(c.pm, []pmap.Range{{Start: e.start, End: e.end}}, pmap.Own{}, nil)
		}
		m.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// forkEntriesStep is how many entries are copied until others run, some 100 instructions
// each.
const forkEntriesStep = 64

// forkEntries gives c the entries of the map. Those that only a memory lock kept
// apart become one. c's tree is built when it is first asked for. Preconditions:
// mu held.
func (vs *VMSpace) forkEntries(c *VMSpace) {
	c.sizes = sizes{total: vs.sizes.total, data: vs.sizes.data, stack: vs.sizes.stack, exec: vs.sizes.exec}
	var held *Mappings // of the last entry with an object; locked
	var prev *entry
	link := &c.tree.first
	gone := false // the entry before e has none in c
	merge := vs.sizes.locked != 0
	spare, left := vs.sys.newEntries(vs.tree.n), vs.tree.n
	i := forkEntriesStep // until others run
	for e := vs.tree.first; e != nil; e = e.next {
		if i--; i == 0 {
			i = forkEntriesStep
			if held != nil {
				held.mu.Unlock()
				held = nil
			}
			vs.sys.yield()
		}
		if e.flags&entDontFork != 0 {
			c.count(e, -1)
			gone = true
			continue
		}
		// All fields but what buildTree and addLocked set.
		n := spare
		n.start, n.end, n.off = e.start, e.end, e.off
		n.prot, n.flags = e.prot, e.flags&^(entWired|entDirtied)
		n.obj, n.space, n.prev = e.obj, c, prev
		n.gap = e.gap
		if gone {
			setGap(n)
			gone = false
		}
		if merge && prev != nil && prev.continues(n) {
			prev.end = n.end
			n.obj, n.space = nil, nil
			continue
		}
		spare, left = n.next, left-1
		*link, link, prev = n, &n.next, n
		if vs.hint == e {
			c.hint = n
		}
		if n.obj == nil {
			continue
		}
		m := n.obj.Mapped()
		if m != held && held != nil {
			held.mu.Unlock()
			held = nil
		}
		n.obj.Ref()
		if held == nil {
			m.mu.Lock()
			held = m
		}
		m.addLocked(n)
	}
	if held != nil {
		held.mu.Unlock()
	}
	*link = nil
	c.tree.last, c.tree.n, c.tree.unbuilt = prev, vs.tree.n-left, true
	c.sizes.locked, c.sizes.peakTotal = 0, c.sizes.total
	if left > 0 {
		end := spare
		for end.next != nil {
			end = end.next
			vs.spend(costEntry)
		}
		vs.sys.freeEntries(spare, end, left)
	}
}
