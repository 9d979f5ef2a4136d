//go:build grim_overlay

package runtime

import (
	"internal/runtime/atomic"
	"unsafe"
)

// parkerSet is a Parker's word when a wake-up is waiting to be taken.
const parkerSet uintptr = 1

// Parker is a place for one goroutine to sleep: the scheduler's own two
// operations, without the lock, the queue and the pool of waiters that a channel
// puts in front of them, at half the price. The zero value is ready for use; it
// must not be copied once used.
//
// Its word is 0, parkerSet, or the sleeping g. A g is never freed, so the
// collector need not see it there.
type Parker struct{ word uintptr }

// Park sleeps until the next Unpark, or takes one that has come already. Only
// one goroutine may be in it.
func (p *Parker) Park() {
	if atomic.Casuintptr(&p.word, parkerSet, 0) {
		return
	}
	// If Unpark comes first, parkerCommit fails and the goroutine goes on.
	gopark(parkerCommit, unsafe.Pointer(p), waitReasonSyncCondWait, traceBlockCondWait, 1)
	// A second wake-up that is lost here came before the caller looks again.
	atomic.Storeuintptr(&p.word, 0)
}

// parkerCommit publishes the parked goroutine.
func parkerCommit(gp *g, word unsafe.Pointer) bool {
	return atomic.Casuintptr((*uintptr)(word), 0, uintptr(unsafe.Pointer(gp)))
}

// Unpark wakes the goroutine in Park, or makes the next Park return at once;
// several in a row count as one. It does not block or allocate.
func (p *Parker) Unpark() {
	old := atomic.Xchguintptr(&p.word, parkerSet)
	if old != 0 && old != parkerSet {
		goready((*g)(unsafe.Pointer(old)), 1)
	}
}
