package proc

import (
	"math"
	"runtime"
	"sync/atomic"
	"syscall"

	"grim/arch"
)

// main runs the thread to its end, in a worker: user mode, trap, and again, until the thread
// is to end. A null system call passes through here in fewer than fifty
// instructions beside Run and the call itself; keep it so.
func (t *Thread) main() {
	k := t.p.k
	t.resume()
	for {
		if t.todo.Load() != 0 && t.work() {
			break
		}
		t.pm.Activate()
		// User mode is left in time: at the end of the slice, or when the
		// runtime has a timer to run. Programming the timer is slow, so only
		// when it would come too late. One that comes too early costs an
		// interrupt, which arms it again; putting it off at every switch of
		// threads would cost more than that.
		if t.sliceEnd < k.armed.Load() {
			k.arm(t)
		}
		k.m.Run(t.U)
		if t.U.Trap.Kind != arch.Syscall {
			t.trap()
			continue
		}
		// What a restart needs, before the result overwrites it.
		t.sysRet = t.U.Frame[arch.RetSlot]
		k.syscalls.Syscall(t)
	}
	t.exit1()
}

// nextTimer is when the earliest timer of the runtime is due. As unsigned numbers,
// less one, "none" is the latest of all times.
func (k *Kernel) nextTimer() int64 {
	at := min(uint64(atomic.LoadInt64(&k.timers[0])-1), uint64(atomic.LoadInt64(&k.timers[1])-1))
	return int64(min(at, math.MaxInt64-1) + 1)
}

// arm sets the machine's timer to the end of the slice or the first timer of the
// runtime, whichever comes first.
func (k *Kernel) arm(t *Thread) {
	at := min(t.sliceEnd, k.nextTimer())
	k.armed.Store(at)
	k.m.SetTimer(at)
}

// TimerMoved says that the machine's timer does not stand where the last thread
// left it, or does not any more where it should: the idle hook calls it after
// SetTimer, and who has started a timer of the runtime and does not wait for it.
// (A wait looks for itself.) Safe to call without a goroutine (g0): one store.
func (k *Kernel) TimerMoved() { k.armed.Store(math.MaxInt64) }

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

// interrupt lets the machine handle what is pending, then yields if the slice is
// over, or if there is somebody to run now that there was not before. Those that
// waited already when this thread's turn came go on waiting.
func (t *Thread) interrupt() {
	k := t.p.k
	waiting := k.cfg.Woken()
	k.m.Dispatch()
	now := k.now()
	if now >= k.armed.Load() {
		k.armed.Store(math.MaxInt64) // a one-shot timer: it has fired
	}
	if now < t.sliceEnd && k.nextTimer() > now && k.cfg.Woken() <= waiting {
		return
	}
	t.usage.involuntary.Add(1)
	t.Yield()
}

// Yield is sched_yield(2): every thread that is ready runs first.
func (t *Thread) Yield() {
	t.usage.charge(&t.resumed, t.p.k.now())
	runtime.Gosched()
	t.resume()
}

// fault asks the vmspace for the page, or ends in a signal. It may block in a
// pager.
func (t *Thread) fault(va arch.VA, access arch.Prot) {
	t.usage.faults.Add(1)
	switch t.space.vs.Fault(va, access) {
	case nil:
	case syscall.ENOMEM:
		// Out of memory, and no call to return it from: the asking process ends.
		t.p.kill(SignalStatus(syscall.SIGKILL))
	case syscall.EACCES:
		t.Force(&Siginfo{Signo: syscall.SIGSEGV, Code: SEGV_ACCERR, Addr: va})
	case syscall.EIO:
		t.Force(&Siginfo{Signo: syscall.SIGBUS, Code: BUS_ADRERR, Addr: va})
	default:
		t.Force(&Siginfo{Signo: syscall.SIGSEGV, Code: SEGV_MAPERR, Addr: va})
	}
}

// vectorDivide is the amd64 vector of the integer divide error (#DE, Intel SDM
// volume 3, 6.3.1).
const vectorDivide = 0

// exception turns a trap that is the thread's own fault into its signal.
func (t *Thread) exception(trap *arch.Trap) {
	pc := arch.VA(t.U.Frame[t.p.k.abi.PC])
	info := &Siginfo{Addr: pc}
	switch trap.Kind {
	case arch.Illegal:
		info.Signo, info.Code = syscall.SIGILL, ILL_ILLOPC
	case arch.Protection:
		info.Signo, info.Code, info.Addr = syscall.SIGSEGV, SI_KERNEL, 0
	case arch.Alignment:
		info.Signo, info.Code, info.Addr = syscall.SIGBUS, BUS_ADRALN, trap.Addr
	case arch.Arithmetic:
		info.Signo, info.Code = syscall.SIGFPE, FPE_FLTINV
		// arm64 traps no integer divide.
		if t.p.k.abi.Name == "amd64" && uint8(trap.Code>>32) == vectorDivide {
			info.Code = FPE_INTDIV
		}
	case arch.Breakpoint:
		info.Signo, info.Code = syscall.SIGTRAP, TRAP_BRKPT
	case arch.MachineCheck:
		info.Signo, info.Code, info.Addr = syscall.SIGBUS, BUS_OBJERR, trap.Addr
	default:
		// A trap that the contract does not name is the machine layer's error,
		// but the thread cannot go on: end it, not the kernel.
		info.Signo, info.Code = syscall.SIGKILL, SI_KERNEL
	}
	t.Force(info)
}
