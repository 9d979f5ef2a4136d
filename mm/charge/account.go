package charge

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Account is what a process has been charged. Open makes it ready, Close ends it. It is
// embedded in the process.
type Account struct {
	mu sync.Mutex
	// user is changed with mu held. Its System knows the user at least as long as the
	// account is open, because what Open has charged keeps it there.
	user  atomic.Pointer[User]
	used  [resources]int64 // [mu]
	count [counted]int64   // [mu] objects of the counted kinds
}

// Open makes the account charge to u. It charges n bytes of kind k, and m bytes for the
// first object of counted kind c; both are of Heap. It returns false, and charges nothing,
// if Take or TakeOne would refuse. Nothing else uses the account yet.
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

// Close ends the account and gives back the n bytes of kind k that Open has charged. It
// panics if anything else has not been given back. Nothing else uses the account any more.
func (a *Account) Close(k Kind, n int64) {
	u := a.user.Load()
	if a.used[Heap] != n || a.used[Frames]|a.count[Thread]|a.count[Signal] != 0 {
		panic(fmt.Sprintf("charge: account of user %d closed with %d bytes of heap, %d of frames, %d threads, %d signals charged",
			u.uid, a.used[Heap]-n, a.used[Frames], a.count[Thread], a.count[Signal]))
	}
	u.Give(k, n)
}

// User returns the user to which the account charges, without a reference: the caller must
// use it for a charge at once.
func (a *Account) User() *User { return a.user.Load() }

// Used returns how much of a resource has been charged through the account, in the
// resource's unit.
func (a *Account) Used(r Resource) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.used[r]
}

// Take charges n bytes and returns true, or returns false if the user may not have them.
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

// TakeOne charges n bytes of Heap for an object of a counted kind, and counts the object.
// It returns false, and does nothing, if the user may not have the bytes or has limit
// objects already (RLIMIT_NPROC, RLIMIT_SIGPENDING).
func (a *Account) TakeOne(k Kind, n int64, limit uint64) bool {
	k &= countMask
	a.mu.Lock()
	u := a.user.Load()
	// The body of Take, written out because threads are made often.
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
	// The body of Give, written out.
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

// Move makes another user pay for all that the account holds, because the process now
// belongs to that user. It is never refused: the objects exist already, and the change of
// user has been permitted. The new user may exceed its share, and then cannot take more
// until it is below it.
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
