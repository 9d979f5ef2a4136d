package vm

import (
	"syscall"

	"grim/arch"
)

// Lock is mlock2(2): the pages are faulted in and stay resident. With onFault they are not
// faulted in, but stay once they are. ENOMEM (a hole; what comes before it is locked;
// limits; no memory), EPERM (no right to lock any memory), EINVAL. It may sleep.
func (vs *VMSpace) Lock(addr arch.VA, length uint64, onFault bool) error {
	return vs.For(nil).Lock(addr, length, onFault)
}

// Lock is VMSpace.Lock. EINTR if the thread is to end.
func (c Caller) Lock(addr arch.VA, length uint64, onFault bool) error {
	vs := c.vs
	vs.mu.Lock()
	err := vs.mayLockAny()
	vs.mu.Unlock()
	if err != nil {
		return err
	}
	start, end, err := lockRange(addr, length)
	if err != nil || start == end {
		return err
	}
	vs.mu.Lock()
	err = c.stoppable(func(stop func() bool) error {
		if err := vs.mayLockRange(start, end); err != nil {
			return err
		}
		return vs.wire(start, end, true, stop)
	})
	vs.mu.Unlock()
	if err != nil || onFault {
		return err
	}
	if err := c.populate(start, end); err != nil && err != syscall.EINTR {
		return syscall.ENOMEM
	} else {
		return err
	}
}

// Unlock is munlock(2). ENOMEM (a hole; what comes before it is unlocked), EINVAL.
func (vs *VMSpace) Unlock(addr arch.VA, length uint64) error {
	start, end, err := lockRange(addr, length)
	if err != nil || start == end {
		return err
	}
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return vs.wire(start, end, false, nil)
}

// stoppable calls fn, and again if it returns EINTR because the thread had a signal that did
// not end it: then it must not stop. Preconditions: vs.mu held; it is given up between the
// calls.
func (c Caller) stoppable(fn func(stop func() bool) error) error {
	if c.w == nil {
		return fn(nil)
	}
	err := fn(c.w.MayEnd)
	if err != syscall.EINTR {
		return err
	}
	c.vs.mu.Unlock()
	end := c.w.Pause() != nil
	c.vs.mu.Lock()
	if end {
		return err
	}
	return fn(nil)
}

// lockRange rounds the range outwards to pages, as Linux's mlock does.
func lockRange(addr arch.VA, length uint64) (start, end arch.VA, err error) {
	if err := userBuffer(addr, length); err != nil {
		if addr+arch.VA(length) < addr {
			return 0, 0, syscall.EINVAL
		}
		return 0, 0, syscall.ENOMEM
	}
	return addr.PageDown(), (addr + arch.VA(length)).PageUp(), nil
}

// mayLockRange returns nil if the limit allows locking the part of the range that is not
// locked yet, else ENOMEM. Preconditions: mu held.
func (vs *VMSpace) mayLockRange(start, end arch.VA) error {
	if vs.mayLock(uint64(end - start)) {
		return nil
	}
	var more uint64
	for e := vs.tree.ceil(start); e != nil && e.start < end; e = e.next {
		vs.spend(costEntry)
		if e.flags&entWired == 0 {
			more += uint64(min(e.end, end) - max(e.start, start))
		}
	}
	if more != 0 && !vs.mayLock(more) {
		return syscall.ENOMEM
	}
	return nil
}

// wire sets or clears the lock of a range, up to the first hole in it. ENOMEM if there is a
// hole, or no memory to cut a block. EINTR if stop is not nil and has returned true.
// Preconditions: mu held.
func (vs *VMSpace) wire(start, end arch.VA, on bool, stop func() bool) error {
	if err := vs.room(2); err != nil {
		return err
	}
	defer vs.merge(start, end)
	at := start // everything below has been done
	for e := vs.clipRange(start, end); e != nil && e.start < end; e = e.next {
		if e.start != at {
			return syscall.ENOMEM
		}
		vs.spend(costChange / 2)
		at = e.end
		if on == (e.flags&entWired != 0) {
			continue
		}
		if err := vs.pm.Wire(e.start, e.end, on, stop); err != nil {
			return err
		}
		vs.setWired(e, on)
	}
	if at < end {
		return syscall.ENOMEM
	}
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

// LockAll is mlockall(2) with Linux's MCL_* flags. EINVAL, EPERM (no right to lock any
// memory), ENOMEM. It may sleep.
func (vs *VMSpace) LockAll(flags int) error { return vs.For(nil).LockAll(flags) }

// LockAll is VMSpace.LockAll. EINTR if the thread is to end.
func (c Caller) LockAll(flags int) error {
	vs := c.vs
	if flags&^(mclCurrent|mclFuture|mclOnFault) != 0 || flags&(mclCurrent|mclFuture) == 0 {
		return syscall.EINVAL
	}
	vs.mu.Lock()
	if err := vs.mayLockAny(); err != nil {
		vs.mu.Unlock()
		return err
	}
	if flags&mclCurrent != 0 {
		err := c.stoppable(func(stop func() bool) error {
			if vs.sizes.total > vs.limits.Memlock {
				return syscall.ENOMEM
			}
			return vs.wireAll(true, stop)
		})
		if err != nil {
			vs.mu.Unlock()
			return err
		}
	}
	vs.lockFuture = flags&mclFuture != 0
	vs.lockOnFault = flags&mclOnFault != 0
	vs.mu.Unlock()
	if flags&(mclCurrent|mclOnFault) == mclCurrent {
		return c.populateAll()
	}
	return nil
}

// populateAll faults in all that is mapped. It only fails with EINTR: as on Linux, other
// errors show at the access.
func (c Caller) populateAll() error {
	for at := arch.VA(0); ; {
		c.vs.mu.Lock()
		e := c.vs.tree.ceil(at)
		if e == nil {
			c.vs.mu.Unlock()
			return nil
		}
		start, end := max(e.start, at), e.end
		c.vs.mu.Unlock()
		if c.populate(start, end) == syscall.EINTR || c.pause() != nil {
			return syscall.EINTR
		}
		at = end
	}
}

// UnlockAll is munlockall(2).
func (vs *VMSpace) UnlockAll() {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.lockFuture, vs.lockOnFault = false, false
	vs.wireAll(false, nil) // whole entries need no cut, so it cannot fail
}

// wireAll sets or clears the lock of the whole map. EINTR as from wire. Preconditions: mu
// held.
func (vs *VMSpace) wireAll(on bool, stop func() bool) error {
	if err := vs.pm.Wire(0, arch.UserMax, on, stop); err != nil {
		return err
	}
	for e := vs.tree.first; e != nil; e = e.next {
		vs.setWired(e, on)
		vs.spend(costEntry)
	}
	vs.merge(0, arch.UserMax)
	return nil
}
