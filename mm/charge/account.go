package charge

import (
	"fmt"
	"sync"
)

// Account is what a process has been charged. Open makes it ready, Close ends it. The
// process embeds it.
type Account struct {
	mu sync.Mutex
	// user is known to its System at least as long as the account is open, because
	// of what Open has charged.
	user  *User            // [mu]
	used  [resources]int64 // [mu]
	count [counted]int64   // [mu] objects of the counted kinds
}

// Open makes the account charge to u, and charges n bytes of kind k, and of m bytes for
// the first of a counted kind c. It is refused like Take and TakeOne. Nobody else knows
// the account yet; if it is refused, it is not open.
func (a *Account) Open(u *User, k Kind, n int64, c Kind, m int64, limit uint64) bool {
	if !u.takeCount(c, limit) {
		return false
	}
	if !u.take(k, n, c, m) {
		u.count[c&countMask].Add(-1)
		return false
	}
	a.user, a.used, a.count = u, [resources]int64{Heap: n + m}, [counted]int64{}
	a.count[c&countMask] = 1
	return true
}

// Close ends the account and gives back the n bytes that Open has charged. Everything
// else must have been given back.
func (a *Account) Close(k Kind, n int64) {
	a.mu.Lock()
	u, left := a.user, a.used[Heap]-n
	for _, more := range a.count {
		left |= more
	}
	a.user = nil
	a.mu.Unlock()
	if left|a.used[Frames] != 0 {
		panic(fmt.Sprintf("charge: account of user %d closed with %d bytes of heap, %d of frames, %d threads, %d signals charged",
			u.uid, left, a.used[Frames], a.count[Thread], a.count[Signal]))
	}
	u.Give(k, n)
}

// User is to whom the account charges. It has no reference: the caller takes it for a
// charge at once.
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

// TakeOne charges n bytes for an object of a counted kind and counts it. It is refused
// if the user has limit of them already (RLIMIT_NPROC, RLIMIT_SIGPENDING).
func (a *Account) TakeOne(k Kind, n int64, limit uint64) bool {
	a.mu.Lock()
	u := a.user
	ok := u.takeCount(k, limit)
	if ok {
		if ok = u.Take(k, n); ok {
			a.count[k&countMask]++
			a.used[Heap] += n
		} else {
			u.count[k&countMask].Add(-1)
		}
	}
	a.mu.Unlock()
	return ok
}

// GiveOne undoes TakeOne.
func (a *Account) GiveOne(k Kind, n int64) {
	a.mu.Lock()
	a.count[k&countMask]--
	a.used[Heap] -= n
	u := a.user
	u.count[k&countMask].Add(-1)
	u.Give(k, n)
	a.mu.Unlock()
}

// Move makes another user pay for all that the account holds: the process has
// become that user's. It is never refused, because the objects exist already and
// the change of user has been permitted; the new user cannot take more until it
// is below its share.
func (a *Account) Move(to *User) {
	a.mu.Lock()
	if from := a.user; from != to {
		a.user = to
		for r, n := range a.used {
			move(Resource(r), n, from, to)
		}
		for k, n := range a.count {
			to.count[k].Add(n)
			from.count[k].Add(-n)
		}
	}
	a.mu.Unlock()
}
