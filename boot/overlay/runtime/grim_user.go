//go:build grim_overlay

package runtime

import (
	"internal/runtime/atomic"
	"internal/runtime/sys"
)

// User mode with several CPUs. For the scheduler it is like a system call of an ordinary Go
// program: the goroutine is in _Gsyscall, so that the collector may scan its stack, and its
// P may be taken. The thread continues to run user code in the meantime.
//
// The P stays with its M. It is taken only while the world is stopped, or briefly while a
// safe-point function runs on it (forEachP). When the world starts again, the P of an M
// that is still in user mode is given back at once (claimUser, backToUser), so that the CPU
// is not taken for idle. A thread that traps while its P is gone waits: rejoin.
//
// With one CPU nothing else runs while user code does, so these functions are not called.

// EnterUser records that the goroutine is about to enter user mode. It is called with
// preemption off (Pin), by the function that then enters user mode: its frame is the
// innermost that the collector scans until LeaveUser. Between EnterUser and LeaveUser the
// code must not grow the stack, block, allocate, or write a pointer to the heap. If
// EnterUser returns false, the scheduler wants the P, and the goroutine is in the same
// state as after LeaveUser: call Rejoin, look at Waits, and try again.
//
// EnterUser changes the status first and then reads the three requests. A CPU that stops
// the world, runs forEachP, or adds a goroutine to this P's queue (kick) stores its request
// first and then looks for goroutines in user mode. So at least one of the two sees the
// other (Dekker).
//
//go:nosplit
func EnterUser() bool {
	gp := getg()
	if sys.GetCallerSP()-gp.stack.lo < userRoom {
		makeRoom()
	}
	gp.syscallsp = sys.GetCallerSP()
	gp.syscallpc = sys.GetCallerPC()
	pp := gp.m.p.ptr()
	if !gp.atomicstatus.CompareAndSwap(_Grunning, _Gsyscall) {
		casgstatus(gp, _Grunning, _Gsyscall)
	}
	if sched.gcwaiting.Load() || atomic.Load(&pp.runSafePointFn) != 0 || atomic.Load(&pp.grim.kicked) != 0 {
		atomic.Store(&pp.grim.kicked, 0) // the caller looks at Waits
		LeaveUser()
		return false
	}
	return true
}

// userRoom is how much stack EnterUser leaves for the functions that its caller calls.
const userRoom = 2048

// makeRoom makes the goroutine's stack grow, if there is no room for its frame.
//
//go:noinline
func makeRoom() {
	var frame [userRoom]byte
	KeepAlive(&frame)
}

// LeaveUser records that user mode has been left. If it returns false, the M has lost its
// P: Rejoin must be called before anything allocates, blocks, or writes a pointer to the
// heap.
//
//go:nosplit
func LeaveUser() bool {
	gp := getg()
	if !gp.atomicstatus.CompareAndSwap(_Gsyscall, _Grunning) {
		casgstatus(gp, _Gsyscall, _Grunning) // waits for the CPU that scans its stack
	}
	gp.syscallsp = 0
	return gp.m.p != 0
}

// Pin keeps the goroutine on this CPU, and running, until Unpin. It must not block in
// between.
//
//go:nosplit
func Pin() { getg().m.locks++ }

//go:nosplit
func Unpin() { releasem(getg().m) }

// Rejoin is Unpin after an EnterUser or LeaveUser that has returned false. When it returns,
// the goroutine has a P, on this CPU or on another.
//
//go:nosplit
func Rejoin() {
	mp := getg().m
	mp.locks--
	mcall(rejoin)
}

// rejoin is Rejoin on the scheduler's stack.
func rejoin(gp *g) {
	mp := getg().m
	casgstatus(gp, _Grunning, _Grunnable)
	if mp.p == 0 {
		decGSyscallNoP(mp)
		lock(&sched.lock)
		if pp := allp[mp.cpu]; takeIdleP(pp) {
			unlock(&sched.lock)
			acquirep(pp)
		} else {
			// The world is stopped, or another CPU has just given the P to this M. In both
			// cases the P comes to this M in stopm.
			mp.rejoins = true
			unlock(&sched.lock)
			stopm()
			mp.rejoins = false
			if mp.spinning { // the P was given to look for work
				resetspinning()
			}
		}
		readyRaised(mp, mp.p.ptr())
	}
	dropg()
	pp := mp.p.ptr()
	if sched.gcwaiting.Load() || pp.runSafePointFn != 0 {
		requeue(pp, gp, readyWoken, true)
		schedule()
	}
	execute(gp, true)
}

// claimUser reports whether the M of pp is in user mode without a P. If so, the M gets pp
// back (backToUser), and cannot leave user mode before. The world must be stopped, and
// sched.lock held.
//
// The M must not have pp while gcwaiting is set. Its thread would believe that it has to
// stop, and do so when the world has started: nothing would start it again
// (model/stop.pml, BACK_BEFORE_START).
func claimUser(pp *p) bool {
	mp := mOf(pp)
	if mp == nil {
		return false
	}
	gp := mp.curg
	if gp == nil || readgstatus(gp) != _Gsyscall || !castogscanstatus(gp, _Gsyscall, _Gscansyscall) {
		return false
	}
	if gp.m != mp || mp.p != 0 {
		casfrom_Gscanstatus(gp, _Gscansyscall, _Gsyscall)
		return false
	}
	pp.mcache.prepareForSweep() // as acquirep does
	pp.grim.claimed = true
	return true
}

// backToUser gives each claimed P back to its M. gcwaiting must be clear, and sched.lock
// held.
func backToUser() {
	if !severalCPUs {
		return
	}
	for _, pp := range allp {
		if !pp.grim.claimed {
			continue
		}
		pp.grim.claimed = false
		mp := mOf(pp)
		pp.m.set(mp)
		mp.p.set(pp)
		atomic.Store(&pp.status, _Prunning)
		decGSyscallNoP(mp)
		casfrom_Gscanstatus(mp.curg, _Gscansyscall, _Gsyscall)
	}
}

// safePoint runs the safe-point function on the P of a thread in user mode.
func (s syscallingThread) safePoint() {
	if !atomic.Cas(&s.pp.runSafePointFn, 1, 0) {
		s.resume()
		return
	}
	sched.safePointFn(s.pp)
	s.resume()
	lock(&sched.lock)
	if sched.safePointWait--; sched.safePointWait == 0 {
		notewakeup(&sched.safePointNote)
	}
	unlock(&sched.lock)
}
