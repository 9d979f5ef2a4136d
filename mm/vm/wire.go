package vm

import (
	"syscall"

	"grim/arch"
)

// Lock is mlock(2): the pages are faulted in and stay. ENOMEM (a hole, limits, no
// memory), EINVAL. It may sleep.
func (vs *VMSpace) Lock(addr arch.VA, length uint64) error {
	start, end, err := lockRange(addr, length)
	if err != nil || start == end {
		return err
	}
	vs.mu.Lock()
	if err = vs.wire(start, end, true); err != nil {
		vs.mu.Unlock()
		return err
	}
	vs.mu.Unlock()
	if err := vs.populate(start, end); err != nil {
		return syscall.ENOMEM
	}
	return nil
}

// Unlock is munlock(2). ENOMEM (a hole), EINVAL.
func (vs *VMSpace) Unlock(addr arch.VA, length uint64) error {
	start, end, err := lockRange(addr, length)
	if err != nil || start == end {
		return err
	}
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return vs.wire(start, end, false)
}

// lockRange rounds outwards to pages, as Linux's mlock does.
func lockRange(addr arch.VA, length uint64) (start, end arch.VA, err error) {
	if err := userBuffer(addr, length); err != nil {
		if addr+arch.VA(length) < addr {
			return 0, 0, syscall.EINVAL
		}
		return 0, 0, syscall.ENOMEM
	}
	return addr.PageDown(), (addr + arch.VA(length)).PageUp(), nil
}

// wire sets or clears the lock of a range. Preconditions: mu held. On error
// nothing has changed.
func (vs *VMSpace) wire(start, end arch.VA, on bool) error {
	if vs.mapped(start, end) != uint64(end-start) {
		return syscall.ENOMEM
	}
	if err := vs.room(2); err != nil {
		return err
	}
	if on {
		var more uint64
		for e := vs.tree.ceil(start); e != nil && e.start < end; e = e.next {
			if e.flags&entWired == 0 {
				more += uint64(min(e.end, end) - max(e.start, start))
			}
		}
		if more != 0 && !vs.mayLock(more) {
			return syscall.ENOMEM
		}
	}
	if err := vs.pm.Wire(start, end, on); err != nil {
		return err
	}
	for e := vs.clipRange(start, end); e != nil && e.start < end; e = e.next {
		vs.setWired(e, on)
	}
	vs.merge(start, end)
	return nil
}

func (vs *VMSpace) setWired(e *entry, on bool) {
	vs.count(e, -1)
	if on {
		e.flags |= entWired
	} else {
		e.flags &^= entWired
	}
	vs.count(e, 1)
}

// Flags of LockAll: Linux's MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT.
const (
	mclCurrent = 1
	mclFuture  = 2
	mclOnFault = 4
)

// LockAll is mlockall(2) with Linux's MCL_* flags. EINVAL, ENOMEM. It may sleep.
func (vs *VMSpace) LockAll(flags int) error {
	if flags&^(mclCurrent|mclFuture|mclOnFault) != 0 || flags&(mclCurrent|mclFuture) == 0 {
		return syscall.EINVAL
	}
	vs.mu.Lock()
	if flags&mclCurrent != 0 {
		if vs.sizes.total > vs.limits.Memlock {
			vs.mu.Unlock()
			return syscall.ENOMEM
		}
		if err := vs.wireAll(true); err != nil {
			vs.mu.Unlock()
			return err
		}
	}
	vs.lockFuture = flags&mclFuture != 0
	var ranges [][2]arch.VA
	if flags&(mclCurrent|mclOnFault) == mclCurrent {
		for e := vs.tree.first; e != nil; e = e.next {
			ranges = append(ranges, [2]arch.VA{e.start, e.end})
		}
	}
	vs.mu.Unlock()
	for _, r := range ranges {
		vs.populate(r[0], r[1]) // as Linux: errors show at the access
	}
	return nil
}

// UnlockAll is munlockall(2).
func (vs *VMSpace) UnlockAll() {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.lockFuture = false
	vs.wireAll(false) // whole entries: nothing to cut, it cannot fail
}

// wireAll does so for the whole map. Preconditions: mu held.
func (vs *VMSpace) wireAll(on bool) error {
	if err := vs.pm.Wire(0, arch.UserMax, on); err != nil {
		return err
	}
	for e := vs.tree.first; e != nil; e = e.next {
		vs.setWired(e, on)
	}
	vs.merge(0, arch.UserMax)
	return nil
}
