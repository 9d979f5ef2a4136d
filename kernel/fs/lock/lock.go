// Package lock keeps record locks (fcntl_locking(2)): ranges of a file's bytes that one
// owner holds for reading together with others, or for writing alone.
//
// An owner is whatever the caller says: a process's descriptor table, or an open file
// description. The package knows neither files nor processes. All tables of a machine
// share one mutex, as a wait in one of them may close a circle through others. No
// caller's lock is taken, and nothing sleeps, while it is held.
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

// End is the last byte that any file can have.
const End = math.MaxInt64

// MaxPerFile is how many locks a file may have: ENOLCK. It bounds the time that the
// mutex is held.
const MaxPerFile = 4096

// cost is what a lock is charged, in bytes of kernel heap; twice its size, as the
// table of a file grows by doubling.
const cost = 2 * int64(unsafe.Sizeof(Lock{}))

// Lock is a lock that is held or asked for.
type Lock struct {
	Owner      any // comparable
	PID        int // what F_GETLK tells; -1 for an open file description
	Write      bool
	Start, End int64 // bytes, both included

	payer *charge.User
}

// System is all the locks of a machine.
type System struct {
	mu      sync.Mutex
	waiting []*waiter
}

// Table is the locks of one file. The zero value is empty.
type Table struct {
	n     atomic.Int32 // of locks; changes with System.mu held
	locks []Lock       // by start
}

// waiter is a thread that waits for a lock of a table.
type waiter struct {
	table          *Table
	owner, blocker any
	ch             chan struct{} // holds one wake-up
}

func (a *Lock) overlaps(b *Lock) bool { return a.Start <= b.End && b.Start <= a.End }

// conflict is a lock of another owner that forbids l; nil: none. Precondition: mu held.
func (t *Table) conflict(l *Lock) *Lock {
	for i := range t.locks {
		if h := &t.locks[i]; h.Owner != l.Owner && (h.Write || l.Write) && h.overlaps(l) {
			return h
		}
	}
	return nil
}

// Test is F_GETLK: a lock that forbids l.
func (s *System) Test(t *Table, l Lock) (held Lock, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := t.conflict(&l); h != nil {
		return *h, true
	}
	return Lock{}, false
}

// Unlock gives up what the owner of l holds in its range. ENOLCK: a lock would become
// two, and there is no room for that.
func (s *System) Unlock(t *Table, l Lock, payer *charge.User) error {
	if t.n.Load() == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replace(t, l, false, payer)
}

// Drop gives up all that an owner holds.
func (s *System) Drop(t *Table, owner any) {
	if t.n.Load() == 0 {
		return
	}
	_ = s.Unlock(t, Lock{Owner: owner, End: End}, nil) // a whole range divides no lock
}

// Set gives its owner l, in place of what it holds in that range. EAGAIN: another
// owner's is in the way, and wait is nil. Else wait sleeps until the channel can be
// received from; its error ends the call. EDEADLK, if detect is set: the other owner
// waits for this one. ENOLCK: no room.
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

// circular says whether blocker waits, directly or through others, for owner.
// Precondition: mu held.
func (s *System) circular(owner, blocker any) bool {
	for range s.waiting { // a longer chain than there are waiters is a circle without owner
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

// replace takes the owner's locks out of l's range, and with add puts l there, which
// payer pays for. Neighbours of one kind become one lock. Precondition: mu held.
func (s *System) replace(t *Table, l Lock, add bool, payer *charge.User) error {
	after := make([]Lock, 0, len(t.locks)+2)
	var gone []*charge.User // payers of the locks that end
	paid := 0               // locks that payer has paid for
	pay := func(n *Lock) bool {
		n.payer = payer
		if len(after) == MaxPerFile || !payer.Take(charge.OpenFile, cost) {
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
				after = append(after, before, behind)
			case left:
				after = append(after, before)
			case right:
				after = append(after, behind)
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
		after = append(after, l)
	}
	for _, u := range gone {
		u.Give(charge.OpenFile, cost)
	}
	slices.SortFunc(after, func(a, b Lock) int { return cmp.Compare(a.Start, b.Start) })
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

// touches says that two locks overlap or are neighbours.
func touches(a, b *Lock) bool {
	return (b.End == End || a.Start <= b.End+1) && (a.End == End || b.Start <= a.End+1)
}

// List is the locks that are held, in the order of their first bytes.
func (s *System) List(t *Table) []Lock {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(t.locks)
}
