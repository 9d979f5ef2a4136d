package charge

import (
	"fmt"
	"sync/atomic"
)

// User is what one user number holds. The kernel is a user too, without a number and
// without limits.
type User struct {
	sys    *System // [I]
	uid    uint32  // [I]
	kernel bool    // [I]
	used   [resources]atomic.Int64

	count [counted]atomic.Int64 // objects of the counted kinds

	// refs counts references by holders that will charge later, and may hold nothing
	// charged now. Only System.User raises it from 0, with System.mu held.
	refs atomic.Int64
}

// User returns the user with that number, and takes a reference for the caller.
func (s *System) User(uid uint32) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[uid]
	if u == nil {
		u = &User{sys: s, uid: uid}
		s.users[uid] = u
	}
	u.refs.Add(1)
	return u
}

// Ref takes another reference. The caller must have one, or hold something charged.
func (u *User) Ref() *User {
	u.refs.Add(1)
	return u
}

// Release gives up a reference.
func (u *User) Release() {
	if n := u.refs.Add(-1); n <= 0 {
		u.released(n) // apart, so that Release is inlined
	}
}

func (u *User) released(n int64) {
	if n < 0 {
		panic(fmt.Sprintf("charge: user %d released more often than referenced", u.uid))
	}
	if n == 0 && u.idle() {
		u.forget()
	}
}

// forget removes the user from the table, if it has no references and holds nothing. A user
// that holds something stays in the table until the last byte is given back, so that the
// next login finds the old charges.
func (u *User) forget() {
	if u.kernel {
		return
	}
	s := u.sys
	s.mu.Lock()
	// The user may have been referenced again meanwhile. It may also have been removed, and
	// a new user with the same number be in the table.
	if u.refs.Load() == 0 && u.idle() && s.users[u.uid] == u {
		delete(s.users, u.uid)
	}
	s.mu.Unlock()
}

func (u *User) idle() bool {
	for r := range u.used {
		if u.used[r].Load() != 0 {
			return false
		}
	}
	return true
}

// UID returns the user's number.
func (u *User) UID() uint32 { return u.uid }

// System returns the machine's account.
func (u *User) System() *System { return u.sys }

// Count returns how many objects of a counted kind the user has.
func (u *User) Count(k Kind) int64 { return u.count[k].Load() }

// Used returns how much of a resource the user holds, in the resource's unit.
func (u *User) Used(r Resource) int64 { return u.used[r].Load() }

// greed is the factor in the limit of a user: a user may hold greed times as much as is
// left for others. With 3, the first user gets at most three quarters of the machine's
// limit, the second at most three quarters of the rest, and so on. So there is always
// something left for the next user. (Switches divide their memory in this way: Choudhury
// and Hahne, "Dynamic queue length thresholds", 1998.)
const greed = 3

// Take charges n bytes and returns true, or returns false if the user may not have them. n
// is not negative. The caller must give back the same number with Give when the object is
// freed.
func (u *User) Take(k Kind, n int64) bool {
	s, r := u.sys, resourceOf[k]&resourceMask
	used, total := u.used[r].Add(n), n
	if !u.kernel {
		total = s.used[r].Add(n)
		if (used > greed*(s.bound[r].Load()-total) || total&(gateStep-1) < n) && !u.mayHave(k, n, k, 0, used, total) {
			return false
		}
	}
	s.kinds[k&kindMask].Add(n)
	return true
}

// takeTwo is Take for n bytes of one kind and m of another, both of Heap.
func (u *User) takeTwo(k Kind, n int64, l Kind, m int64) bool {
	s, all := u.sys, n+m
	used := u.used[Heap].Add(all)
	if !u.kernel {
		total := s.used[Heap].Add(all)
		if (used > greed*(s.bound[Heap].Load()-total) || total&(gateStep-1) < all) && !u.mayHave(k, n, l, m, used, total) {
			return false
		}
	}
	s.kinds[k&kindMask].Add(n)
	s.kinds[l&kindMask].Add(m)
	return true
}

// giveTwo undoes takeTwo.
func (u *User) giveTwo(k Kind, n int64, l Kind, m int64) {
	u.Give(k, n)
	u.Give(l, m)
}

// mayHave makes the slow checks of a charge: the limits, a test that refuses charges, and
// the room that the heap really has. The charge is n bytes of kind k and m bytes of kind l. used and total are what
// the user and all users hold, including the charge. If mayHave returns false it has taken
// the charge back from both.
func (u *User) mayHave(k Kind, n int64, l Kind, m, used, total int64) bool {
	s, r, all := u.sys, resourceOf[k]&resourceMask, n+m
	f := s.refuse.Load()
	if refused := f != nil && ((*f)(k, n) || m != 0 && (*f)(l, m)); !refused && used <= greed*(s.limit[r]-total) &&
		(r != Heap || total&(gateStep-1) >= all || s.hasRoom(all, used)) {
		return true
	}
	s.used[r].Add(-all)
	u.used[r].Add(-all)
	return false
}

// mayHaveOne is mayHave for TakeOne. over says that the limit on the number is exceeded.
func (u *User) mayHaveOne(k Kind, n, used, total int64, over bool) bool {
	if !over && (u.kernel || u.mayHave(k, n, k, 0, used, total)) {
		return true
	}
	if over {
		u.used[Heap].Add(-n)
		if !u.kernel {
			u.sys.used[Heap].Add(-n)
		}
	}
	u.sys.kinds[k&kindMask].Add(-n)
	u.count[k&countMask].Add(-1)
	return false
}

// Give gives back n bytes that Take has charged.
func (u *User) Give(k Kind, n int64) {
	s, r := u.sys, resourceOf[k]&resourceMask
	of, left := s.kinds[k&kindMask].Add(-n), u.used[r].Add(-n)
	if !u.kernel {
		s.used[r].Add(-n)
	}
	if left <= 0 || of < 0 {
		u.gave(k, n, of, left)
	}
}

// PayFor makes u pay for n bytes of a kind that from has paid for. It is never refused; see
// Account.Move. The caller holds the lock that keeps the charge from changing.
func (u *User) PayFor(k Kind, n int64, from *User) { move(resourceOf[k]&resourceMask, n, from, u) }

// move moves n from what from holds to what to holds. The totals by kind stay. What the
// kernel holds is not part of the machine's use.
func move(r Resource, n int64, from, to *User) {
	s := to.sys
	to.used[r].Add(n)
	left := from.used[r].Add(-n)
	if !to.kernel {
		s.used[r].Add(n)
	}
	if !from.kernel {
		s.used[r].Add(-n)
		if left == 0 && from.refs.Load() == 0 && from.idle() {
			from.forget()
		}
	}
}

// gave does the rare work of Give: the user holds nothing of the resource any more, or more
// was given back than charged.
func (u *User) gave(k Kind, n, of, left int64) {
	switch {
	case u.kernel:
	case of < 0:
		panic(fmt.Sprintf("charge: %d bytes of %s given back that were not charged (user %d)", n, k, u.uid))
	case left < 0:
		panic(fmt.Sprintf("charge: user %d gave back %d bytes of %s more than it held", u.uid, -left, k))
	case u.refs.Load() == 0 && u.idle():
		u.forget()
	}
}
