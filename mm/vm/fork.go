package vm

import (
	"sync/atomic"
	"syscall"

	"grim/arch"
	"grim/mm/charge"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// Fork makes a copy of the space under layout l. It has one reference, and the same user
// pays for it. Private memory is shared copy-on-write. Objects are mapped again, and their
// pages are left to later faults. Memory locks are not inherited (mlock(2)). After ENOMEM
// nothing is left of the copy. Fork does not sleep, but lets others run now and then.
//
// stack is the caller's stack pointer. If its page can be written, it is copied at once:
// parent and child return from the call on that page and write to it first. So neither of
// them takes a fault, and one copy would be made anyway. For 0, or any other address, no
// page is copied.
//
// The caller uses the space; sibling threads do not change it meanwhile, because mu is held
// throughout.
func (vs *VMSpace) Fork(l arch.Layout, stack arch.VA) (*VMSpace, error) {
	return vs.fork(l, stack, vs.owner(), nil)
}

// Fork is VMSpace.Fork for a copy that owner pays for. EINTR if the thread is to end.
func (c Caller) Fork(l arch.Layout, stack arch.VA, owner *charge.User) (*VMSpace, error) {
	child, err := c.vs.fork(l, stack, owner, c.w.MayEnd)
	if err == syscall.EINTR && c.w.Pause() == nil {
		// The signal does not end the thread. It is handled after the fork, which is
		// repeated without interruption.
		return c.vs.fork(l, stack, owner, nil)
	}
	return child, err
}

// fork is Fork, but ends with EINTR if stop returns true in the middle. stop may be nil. It
// takes no lock.
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

// forkRanges is how many ranges are copied without an allocation. Most processes have
// fewer, because a range only ends at memory that the copy does not get.
const forkRanges = 8

// forkMemory copies the map and the private pages to c, which nothing else can see yet.
// Adjacent entries are copied as one range, together with the gaps between them, where
// nothing is mapped. stack is the address of a page. Preconditions: mu held.
func (vs *VMSpace) forkMemory(c *VMSpace, stack arch.VA, stop func() bool) error {
	before := invalidations.Load()
	vs.forkEntries(c)
	var room [forkRanges]pmap.Range
	ranges := room[:0]
	ended := true // whether the last range has ended before e
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

// forkPage returns a copy of the page at va for the child alone, if the page is private
// anonymous memory and can be written now. Preconditions: mu held, which keeps the page.
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

// invalidations counts the calls of Mappings.Invalidate, for all objects.
var invalidations atomic.Uint64

// forkAgain copies the private mappings of objects again, because a truncation has run
// meanwhile. Truncation visits the mappings one by one. It may have visited c's mapping,
// then the pages were copied to c, and then it visited this space's mapping. Under
// Mappings.mu it has either not begun or is over. Preconditions: mu held.
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

// forkEntriesStep is how many entries are copied before others may run, at some 100
// instructions each.
const forkEntriesStep = 64

// forkEntries gives c the entries of the map. Entries that differed only in a memory lock
// are merged. c's tree is built when it is first needed. Preconditions: mu held.
func (vs *VMSpace) forkEntries(c *VMSpace) {
	c.sizes = sizes{total: vs.sizes.total, data: vs.sizes.data, stack: vs.sizes.stack, exec: vs.sizes.exec}
	var held *Mappings // of the last entry with an object; nil or locked
	var prev *entry
	link := &c.tree.first
	gone := false // the entry before e is not in c
	merge := vs.sizes.locked != 0
	spare, left := vs.sys.newEntries(vs.tree.n), vs.tree.n
	i := forkEntriesStep // entries to copy before others run
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
		// Sets all fields but those that buildTree and addLocked set.
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
