package proc

import (
	"math"
	"sync/atomic"

	"grim/arch"
)

// maxCPUs is the largest number of CPUs. It is the same as in package pmap.
const maxCPUs = 16

// cpu is this package's record of one CPU. It has a cache line of its own.
type cpu struct {
	// armed is the same as set, or math.MaxInt64 if the next entry to user mode must check
	// whether the timer is set to the right time (Thread.arm). The scheduler changes both:
	// Config.TimerWords.
	armed atomic.Int64
	// set is the time to which the CPU's one-shot timer was last set. It is math.MaxInt64 if
	// the timer is disarmed, has expired, or its state is not known.
	set atomic.Int64

	timers *[2]int64 // [I] Config.Timers

	// skew is how much later a slice ends on this CPU than on the first one. [I]
	// CPUs that began a slice at the same time would otherwise end it at the same time again
	// and again, and meet at the same locks (Linux has skew_tick for that). An emulator that
	// runs the CPUs in turn, and goes on to the next one when a timer is set, would even
	// starve one of them: its slices would be over before their first instruction.
	skew int64

	// busy is how long user threads have used the CPU, in nanoseconds. It is kept only with
	// several CPUs. The time of a thread is added to the CPU that it is on at the end.
	busy atomic.Int64

	_ [32]byte
}

// nextTimer returns when the earliest timer of the runtime on this CPU is due. 0 means
// none; less one, as an unsigned number, it is the latest of all times.
//
// Another CPU may be at work on these timers. It stores the earlier of the two times in the
// first word before it clears the second (timers.adjust in package runtime). So the second
// word is read first: if it is clear already, the first has the time.
func (c *cpu) nextTimer() int64 {
	modified := atomic.LoadInt64(&c.timers[1])
	heap := atomic.LoadInt64(&c.timers[0])
	at := min(uint64(modified-1), uint64(heap-1))
	return int64(min(at, math.MaxInt64-1) + 1)
}

// timerUnknown records that the timer may not be where it was last set.
func (c *cpu) timerUnknown() {
	c.set.Store(math.MaxInt64)
	c.armed.Store(math.MaxInt64)
}

// thisCPU returns the record of the calling CPU. With several CPUs, a caller that must not
// move to another CPU is pinned.
func (k *Kernel) thisCPU() *cpu {
	if !k.several {
		return &k.cpus[0]
	}
	return &k.cpus[k.m.CPU()]
}

// runSeveral runs user code until a trap, on machines with several CPUs. If it returns
// false it has not run any, because the thread has something else to do: the caller looks
// at todo and tries again.
//
// Another CPU that wants the thread's attention sets a bit in todo and then reads onCPU
// (Wake). This CPU first stores onCPU and then reads todo. These are atomic operations,
// which Go orders among each other, so at least one of the two CPUs sees the other's store
// (Dekker). Either the thread sees the bit, or Wake sees the CPU, and its interrupt ends
// user mode at once.
//
// The thread stays pinned from Activate to the trap. Between enterUser and leaveUser
// nothing may grow the stack, allocate, or store a pointer to the heap.
func (t *Thread) runSeveral() (trapped bool) {
	k := t.p.k
	pin()
	t.pm.Activate()
	n := k.m.CPU()
	if t.rseq.at != 0 && t.rseq.cpu != n {
		t.todo.Or(todoRseq)
	}
	t.onCPU.Store(int32(n) + 1)
	if t.todo.Load() != 0 {
		t.offCPU()
		unpin()
		return false
	}
	c := &k.cpus[n]
	if t.sliceEnd+c.skew < c.armed.Load() && t.arm(c) {
		t.offCPU()
		unpin()
		t.giveWay()
		return false
	}
	if !enterUser() {
		c.timerUnknown() // another CPU may have changed what this one must look at
		t.offCPU()
		t.charge(k.now())
		rejoin() // others run first, and the thread's turn begins afterwards
		t.resume()
		return false
	}
	k.m.Run(t.U)
	t.offCPU()
	stays := leaveUser()
	if t.rseq.at != 0 && (t.U.Trap.Kind == arch.Interrupt || !stays) {
		t.todo.Or(todoRseq)
	}
	if t.U.Trap.Kind == arch.Interrupt {
		// Here, because Dispatch must run on the CPU that took the interrupt.
		k.dispatch(c)
	}
	if stays {
		unpin()
	} else {
		rejoin()
	}
	return true
}

// offCPU records that user code of the thread no longer runs on this CPU.
func (t *Thread) offCPU() {
	t.p.k.cfg.Pmaps.LeaveUser()
	t.onCPU.Store(0)
}

// interruptUser makes the thread leave user mode soon, if it is in user mode on another
// CPU.
func (t *Thread) interruptUser() {
	if n := t.onCPU.Load(); n != 0 {
		pin() // with some controllers, sending an interrupt takes several steps
		t.p.k.m.Interrupt(int(n) - 1)
		unpin()
	}
}
