package vm

import "grim/arch"

// SetBrk sets the start of the heap, which is empty then. The program loader calls it.
func (vs *VMSpace) SetBrk(start arch.VA) {
	vs.mu.Lock()
	vs.brkStart, vs.brkEnd = start, start
	vs.mu.Unlock()
}

// Brk is brk(2): it moves the end of the heap to addr and returns the end that holds now.
// That is the old end if addr is out of range, or if memory, a limit or a neighbour did not
// allow it.
func (vs *VMSpace) Brk(addr arch.VA) arch.VA { return vs.For(nil).Brk(addr) }

// Brk is VMSpace.Brk.
func (c Caller) Brk(addr arch.VA) arch.VA {
	vs := c.vs
	vs.mu.Lock()
	end, o := vs.brk(addr)
	wired := vs.lockFuture && !vs.lockOnFault
	vs.mu.Unlock()
	o.settle(vs.sys)
	if wired {
		c.populate(vs.brkStart.PageUp(), end.PageUp())
	}
	return end
}

// brk does the work of Brk, and returns what the caller owes. Preconditions: mu held.
func (vs *VMSpace) brk(addr arch.VA) (now arch.VA, o owed) {
	if vs.brkStart == 0 || addr < vs.brkStart || addr >= arch.UserMax-arch.PageSize {
		return vs.brkEnd, o
	}
	old, end := vs.brkEnd.PageUp(), addr.PageUp()
	switch {
	case end > old:
		n := uint64(end - old)
		like := entry{prot: arch.Read | arch.Write, flags: entHeap}
		if vs.lockFuture {
			like.flags |= entWired
		}
		// RLIMIT_DATA counts the heap with all private writable memory.
		if !vs.free(old, end) || vs.mayGrow(n, 0, &like) != nil || like.flags&entWired != 0 && !vs.mayLock(n) {
			return vs.brkEnd, o
		}
		vs.insert(old, n, &like)
	case end < old:
		var err error
		if o, err = vs.unmap(end, old); err != nil {
			return vs.brkEnd, o
		}
	}
	vs.brkEnd = addr
	return addr, o
}
