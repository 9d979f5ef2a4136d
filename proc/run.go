package proc

import (
	"math"
	"runtime"
	"syscall"

	"grim/arch"
)

// main runs the thread to its end, in a worker: user mode, trap, and again, until the thread
// is to end. A null system call passes through here in fewer than fifty
// instructions beside Run and the call itself; keep it so. bury: the caller is to bury
// the thread, which nothing stands on any more; else it is not the caller's any more.
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
			// User mode is left in time: at the end of the slice, or when the
			// runtime has a timer to run. Programming the timer is slow, so only
			// when it would come too late. One that comes too early costs an
			// interrupt, which arms it again; putting it off at every switch of
			// threads would cost more than that.
			if t.sliceEnd < k.cpus[0].armed.Load() {
				k.arm(t)
			}
			k.m.Run(t.U)
		}
		if t.U.Trap.Kind != arch.Syscall {
			t.trap()
			continue
		}
		// What a restart needs, before the result overwrites it.
		t.sysRet = t.U.Frame[arch.RetSlot]
		k.syscalls.Syscall(t)
	}
	return t.exit1()
}

// arm sets the machine's timer to the end of the slice or the first timer of the
// runtime, whichever comes first.
func (k *Kernel) arm(t *Thread) {
	c := &k.cpus[0]
	at := min(t.sliceEnd, c.nextTimer())
	c.armed.Store(at)
	k.m.SetTimer(at)
}

// TimerMoved says that this CPU's timer does not stand where the last thread
// left it, or does not any more where it should: the idle hook calls it after
// SetTimer, and who has started a timer of the runtime and does not wait for it.
// (A wait looks for itself.) Safe to call without a goroutine (g0): one store.
func (k *Kernel) TimerMoved() { k.thisCPU().armed.Store(math.MaxInt64) }

// trap handles what is not a system call.
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

// interrupt lets the machine handle what is pending, and yields if the thread is to give
// way.
func (t *Thread) interrupt() {
	if !t.p.k.several { // else runSeveral did it
		t.giveWay = t.dispatch()
	}
	if t.p.cpuWatch.Load() {
		t.usage.charge(&t.resumed, t.p.k.now())
		t.checkCPU()
	}
	if t.giveWay {
		t.usage.involuntary.Add(1)
		t.sliceOver()
	}
}

// dispatch lets the machine handle what is pending on this CPU. It reports whether the
// slice is over, or there is somebody to run now that there was not before. Those that
// waited already when this thread's turn came go on waiting.
func (t *Thread) dispatch() (giveWay bool) {
	k := t.p.k
	c := k.thisCPU()
	waiting := k.cfg.Woken()
	k.m.Dispatch()
	now := k.now()
	if now >= c.armed.Load() {
		c.armed.Store(math.MaxInt64) // a one-shot timer: it has fired
	}
	return now >= t.sliceEnd || c.nextTimer() <= now || k.cfg.Woken() > waiting
}

// Yield is sched_yield(2): every thread that is ready runs first. The thread may wait for
// a thread on another CPU, in a loop: Gosched hands over to the other CPUs of an emulator.
func (t *Thread) Yield() {
	t.usage.charge(&t.resumed, t.p.k.now())
	runtime.Gosched()
	t.resume()
}

// sliceOver is Yield at the end of a slice. The thread waits for nothing, so it does not
// hand over to other CPUs: see runtime.YieldAll.
func (t *Thread) sliceOver() {
	t.usage.charge(&t.resumed, t.p.k.now())
	yieldAll()
	t.resume()
}

// fault asks the vmspace for the page, or ends in a signal. It may block in a
// pager.
func (t *Thread) fault(va arch.VA, access arch.Prot) {
	t.usage.faults.Add(1)
	if t.rseq.at != 0 {
		t.todo.Or(todoRseq)
	}
	short := t.p.k.mem.Shortages()
	switch t.space.vs.Fault(va, access) {
	case nil:
	case syscall.ENOMEM:
		// There is no call to return it from. If memory can be had again, user code
		// tries once more.
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

// exceptionSignals are the signals of the kinds of traps that are the thread's own
// fault.
var exceptionSignals = map[arch.TrapKind]syscall.Signal{
	arch.Illegal:      syscall.SIGILL,
	arch.Protection:   syscall.SIGSEGV,
	arch.Alignment:    syscall.SIGBUS,
	arch.Arithmetic:   syscall.SIGFPE,
	arch.Breakpoint:   syscall.SIGTRAP,
	arch.MachineCheck: syscall.SIGBUS,
}

// exception turns a trap that is the thread's own fault into its signal.
func (t *Thread) exception(trap *arch.Trap) {
	s, ok := exceptionSignals[trap.Kind]
	if !ok {
		// A trap that the contract does not name is the machine layer's error,
		// but the thread cannot go on: end it, not the kernel.
		t.Force(&Siginfo{Signo: syscall.SIGKILL, Code: SI_KERNEL})
		return
	}
	code, addr := t.p.k.abi.Cause(t.U)
	if code == 0 {
		return
	}
	t.forceTrap(&Siginfo{Signo: s, Code: code, Addr: addr})
}

// forceTrap is Force for the signal of a trap, which the signal's frame then shows.
func (t *Thread) forceTrap(info *Siginfo) {
	t.faultCode, t.faultAddr = t.U.Trap.Code, t.U.Trap.Addr
	t.Force(info)
}
