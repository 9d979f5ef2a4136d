//go:build grim_overlay

package runtime

import (
	"internal/runtime/atomic"
	"unsafe"
)

// parkerSet is a Parker's word when a wake-up has not been taken yet.
const parkerSet uintptr = 1

// Parker is a place for one goroutine to sleep. It does what a channel does for one
// receiver, at a third of the cost: without a lock, a queue and a pool of waiters, and with
// a short path from the goroutine that goes to sleep to the next ready one. The zero value
// is ready for use. It must not be copied once used.
//
// Its word is 0, parkerSet, or the sleeping g. A g is never freed, so the
// collector need not see it there.
type Parker struct{ word uintptr }

// Park sleeps until the next Unpark, or takes an earlier Unpark. Only one goroutine may be
// in it.
func (p *Parker) Park() {
	if atomic.Casuintptr(&p.word, parkerSet, 0) {
		return
	}
	gp := getg()
	gp.waitreason = waitReasonSyncCondWait
	gp.m.waitlock = unsafe.Pointer(p)
	mcall(parkerSleep)
	// If a second wake-up is lost here, it came before the caller looks again. The
	// exchange, in place of a store, orders the caller's look after the waker's earlier
	// stores.
	atomic.Xchguintptr(&p.word, 0)
}

// parkerSleep is Park on the scheduler's stack. It does what the runtime's own park_m does,
// without the parts for the execution tracer, which this kernel lacks.
//
// The goroutine is published in the word after it has left its stack: from then on, Unpark
// may make another CPU run it. An Unpark since Park's look has left parkerSet, so the word
// must be compared: a plain store would lose that wake-up (model/idle.pml, PLAIN_STORE).
func parkerSleep(gp *g) {
	mp := gp.m
	p := (*Parker)(mp.waitlock)
	mp.waitlock = nil
	if !gp.atomicstatus.CompareAndSwap(_Grunning, _Gwaiting) {
		casgstatus(gp, _Grunning, _Gwaiting) // waits for the CPU that scans its stack
	}
	if severalCPUs {
		dropg()
	} else { // the same without a call, for 35 of thread_create_exit's 5 800 instructions
		setMNoWB(&gp.m, nil)
		setGNoWB(&mp.curg, nil)
	}
	if !atomic.Casuintptr(&p.word, 0, uintptr(unsafe.Pointer(gp))) {
		casgstatus(gp, _Gwaiting, _Grunnable)
		execute(gp, true)
	}
	if next := handOver(mp.p.ptr()); next != nil {
		execute(next, false)
	}
	schedule()
}

// handOver takes the goroutine that must run next, as the scheduler would if it looked at
// nothing else. It returns nil if there is none, or if the scheduler must look at something
// else: a timer that is due, for one. Regularly it returns nil anyway, so that the scheduler
// looks at its global queue.
func handOver(pp *p) *g {
	pp.grim.handOvers++
	if pp.grim.handOvers%32 == 0 || gcBlackenEnabled != 0 || sched.gcwaiting.Load() || pp.runSafePointFn != 0 {
		return nil
	}
	if at := pp.timers.wakeTime(); at != 0 && at <= nanotime() {
		return nil
	}
	return nextReady(pp)
}

// Unpark wakes the goroutine in Park, or makes the next Park return at once. Several in a
// row count as one. It does not block or allocate.
func (p *Parker) Unpark() {
	old := atomic.Xchguintptr(&p.word, parkerSet)
	if old == 0 || old == parkerSet {
		return
	}
	gp := (*g)(unsafe.Pointer(old))
	if !gp.atomicstatus.CompareAndSwap(_Gwaiting, _Grunnable) {
		casgstatus(gp, _Gwaiting, _Grunnable)
	}
	if severalCPUs || gp.grim != 0 {
		mp := acquirem() // stays on the P
		readyOn(mp.p.ptr(), gp, true)
		releasem(mp)
		return
	}
	own := &getg().m.p.ptr().grim
	own.ready[readyWoken].q.pushBack(gp)
	own.checkTimer()
}

// UnparkCut is Unpark for a goroutine that runs after those that are woken. The running one
// is not told to make room for it. The goroutine must not have a Place.
func (p *Parker) UnparkCut() {
	old := atomic.Xchguintptr(&p.word, parkerSet)
	if old == 0 || old == parkerSet {
		return
	}
	gp := (*g)(unsafe.Pointer(old))
	if !gp.atomicstatus.CompareAndSwap(_Gwaiting, _Grunnable) {
		casgstatus(gp, _Gwaiting, _Grunnable)
	}
	if severalCPUs {
		mp := acquirem() // stays on the P
		mp.p.ptr().grim.ready[readyCut].put(gp, false)
		wakep()
		releasem(mp)
		return
	}
	getg().m.p.ptr().grim.ready[readyCut].q.pushBack(gp)
}
