package proc

import (
	"sync"
	"syscall"

	"grim/arch"
)

// sigActions is a table of signal actions. The threads of a process share it; CLONE_SIGHAND
// shares it between processes.
type sigActions struct {
	mu   sync.Mutex
	uses int // processes
	// acts may be shared with other tables (cow). Then it is copied before the first
	// change: few processes ever change an action, and a table is 2 KB.
	acts *actTable
	cow  bool
}

type actTable [NumSignals]Sigaction

// defaultActs are the actions that processes start with. It never changes.
var defaultActs actTable

func newSigActions() *sigActions { return &sigActions{uses: 1, acts: &defaultActs, cow: true} }

// set changes an action. Preconditions: a.mu held.
func (a *sigActions) set(s syscall.Signal, act Sigaction) {
	if a.cow {
		own := *a.acts
		a.acts, a.cow = &own, false
	}
	a.acts[s-1] = act
}

func (a *sigActions) get(s syscall.Signal) Sigaction {
	a.mu.Lock()
	act := a.acts[s-1]
	a.mu.Unlock()
	return act
}

// fork copies the table to fresh, or shares it. It returns the child's table.
func (a *sigActions) fork(share bool, fresh *sigActions) *sigActions {
	a.mu.Lock()
	defer a.mu.Unlock()
	if share {
		a.uses++
		return a
	}
	a.cow = true
	fresh.uses, fresh.acts, fresh.cow = 1, a.acts, true
	return fresh
}

// alone reports whether no other process uses the table. Only a process that uses it can
// make another user, so a sole user may rely on the answer.
func (a *sigActions) alone() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.uses == 1
}

// reset gives caught signals their default action. Ignored signals stay ignored (execve(2),
// and CLONE_CLEAR_SIGHAND of clone3(2)).
func (a *sigActions) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.acts == &defaultActs {
		return
	}
	old := a.acts
	a.acts, a.cow = &defaultActs, true
	for i := range old {
		if old[i].Handler == SIG_IGN {
			a.set(syscall.Signal(i+1), Sigaction{Handler: SIG_IGN})
		}
	}
}

// drop ends one process's use of the table.
func (a *sigActions) drop() {
	a.mu.Lock()
	a.uses--
	a.mu.Unlock()
}

// ignores reports whether the action discards s.
func (act *Sigaction) ignores(s syscall.Signal) bool {
	return act.Handler == SIG_IGN || act.Handler == SIG_DFL && harmless.Has(s)
}

// kills reports whether the action ends the process. It must not be used for init, which
// default actions do not end.
func (act *Sigaction) kills(s syscall.Signal) bool {
	return act.Handler == SIG_DFL && !harmless.Has(s) && !stopSignals.Has(s)
}

// Sigaction is rt_sigaction(2): it returns the old action and, if act is not nil, sets a
// new one. EINVAL for a number that does not exist, or to change SIGKILL or SIGSTOP.
func (p *Process) Sigaction(s syscall.Signal, act *Sigaction) (Sigaction, error) {
	if s < 1 || s > NumSignals || act != nil && unblockable.Has(s) {
		return Sigaction{}, syscall.EINVAL
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acts.mu.Lock()
	defer p.acts.mu.Unlock()
	old := p.acts.acts[s-1]
	if act != nil {
		a := *act
		a.Mask &^= unblockable
		p.acts.set(s, a)
		if a.ignores(s) { // POSIX: a pending signal that is ignored now is discarded
			p.dropPendingLocked(SigBit(s))
		}
	}
	return old, nil
}

// ignoresChildren returns how p treats its children's ends. nowait: no thread will wait,
// because SIGCHLD is ignored explicitly or SA_NOCLDWAIT is set. silent: no SIGCHLD is sent
// either. moot: SIGCHLD would be discarded at once, as it is by default; building its
// siginfo in vain would cost 400 instructions for each exit.
func (p *Process) ignoresChildren() (nowait, silent, moot bool) {
	p.mu.Lock()
	if p.acts == nil {
		p.mu.Unlock()
		return false, true, true
	}
	p.acts.mu.Lock()
	act := &p.acts.acts[syscall.SIGCHLD-1]
	silent = act.Handler == SIG_IGN
	nowait = silent || act.Flags&SA_NOCLDWAIT != 0
	moot = p.discardsByLocked(act, syscall.SIGCHLD, nil)
	p.acts.mu.Unlock()
	p.mu.Unlock()
	return nowait, silent, moot
}

// SigMasks returns the signal sets for /proc/PID/status.
func (p *Process) SigMasks() (pending, blocked, ignored, caught Sigset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pending = p.pending.set
	p.eachLocked(func(t *Thread) bool {
		pending |= t.pending.set
		if t.TID() == p.pid {
			blocked = t.mask
		}
		return true
	})
	if p.acts == nil {
		return
	}
	p.acts.mu.Lock()
	defer p.acts.mu.Unlock()
	for i, a := range p.acts.acts {
		switch a.Handler {
		case SIG_IGN:
			ignored |= 1 << i
		case SIG_DFL:
		default:
			caught |= 1 << i
		}
	}
	return
}

// AltStack and SetAltStack are sigaltstack(2). Only the thread itself may call them.
func (t *Thread) AltStack() AltStack     { return t.altStack }
func (t *Thread) SetAltStack(s AltStack) { t.altStack = s }

// Holds reports whether a stack pointer lies on the stack. The stack pointer of an empty
// stack is its end, so the end counts as on the stack and the base does not. Base plus size
// may wrap, as sigaltstack(2) accepts any values.
func (a *AltStack) Holds(sp arch.VA) bool {
	return sp > a.SP && uint64(sp-a.SP) <= a.Size
}

// OnAltStack reports whether a thread with that stack pointer runs on its alternate stack.
// For a stack that a handler's start disables it is always false: then user code has set
// the stack while it was on it.
func (t *Thread) OnAltStack(sp arch.VA) bool {
	return t.altStack.Flags&SS_AUTODISARM == 0 && t.altStack.Holds(sp)
}
