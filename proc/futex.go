package proc

import (
	"sync"
	"sync/atomic"
	"syscall"

	"grim/arch"
	"grim/mm/vm"
)

// futexBuckets is the size of the hash table of waiters. It is a power of two, and so large
// that unrelated words rarely share a lock.
const futexBuckets = 256

// FutexAny is the bit set that matches every waiter.
const FutexAny = ^uint32(0)

// futexWaiter is a thread's place in a bucket. A thread waits for one word at a time, so it
// is a part of Thread.
//
// While it is not queued, only its thread uses it, and may write all of it. While it is
// queued (woken is 0), the mu of the bucket that the field bucket points to guards
// everything but woken. Three rules make that right on several CPUs:
//
// - The bucket of a queued waiter changes in one store, with both buckets locked (requeue).
// So a
//
//	thread that has locked the bucket that it read, and reads the same one again, has the waiter
//	locked.
//
// - The store to woken is the last thing that a waker does with a waiter, after unlinking
// it. From
//
//	then on the waiter's thread may queue it again.
//
// - The waiter's thread leaves a wait in two ways only. It sees woken set, or it unlinks
// the waiter
//
//	itself (cancel), which is possible only while woken is 0.
//
// So each waiter is unlinked once, by one thread, and for each wake-up that is counted one
// FutexWait returns nil.
type futexWaiter struct {
	t      *Thread       // [I]
	woken  atomic.Uint32 // 1: unlinked, and no other thread touches the waiter
	bucket atomic.Pointer[futexBucket]
	key    vm.Key
	bits   uint32

	next, prev *futexWaiter
}

// futexBucket holds the waiters of all words with the same hash, in the order of their
// arrival.
type futexBucket struct {
	mu         sync.Mutex
	head, tail *futexWaiter
}

// push appends w. Preconditions: b.mu held, and if w moves from another bucket, also that
// bucket's mu.
func (b *futexBucket) push(w *futexWaiter) {
	w.prev, w.next = b.tail, nil
	if b.tail != nil {
		b.tail.next = w
	} else {
		b.head = w
	}
	b.tail = w
	w.bucket.Store(b)
}

// unlink takes w off the list, and does nothing else. Preconditions: b.mu held.
func (b *futexBucket) unlink(w *futexWaiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		b.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		b.tail = w.prev
	}
	w.next, w.prev = nil, nil
}

// wake takes up to n waiters of key off the list and wakes them. Like Linux it wakes at
// least one if there is one, even if n is
// 0. Preconditions: b.mu held.
func (b *futexBucket) wake(key vm.Key, n int, bits uint32) (woken int) {
	steps := 0
	for w := b.head; w != nil; {
		w.t.p.k.turn(&steps)
		next := w.next
		if w.key == key && w.bits&bits != 0 {
			t := w.t
			b.unlink(w)
			w.woken.Store(1) // from here on w may be in use for another wait
			t.Wake()
			if woken++; woken >= n {
				break
			}
		}
		w = next
	}
	return woken
}

// futexHash spreads words, which are 4 bytes apart and often page aligned, by Fibonacci
// hashing. Shifting by 56 leaves as many bits as futexBuckets needs.
func futexHash(key vm.Key) int {
	return int((key.ID ^ key.Off>>2) * 0x9e3779b97f4a7c15 >> 56)
}

func (k *Kernel) futexBucket(key vm.Key) *futexBucket { return &k.futexes[futexHash(key)] }

// futexKey returns the key of the word at va. EFAULT; EINVAL if va is misaligned.
func (t *Thread) futexKey(va arch.VA, private bool) (vm.Key, error) {
	if private {
		return t.space.vs.PrivateFutexKey(va)
	}
	return t.space.vs.FutexKey(va)
}

// FutexWait sleeps if the word at va is val, until a wake-up with a bit of bits
// (FUTEX_WAIT, FUTEX_WAIT_BITSET). EAGAIN: the word is not val. ETIMEDOUT. ERESTARTSYS:
// interrupted; a caller whose deadline was made from a relative time replaces it by the
// result of SaveDeadline. EINVAL: bits is 0 or va is misaligned. EFAULT.
func (t *Thread) FutexWait(va arch.VA, val, bits uint32, deadline int64, private bool) error {
	if bits == 0 {
		return syscall.EINVAL
	}
	key, err := t.futexKey(va, private)
	if err != nil {
		return err
	}
	w := &t.futex
	b := t.p.k.futexBucket(key)
	// The word is read under the lock that a waker takes. So a thread that changes the word
	// and then wakes finds this thread queued, or this thread sees the change.
	for {
		b.mu.Lock()
		have, there := t.space.vs.TryReadUint32(va)
		if there && have == val {
			break
		}
		b.mu.Unlock()
		if there {
			return syscall.EAGAIN
		}
		if _, err := t.space.vs.ReadUint32(va); err != nil { // this may wait for a pager
			return err
		}
	}
	w.key, w.bits = key, bits
	w.woken.Store(0)
	b.push(w)
	b.mu.Unlock()

	if err = t.sleepOn(&w.woken, todoWake, deadline); err != nil && !w.cancel() {
		err = nil // woken at the last moment
		t.todo.And(^uint32(todoRestart))
	}
	return err
}

// cancel unlinks w and returns true, or returns false if a waker was faster. Only the
// waiting thread may call it.
func (w *futexWaiter) cancel() bool {
	for w.woken.Load() == 0 {
		b := w.bucket.Load()
		b.mu.Lock()
		if w.bucket.Load() != b { // a requeue has moved it meanwhile
			b.mu.Unlock()
			continue
		}
		queued := w.woken.Load() == 0
		if queued {
			b.unlink(w)
		}
		b.mu.Unlock()
		return queued
	}
	return false
}

// FutexWake wakes up to n waiters of the word at va (FUTEX_WAKE, FUTEX_WAKE_BITSET) and
// returns how many it woke. Like Linux it wakes one even if n is 0 or negative. EFAULT,
// EINVAL.
func (t *Thread) FutexWake(va arch.VA, n int, bits uint32, private bool) (int, error) {
	if bits == 0 {
		return 0, syscall.EINVAL
	}
	key, err := t.futexKey(va, private)
	if err != nil {
		return 0, err
	}
	b := t.p.k.futexBucket(key)
	b.mu.Lock()
	woken := b.wake(key, n, bits)
	b.mu.Unlock()
	return woken, nil
}

// lockTwo locks the buckets of two words, in order of address.
func (k *Kernel) lockTwo(a, b vm.Key) (x, y *futexBucket) {
	i, j := futexHash(a), futexHash(b)
	k.futexes[min(i, j)].mu.Lock()
	if i != j {
		k.futexes[max(i, j)].mu.Lock()
	}
	return &k.futexes[i], &k.futexes[j]
}

func unlockTwo(x, y *futexBucket) {
	x.mu.Unlock()
	if x != y {
		y.mu.Unlock()
	}
}

// FutexRequeue wakes up to wake waiters of va, and makes up to move others wait for va2
// instead (FUTEX_REQUEUE; FUTEX_CMP_REQUEUE if cmp is not nil). It returns how many it has
// woken and moved. EAGAIN: the word is not *cmp. EFAULT, EINVAL.
func (t *Thread) FutexRequeue(va arch.VA, wake, move int, va2 arch.VA, cmp *uint32, private bool) (woken, moved int, err error) {
	if wake < 0 || move < 0 {
		return 0, 0, syscall.EINVAL
	}
	from, err := t.futexKey(va, private)
	if err != nil {
		return 0, 0, err
	}
	to, err := t.futexKey(va2, private)
	if err != nil {
		return 0, 0, err
	}
	x, y := t.p.k.lockTwo(from, to)
	for cmp != nil {
		have, there := t.space.vs.TryReadUint32(va)
		if there && have == *cmp {
			break
		}
		unlockTwo(x, y)
		if there {
			return 0, 0, syscall.EAGAIN
		}
		if _, err := t.space.vs.ReadUint32(va); err != nil {
			return 0, 0, err
		}
		x, y = t.p.k.lockTwo(from, to)
	}
	defer unlockTwo(x, y)
	if wake > 0 { // with 0 it wakes none, unlike FUTEX_WAKE
		woken = x.wake(from, wake, FutexAny)
	}
	for w := x.head; w != nil && moved < move && from != to; {
		next := w.next
		if w.key == from {
			x.unlink(w)
			w.key = to
			y.push(w)
			moved++
		}
		w = next
	}
	return woken, moved, nil
}

// FutexWakeOp changes the word at va2 by an encoded operation. It wakes waiters of va, and
// also of va2 if the word's old value satisfies a comparison (FUTEX_WAKE_OP, futex(2)).
// ENOSYS: there is no such operation. EFAULT, EINVAL.
func (t *Thread) FutexWakeOp(va arch.VA, n int, va2 arch.VA, n2 int, op uint32, private bool) (int, error) {
	key, err := t.futexKey(va, private)
	if err != nil {
		return 0, err
	}
	key2, err := t.futexKey(va2, private)
	if err != nil {
		return 0, err
	}
	x, y := t.p.k.lockTwo(key, key2)
	old, there, err := t.futexModify(va2, op)
	for ; !there && err == nil; old, there, err = t.futexModify(va2, op) {
		unlockTwo(x, y)
		// Swapping 0 for 0 changes nothing, but faults in a writable page.
		if _, err := t.space.vs.CompareAndSwapUint32(va2, 0, 0); err != nil {
			return 0, err
		}
		x, y = t.p.k.lockTwo(key, key2)
	}
	defer unlockTwo(x, y)
	if err != nil {
		return 0, err
	}
	woken := x.wake(key, n, FutexAny)
	also, err := futexCompare(old, op)
	if also {
		woken += y.wake(key2, n2, FutexAny)
	}
	return woken, err
}

// signed12 returns the signed 12-bit field of op at bit shift.
func signed12(op uint32, shift uint) int32 { return int32(op<<(20-shift)) >> 20 }

// futexModify applies op to the word, atomically, and returns the old value. If the word's
// page must be faulted in first, there is false and nothing has been done.
func (t *Thread) futexModify(va arch.VA, op uint32) (old uint32, there bool, err error) {
	arg := uint32(signed12(op, 12))
	if op>>28&8 != 0 { // FUTEX_OP_OPARG_SHIFT
		arg = 1 << (arg & 31)
	}
	for {
		if old, there = t.space.vs.TryReadUint32(va); !there {
			return 0, false, nil
		}
		now := old
		switch op >> 28 & 7 {
		case 0:
			now = arg
		case 1:
			now += arg
		case 2:
			now |= arg
		case 3:
			now &^= arg
		case 4:
			now ^= arg
		default:
			return 0, false, syscall.ENOSYS
		}
		if done, there := t.space.vs.TryCompareAndSwapUint32(va, old, now); done || !there {
			return old, there, nil
		}
	}
}

// futexCompare makes op's comparison of the old value with its argument.
func futexCompare(old, op uint32) (bool, error) {
	a, b := int32(old), signed12(op, 0)
	switch op >> 24 & 15 {
	case 0:
		return a == b, nil
	case 1:
		return a != b, nil
	case 2:
		return a < b, nil
	case 3:
		return a <= b, nil
	case 4:
		return a > b, nil
	case 5:
		return a >= b, nil
	}
	return false, syscall.ENOSYS
}
