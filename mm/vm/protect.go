package vm

import (
	"syscall"

	"grim/arch"
)

// Protect is mprotect(2). EINVAL; ENOMEM (a hole in the range, limits, no memory to cut a
// block); EACCES (a file not open for writing). After the last two, what lies before the
// obstacle has been changed, as on Linux.
func (vs *VMSpace) Protect(addr arch.VA, length uint64, prot arch.Prot) error {
	if addr != addr.PageDown() {
		return syscall.EINVAL
	}
	if length == 0 {
		return nil
	}
	end, ok := userRange(addr, length)
	if !ok {
		return syscall.ENOMEM
	}
	vs.mu.Lock()
	defer vs.mu.Unlock()
	defer vs.merge(addr, end)
	at := addr // everything below has been changed
	for e := vs.tree.ceil(addr); e != nil && e.start < end; e = e.next {
		lo, hi := max(e.start, addr), min(e.end, end)
		if lo != at {
			return syscall.ENOMEM
		}
		at = hi
		vs.spend(costEntry)
		if e.prot == prot {
			continue
		}
		if err := vs.mayProtect(e, uint64(hi-lo), prot); err != nil {
			return err
		}
		vs.rs.Break(lo, hi)
		if err := vs.pm.Protect(lo, hi, hardware(prot)); err != nil {
			return err
		}
		e = vs.clipRange(lo, hi)
		vs.spend(costChange)
		vs.count(e, -1)
		e.prot = prot
		vs.count(e, 1)
	}
	if at != end {
		return syscall.ENOMEM
	}
	return nil
}

// mayProtect returns nil if n bytes of e may get the protection. Preconditions: mu held.
func (vs *VMSpace) mayProtect(e *entry, n uint64, prot arch.Prot) error {
	if err := vs.room(2); err != nil {
		return err
	}
	if prot&arch.Write == 0 {
		return nil
	}
	if e.flags&(entShared|entMayNotWrite) == entShared|entMayNotWrite {
		return syscall.EACCES
	}
	after := entry{prot: prot, flags: e.flags, obj: e.obj}
	if after.data() && !e.data() && exceeds(vs.sizes.data, n, vs.limits.Data) {
		return syscall.ENOMEM
	}
	if e.commits() {
		return nil
	}
	return vs.mayCommit(n, &after)
}

// merge merges adjacent entries in and around a range that have become alike.
// Preconditions: mu held.
func (vs *VMSpace) merge(start, end arch.VA) {
	e := vs.tree.ceil(start)
	if e == nil {
		return
	}
	if e.prev != nil {
		e = e.prev
	}
	for e != nil && e.start <= end {
		vs.spend(costEntry)
		if n := e.next; n != nil && e.continues(n) {
			vs.spend(2 * costChange)
			vs.absorb(e, n)
		} else {
			e = n
		}
	}
}
