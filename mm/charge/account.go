package charge

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Account is what a process has been charged. Open makes it ready, Close ends it. The
// process embeds it.
type Account struct {
	mu sync.Mutex
	// user is changed with mu held. It is known to its System at least as long as the
	// account is open, because of what Open has charged.
	user  atomic.Pointer[User]
	used  [resources]int64 // [mu]
	count [counted]int64   // [mu] objects of the counted kinds
}

// Open makes the account charge to u, and charges n bytes of kind k, and of m bytes for
// the first of a counted kind c, both of Heap. It is refused like Take and TakeOne. Nobody
// else knows the account yet; if it is refused, it is not open.
func (a *Account) Open(u *User, k Kind, n int64, c Kind, m int64, limit uint64) bool {
	c &= countMask
	if !u.takeTwo(k, n, c, m) {
		return false
	}
	if uint64(u.count[c].Add(1)) > limit {
		u.count[c].Add(-1)
		u.giveTwo(k, n, c, m)
		return false
	}
	a.used[Heap], a.count[c] = n+m, 1
	a.user.Store(u)
	return true
}

// Close ends the account and gives back the n bytes that Open has charged. Everything
// else must have been given back, and nobody else uses the account.
func (a *Account) Close(k Kind, n int64) {
	u := a.user.Load()
	if a.used[Heap] != n || a.used[Frames]|a.count[Thread]|a.count[Signal] != 0 {
		panic(fmt.Sprintf("charge: account of user %d closed with %d bytes of heap, %d of frames, %d threads, %d signals charged",
			u.uid, a.used[Heap]-n, a.used[Frames], a.count[Thread], a.count[Signal]))
	}
	u.Give(k, n)
}

// User is to whom the account charges. It has no reference: the caller takes it for a
// charge at once.
func (a *Account) User() *User { return a.user.Load() }

// Used is how much of a resource has been charged through the account, in bytes.
func (a *Account) Used(r Resource) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.used[r]
}

// Take charges n bytes and reports whether the user may have them.
func (a *Account) Take(k Kind, n int64) bool {
	a.mu.Lock()
	ok := a.user.Load().Take(k, n)
	if ok {
		a.used[resourceOf[k]&resourceMask] += n
	}
	a.mu.Unlock()
	return ok
}

// Give gives back n bytes that Take has charged.
func (a *Account) Give(k Kind, n int64) {
	a.mu.Lock()
	a.used[resourceOf[k]&resourceMask] -= n
	a.user.Load().Give(k, n)
	a.mu.Unlock()
}

// TakeOne charges n bytes of Heap for an object of a counted kind and counts it. It is
// refused if the user has limit of them already (RLIMIT_NPROC, RLIMIT_SIGPENDING).
func (a *Account) TakeOne(k Kind, n int64, limit uint64) bool {
	k &= countMask
	a.mu.Lock()
	u := a.user.Load()
	// What Take does, as threads are made often.
	s, total := u.sys, n
	used, count := u.used[Heap].Add(n), u.count[k].Add(1)
	if !u.kernel {
		total = s.used[Heap].Add(n)
	}
	s.kinds[k].Add(n)
	ok := !(uint64(count) > limit || used > greed*(s.bound[Heap].Load()-total) || total&(gateStep-1) < n) ||
		u.mayHaveOne(k, n, used, total, uint64(count) > limit)
	if ok {
		a.count[k]++
		a.used[Heap] += n
	}
	a.mu.Unlock()
	return ok
}

// GiveOne undoes TakeOne.
func (a *Account) GiveOne(k Kind, n int64) {
	k &= countMask
	a.mu.Lock()
	u := a.user.Load()
	a.count[k]--
	a.used[Heap] -= n
	u.count[k].Add(-1)
	// What Give does.
	s := u.sys
	of, left := s.kinds[k].Add(-n), u.used[Heap].Add(-n)
	if !u.kernel {
		s.used[Heap].Add(-n)
	}
	if left <= 0 || of < 0 {
		u.gave(k, n, of, left)
	}
	a.mu.Unlock()
}

// Move makes another user pay for all that the account holds: the process has
// become that user's. It is never refused, because the objects exist already and
// the change of user has been permitted; the new user cannot take more until it
// is below its share.
func (a *Account) Move(to *User) {
	a.mu.Lock()
	if from := a.user.Load(); from != to {
		a.user.Store(to)
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
