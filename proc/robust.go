package proc

import "grim/arch"

// What a thread owes others in user memory when it ends (set_robust_list(2),
// set_tid_address(2)). Bad pointers are the program's own fault and end the
// walk, nothing else: nobody is left to get an error. The wake-ups are shared
// operations, as on Linux: C libraries wait for these words without
// FUTEX_PRIVATE_FLAG.

const (
	futexWaiters   = 1 << 31
	futexOwnerDied = 1 << 30
	futexTIDMask   = futexOwnerDied - 1
	// robustLimit ends the walk of a list that is a circle: Linux's
	// ROBUST_LIST_LIMIT.
	robustLimit = 2048
	robustPI    = 1 // low bit of an entry's address: a priority-inheritance futex
)

// releaseRobustFutexes marks every robust futex that the thread holds as left
// by a dead owner and wakes a waiter. The list is in user memory:
//
//	head:  first entry, offset from an entry to its futex, entry in the making
//	entry: next entry; the last points back at head
func (t *Thread) releaseRobustFutexes() {
	head := t.robust
	if head == 0 {
		return
	}
	t.robust = 0
	vs := t.space.vs
	entry, err := vs.ReadUint64(head)
	if err != nil {
		return
	}
	offset, err := vs.ReadUint64(head + 8)
	if err != nil {
		return
	}
	pending, err := vs.ReadUint64(head + 16)
	if err != nil {
		return
	}
	word := func(entry uint64) arch.VA { return arch.VA(entry&^robustPI + offset) }
	for n := 0; arch.VA(entry&^robustPI) != head && n < robustLimit; n++ {
		// Read the link first: once woken, another thread may free the entry.
		next, nextErr := vs.ReadUint64(arch.VA(entry &^ robustPI))
		if entry != pending && !t.ownerDied(word(entry), entry&robustPI != 0, false) {
			return
		}
		if nextErr != nil {
			return
		}
		entry = next
	}
	if pending != 0 {
		t.ownerDied(word(pending), pending&robustPI != 0, true)
	}
}

// ownerDied releases one futex if this thread holds it. pending: the thread was
// about to take or had just released it, so that a waiter may have been woken
// in vain. It reports whether the word could be reached.
func (t *Thread) ownerDied(va arch.VA, pi, pending bool) bool {
	vs := t.space.vs
	for {
		have, err := vs.ReadUint32(va)
		if err != nil {
			return false
		}
		if pending && !pi && have == 0 {
			t.FutexWake(va, 1, FutexAny, false)
			return true
		}
		if have&futexTIDMask != uint32(t.TID()) {
			return true
		}
		done, err := vs.CompareAndSwapUint32(va, have, have&futexWaiters|futexOwnerDied)
		if err != nil {
			return false
		}
		if done {
			if !pi && have&futexWaiters != 0 {
				t.FutexWake(va, 1, FutexAny, false)
			}
			return true
		}
	}
}

// clearChildTID zeroes the word that set_tid_address(2) or CLONE_CHILD_CLEARTID
// named and wakes who waits for the thread's end (pthread_join). Not if nobody
// else uses the memory: nobody could see it, and writing would copy a page.
func (t *Thread) clearChildTID() {
	va := t.clearTID
	if va == 0 {
		return
	}
	t.clearTID = 0
	t.p.mu.Lock()
	alone := t.p.live == 1
	t.p.mu.Unlock()
	if alone && t.space.users.Load() == 1 {
		return
	}
	if t.space.vs.WriteUint32(va, 0) == nil {
		t.FutexWake(va, 1, FutexAny, false)
	}
}
