package vm

import (
	"syscall"

	"grim/arch"
)

// Protect is mprotect(2). EINVAL, ENOMEM (a hole in the range, limits, no memory
// to cut a block: then what lies before is changed, as in Linux), EACCES.
func (vs *VMSpace) Protect(addr arch.VA, length uint64, prot arch.Prot) error {
	if addr != addr.PageDown() {
		return syscall.EINVAL
	}
	end, ok := userRange(addr, length)
	if !ok {
		return syscall.ENOMEM
	}
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if err := vs.mayProtect(addr, end, prot); err != nil {
		return err
	}
	defer vs.merge(addr, end)
	for e := vs.tree.ceil(addr); e != nil && e.start < end; e = e.next {
		if e.prot == prot {
			continue
		}
		lo, hi := max(e.start, addr), min(e.end, end)
		vs.rs.Break(lo, hi)
		if err := vs.pm.Protect(lo, hi, hardware(prot)); err != nil {
			return err
		}
		e = vs.clipRange(lo, hi)
		vs.count(e, -1)
		e.prot = prot
		vs.count(e, 1)
	}
	return nil
}

// mayProtect checks everything that can be known first. Preconditions: mu held.
func (vs *VMSpace) mayProtect(start, end arch.VA, prot arch.Prot) error {
	if vs.mapped(start, end) != uint64(end-start) {
		return syscall.ENOMEM
	}
	if err := vs.room(2); err != nil {
		return err
	}
	var data uint64
	for e := vs.tree.ceil(start); e != nil && e.start < end; e = e.next {
		if prot&arch.Write == 0 {
			continue
		}
		if e.flags&(entShared|entMayNotWrite) == entShared|entMayNotWrite {
			return syscall.EACCES
		}
		if after := (&entry{prot: prot, flags: e.flags}); after.data() && !e.data() {
			data += uint64(min(e.end, end) - max(e.start, start))
		}
	}
	if data != 0 && exceeds(vs.sizes.data, data, vs.limits.Data) {
		return syscall.ENOMEM
	}
	return nil
}

// merge joins neighbours in and around a range that are now alike.
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
		if n := e.next; n != nil && e.continues(n) {
			vs.absorb(e, n)
		} else {
			e = n
		}
	}
}
