//go:build grim_overlay

package runtime

import (
	"internal/runtime/atomic"
	"runtime/goos"
	"unsafe"
)

// beforeIdle is called by the scheduler, which holds the P, when no goroutine is ready.
// With one CPU it sleeps, and the scheduler looks again afterwards: the M never parks, so
// timers, garbage collection and interrupts all wake it in the same way. With several CPUs
// the M parks: see grim_cpus.go.
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

// idleWaiter is the goroutine in WaitIdle, if g is not 0, with the conditions for which it
// waits. A g is never freed, so the collector need not see it here. The CPU that takes the
// goroutine sets g to 0. WaitIdle writes the other fields before it stores g.
var idleWaiter struct {
	g         uintptr
	allocated uint64
	quiet     int64
}

// WaitIdle blocks the calling goroutine until there is nothing else to do: no goroutine is
// ready, no timer of the runtime is due within quiet nanoseconds, and at least allocated
// bytes have been allocated since the last garbage collection (as far as the runtime has
// counted them: it counts spans). Only one goroutine may wait at a time. While it then
// runs, an interrupt has to wait until it blocks again.
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

// allocatedBytes returns how much has been allocated since the last collection.
func allocatedBytes() uint64 {
	if live, marked := gcController.heapLive.Load(), gcController.heapMarked; live > marked {
		return live - marked
	}
	return 0
}

// checkTimeouts would wake notes with a time limit. Here notes sleep on semaphores.
func checkTimeouts() {}

// maxIRQ bounds the interrupt lines for which goroutines can wait. GICv2 and v3 number
// shared interrupts up to 1019. No machine here uses lines above that, and IOAPICs have far
// fewer pins.
const maxIRQ = 1024

// States of an interrupt line. Any other value is the waiting g.
const (
	irqIdle    uintptr = 0
	irqPending uintptr = 1
)

// irqs has one word for each line. A g is never freed, so the collector need not see it
// here.
var irqs [maxIRQ]uintptr

// WaitIRQ blocks the calling goroutine until the line has been raised since the last
// WaitIRQ on it returned. Several interrupts before that count as one. Only one goroutine
// may wait on a line at a time.
func WaitIRQ(line int) {
	if uint(line) >= maxIRQ {
		panic(plainError("runtime.WaitIRQ: interrupt line out of range"))
	}
	p := &irqs[line]
	for !atomic.Casuintptr(p, irqPending, irqIdle) {
		if v := atomic.Loaduintptr(p); v != irqIdle && v != irqPending {
			panic(plainError("runtime.WaitIRQ: two goroutines wait on one interrupt line"))
		}
		// If the line is raised before the goroutine is parked, irqCommit finds it pending,
		// and the loop takes it.
		gopark(irqCommit, unsafe.Pointer(p), waitReasonIOWait, traceBlockNet, 1)
	}
}

// irqCommit publishes the parked goroutine as the line's waiter.
func irqCommit(gp *g, p unsafe.Pointer) bool {
	return atomic.Casuintptr((*uintptr)(p), irqIdle, uintptr(unsafe.Pointer(gp)))
}

// RaiseIRQ wakes the goroutine in WaitIRQ(line), or makes the next WaitIRQ return at once.
// The idle hook and ordinary goroutines may call it, but not fault handlers. It does not
// allocate or block. It ignores lines out of range.
func RaiseIRQ(line int) {
	if uint(line) >= maxIRQ {
		return
	}
	p := &irqs[line]
	v := atomic.Xchguintptr(p, irqPending)
	if v != irqIdle && v != irqPending {
		gp := (*g)(unsafe.Pointer(v))
		if mp := getg().m; mp.p == 0 {
			mp.raised.push(gp) // the CPU is idle, see wakeSelf
		} else {
			goready(gp, 1)
		}
	}
}

// NextTimer returns when the earliest timer of the runtime is due, in nanotime's units, or
// -1 if there is none. It is cheap: two loads.
//
//go:nosplit
func NextTimer() int64 {
	if w := getg().m.p.ptr().timers.wakeTime(); w != 0 {
		return w
	}
	return -1
}

// TimerWords returns the words in which the scheduler keeps when the earliest timer of a
// CPU is due, in nanotime's units: it is the earlier of the two words that are not 0. They
// must be read atomically. It is for code that needs the time at each turn and cannot
// afford a call.
func TimerWords(cpu int) *[2]int64 {
	// Safety: two atomic.Int64, one behind the other, are two words aligned for
	// atomic access. A P is never freed.
	return (*[2]int64)(unsafe.Pointer(&allp[cpu].timers.minWhenHeap))
}

// The two words of TimerWords are neighbours.
const _ = -(unsafe.Offsetof(timers{}.minWhenModified) ^ (unsafe.Offsetof(timers{}.minWhenHeap) + 8))
