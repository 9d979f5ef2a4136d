package fs

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// flockQueue is the advisory locks of one regular file (flock(2)): any number
// of shared holders, or one exclusive.
type flockQueue struct {
	mu        sync.Mutex
	shared    int
	exclusive bool
	q         WaitQueue
}

// flockState is what an open file description holds: 0, LOCK_SH or LOCK_EX;
// under flockQueue.mu.
type flockState int

// Flock is flock(2). It blocks unless op has LOCK_NB: EWOULDBLOCK, EINTR.
// Changing the kind of lock gives the old one up first, as on Linux.
func (f *File) Flock(t Task, op int) error {
	r, ok := f.node.(*regular)
	kind := op &^ unix.LOCK_NB
	switch {
	case f.Flags()&unix.O_PATH != 0:
		return syscall.EBADF
	case kind != unix.LOCK_SH && kind != unix.LOCK_EX && kind != unix.LOCK_UN:
		return syscall.EINVAL
	case !ok:
		return nil // nothing else can be shared in a way that a lock would guard
	}
	b := bells.Get().(*bell)
	defer b.put()
	r.locks.q.add(&b.w, EPOLLIN)
	defer b.w.remove()
	for !r.locks.try(f, flockState(kind)) {
		if op&unix.LOCK_NB != 0 {
			return syscall.EWOULDBLOCK
		}
		if err := sleep(t, b.ch, Never); err != nil {
			return err
		}
	}
	return nil
}

// try changes f's lock to kind; false if others are in the way.
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

// unlock gives up what the file holds; part of its last Release.
func (f *File) unlock() {
	if r, ok := f.node.(*regular); ok {
		r.locks.try(f, unix.LOCK_UN)
	}
}
