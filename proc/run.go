package proc

import (
	"math"
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
	for {
		if t.todo.Load() != 0 && t.work() {
			break
		}
		if k.several {
			if !t.runSeveral() {
				continue
			}
		} else {
			t.pm.Activate()
			// The timer interrupt ends user mode at the end of the slice, or when the
			// runtime has a timer to run. Programming the timer is slow, so it is only done
			// if the interrupt would come too late. If it comes too early, that interrupt
			// arms the timer again; moving it at every switch of threads would cost more.
			if t.sliceEnd < k.cpus[0].armed.Load() {
				k.arm(t)
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

// arm sets the machine's timer to the end of the slice or to the first timer of the
// runtime, whichever comes first.
func (k *Kernel) arm(t *Thread) {
	c := &k.cpus[0]
	if k.cfg.Kicked() {
		t.sliceEnd = 0 // a real-time thread has become ready
	}
	at := min(t.sliceEnd, c.nextTimer())
	c.armed.Store(at)
	k.m.SetTimer(at)
}

// TimerMoved records that this CPU's timer may not be where the last thread set it, or may
// be too late now. The idle hook calls it after SetTimer, and so does code that starts a
// timer of the runtime and does not wait for it. (After a wait the timer is checked
// anyway.) It is one store, and safe to call without a goroutine (on g0).
func (k *Kernel) TimerMoved() { k.thisCPU().armed.Store(math.MaxInt64) }

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

// interrupt lets the machine handle pending interrupts, and yields if the thread must let
// others run.
func (t *Thread) interrupt() {
	if !t.p.k.several { // otherwise runSeveral has done it
		t.giveWay = t.dispatch()
	}
	if t.p.cpuWatch.Load() {
		t.charge(t.p.k.now())
		t.checkCPU()
	}
	if t.giveWay {
		t.usage.involuntary.Add(1)
		t.sliceOver()
	}
}

// dispatch lets the machine handle what is pending on this CPU. It reports whether the
// slice is over, or a goroutine has become ready that was not ready before. Goroutines that
// were ready when this thread's turn came go on waiting.
func (t *Thread) dispatch() (giveWay bool) {
	k := t.p.k
	c := k.thisCPU()
	waiting := k.cfg.Woken()
	k.m.Dispatch()
	now := k.now()
	// The interrupt may have been the timer's, which fires once. The time does not tell: a
	// timer that does not count at quite the clock's rate fires early. The machine ignores it
	// if the timer is set to the same time again.
	c.armed.Store(math.MaxInt64)
	return k.cfg.Kicked() || now >= t.sliceEnd || c.nextTimer() <= now || k.cfg.Woken() > waiting
}

// Yield is sched_yield(2): every thread that is ready runs first. The thread may be in a
// loop that waits for a thread on another CPU, so Gosched also lets the other CPUs of an
// emulator run.
func (t *Thread) Yield() {
	t.charge(t.p.k.now())
	runtime.Gosched()
	t.resume()
}

// sliceOver is Yield at the end of a slice. The thread does not wait for anything, so the
// other CPUs of an emulator need not run: see runtime.YieldAll.
func (t *Thread) sliceOver() {
	t.charge(t.p.k.now())
	yieldAll()
	t.resume()
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
