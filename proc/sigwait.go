package proc

import "syscall"

// Mask returns the set of blocked signals. Only the thread itself may call it.
func (t *Thread) Mask() Sigset { return t.mask }

// SetMask sets the blocked signals (rt_sigprocmask(2), rt_sigreturn(2)). SIGKILL and
// SIGSTOP cannot be blocked. Only the thread itself may call it.
func (t *Thread) SetMask(m Sigset) {
	p := t.p
	m &^= unblockable
	p.mu.Lock()
	t.setMaskLocked(m)
	p.mu.Unlock()
}

// setMaskLocked is SetMask. Preconditions: t.p.mu held.
func (t *Thread) setMaskLocked(m Sigset) {
	p := t.p
	newly := m &^ t.mask
	t.mask = m
	if (t.pending.set|p.pending.set)&^m != 0 {
		t.todo.Or(todoSignal)
	}
	t.passOnLocked(newly)
}

// passOnLocked tells the other threads of pending signals for the process. The thread may have
// been woken for one of those in set, but does not take it: it blocks it, has taken another,
// or ends. Preconditions: t.p.mu held.
func (t *Thread) passOnLocked(set Sigset) {
	set &= t.p.pending.set
	if set == 0 {
		return
	}
	t.p.eachLocked(func(o *Thread) bool {
		switch {
		case o == t || o.state != Live:
		case set&^o.mask != 0:
			o.todo.Or(todoSignal)
			o.Wake()
		case set&o.waitSet != 0:
			o.Wake()
		}
		return true
	})
}

// SetMaskUntilReturn is the first half of sigsuspend(2), ppoll(2), pselect(2) and
// epoll_pwait(2). m is the mask until the system call has returned or, if a handler runs,
// until the handler has been entered. Then the old mask comes back.
func (t *Thread) SetMaskUntilReturn(m Sigset) {
	t.oldMask = t.mask
	t.SetMask(m)
	t.todo.Or(todoMask)
}

// Pending is rt_sigpending(2).
func (t *Thread) Pending() Sigset {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return (t.pending.set | t.p.pending.set) & t.mask
}

// Suspend is rt_sigsuspend(2), and pause(2) if m is the present mask. It returns
// ERESTARTNOHAND, so that only a handler ends the call.
func (t *Thread) Suspend(m Sigset) error {
	t.SetMaskUntilReturn(m)
	t.Sleep(nil, Forever)
	return ERESTARTNOHAND
}

// takeLocked takes the pending signal of a set that comes first: the thread's own signals
// come before the process's. Preconditions: t.p.mu held.
func (t *Thread) takeLocked(among Sigset) (Siginfo, bool) {
	p := t.p
	info, ok := t.pending.take(p, among)
	if !ok {
		info, ok = p.pending.take(p, among)
	}
	if ok && info.timer != nil {
		info.UID, info.timer = uint32(info.timer.taken()), nil
	}
	if ok && info.Signo == syscall.SIGALRM && p.timer != nil {
		p.timer.taken()
	}
	return info, ok
}

// WaitSignal is rt_sigtimedwait(2): it takes a pending signal in set, or waits for one.
// EAGAIN at the deadline, EINTR if another signal is to be delivered.
func (t *Thread) WaitSignal(set Sigset, deadline int64) (Siginfo, error) {
	set &^= unblockable
	p := t.p
	woken := t.woken()
	t.pause('S')
	defer t.resume()
	timeout := t.startTimer(deadline)
	defer t.stopTimer(timeout, nil)
	for first := true; ; first = false {
		p.mu.Lock()
		info, ok := t.takeLocked(set)
		late := deadline != Forever && p.k.now() >= deadline
		if ok || t.Interrupted() || late {
			t.waitSet = 0
			t.passOnLocked(set & t.mask) // more of them may have come for this thread
			p.mu.Unlock()
			switch {
			case ok:
				return info, nil
			case late && (first || !t.Interrupted()): // a call that may not wait is not interrupted
				return Siginfo{}, syscall.EAGAIN
			}
			return Siginfo{}, syscall.EINTR
		}
		t.waitSet = set
		p.mu.Unlock()
		select {
		case <-woken:
		case <-timeout:
		}
	}
}
