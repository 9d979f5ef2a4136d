package proc

import (
	"syscall"
	"time"

	"grim/proc/exit"
)

// Options of wait4(2) and waitid(2).
const (
	WNOHANG    = 0x1
	WUNTRACED  = 0x2 // WSTOPPED
	WEXITED    = 0x4
	WCONTINUED = 0x8
	WNOWAIT    = 0x01000000
	WNOTHREAD  = 0x20000000
	WALL       = 0x40000000
	WCLONE     = 0x80000000
)

// IDType says what the id of Waitid means (waitid(2)).
type IDType int

const (
	P_ALL IDType = iota
	P_PID
	P_PGID // id 0: the caller's group
)

// WaitResult is a child's change of state. PID is 0 if there was none (WNOHANG).
type WaitResult struct {
	PID    int
	UID    uint32
	Status Status // in the encoding of wait4(2)
	Code   int32  // in the encoding of waitid(2): CLD_*
	Value  int32  // si_status: the exit code or the signal
	Usage  Usage  // of the child and of the children that it has waited for
}

// Wait4 is wait4(2). ECHILD: there is no such child. EINVAL: wrong options. ESRCH: the one
// pid that cannot be negated. ERESTARTSYS: a signal.
func (t *Thread) Wait4(pid int, options uint32) (r WaitResult, err error) {
	if options&^(WNOHANG|WUNTRACED|WCONTINUED|WNOTHREAD|WALL|WCLONE) != 0 {
		return r, syscall.EINVAL
	}
	w := waitFor{what: P_PID, id: pid, options: options | WEXITED}
	switch {
	case pid == -1<<31:
		return r, syscall.ESRCH
	case pid < -1:
		w.what, w.id = P_PGID, -pid
	case pid == -1:
		w.what = P_ALL
	case pid == 0:
		w.what, w.id = P_PGID, t.p.GroupID()
	}
	return r, t.wait(&w, &r)
}

// WaitProcess is waitid(2) with P_PIDFD. If c has been waited for already, that is ECHILD,
// even if another child has its number now. Errors are those of Wait4.
func (t *Thread) WaitProcess(c *Process, options uint32) (r WaitResult, err error) {
	if err := checkWaitid(options); err != nil {
		return r, err
	}
	return r, t.wait(&waitFor{what: P_PID, id: c.pid, only: c, options: options}, &r)
}

// checkWaitid returns EINVAL if waitid(2) does not have these options.
func checkWaitid(options uint32) error {
	if options&^(WNOHANG|WUNTRACED|WEXITED|WCONTINUED|WNOWAIT|WNOTHREAD|WALL|WCLONE) != 0 ||
		options&(WUNTRACED|WEXITED|WCONTINUED) == 0 {
		return syscall.EINVAL
	}
	return nil
}

// Waitid is waitid(2), but for P_PIDFD: WaitProcess. Errors are those of Wait4.
func (t *Thread) Waitid(what IDType, id int, options uint32) (r WaitResult, err error) {
	if err := checkWaitid(options); err != nil {
		return r, err
	}
	switch {
	case what < P_ALL || what > P_PGID || what == P_PID && id <= 0 || what == P_PGID && id < 0:
		return r, syscall.EINVAL
	case what == P_PGID && id == 0:
		id = t.p.GroupID()
	}
	return r, t.wait(&waitFor{what: what, id: id, options: options}, &r)
}

// waitFor says which children a wait is for.
type waitFor struct {
	what    IDType
	id      int
	only    *Process // the child that it must be, with P_PID; nil: any
	options uint32
}

// wants reports whether the wait of thread t is for child c. Preconditions: treeMu held.
func (w *waitFor) wants(c *Process, t *Thread) bool {
	switch {
	case w.options&WNOTHREAD != 0 && c.maker != t:
		return false
	case w.only != nil && c != w.only,
		w.what == P_PID && c.pid != w.id,
		w.what == P_PGID && c.GroupID() != w.id:
		return false
	case w.options&WALL != 0:
		return true
	}
	// A "clone child" is a child that does not end with SIGCHLD.
	return (c.exitSignal != int(syscall.SIGCHLD)) == (w.options&WCLONE != 0)
}

// wait looks for a child with a change of state that w wants, and sleeps on NoteChild until
// there is one. It puts the change into r, which is zero before.
func (t *Thread) wait(w *waitFor, r *WaitResult) error {
	err := t.waitWatching(w, r)
	if t.waitNote.p != nil {
		t.waitNote.Detach()
	}
	return err
}

// waitWatching is wait, but leaves waitNote attached.
func (t *Thread) waitWatching(w *waitFor, r *WaitResult) error {
	p := t.p
	for watching := false; ; {
		claimed, any := t.pollChildren(w, r)
		switch {
		case claimed != nil:
			t.settle(claimed)
			return nil
		case r.PID != 0:
			return nil
		case !any:
			return syscall.ECHILD
		case w.options&WNOHANG != 0:
			return nil
		case !watching:
			// Then look again: events since the first look have not woken this thread.
			t.waitNote.Events, t.waitNote.wakes = NoteChild, t
			p.Attach(&t.waitNote)
			watching = true
			continue
		case t.Interrupted():
			return t.Interrupt()
		}
		t.pause('S')
		t.parker.sleep()
		t.resume()
	}
}

// pollChildren takes the first child that has a change of state that w wants. any reports
// whether there are children that may yet have one; of a zombie only the end is left to
// report. claimed is the child taken, if the caller must settle it.
func (t *Thread) pollChildren(w *waitFor, r *WaitResult) (claimed *Process, any bool) {
	p, k := t.p, t.p.k
	k.treeMu.Lock()
	if w.what == P_PID { // the other children need not be looked at
		if c := k.pids.process(w.id); c != nil && c.parent == p && w.wants(c, t) {
			any = c.State() < Zombie || c.debt == paying
			claimed = p.collect(c, w.options, r)
		}
		k.treeMu.Unlock()
		return claimed, any
	}
	steps := 0
	p.children.each(func(c *Process) bool {
		k.turn(&steps)
		if !w.wants(c, t) {
			return true
		}
		any = any || c.State() < Zombie || c.debt == paying
		claimed = p.collect(c, w.options, r)
		return r.PID == 0
	})
	k.treeMu.Unlock()
	return claimed, any
}

// collect puts c's change of state into r if options ask for it, and consumes it. It
// returns c if the caller must settle it. Preconditions: treeMu held, c is p's child.
func (p *Process) collect(c *Process, options uint32, r *WaitResult) (claimed *Process) {
	k := p.k
	switch {
	case c.State() == Zombie && options&WEXITED != 0 && c.debt != paying:
		c.result(r)
		if options&WNOWAIT == 0 {
			p.mu.Lock()
			p.childUse.add(&r.Usage)
			p.mu.Unlock()
			k.trace(exit.StepWait, c.pid, exit.InParent)
			if !k.claim(c, exit.InParent) {
				return c
			}
		}
	case c.jobEvent.code == CLD_STOPPED && options&WUNTRACED != 0 && c.Stopped(), // not if it has been continued since
		c.jobEvent.code == CLD_CONTINUED && options&WCONTINUED != 0:
		ev := c.jobEvent
		if c.State() >= Exiting {
			break // the end will be reported instead
		}
		if options&WNOWAIT == 0 {
			c.jobEvent = jobEvent{}
		}
		c.result(r)
		r.Status, r.Code, r.Value = ev.status, ev.code, int32(ev.status>>8&0xff)
		if ev.code == CLD_CONTINUED {
			r.Value = int32(syscall.SIGCONT)
		}
	}
	return nil
}

// result fills in what a wait for p returns.
func (p *Process) result(r *WaitResult) {
	p.mu.Lock()
	r.PID, r.UID, r.Status, r.Usage = p.pid, p.cred.UID, p.status, p.usage
	p.eachLocked(func(t *Thread) bool {
		t.usage.addTo(&r.Usage)
		return true
	})
	r.Usage.add(&p.childUse)
	p.mu.Unlock()
	r.Code, r.Value = CLD_EXITED, int32(r.Status.ExitStatus())
	if r.Status.Signaled() {
		r.Code, r.Value = CLD_KILLED, int32(r.Status.Signal())
	}
}

// settle gives back what a child that the thread has claimed still holds. It is a part of
// the thread's system call.
func (t *Thread) settle(c *Process) {
	k := t.p.k
	begin := k.now()
	k.settle(c, exit.InParent)
	t.usage.system.Add(k.now() - begin)
}

// childInfo returns the siginfo of p's SIGCHLD. A code of 0 means the code of how p ended.
func (p *Process) childInfo(code int32) *Siginfo {
	var r WaitResult
	p.result(&r)
	if code == 0 {
		code = r.Code
	}
	return &Siginfo{Signo: syscall.SIGCHLD, Child: true, Code: code, PID: int32(r.PID), UID: r.UID,
		Status: r.Value, UTime: r.Usage.UserTime, STime: r.Usage.SystemTime}
}

// Wait collects a process that Spawn made. It blocks the calling goroutine, which is not a
// user thread, until the process is a zombie, and makes it gone. It may be called once
// only.
func (p *Process) Wait() WaitResult {
	ended := make(chan struct{}, 1)
	cancel := p.OnExit(func() { ended <- struct{}{} })
	<-ended
	cancel()
	k := p.k
	k.treeMu.Lock()
	if !p.ofKernel || p.State() != Zombie {
		panic("proc: Wait: not an ended child of the kernel (waited for twice?)")
	}
	for p.debt == paying { // rare: see payForMemory
		k.treeMu.Unlock()
		time.Sleep(oomPoll)
		k.treeMu.Lock()
	}
	var r WaitResult
	p.result(&r)
	k.trace(exit.StepWait, p.pid, exit.InParent)
	gone := k.claim(p, exit.InParent)
	k.treeMu.Unlock()
	if !gone {
		k.settle(p, exit.InParent)
	}
	return r
}

// siblings returns the lists that p is on: those of its parent's children, or of the
// processes without a parent. linkChild and unlinkChild maintain them, and so do Zombify and
// claim, which know the list. Preconditions: treeMu held.
func (k *Kernel) siblings(p *Process) *procTree {
	if p.parent == nil {
		return &k.parentless
	}
	return &p.parent.children
}

func (k *Kernel) linkChild(p *Process) { k.childList(p).push(linkSibling, p) }

func (k *Kernel) unlinkChild(p *Process) { k.childList(p).remove(linkSibling, p) }

func (k *Kernel) childList(p *Process) *procList {
	if p.onZombies {
		return &k.siblings(p).zombies
	}
	return &k.siblings(p).live
}
