package fs

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/kernel/fs/lock"
)

// fileLocks are the locks of a file. They are made when a lock is first requested.
type fileLocks struct {
	flock   flockQueue
	records lock.Table
}

// fileLocks returns the inode's locks, and makes them if there are none.
func (i *inode) fileLocks() *fileLocks {
	if l := i.locks.Load(); l != nil {
		return l
	}
	i.locks.CompareAndSwap(nil, new(fileLocks))
	return i.locks.Load()
}

// flockQueue holds the advisory locks of one file (flock(2)): any number of shared holders,
// or one exclusive holder.
type flockQueue struct {
	mu        sync.Mutex
	shared    int
	exclusive bool
	q         WaitQueue
}

// flockState is the lock that an open file description holds: 0, LOCK_SH or LOCK_EX.
// Protected by flockQueue.mu.
type flockState int

// Flock implements flock(2). It blocks unless op has LOCK_NB. Errors: EWOULDBLOCK, EINTR. A
// change of the kind of lock releases the old lock first, as on Linux.
func (f *File) Flock(t Task, op int) error {
	kind := op &^ unix.LOCK_NB
	switch {
	case f.Flags()&unix.O_PATH != 0:
		return syscall.EBADF
	case kind != unix.LOCK_SH && kind != unix.LOCK_EX && kind != unix.LOCK_UN:
		return syscall.EINVAL
	}
	b := bells.Get().(*bell)
	defer b.put()
	l := &f.node.base().fileLocks().flock
	l.q.add(&b.w, EPOLLIN)
	defer b.w.remove()
	for !l.try(f, flockState(kind)) {
		if op&unix.LOCK_NB != 0 {
			return syscall.EWOULDBLOCK
		}
		if err := sleep(t, b.ch, Never); err != nil {
			return err
		}
	}
	return nil
}

// try changes f's lock to kind. It returns false if other holders prevent that.
func (l *flockQueue) try(f *File, kind flockState) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.lock == kind {
		return true
	}
	if f.lock != 0 {
		if f.lock == unix.LOCK_EX {
			l.exclusive = false
		} else {
			l.shared--
		}
		f.lock = 0
		l.q.Wake(EPOLLIN)
	}
	switch {
	case kind == unix.LOCK_UN:
		return true
	case l.exclusive, kind == unix.LOCK_EX && l.shared > 0:
		return false
	case kind == unix.LOCK_EX:
		l.exclusive = true
	default:
		l.shared++
	}
	f.lock = kind
	return true
}

// unlock releases the locks of the description. The last Release calls it.
func (f *File) unlock() {
	if l := f.node.base().locks.Load(); l != nil {
		l.flock.try(f, unix.LOCK_UN)
		f.fs.records.Drop(&l.records, f)
	}
}
