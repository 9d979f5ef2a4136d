package proc

import (
	"syscall"

	"grim/arch"
	"grim/mm/vm"
)

// Exec is execve(2). build fills a new, empty vmspace from the program and returns where it
// starts. Until build has succeeded nothing changes, and its error is Exec's (ENOEXEC,
// ENOMEM...). Then the process becomes single-threaded, with the caller as its leader, and
// the old memory is purged in this context if no other process uses it. On return the
// registers are the new program's, so the caller must not store a result. The program gets
// the credentials c; nil: it keeps the caller's. ERESTARTNOINTR: the process is ending.
func (t *Thread) Exec(name string, c *Cred, build func(vs *vm.VMSpace) (pc, sp arch.VA, err error)) error {
	p, k := t.p, t.p.k
	begin := k.now()
	p.mu.Lock()
	layout := p.layout
	p.mu.Unlock()
	short := k.mem.Shortages()
	fresh, pc, sp, err := t.newProgram(layout, build)
	for err == syscall.ENOMEM && t.outOfMemory(short) {
		short = k.mem.Shortages()
		fresh, pc, sp, err = t.newProgram(layout, build)
	}
	if err != nil {
		return err
	}
	if err := t.singleThread(); err != nil {
		fresh.discard()
		return err
	}
	// POINT OF NO RETURN: the other threads are gone. A failure below ends the process.

	t.releaseRobustFutexes() // marks in the old memory that other processes wait for
	t.clearChildTID()
	old := t.changeSpace(fresh, c)
	p.payFor(t.cred.UID) // the thread may have become the leader only now, after another thread had changed the user
	fresh.vs.PayFor(p.account.User())
	p.releaseVfork() // after the root has been left, because the parent runs on it
	old.discard()

	p.resetSignals(t)
	if err := t.ownFiles(); err != nil {
		p.kill(SignalStatus(syscall.SIGSEGV)) // as on Linux: no program is left to return an error to
		t.Interrupt()
		return ERESTARTNOINTR
	}
	t.SetName(name)
	k.treeMu.Lock()
	p.execed = true
	p.exitSignal = int(syscall.SIGCHLD) // execve(2)
	k.treeMu.Unlock()
	k.m.InitUser(t.U, pc, sp)
	t.todo.And(^uint32(todoRestart | todoMask))
	t.usage.system.Add(k.now() - begin)
	p.notify(NoteExec)
	return nil
}

// newProgram makes a space and lets build fill it.
func (t *Thread) newProgram(layout arch.Layout, build func(vs *vm.VMSpace) (pc, sp arch.VA, err error)) (s *space, pc, sp arch.VA, err error) {
	vs, err := vm.New(t.p.k.cfg.VM, layout, t.p.account.User())
	if err != nil {
		return nil, 0, 0, err
	}
	s = newSpace(vs)
	if pc, sp, err = build(vs); err != nil {
		s.discard()
		return nil, 0, 0, err
	}
	return s, pc, sp, nil
}

// singleThread ends all threads but the caller, waits until they are dead, and makes the
// caller the leader. It fails if the process ends or another thread execs: then the caller
// must end too.
func (t *Thread) singleThread() error {
	p := t.p
	p.mu.Lock()
	if p.State() != Live || p.execer != nil || t.Dying() {
		p.mu.Unlock()
		t.Interrupt()
		return ERESTARTNOINTR
	}
	p.execer = t
	steps := 0
	for o := p.threads; o != nil; o = o.next {
		p.k.turn(&steps)
		if o != t {
			o.todo.Or(todoExit)
			o.Wake()
		}
	}
	waited := false
	for p.live > 1 && p.State() == Live {
		p.mu.Unlock()
		if !waited {
			waited = true
			t.pause('D')
		}
		t.parker.sleep()
		p.mu.Lock()
	}
	p.execer = nil
	ending := p.State() != Live
	if !ending && t.TID() != p.pid {
		t.leadLocked()
	}
	p.mu.Unlock()
	if waited {
		t.resume()
	}
	if ending {
		t.Interrupt()
		return ERESTARTNOINTR
	}
	return nil
}

// leadLocked gives the only thread the process's number and frees the thread's own number.
// Preconditions: p.mu held, the leader is dead.
func (t *Thread) leadLocked() {
	pids := &t.p.k.pids
	pids.releaseThread(t.TID(), true)
	t.tid.Store(int32(t.p.pid))
	t.p.lead(t.cred)
	pids.setThread(t.p.pid, t)
}

// changeSpace moves the only thread of a process to another space, including the root, and
// gives it the credentials c; nil: it keeps its own. It returns the old space, with the
// process's reference and use.
func (t *Thread) changeSpace(s *space, c *Cred) (old *space) {
	p := t.p
	p.mu.Lock()
	// The credentials and the space change together: see Guard.
	p.SetDumpable(true)
	if c != nil && c != t.cred {
		t.setCredLocked(c)
	}
	peak := p.space.vs.PeakRSS()
	p.usage.MaxRSS = max(p.usage.MaxRSS, peak)
	old = p.space
	p.space = s
	s.setDomain(p.cred, p.pid, false)
	p.mu.Unlock()
	t.useSpace(s)
	// The new root is loaded when the thread next runs. Until then the CPU must not be on
	// the old root, which may be taken apart before.
	p.k.cfg.Pmaps.Deactivate()
	return old
}

// resetSignals does to signals what exec demands: caught signals get their default action,
// pending and blocked ones stay. The addresses that the thread has given to the kernel are
// dropped, as they were addresses in the old memory.
func (p *Process) resetSignals(t *Thread) {
	p.mu.Lock()
	if old := p.acts; !old.alone() {
		p.acts = old.fork(false, new(sigActions))
		old.drop()
	}
	p.acts.reset()
	timers := p.timers != nil
	p.mu.Unlock()
	if timers {
		p.stopTimers()
	}
	t.altStack = AltStack{}
	t.robust, t.clearTID = 0, 0
	t.rseq = rseqArea{}
}
