package proc

import (
	"runtime"
	"syscall"

	"grim/arch"
)

// main is the thread's loop: run user code, handle the trap, repeat until the thread must
// end. A worker calls it. For a null system call there are fewer than fifty instructions
// beside Run and the call itself; keep it so. If bury is true the caller must bury the
// thread, which nothing uses any more. Otherwise the thread no longer belongs to the
// caller.
func (t *Thread) main() (bury bool) {
	k := t.p.k
	k.starting.Add(-1)
	t.resume()
	t.share = 0
	for {
		// Conditions are nested, and not joined by &&, for 4 instructions less each.
		if t.todo.Load() != 0 {
			if t.work() {
				break
			}
		}
		if k.several {
			if !t.runSeveral() {
				continue
			}
		} else {
			t.pm.Activate()
			// The timer interrupt ends user mode at the end of the turn, or when the
			// runtime has a timer to run. Programming the timer is slow, so it is only done
			// if the interrupt would come too late. If it comes too early, that interrupt
			// arms the timer again; moving it at every switch of threads would cost more.
			if t.sliceEnd < k.cpus[0].armed.Load() {
				if t.arm(&k.cpus[0]) {
					t.giveWay()
					continue
				}
			}
			k.m.Run(t.U)
		}
		if t.U.Trap.Kind != arch.Syscall {
			t.trap()
			continue
		}
		// The restart of a call needs this value, which the result overwrites.
		t.sysRet = t.U.Frame[arch.RetSlot]
		k.syscalls.Syscall(t)
	}
	if t.place {
		t.setPlace(Sched{})
	}
	return t.exit1()
}

// How long a thread has the CPU at least while others are ready, in nanoseconds. A switch of
// threads takes 1 to 2 us.
const (
	// share is for a thread that was woken, if another is. So a woken thread waits that long
	// for each of those before it. A thread that has given way and goes on has a third of
	// the time that it has waited, up to share: whatever is woken, it gets a quarter of the
	// CPU, but a short request that is made seldom does not wait for it. A new thread gives
	// way at once.
	//
	// It is also for a thread that has used up a slice, if another has not.
	share = 25_000
	// longShare is for a thread that has not used up a slice, if only others wait that have
	// already run.
	longShare = 4 * share
)

// Waiting says what is ready on a CPU: bits.
type Waiting int

const (
	WaitsUrgent Waiting = 1 << iota // a real-time thread that goes before the running one
	WaitsWoken                      // a thread that was woken or started
	WaitsCut                        // one that has given way before its slice was over
	WaitsLast                       // one that has used up a slice
)

// turnEnd returns when the thread must give way to the threads that are ready, if its slice
// ends at sliceEnd.
func (t *Thread) turnEnd(ready Waiting, sliceEnd int64) int64 {
	switch {
	case ready == 0:
	case ready&WaitsUrgent != 0:
		return 0
	case t.realTime:
	case ready&WaitsWoken != 0:
		return min(sliceEnd, t.turn+t.share)
	case ready&WaitsCut != 0 && t.computes:
		return min(sliceEnd, t.turn+share)
	case !t.computes:
		return min(sliceEnd, t.turn+longShare)
	}
	return sliceEnd
}

// arm sets the timer of c, which is this CPU, to the end of the thread's turn. A timer of
// the runtime that is due ends the turn too, if the thread has had its share. arm reports
// whether the turn is over already.
func (t *Thread) arm(c *cpu) (over bool) {
	k := t.p.k
	set := c.set.Load()
	if set <= t.turn+t.share && !t.realTime {
		c.armed.Store(set) // early enough, whatever is ready
		return false
	}
	at := t.turnEnd(k.cfg.Waits(), t.sliceEnd+c.skew)
	next := c.nextTimer()
	if !t.realTime {
		next = max(next, t.turn+t.share)
	}
	if at = min(at, next); at <= k.now() {
		return true
	}
	if at < set {
		set = at
		c.set.Store(at)
		k.m.SetTimer(at)
	}
	c.armed.Store(set)
	return false
}

// TimerMoved records that this CPU's timer may not be where the last thread set it. The idle
// hook calls it after SetTimer. It is safe to call without a goroutine (on g0).
func (k *Kernel) TimerMoved() { k.thisCPU().timerUnknown() }

// trap handles a trap that is not a system call.
func (t *Thread) trap() {
	trap := &t.U.Trap
	switch trap.Kind {
	case arch.PageFault:
		t.fault(trap.Addr, trap.Access())
	case arch.Interrupt:
		t.interrupt()
	default:
		t.exception(trap)
	}
}

// interrupt lets the machine handle pending interrupts. Whether the thread must let others
// run is decided before it enters user mode again: arm.
func (t *Thread) interrupt() {
	k := t.p.k
	if !k.several { // otherwise runSeveral has done it
		k.dispatch(&k.cpus[0])
	}
	if t.p.cpuWatch.Load() {
		t.charge(k.now())
		t.checkCPU()
	}
}

// dispatch lets the machine handle what is pending on c, which is this CPU.
func (k *Kernel) dispatch(c *cpu) {
	k.m.Dispatch()
	// The interrupt may have been the timer's, which fires once. The time does not tell: a
	// timer that does not count at quite the clock's rate fires early. The machine ignores it
	// if the timer is set to the same time again.
	c.timerUnknown()
}

// Yield is sched_yield(2): every thread that is ready runs first. The thread may be in a
// loop that waits for a thread on another CPU, so Gosched also lets the other CPUs of an
// emulator run.
func (t *Thread) Yield() {
	t.charge(t.p.k.now())
	runtime.Gosched()
	t.resume()
}

// giveWay lets others run when the thread's turn is over. At the end of its slice it begins
// a new one behind all others. Before that it makes room for those that were woken, and
// continues with the rest of its slice. A thread that has used up a slice computes: until it
// sleeps, it runs after those that do not. The thread does not wait for anything, so the
// other CPUs of an emulator need not run: see runtime.YieldAll.
func (t *Thread) giveWay() {
	t.usage.involuntary.Add(1)
	now := t.p.k.now()
	t.charge(now)
	left := t.sliceEnd - now
	if left <= 0 {
		t.computes = true
		yieldAll()
		t.resume()
	} else {
		giveWay(t.computes)
		t.resume()
		t.sliceEnd = t.resumed + left
	}
	t.share = min(share, (t.resumed-now)/3)
}

// fault gets the page from the vmspace, or sends a signal. It may block in a pager.
func (t *Thread) fault(va arch.VA, access arch.Prot) {
	t.usage.faults.Add(1)
	if t.rseq.at != 0 {
		t.todo.Or(todoRseq)
	}
	short := t.p.k.mem.Shortages()
	switch t.space.vs.Fault(va, access) {
	case nil:
	case syscall.ENOMEM:
		// There is no call to return it from. If memory can be had again, user code repeats
		// the access.
		if !t.outOfMemory(short) {
			t.p.kill(SignalStatus(syscall.SIGKILL))
		}
	case syscall.EACCES:
		t.forceTrap(&Siginfo{Signo: syscall.SIGSEGV, Code: SEGV_ACCERR, Addr: va})
	case syscall.EIO:
		t.forceTrap(&Siginfo{Signo: syscall.SIGBUS, Code: BUS_ADRERR, Addr: va})
	default:
		t.forceTrap(&Siginfo{Signo: syscall.SIGSEGV, Code: SEGV_MAPERR, Addr: va})
	}
}

// exceptionSignals are the signals for the kinds of traps that the thread itself causes.
var exceptionSignals = map[arch.TrapKind]syscall.Signal{
	arch.Illegal:      syscall.SIGILL,
	arch.Protection:   syscall.SIGSEGV,
	arch.Alignment:    syscall.SIGBUS,
	arch.Arithmetic:   syscall.SIGFPE,
	arch.Breakpoint:   syscall.SIGTRAP,
	arch.MachineCheck: syscall.SIGBUS,
}

// exception sends the signal for a trap that the thread itself has caused.
func (t *Thread) exception(trap *arch.Trap) {
	s, ok := exceptionSignals[trap.Kind]
	if !ok {
		// A trap that the contract does not name is an error of the machine layer. The
		// thread cannot go on, so it is ended, but not the kernel.
		t.Force(&Siginfo{Signo: syscall.SIGKILL, Code: SI_KERNEL})
		return
	}
	code, addr := t.p.k.abi.Cause(t.U)
	if code == 0 {
		return
	}
	t.forceTrap(&Siginfo{Signo: s, Code: code, Addr: addr})
}

// forceTrap is Force for the signal of a trap. The signal's frame will show the trap.
func (t *Thread) forceTrap(info *Siginfo) {
	t.faultCode, t.faultAddr = t.U.Trap.Code, t.U.Trap.Addr
	t.Force(info)
}
