package proc

import (
	"syscall"

	"grim/arch"
)

// work does what todo asks for before the thread enters user mode, and reports whether the
// thread must end. It blocks while the process is stopped.
func (t *Thread) work() (exit bool) {
	for {
		todo := t.todo.Load()
		switch {
		case todo&todoExit != 0:
			return true
		case todo&todoStop != 0:
			t.stopHere()
		case todo&todoSignal != 0:
			t.deliver()
		default:
			if todo&todoRestart != 0 {
				t.todo.And(^uint32(todoRestart))
				t.restart(nil)
			}
			if todo&todoMask != 0 {
				t.todo.And(^uint32(todoMask))
				t.SetMask(t.oldMask)
			}
			if todo&todoRseq != 0 { // after a restart, which changes the program counter
				t.todo.And(^uint32(todoRseq))
				if t.rseq.at != 0 && t.fixRseq() != nil {
					t.Force(&Siginfo{Signo: syscall.SIGSEGV, Code: SI_KERNEL})
				}
			}
			if todo&todoSched != 0 {
				t.obeySched()
			}
			if t.todo.Load() == 0 {
				return false
			}
		}
	}
}

// deliver takes one deliverable signal and performs its action. If there is none it clears
// todoSignal.
func (t *Thread) deliver() {
	p := t.p
	p.mu.Lock()
	info, ok := t.takeLocked(^t.mask)
	if !ok {
		t.todo.And(^uint32(todoSignal))
		p.mu.Unlock()
		return
	}
	act := p.takeActionLocked(info.Signo)
	conts := p.stop.conts
	p.mu.Unlock() // writing a frame to user memory may block
	switch {
	case act.Handler != SIG_DFL && act.Handler != SIG_IGN:
		t.push(&info, &act)
	case act.ignores(info.Signo):
	case stopSignals.Has(info.Signo):
		p.stopAll(info.Signo, conts)
	case p.isInit() && !synchronous.Has(info.Signo):
	default:
		p.kill(SignalStatus(info.Signo))
	}
}

// takeActionLocked returns the action for a signal that is about to be delivered. It resets
// the handler of a one-shot action; flags and mask stay, as on Linux. Preconditions: p.mu
// held.
func (p *Process) takeActionLocked(s syscall.Signal) Sigaction {
	a := p.acts
	a.mu.Lock()
	defer a.mu.Unlock()
	act := a.acts[s-1]
	if act.Flags&SA_RESETHAND != 0 && act.Handler != SIG_IGN && act.Handler != SIG_DFL {
		used := act
		used.Handler = SIG_DFL
		a.set(s, used)
	}
	return act
}

// push enters a handler. If the frame cannot be built the thread gets SIGSEGV, which ends
// the process unless it is caught and its frame can be built.
func (t *Thread) push(info *Siginfo, act *Sigaction) {
	if t.todo.Load()&todoRestart != 0 {
		t.todo.And(^uint32(todoRestart))
		t.restart(act)
	}
	old := t.mask
	if t.todo.Load()&todoMask != 0 {
		t.todo.And(^uint32(todoMask))
		old = t.oldMask
	}
	var err error
	if t.rseq.at != 0 { // so that the frame has the abort address
		err = t.fixRseq()
	}
	if err == nil {
		err = syscall.EFAULT
		if abi := t.p.k.cfg.Signals; abi != nil {
			mem := t.p.k.mem
			short := mem.Shortages()
			err = abi.Push(t, info, act, old)
			// As for a page fault: the page for the stack can be had after another process
			// has given up memory.
			for err == syscall.ENOMEM && t.outOfMemory(short) {
				short = mem.Shortages()
				err = abi.Push(t, info, act, old)
			}
		}
	}
	if err != nil {
		if info.Signo == syscall.SIGSEGV {
			t.p.kill(SignalStatus(syscall.SIGSEGV))
		} else {
			t.Force(&Siginfo{Signo: syscall.SIGSEGV, Code: SI_KERNEL})
		}
		return
	}
	mask := t.mask | act.Mask
	if act.Flags&SA_NODEFER == 0 {
		mask |= SigBit(info.Signo)
	}
	t.SetMask(mask)
}

// restart finishes a system call that was cut short. If its result is one of the ERESTART
// errors, the call starts again or its result becomes EINTR. act is the action whose
// handler runs next, or nil if none does.
func (t *Thread) restart(act *Sigaction) {
	abi := t.p.k.abi
	f := &t.U.Frame
	again := act == nil
	switch e := syscall.Errno(-int64(f[arch.RetSlot])); e {
	case ERESTARTSYS:
		again = again || act.Flags&SA_RESTART != 0
	case ERESTARTNOINTR:
		again = true
	case ERESTARTNOHAND:
	case ERESTART_RESTARTBLOCK:
		t.resuming = again
	default:
		return // it is a result
	}
	if !again {
		e := syscall.EINTR
		f[arch.RetSlot] = -uint64(e) // as every errno is returned
		return
	}
	// The instruction takes the call's number, or argument 0, from the register that got
	// the result: RAX or X0.
	f[arch.RetSlot] = t.sysRet
	f[abi.PC] -= abi.SyscallBytes
}
