package proc

import (
	"math"
	"sync/atomic"

	"grim/arch"
)

// maxCPUs is how many CPUs there is room for, the same number as in package pmap.
const maxCPUs = 16

// cpu is what the process side keeps of one CPU: a cache line of its own.
type cpu struct {
	// armed is what the CPU's one-shot timer was last set to; math.MaxInt64 if disarmed
	// or expired, or if nobody knows.
	armed atomic.Int64

	timers *[2]int64 // [I] Config.Timers

	_ [48]byte
}

// nextTimer is when the earliest timer of the runtime on this CPU is due. As unsigned
// numbers, less one, "none" is the latest of all times.
func (c *cpu) nextTimer() int64 {
	at := min(uint64(atomic.LoadInt64(&c.timers[0])-1), uint64(atomic.LoadInt64(&c.timers[1])-1))
	return int64(min(at, math.MaxInt64-1) + 1)
}

// thisCPU is the record of the calling CPU. With several CPUs, a caller that must not be
// moved to another is pinned.
func (k *Kernel) thisCPU() *cpu {
	if !k.several {
		return &k.cpus[0]
	}
	return &k.cpus[k.m.CPU()]
}

// runSeveral runs user code until a trap, where there are several CPUs. If it returns
// false it did not, as something else came first: the caller looks at todo, and tries
// again.
//
// Another CPU that wants the thread sets a bit in todo, and then reads onCPU: Wake. This
// one stores onCPU first, and reads todo then. Both are atomic operations, which Go orders
// among each other, so at least one of the two sees the other's store (Dekker): either the thread sees
// the bit, or Wake sees the CPU, and its interrupt ends user mode at once.
//
// The thread stays pinned from Activate to the trap. From enterUser to leaveUser nothing
// may grow the stack, allocate, or store a pointer to the heap.
func (t *Thread) runSeveral() (trapped bool) {
	k := t.p.k
	pin()
	t.pm.Activate()
	n := k.m.CPU()
	t.onCPU.Store(int32(n) + 1)
	if t.todo.Load() != 0 {
		t.offCPU()
		unpin()
		return false
	}
	c := &k.cpus[n]
	if at := min(t.sliceEnd, c.nextTimer()); at < c.armed.Load() {
		c.armed.Store(at)
		k.m.SetTimer(at)
	}
	if !enterUser() {
		t.offCPU()
		rejoin()
		return false
	}
	k.m.Run(t.U)
	t.offCPU()
	stays := leaveUser()
	if t.U.Trap.Kind == arch.Interrupt {
		// On the CPU that has taken it. Without a P there is no queue to look at.
		if stays {
			t.giveWay = t.dispatch()
		} else {
			k.m.Dispatch()
			c.armed.Store(math.MaxInt64) // it may have been the timer
			t.giveWay = true
		}
	}
	if stays {
		unpin()
	} else {
		rejoin()
	}
	return true
}

// offCPU tells the other CPUs that user code of the thread runs no more.
func (t *Thread) offCPU() {
	t.p.k.cfg.Pmaps.LeaveUser()
	t.onCPU.Store(0)
}

// interruptUser makes the thread leave user mode soon, if it is in user mode on another
// CPU.
func (t *Thread) interruptUser() {
	if n := t.onCPU.Load(); n != 0 {
		pin() // to send an interrupt takes several steps with some controllers
		t.p.k.m.Interrupt(int(n) - 1)
		unpin()
	}
}
