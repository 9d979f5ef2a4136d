// Package lock keeps record locks (fcntl_locking(2)). A record lock is a range of a file's
// bytes that one owner holds, either for reading together with others, or for writing
// alone.
//
// The caller decides what an owner is: a process's descriptor table, or an open file
// description. The package knows neither files nor processes. All tables of a machine share
// one mutex, because a wait in one table may close a circle of waits through others. While
// the mutex is held no lock of the caller is taken and nothing sleeps.
package lock

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"grim/mm/charge"
)

// End is the last byte that a file can have.
const End = math.MaxInt64

// MaxPerFile is how many locks a file may have; more give ENOLCK. It bounds how long the
// mutex is held.
const MaxPerFile = 4096

// cost is what a lock is charged, in bytes of kernel heap. It is twice a lock's size,
// because a file's table grows by doubling.
const cost = 2 * int64(unsafe.Sizeof(Lock{}))

// Lock is a lock that is held or requested.
type Lock struct {
	Owner      any // comparable
	PID        int // the process that F_GETLK reports; -1 for an open file description
	Write      bool
	Start, End int64 // bytes, both included

	payer *charge.User
}

// System holds all the locks of a machine.
type System struct {
	mu      sync.Mutex
	waiting []*waiter
}

// Table holds the locks of one file. Its zero value is empty.
type Table struct {
	n     atomic.Int32 // number of locks; changed with System.mu held
	locks []Lock       // by start
}

// waiter is a thread that waits for a lock.
type waiter struct {
	table          *Table
	owner, blocker any
	ch             chan struct{} // holds one wake-up
}

func (a *Lock) overlaps(b *Lock) bool { return a.Start <= b.End && b.Start <= a.End }

// conflict returns a lock of another owner that conflicts with l, or nil. Preconditions: mu
// held.
func (t *Table) conflict(l *Lock) *Lock {
	for i := range t.locks {
		if h := &t.locks[i]; h.Owner != l.Owner && (h.Write || l.Write) && h.overlaps(l) {
			return h
		}
	}
	return nil
}

// Test is F_GETLK: it returns a lock that conflicts with l, if there is one.
func (s *System) Test(t *Table, l Lock) (held Lock, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := t.conflict(&l); h != nil {
		return *h, true
	}
	return Lock{}, false
}

// Unlock gives up what the owner of l holds in l's range. ENOLCK if a lock would be divided
// into two and there is no room for one more.
func (s *System) Unlock(t *Table, l Lock, payer *charge.User) error {
	if t.n.Load() == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replace(t, l, false, payer)
}

// Drop gives up all locks that an owner holds.
func (s *System) Drop(t *Table, owner any) {
	if t.n.Load() == 0 {
		return
	}
	_ = s.Unlock(t, Lock{Owner: owner, End: End}, nil) // the range is the whole file, so that no lock is divided
}

// Set gives l to its owner, in place of what the owner holds in that range. If a lock of
// another owner conflicts, the call fails with EAGAIN if wait is nil. Otherwise it calls
// wait, with no lock held, which must sleep until the channel can be received from; an
// error from wait ends the call. EDEADLK if detect is set and the other owner waits for
// this one. ENOLCK if there is no room.
func (s *System) Set(t *Table, l Lock, payer *charge.User, detect bool, wait func(<-chan struct{}) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var w *waiter
	for {
		h := t.conflict(&l)
		if h == nil {
			return s.replace(t, l, true, payer)
		}
		if wait == nil {
			return syscall.EAGAIN
		}
		if detect && s.circular(l.Owner, h.Owner) {
			return syscall.EDEADLK
		}
		if w == nil {
			w = &waiter{table: t, owner: l.Owner, ch: make(chan struct{}, 1)}
		}
		w.blocker = h.Owner
		s.waiting = append(s.waiting, w)
		s.mu.Unlock()
		err := wait(w.ch)
		s.mu.Lock()
		if i := slices.Index(s.waiting, w); i >= 0 {
			s.waiting = slices.Delete(s.waiting, i, i+1)
		}
		if err != nil {
			return err
		}
	}
}

// circular reports whether blocker waits, directly or through others, for owner.
// Preconditions: mu held.
func (s *System) circular(owner, blocker any) bool {
	for range s.waiting { // a chain longer than the number of waiters is a circle without owner
		if blocker == owner {
			return true
		}
		i := slices.IndexFunc(s.waiting, func(w *waiter) bool { return w.owner == blocker })
		if i < 0 {
			return false
		}
		blocker = s.waiting[i].blocker
	}
	return blocker == owner
}

// replace removes the owner's locks from l's range, and if add is true puts l there,
// charged to payer. Adjacent locks of one kind become one lock. Preconditions: mu held.
func (s *System) replace(t *Table, l Lock, add bool, payer *charge.User) error {
	if !slices.ContainsFunc(t.locks, func(h Lock) bool { return touches(&h, &l) && h.Owner == l.Owner }) {
		return t.insert(l, add, payer)
	}
	after := make([]Lock, 0, len(t.locks)+2) // by start, as t.locks
	var added []Lock                         // at most three: their places are found in the end
	var gone []*charge.User                  // payers of the locks that disappear
	paid := 0                                // number of locks that payer has paid for
	pay := func(n *Lock) bool {
		n.payer = payer
		if len(after)+len(added) == MaxPerFile || !payer.Take(charge.OpenFile, cost) {
			return false
		}
		paid++
		return true
	}
	refuse := func() error {
		payer.Give(charge.OpenFile, int64(paid)*cost)
		return syscall.ENOLCK
	}
	for _, h := range t.locks {
		switch {
		case h.Owner != l.Owner:
			after = append(after, h)
		case add && h.Write == l.Write && touches(&h, &l):
			l.Start, l.End = min(l.Start, h.Start), max(l.End, h.End)
			gone = append(gone, h.payer)
		case h.overlaps(&l):
			before, behind := h, h
			before.End, behind.Start = l.Start-1, l.End+1
			switch left, right := h.Start < l.Start, h.End > l.End; {
			case left && right:
				if !pay(&behind) {
					return refuse()
				}
				after, added = append(after, before), append(added, behind)
			case left:
				after = append(after, before)
			case right:
				added = append(added, behind)
			default:
				gone = append(gone, h.payer)
			}
		default:
			after = append(after, h)
		}
	}
	if add {
		if !pay(&l) {
			return refuse()
		}
		added = append(added, l)
	}
	for _, u := range gone {
		u.Give(charge.OpenFile, cost)
	}
	for _, n := range added {
		i, _ := slices.BinarySearchFunc(after, n.Start, func(h Lock, start int64) int { return cmp.Compare(h.Start, start) })
		after = slices.Insert(after, i, n)
	}
	t.locks = after
	t.n.Store(int32(len(after)))
	for _, w := range s.waiting {
		if w.table == t {
			select {
			case w.ch <- struct{}{}:
			default:
			}
		}
	}
	return nil
}

// insert is replace where the owner has no lock that l overlaps or touches: the usual case,
// which does not copy the table.
func (t *Table) insert(l Lock, add bool, payer *charge.User) error {
	if !add {
		return nil
	}
	if len(t.locks) == MaxPerFile || !payer.Take(charge.OpenFile, cost) {
		return syscall.ENOLCK
	}
	l.payer = payer
	i, _ := slices.BinarySearchFunc(t.locks, l.Start, func(h Lock, start int64) int { return cmp.Compare(h.Start, start) })
	t.locks = slices.Insert(t.locks, i, l)
	t.n.Store(int32(len(t.locks)))
	return nil
}

// touches reports whether two locks overlap or are adjacent.
func touches(a, b *Lock) bool {
	return (b.End == End || a.Start <= b.End+1) && (a.End == End || b.Start <= a.End+1)
}

// List returns the locks that are held, in the order of their first bytes.
func (s *System) List(t *Table) []Lock {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(t.locks)
}
