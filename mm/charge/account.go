package charge

import (
	"fmt"
	"sync"
)

// Account is what one holder, a process or an address space, has been charged.
// Init makes it ready, Close ends it. The holder embeds it.
type Account struct {
	mu      sync.Mutex
	user    *User            // [mu] holds a reference
	used    [resources]int64 // [mu]
	tasks   int64            // [mu] threads, for RLIMIT_NPROC
	signals int64            // [mu] queued signals, for RLIMIT_SIGPENDING
}

// Init makes the account charge to u, of which it takes a reference.
func (a *Account) Init(u *User) {
	a.user = u.Ref()
	a.used, a.tasks, a.signals = [resources]int64{}, 0, 0
}

// Close ends the account. Everything must have been given back.
func (a *Account) Close() {
	a.mu.Lock()
	u, left := a.user, a.used[Heap]|a.used[Frames]|a.tasks
	a.user = nil
	a.mu.Unlock()
	if left != 0 {
		panic(fmt.Sprintf("charge: account of user %d closed with %d bytes of heap, %d of frames, %d threads charged",
			u.uid, a.used[Heap], a.used[Frames], a.tasks))
	}
	u.Release()
}

// User is to whom the account charges. The reference stays the account's.
func (a *Account) User() *User {
	a.mu.Lock()
	u := a.user
	a.mu.Unlock()
	return u
}

// Used is how much of a resource has been charged through the account, in bytes.
func (a *Account) Used(r Resource) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.used[r]
}

// Take charges n bytes and reports whether the user may have them.
func (a *Account) Take(k Kind, n int64) bool {
	a.mu.Lock()
	ok := a.user.Take(k, n)
	if ok {
		a.used[resourceOf[k]&1] += n
	}
	a.mu.Unlock()
	return ok
}

// Give gives back n bytes that Take has charged.
func (a *Account) Give(k Kind, n int64) {
	a.mu.Lock()
	a.used[resourceOf[k]&1] -= n
	a.user.Give(k, n)
	a.mu.Unlock()
}

// TakeThread charges n bytes for a thread and counts it. It is refused if the user
// has limit threads already (RLIMIT_NPROC).
func (a *Account) TakeThread(n int64, limit uint64) bool {
	a.mu.Lock()
	u := a.user
	ok := uint64(u.tasks.Add(1)) <= limit && u.Take(Thread, n)
	if ok {
		a.tasks++
		a.used[Heap] += n
	} else {
		u.tasks.Add(-1)
	}
	a.mu.Unlock()
	return ok
}

// GiveThread undoes TakeThread.
func (a *Account) GiveThread(n int64) {
	a.mu.Lock()
	a.tasks--
	a.used[Heap] -= n
	a.user.tasks.Add(-1)
	a.user.Give(Thread, n)
	a.mu.Unlock()
}

// TakeSignal charges n bytes for a queued signal and counts it. It is refused if the
// user has limit of them already (RLIMIT_SIGPENDING).
func (a *Account) TakeSignal(n int64, limit uint64) bool {
	a.mu.Lock()
	u := a.user
	ok := uint64(u.signals.Add(1)) <= limit && u.Take(Signal, n)
	if ok {
		a.signals++
		a.used[Heap] += n
	} else {
		u.signals.Add(-1)
	}
	a.mu.Unlock()
	return ok
}

// GiveSignal undoes TakeSignal.
func (a *Account) GiveSignal(n int64) {
	a.mu.Lock()
	a.signals--
	a.used[Heap] -= n
	a.user.signals.Add(-1)
	a.user.Give(Signal, n)
	a.mu.Unlock()
}

// Move makes another user pay for all that the account holds: the process has
// become that user's. It is never refused, because the objects exist already and
// the change of user has been permitted; the new user cannot take more until it
// is below its share.
func (a *Account) Move(to *User) {
	a.mu.Lock()
	from := a.user
	if from == to {
		a.mu.Unlock()
		return
	}
	a.user = to.Ref()
	for r, n := range a.used {
		to.move(Resource(r), n)
		from.move(Resource(r), -n)
	}
	to.tasks.Add(a.tasks)
	from.tasks.Add(-a.tasks)
	to.signals.Add(a.signals)
	from.signals.Add(-a.signals)
	a.mu.Unlock()
	from.Release()
}

// move adds to what the user holds. The kinds' totals stay. The kernel's own is
// not part of the machine's use.
func (u *User) move(r Resource, n int64) {
	u.used[r].Add(n)
	if !u.kernel {
		u.sys.used[r].Add(n)
	}
}
