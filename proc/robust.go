package proc

import "grim/arch"

// This file does what a thread owes others in user memory when it ends (set_robust_list(2),
// set_tid_address(2)). A bad pointer is the program's own fault and only ends the walk:
// there is no caller to return an error to. The wake-ups are shared operations, as on
// Linux, because C libraries wait for these words without FUTEX_PRIVATE_FLAG.

const (
	futexWaiters   = 1 << 31
	futexOwnerDied = 1 << 30
	futexTIDMask   = futexOwnerDied - 1
	// robustLimit ends the walk of a circular list: Linux's ROBUST_LIST_LIMIT.
	robustLimit = 2048
	robustPI    = 1 // low bit of an entry's address: a priority-inheritance futex
)

// releaseRobustFutexes marks every robust futex that the thread holds as left by a dead
// owner, and wakes a waiter of each. The list is in user memory:
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
		// Read the link first: a thread that is woken may free the entry.
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

// ownerDied releases one futex if this thread holds it. pending means that the thread was
// about to take the futex or had just released it, so that its last wake-up may have gone
// to a waiter in vain. It reports whether the word could be accessed.
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

// clearChildTID clears the word given to set_tid_address(2) or CLONE_CHILD_CLEARTID, and
// wakes a thread that waits for this thread's end (pthread_join). It does nothing if no
// other thread uses the memory: none could see it, and the write would copy a page.
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
