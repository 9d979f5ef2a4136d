package vm

import (
	"syscall"

	"grim/arch"

	"golang.org/x/sys/unix"
)

// Advise is madvise(2); advice is Linux's MADV_*. DONTNEED and FREE drop pages. The fork
// advices are stored. POPULATE_* and WILLNEED fault pages in. Advice that only tunes Linux
// is accepted without effect. EINVAL; ENOMEM if there is a hole (the mapped part has been
// advised); EFAULT if POPULATE_* could not fault in a page. It may sleep.
func (vs *VMSpace) Advise(addr arch.VA, length uint64, advice int) error {
	return vs.For(nil).Advise(addr, length, advice)
}

// Advise is VMSpace.Advise. EINTR if the thread is to end.
func (c Caller) Advise(addr arch.VA, length uint64, advice int) error {
	vs := c.vs
	end, ok := userRange(addr, length)
	if !ok || !knownAdvice(advice) {
		return syscall.EINVAL
	}
	if end == addr {
		return nil
	}
	switch advice {
	case unix.MADV_POPULATE_READ, unix.MADV_POPULATE_WRITE:
		return c.advisePopulate(addr, end, advice == unix.MADV_POPULATE_WRITE)
	}
	vs.mu.Lock()
	o, err := vs.advise(addr, end, advice)
	vs.mu.Unlock()
	o.settle(vs.sys)
	return err
}

func knownAdvice(advice int) bool {
	switch advice {
	case unix.MADV_NORMAL, unix.MADV_RANDOM, unix.MADV_SEQUENTIAL, unix.MADV_WILLNEED,
		unix.MADV_DONTNEED, unix.MADV_FREE, unix.MADV_DONTFORK, unix.MADV_DOFORK,
		unix.MADV_HUGEPAGE, unix.MADV_NOHUGEPAGE, unix.MADV_COLLAPSE,
		unix.MADV_MERGEABLE, unix.MADV_UNMERGEABLE, unix.MADV_DONTDUMP, unix.MADV_DODUMP,
		unix.MADV_WIPEONFORK, unix.MADV_KEEPONFORK, unix.MADV_COLD, unix.MADV_PAGEOUT,
		unix.MADV_POPULATE_READ, unix.MADV_POPULATE_WRITE:
		return true
	}
	return false
}

// advise does the advice for the entries of the range, and returns what the caller owes.
// Preconditions: mu held.
func (vs *VMSpace) advise(start, end arch.VA, advice int) (o owed, err error) {
	if vs.mapped(start, end) != uint64(end-start) {
		err = syscall.ENOMEM
	}
	var set, unset entryFlags
	switch advice {
	case unix.MADV_DONTNEED, unix.MADV_FREE:
		for e := vs.tree.ceil(start); e != nil && e.start < end; e = e.next {
			// FREE may drop pages at any time. They are dropped now, so that the result is
			// always the same.
			vs.spend(costChange)
			if e.flags&entWired != 0 || advice == unix.MADV_FREE && (e.obj != nil || !e.private()) {
				return o, syscall.EINVAL
			}
			p, e := vs.removePages(max(e.start, start), min(e.end, end))
			if o.add(p); e != nil {
				return o, e
			}
		}
		return o, err
	case unix.MADV_DONTFORK:
		set = entDontFork
	case unix.MADV_DOFORK:
		unset = entDontFork
	case unix.MADV_WIPEONFORK:
		set = entWipeOnFork
	case unix.MADV_KEEPONFORK:
		unset = entWipeOnFork
	default:
		return o, err
	}
	if err := vs.room(2); err != nil {
		return o, err
	}
	if set == entWipeOnFork {
		for e := vs.tree.ceil(start); e != nil && e.start < end; e = e.next {
			vs.spend(costEntry)
			if e.obj != nil {
				return o, syscall.EINVAL // private anonymous memory only
			}
		}
	}
	for e := vs.clipRange(start, end); e != nil && e.start < end; e = e.next {
		e.flags = e.flags&^unset | set
		vs.spend(costEntry)
	}
	vs.merge(start, end)
	return o, err
}

// advisePopulate is MADV_POPULATE_READ and _WRITE.
func (c Caller) advisePopulate(start, end arch.VA, write bool) error {
	vs := c.vs
	vs.mu.Lock()
	holes := vs.mapped(start, end) != uint64(end-start)
	vs.mu.Unlock()
	if holes {
		return syscall.ENOMEM
	}
	access := arch.Read
	if write {
		access = arch.Write
	}
	for va := start; va < end; va += arch.PageSize {
		switch err := vs.Fault(va, access); err {
		case nil:
			if err := c.faulted(); err != nil {
				return err
			}
		case syscall.EACCES:
			return syscall.EINVAL
		case syscall.ENOMEM:
			return err
		default:
			return syscall.EFAULT
		}
	}
	return nil
}
