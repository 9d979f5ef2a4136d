package proc

import (
	"sync"
	"sync/atomic"
	"syscall"

	"grim/arch"
	"grim/mm/vm"
)

// futexBuckets is the size of the hash table of wait channels: a power of two,
// enough that unrelated words rarely share a lock.
const futexBuckets = 256

// FutexAny is the bit set that matches every waiter.
const FutexAny = ^uint32(0)

// futexWaiter is a thread's place in a bucket. A thread waits for one word at a
// time, so it is a part of Thread.
type futexWaiter struct {
	t     *Thread       // [I]
	woken atomic.Uint32 // set by who took it off
	// bucket is where it is queued, and whose mu guards the rest; requeue
	// changes it with both locked. nil: not queued.
	bucket     atomic.Pointer[futexBucket]
	key        vm.Key
	bits       uint32
	next, prev *futexWaiter
}

// futexBucket holds the waiters of all words that hash to it, first come first.
type futexBucket struct {
	mu         sync.Mutex
	head, tail *futexWaiter
}

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

func (b *futexBucket) remove(w *futexWaiter) {
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
	w.bucket.Store(nil)
}

// wake takes up to n waiters of key off and wakes them. Preconditions: b.mu held.
func (b *futexBucket) wake(key vm.Key, n int, bits uint32) (woken int) {
	for w := b.head; w != nil && woken < n; {
		next := w.next
		if w.key == key && w.bits&bits != 0 {
			t := w.t
			b.remove(w)
			w.woken.Store(1) // from here on w may be in use for another wait
			t.Wake()
			woken++
		}
		w = next
	}
	return woken
}

// futexHash spreads words, which are 4 bytes apart and often page aligned, by
// Fibonacci hashing; 56 leaves as many bits as futexBuckets needs.
func futexHash(key vm.Key) int {
	return int((key.ID ^ key.Off>>2) * 0x9e3779b97f4a7c15 >> 56)
}

func (k *Kernel) futexBucket(key vm.Key) *futexBucket { return &k.futexes[futexHash(key)] }

// futexKey names the word at va. EFAULT, EINVAL misaligned.
func (t *Thread) futexKey(va arch.VA, private bool) (vm.Key, error) {
	if private {
		return t.space.vs.PrivateFutexKey(va)
	}
	return t.space.vs.FutexKey(va)
}

// FutexWait sleeps if the word at va still is val, until a wake with a bit of
// bits (FUTEX_WAIT, FUTEX_WAIT_BITSET). EAGAIN it is not, ETIMEDOUT, ERESTARTSYS
// (a caller whose deadline came from a relative time exchanges it for
// SaveDeadline's), EINVAL no bits or misaligned, EFAULT.
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
	b.mu.Lock()
	// The word is read under the lock that a waker takes: who changes it and
	// then wakes finds us queued, or we see the change.
	have, err := t.space.vs.ReadUint32(va)
	if err == nil && have != val {
		err = syscall.EAGAIN
	}
	if err != nil {
		b.mu.Unlock()
		return err
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

// cancel takes w off its bucket; false if a waker was faster.
func (w *futexWaiter) cancel() bool {
	for {
		b := w.bucket.Load()
		if b == nil {
			return false
		}
		b.mu.Lock()
		if w.bucket.Load() == b { // not requeued meanwhile
			b.remove(w)
			b.mu.Unlock()
			return true
		}
		b.mu.Unlock()
	}
}

// FutexWake wakes up to n waiters of the word at va (FUTEX_WAKE,
// FUTEX_WAKE_BITSET) and returns how many. EFAULT, EINVAL.
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
	defer b.mu.Unlock()
	return b.wake(key, n, bits), nil
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

// FutexRequeue wakes up to wake waiters of va and makes up to move others wait
// for va2 instead (FUTEX_REQUEUE; FUTEX_CMP_REQUEUE with cmp). It returns how
// many it woke and moved. EAGAIN the word is not *cmp, EFAULT, EINVAL.
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
	defer unlockTwo(x, y)
	if cmp != nil {
		have, err := t.space.vs.ReadUint32(va)
		if err != nil {
			return 0, 0, err
		}
		if have != *cmp {
			return 0, 0, syscall.EAGAIN
		}
	}
	woken = x.wake(from, wake, FutexAny)
	for w := x.head; w != nil && moved < move && from != to; {
		next := w.next
		if w.key == from {
			x.remove(w)
			w.key = to
			y.push(w)
			moved++
		}
		w = next
	}
	return woken, moved, nil
}

// FutexWakeOp changes the word at va2 by an encoded operation, wakes waiters of
// va, and of va2 too if the word's old value compares (FUTEX_WAKE_OP, futex(2)).
// ENOSYS an operation that does not exist, EFAULT, EINVAL.
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
	defer unlockTwo(x, y)
	old, err := t.futexModify(va2, op)
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

// signed12 is the 12-bit signed field of op at a shift.
func signed12(op uint32, shift uint) int32 { return int32(op<<(20-shift)) >> 20 }

// futexModify applies op to the word, atomically, and returns the old value.
func (t *Thread) futexModify(va arch.VA, op uint32) (uint32, error) {
	arg := uint32(signed12(op, 12))
	if op>>28&8 != 0 { // FUTEX_OP_OPARG_SHIFT
		arg = 1 << (arg & 31)
	}
	for {
		old, err := t.space.vs.ReadUint32(va)
		if err != nil {
			return 0, err
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
			return 0, syscall.ENOSYS
		}
		if done, err := t.space.vs.CompareAndSwapUint32(va, old, now); done || err != nil {
			return old, err
		}
	}
}

// futexCompare is op's comparison of the old value with its argument.
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
