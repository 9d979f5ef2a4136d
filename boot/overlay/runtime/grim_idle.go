//go:build grim_overlay

package runtime

import (
	"internal/runtime/atomic"
	"runtime/goos"
	"unsafe"
)

// beforeIdle is called by the scheduler, which holds the P, when no goroutine
// is ready. With one CPU it sleeps and has the scheduler look again: the M never
// parks, so timers, garbage collection and interrupts all wake it the same
// way. With several the M parks: see grim_cpus.go.
func beforeIdle(now, pollUntil int64) (gp *g, otherReady bool) {
	if w := &idleWaiter; atomic.Loaduintptr(&w.g) != 0 && allocatedBytes() >= w.allocated &&
		(pollUntil == 0 || pollUntil-nanotime() >= w.quiet) {
		if g := atomic.Xchguintptr(&w.g, 0); g != 0 {
			return guintptr(g).ptr(), false
		}
	}
	if severalCPUs {
		return nil, false
	}
	if goos.Idle != nil {
		until := pollUntil
		if until == 0 {
			until = -1
		}
		goos.Idle(until)
	}
	return nil, true
}

// idleWaiter is the goroutine in WaitIdle, if g is not 0, and what it waits for. A g
// is never freed, so the collector need not see it here. The CPU that takes the
// goroutine makes g 0; WaitIdle writes the other fields before it stores g.
var idleWaiter struct {
	g         uintptr
	allocated uint64
	quiet     int64
}

// WaitIdle blocks the calling goroutine until there is nothing else to do: no
// goroutine is ready, no timer of the runtime's is due within quiet nanoseconds, and
// at least allocated bytes have been taken from the heap since the last garbage
// collection (as far as the runtime has counted them: it counts spans). One goroutine
// may wait at a time. An interrupt that comes while it runs then is seen when it
// blocks again.
func WaitIdle(allocated uint64, quiet int64) {
	w := &idleWaiter
	if atomic.Loaduintptr(&w.g) != 0 {
		panic(plainError("runtime.WaitIdle: two goroutines"))
	}
	w.allocated, w.quiet = allocated, quiet
	gopark(idleCommit, nil, waitReasonGCScavengeWait, traceBlockGeneric, 1)
}

// idleCommit publishes the parked goroutine.
func idleCommit(gp *g, _ unsafe.Pointer) bool {
	atomic.Storeuintptr(&idleWaiter.g, uintptr(unsafe.Pointer(gp)))
	return true
}

// allocatedBytes is what has been allocated since the last collection.
func allocatedBytes() uint64 {
	if live, marked := gcController.heapLive.Load(), gcController.heapMarked; live > marked {
		return live - marked
	}
	return 0
}

// checkTimeouts would wake notes with a time limit; ours sleep on semaphores.
func checkTimeouts() {}

// maxIRQ bounds the interrupt lines that goroutines can wait for. GICv2 and v3
// number shared interrupts up to 1019; lines above are not used by any machine
// here, and IOAPIC pins are far fewer.
const maxIRQ = 1024

// States of an interrupt line; any other value is the g that waits.
const (
	irqIdle    uintptr = 0
	irqPending uintptr = 1
)

// irqs holds one word a line. A g is never freed, so the collector need not
// see it here.
var irqs [maxIRQ]uintptr

// WaitIRQ blocks the calling goroutine until the line has been raised since
// the last WaitIRQ on it returned. Interrupts that come faster coalesce. One
// goroutine may wait on a line at a time.
func WaitIRQ(line int) {
	if uint(line) >= maxIRQ {
		panic(plainError("runtime.WaitIRQ: interrupt line out of range"))
	}
	p := &irqs[line]
	for !atomic.Casuintptr(p, irqPending, irqIdle) {
		if v := atomic.Loaduintptr(p); v != irqIdle && v != irqPending {
			panic(plainError("runtime.WaitIRQ: two goroutines wait on one interrupt line"))
		}
		// If the line is raised before the goroutine is parked, irqCommit
		// finds it pending and the loop takes it.
		gopark(irqCommit, unsafe.Pointer(p), waitReasonIOWait, traceBlockNet, 1)
	}
}

// irqCommit publishes the parked goroutine as the line's waiter.
func irqCommit(gp *g, p unsafe.Pointer) bool {
	return atomic.Casuintptr((*uintptr)(p), irqIdle, uintptr(unsafe.Pointer(gp)))
}

// RaiseIRQ wakes the goroutine in WaitIRQ(line), or makes the next WaitIRQ
// return at once. It may be called from the idle hook and from ordinary
// goroutines, but not from a fault handler. It does not allocate or block.
// Lines out of range are ignored.
func RaiseIRQ(line int) {
	if uint(line) >= maxIRQ {
		return
	}
	p := &irqs[line]
	v := atomic.Xchguintptr(p, irqPending)
	if v != irqIdle && v != irqPending {
		gp := (*g)(unsafe.Pointer(v))
		if mp := getg().m; mp.p == 0 {
			mp.raised.push(gp) // an idle CPU, see wakeSelf
		} else {
			goready(gp, 1)
		}
	}
}

// NextTimer returns when the earliest timer of the runtime is due, in
// nanotime's terms, or -1 if there is none. Cheap: two loads.
//
//go:nosplit
func NextTimer() int64 {
	if w := getg().m.p.ptr().timers.wakeTime(); w != 0 {
		return w
	}
	return -1
}

// TimerWords returns where the scheduler keeps when the earliest timer of a CPU is due, in
// nanotime's terms: the earlier of the two words that are not 0. They are to be
// read atomically. For who must know at each turn and cannot afford a call.
func TimerWords(cpu int) *[2]int64 {
	// Safety: two atomic.Int64, one behind the other, are two words aligned for
	// atomic access. A P is never freed.
	return (*[2]int64)(unsafe.Pointer(&allp[cpu].timers.minWhenHeap))
}

// The two words of TimerWords are neighbours.
const _ = -(unsafe.Offsetof(timers{}.minWhenModified) ^ (unsafe.Offsetof(timers{}.minWhenHeap) + 8))
