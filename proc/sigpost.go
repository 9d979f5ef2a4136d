package proc

import (
	"syscall"

	"grim/proc/exit"
)

// post sends a signal to target or, if that is nil, to any thread of p. It never blocks.
// EAGAIN, as for sigQueue.add.
func (p *Process) post(info *Siginfo, target *Thread) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.postLocked(info, target)
}

// postGroup is post for a signal that is sent to a whole group or to all processes: a child
// that p is making gets it too. Preconditions: k.treeMu held.
func (p *Process) postGroup(info *Siginfo) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	steps := 0
	for f := p.forks; f != nil; f = f.next {
		p.k.glance(&steps)
		switch s := info.Signo; { // as jobControlLocked
		case s == syscall.SIGCONT:
			f.sigs &^= stopSignals
		case stopSignals.Has(s):
			f.sigs &^= SigBit(syscall.SIGCONT)
		}
		f.sigs |= SigBit(info.Signo)
	}
	return p.postLocked(info, nil)
}

// postLocked is post. Preconditions: p.mu held.
func (p *Process) postLocked(info *Siginfo, target *Thread) error {
	if p.State() != Live || p.live == 0 {
		return nil // an exiting process and a zombie accept signals, which have no effect
	}
	if target != nil && target.state != Live {
		return nil
	}
	s := info.Signo
	p.jobControlLocked(s)
	if s == syscall.SIGKILL {
		if !p.isInit() {
			p.exitLocked(SignalStatus(s), exit.InParent)
		}
		return nil
	}
	act := p.acts.get(s)
	if p.discardsByLocked(&act, s, target) {
		return nil
	}
	// Any thread that does not block the signal may take it. Threads that block it find it
	// when they unblock it.
	t, q, steps := target, &p.pending, 0
	if target != nil {
		q = &target.pending
	} else {
		for t = p.threads; t != nil && (t.state != Live || t.mask.Has(s) && !t.waitSet.Has(s)); {
			p.k.glance(&steps)
			t = t.next
		}
	}
	if t != nil && act.kills(s) && !p.isInit() && !p.stop.on && !t.mask.Has(s) {
		// The end is certain, so it begins now: a thread may sleep in a way that only its
		// end cuts short.
		p.exitLocked(SignalStatus(s), exit.InParent)
		return nil
	}
	if err := q.add(p, info); err != nil {
		return err
	}
	if t != nil {
		t.notifyLocked(s)
	}
	for w := range p.watchers {
		p.k.turn(&steps)
		w.fn()
	}
	return nil
}

// notifyLocked makes t look at its signals. Preconditions: t.p.mu held.
func (t *Thread) notifyLocked(s syscall.Signal) {
	switch {
	case t.waitSet.Has(s):
		t.Wake()
	case !t.mask.Has(s):
		t.todo.Or(todoSignal)
		t.Wake()
	}
}

// discardsByLocked reports whether a signal with that action is discarded at once: it is
// ignored and no thread blocks it. A blocked signal is kept, because its action may change.
// It is not kept because a thread waits for it with sigtimedwait(2). Preconditions: p.mu
// held.
func (p *Process) discardsByLocked(act *Sigaction, s syscall.Signal, target *Thread) bool {
	if !act.ignores(s) && !(p.isInit() && act.Handler == SIG_DFL) {
		return false
	}
	if target != nil {
		return !target.mask.Has(s)
	}
	steps := 0
	for t := p.threads; t != nil; t = t.next {
		p.k.glance(&steps)
		if t.mask.Has(s) {
			return false
		}
	}
	return true
}

// isInit reports whether p is process 1. It gets only signals for which it has handlers, so
// that no process ends the machine by accident. Its own faults do end it.
func (p *Process) isInit() bool { return p.pid == 1 }

// dropPendingLocked discards the pending signals in gone. Preconditions: p.mu held.
func (p *Process) dropPendingLocked(gone Sigset) {
	p.pending.drop(p, gone)
	steps := 0
	for t := p.threads; t != nil; t = t.next {
		p.k.glance(&steps)
		t.pending.drop(p, gone)
	}
}

// Force delivers a signal that the thread itself has caused and after which it cannot go
// on. If the signal is blocked or ignored the default action is taken (Linux force_sig).
// Only the thread itself may call it.
func (t *Thread) Force(info *Siginfo) {
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	s := info.Signo
	act := p.acts.get(s)
	if s == syscall.SIGKILL || t.mask.Has(s) || act.Handler == SIG_IGN || act.Handler == SIG_DFL && p.isInit() {
		p.exitLocked(SignalStatus(s), exit.InProcess)
		return
	}
	if t.state != Live || t.pending.add(p, info) != nil {
		return
	}
	t.todo.Or(todoSignal)
}

// kill ends the process. Any goroutine may call it.
func (p *Process) kill(status Status) {
	p.mu.Lock()
	p.exitLocked(status, exit.InProcess)
	p.mu.Unlock()
}

// Signal sends a signal from the kernel to p (timers, the console).
func (p *Process) Signal(info *Siginfo) error {
	if err := checkSignal(info.Signo); err != nil {
		return err
	}
	return p.post(info, nil)
}

// checkSignal returns EINVAL unless s is 1 to NumSignals.
func checkSignal(s syscall.Signal) error {
	if s < 1 || s > NumSignals {
		return syscall.EINVAL
	}
	return nil
}

// Kill is kill(2). pid > 0 means a process, by the number of any of its threads; 0 the
// caller's group; -1 all but init and the caller; other negative numbers a group. If
// info.Signo is 0 it only checks. ESRCH if there is no such process, EPERM if there are
// some but none may be signalled, EINVAL.
func (t *Thread) Kill(pid int, info *Siginfo) error {
	if info.Signo != 0 {
		if err := checkSignal(info.Signo); err != nil {
			return err
		}
	}
	k := t.p.k
	if pid > 0 {
		p := k.Holder(pid)
		if p == nil {
			return syscall.ESRCH
		}
		return t.send(p, nil, info)
	}
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	list, kind := &k.all, linkAll
	if pid != -1 {
		g := t.p.group.Load()
		if pid != 0 {
			g = k.pids.group(-pid)
		}
		if g == nil {
			return syscall.ESRCH
		}
		list, kind = &g.members, linkGroup
	}
	err := error(syscall.ESRCH)
	sent := false
	for p := list.head; p != nil; p = p.links[kind].next {
		k.cfg.Yield() // each of them may have many threads
		if pid == -1 && (p == t.p || p.isInit()) {
			continue
		}
		if e := t.maySend(p, info); e == nil {
			if info.Signo != 0 {
				e = p.postGroup(info)
			}
			if e == nil {
				sent = true
			}
		} else {
			err = e
		}
	}
	if sent {
		return nil
	}
	return err
}

// Tgkill is tgkill(2), and tkill(2) if tgid is 0: it sends a signal to one thread.
func (t *Thread) Tgkill(tgid, tid int, info *Siginfo) error {
	if tid <= 0 || tgid < 0 {
		return syscall.EINVAL
	}
	if info.Signo != 0 {
		if err := checkSignal(info.Signo); err != nil {
			return err
		}
	}
	target := t.p.k.pids.thread(tid)
	if target == nil || tgid != 0 && target.p.pid != tgid {
		return syscall.ESRCH
	}
	return t.send(target.p, target, info)
}

// SendTo is pidfd_send_signal(2).
func (t *Thread) SendTo(p *Process, info *Siginfo) error {
	if info.Signo != 0 {
		if err := checkSignal(info.Signo); err != nil {
			return err
		}
	}
	if p.State() == Gone {
		return syscall.ESRCH
	}
	return t.send(p, nil, info)
}

// send checks permission and posts the signal. For signal 0 it only checks.
func (t *Thread) send(p *Process, target *Thread, info *Siginfo) error {
	if err := t.maySend(p, info); err != nil || info.Signo == 0 {
		return err
	}
	return p.post(info, target)
}

// maySend returns EPERM if t may not send the signal to p.
func (t *Thread) maySend(p *Process, info *Siginfo) error {
	if p != t.p {
		if theirs := p.Cred(); theirs != nil && !mayKill(t.cred, theirs) &&
			!(info.Signo == syscall.SIGCONT && t.p.SessionID() == p.SessionID()) {
			return syscall.EPERM
		}
	}
	return nil
}

// SendIO sends a signal from the kernel to a thread, a process group or a process. Only
// processes that by may signal get it; a nil by may signal all.
func (k *Kernel) SendIO(thread, group bool, id int, info *Siginfo, by *Cred) {
	allowed := func(p *Process) bool {
		theirs := p.Cred()
		return by == nil || theirs != nil && mayKill(by, theirs)
	}
	switch {
	case thread:
		if t := k.Thread(id); t != nil && allowed(t.p) {
			_ = t.p.post(info, t)
		}
	case group:
		k.treeMu.Lock()
		defer k.treeMu.Unlock()
		if g := k.pids.group(id); g != nil {
			for p := g.members.head; p != nil; p = p.links[linkGroup].next {
				k.cfg.Yield()
				if allowed(p) {
					_ = p.postGroup(info)
				}
			}
		}
	default:
		if p := k.Process(id); p != nil && allowed(p) {
			_ = p.post(info, nil)
		}
	}
}

// SignalGroup sends a signal from the kernel to a process group (the console's ^C).
func (k *Kernel) SignalGroup(pgid int, info *Siginfo) error {
	if err := checkSignal(info.Signo); err != nil {
		return err
	}
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	g := k.pids.group(pgid)
	if g == nil {
		return syscall.ESRCH
	}
	for p := g.members.head; p != nil; p = p.links[linkGroup].next {
		k.cfg.Yield()
		p.postGroup(info)
	}
	return nil
}

// HangUp tells a process that its terminal is gone: it sends SIGHUP, and SIGCONT so that a
// stopped process can take the SIGHUP.
func (k *Kernel) HangUp(pid int) {
	if p := k.Process(pid); p != nil {
		// Neither signal is queued more than once, so there is always room.
		_ = p.post(&Siginfo{Signo: syscall.SIGHUP, Code: SI_KERNEL}, nil)
		_ = p.post(&Siginfo{Signo: syscall.SIGCONT, Code: SI_KERNEL}, nil)
	}
}

// Background sends the caller's process group SIGTTIN or SIGTTOU, because the caller uses
// its terminal from the background. It returns nil if the caller blocks or ignores the
// signal; nothing is sent then. EIO: the group is orphaned. Otherwise the signal was sent,
// and the error is Interrupt's: the call begins again after the stop.
func (t *Thread) Background(sig syscall.Signal) error {
	p, k := t.p, t.p.k
	p.mu.Lock()
	act := p.acts.get(sig)
	idle := t.mask.Has(sig) || act.Handler == SIG_IGN
	p.mu.Unlock()
	if idle {
		return nil
	}
	k.treeMu.Lock()
	g := p.group.Load()
	orphaned := g.orphaned(nil)
	k.treeMu.Unlock()
	if orphaned {
		return syscall.EIO
	}
	// The caller belongs to the group, so the group exists.
	_ = k.SignalGroup(g.id, &Siginfo{Signo: sig, Code: SI_KERNEL})
	return t.Interrupt()
}
