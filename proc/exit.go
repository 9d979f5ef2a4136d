package proc

import (
	"syscall"

	"grim/proc/exit"
)

// Status says how a process ended, in the encoding of wait(2).
type Status = syscall.WaitStatus

// ExitStatus returns the status of exit(code). SignalStatus returns the status of death by
// a signal. No core is written, so its bit is never set.
func ExitStatus(code int) Status             { return Status(code&0xff) << 8 }
func SignalStatus(sig syscall.Signal) Status { return Status(sig) }

// Exit is exit(2): it makes this thread end as soon as its system call has returned to the
// loop in Thread.main. That runs exit1 with nothing above it on the stack. Other threads of
// the process go on.
func (t *Thread) Exit(code int) {
	t.exitCode = ExitStatus(code)
	t.todo.Or(todoExit)
}

// ExitGroup is exit_group(2): every thread of the process ends, this one as after Exit.
func (t *Thread) ExitGroup(code int) {
	t.todo.Or(todoExit) // also if another thread's exit came first
	t.p.mu.Lock()
	t.p.exitLocked(ExitStatus(code), exit.InProcess)
	t.p.mu.Unlock()
}

// exitLocked begins every exit of a whole process: exit_group, a fatal signal, running out
// of memory, the exit of the last running thread. Each thread is told to end and ends by
// itself. The first status counts. by is the context of the caller. Preconditions: p.mu
// held.
func (p *Process) exitLocked(status Status, by exit.Context) {
	if p.State() != Live {
		return
	}
	p.status = status
	p.advance(Exiting, by)
	p.continueLocked()
	p.stop.resume = false // the parent need not be told of the continuation
	steps := 0
	for t := p.threads; t != nil; t = t.next {
		p.k.turn(&steps)
		if t.todo.Load()&todoExit == 0 {
			t.todo.Or(todoExit)
			t.Wake()
		}
	}
}

// exit1 ends the calling thread, and with the last thread the process, in the order of
// DESIGN.md section 5. It runs in Thread.main, holds no lock, and may sleep up to the point
// marked below. The caller returns right after it, with exit1's result: see exit2.
func (t *Thread) exit1() (bury bool) {
	p, k := t.p, t.p.k
	begin := k.now()

	// 1. If the process exits, every other thread has been told (exitLocked). Step 2b finds
	// out which of them is the last, so no thread waits here.
	alone := t.markExiting()

	// 2a. Releases that other threads expect in user memory, while the memory exists: no
	// thread purges it before every thread has passed this point.
	t.releaseRobustFutexes()
	t.clearChildTID()
	if t.vfork != nil {
		t.vfork.release()
	}
	if alone != nil { // no other thread uses these descriptors
		alone.CloseAll()
	}
	if t.kids.Load() > 0 {
		t.leaveKids()
	}

	// 2b. From here on this thread never touches user memory again, and is off its root. If
	// other threads remain, this thread has been through exit2 when leaveSiblings returns,
	// and must not be touched. Otherwise it is the last thread, and ends the process alone.
	if last, bury := t.leaveSiblings(begin); !last {
		return bury
	}

	// 2c. Not earlier: while there are several threads, any of them could still write to
	// the space that the vfork parent gets back.
	d := p.leaveSpace()
	k.trace(exit.StepUserDone, p.pid, exit.InProcess)

	// 3. Before the purge, because closing may flush and sleep. Timers are stopped, as a
	// timer must not fire at a dead process.
	p.closeFiles()
	k.trace(exit.StepFilesDone, p.pid, exit.InProcess)

	// 4. The part of the exit design that runs in the process itself; most designs purge
	// here. It may sleep as long as a pager does, so no lock is held. It comes before step
	// 5, because the parent must not learn of the end while writes are still on their way
	// (E1).
	if d.Exiting != nil {
		d.Exiting((*ending)(p), exit.InProcess)
	}

	// 5. NOTE: FROM HERE ON THIS THREAD MAY NOT SLEEP. Locks are only held for short times.
	// The process is invisible to everything but wait(2).
	t.chargeExit(begin)
	p.die(t)

	// 6. Hand over the thread for burial. Not earlier: the burial frees the u-area, which a
	// CPU uses that is in or returning from user mode, and perhaps the root, which a CPU
	// may have loaded. POINT OF NO RETURN: if the reaper buries t, it may have done so
	// already.
	return !t.wakesEarly(d) && k.exit2(t, d)
}

// markExiting is step 1 for one thread. The thread takes no more signals, and passes on
// signals for the process that it may have been woken for. If no other thread runs, the
// process exits with this thread's status, as on Linux since 5.17. If other threads run, it
// returns the descriptors that only this thread uses.
func (t *Thread) markExiting() (alone Files) {
	p := t.p
	p.mu.Lock()
	t.advance(Exiting)
	if p.running--; p.running == 0 {
		p.exitLocked(t.exitCode, exit.InProcess)
	}
	if p.split {
		alone = t.leaveFilesLocked()
	}
	if p.pending.set != 0 {
		t.passOnLocked(^Sigset(0))
	}
	p.mu.Unlock()
	return alone
}

// chargeExit makes the final charge to the thread's account. All time since begin counts as
// system time.
func (t *Thread) chargeExit(begin int64) {
	now := t.p.k.now()
	t.usage.system.Add(now - begin)
	t.charge(now)
}

// leaveSiblings is step 2b. A thread that is not the last is dead on return and has been
// through exit2, now and not at the process's end (E5). It is counted as unburied with p.mu
// held, and the last thread takes that lock too. So no process ends before all its threads
// are buried, and no zombie has a thread left to free (E10). leaveSiblings reports whether
// t is the last thread, and if it is not, returns the result of exit2.
func (t *Thread) leaveSiblings(begin int64) (last, bury bool) {
	p, k := t.p, t.p.k
	p.mu.Lock()
	// The CPU leaves the root before other threads can see that this thread has left: the
	// purge by the last thread relies on it, and so does a vfork parent. All threads do it
	// here; a thread that purges would soon do it anyway.
	if !staysOnRoot {
		k.cfg.Pmaps.Deactivate()
	}
	if p.live == 1 {
		t.last = true
		p.mu.Unlock()
		return true, false
	}
	t.chargeExit(begin)
	t.deadLocked()
	if p.live == 1 && p.execer != nil {
		p.execer.Wake()
	}
	tell := p.allStoppedLocked()
	p.unburied.Add(1)
	bury = k.exit2(t, p.design)
	p.mu.Unlock()
	if tell {
		p.tellStopped()
	}
	return false, bury
}

// deadLocked makes t dead: it takes t off the lists of threads and numbers, and adds t's
// usage to the process's. Preconditions: p.mu held.
func (t *Thread) deadLocked() {
	p := t.p
	t.usage.addTo(&p.usage)
	p.unlinkThread(t)
	t.advance(Dead)
	t.pending.drop(p, ^Sigset(0))
	p.k.pids.releaseThread(t.TID(), t.TID() != p.pid)
}

// leaveSpace is step 2c. This process does not use the vmspace any more, and a parent that
// lent it may go on. It returns the design by which the process ends.
func (p *Process) leaveSpace() *exit.Design {
	// From here on only this thread and then the exit design change p.space.
	peak := p.space.vs.PeakRSS() // while there is something to count
	p.mu.Lock()
	p.usage.MaxRSS = max(p.usage.MaxRSS, peak)
	p.unpurged = p.space.leave()
	d := p.design
	lent := p.vfork != nil
	p.mu.Unlock()
	if lent {
		p.releaseVfork()
	}
	return d
}

// closeFiles is step 3: descriptors, then timers, then the terminal of the session that p
// leads. The table is hidden before it is closed, so that /proc readers find it open or not
// at all.
func (p *Process) closeFiles() {
	p.mu.Lock()
	files, timer, more := p.files, p.timer, p.timers != nil || p.atExit != nil
	p.files, p.timer, p.split = nil, nil, false
	p.mu.Unlock()
	if files != nil {
		files.CloseAll()
	}
	if more {
		p.stopTimers()
		p.runAtExit()
	}
	if timer != nil {
		timer.stop()
	}
	if end := p.k.cfg.SessionEnd; end != nil && p.SessionID() == p.pid {
		end(p.pid)
	}
}

// die is step 5: the process is dead and off the look-up lists, its children go to init,
// its usage is added up, and knotes are told.
func (p *Process) die(t *Thread) {
	k := p.k
	k.treeMu.Lock()
	p.mu.Lock()
	t.deadLocked()
	p.pending.drop(p, ^Sigset(0))
	acts := p.acts
	p.acts = nil
	p.stop = stopState{}
	p.advance(Dead, exit.InProcess)
	p.mu.Unlock()
	acts.drop()
	if k.init == p {
		k.init = nil
	}
	k.orphan(p, t)
	if k.stopped.Load() > 0 { // rare; otherwise no process can need the SIGHUP
		k.hangUp(p.group.Load(), p.parent, p)
	}
	k.treeMu.Unlock()
	k.counts.exits.Add(1)

	k.trace(exit.StepNoteExit, p.pid, exit.InProcess)
	p.notify(NoteExit)
}

// orphan gives the children of p to the nearest ancestor that adopts them
// (PR_SET_CHILD_SUBREAPER), otherwise to init, or to no process if there is no init. p is
// dead, and t is its last thread. The new parent can wait for zombies among them at once.
// Preconditions: k.treeMu held.
func (k *Kernel) orphan(p *Process, t *Thread) {
	if p.children.live.n+p.children.zombies.n == 0 {
		return
	}
	to := p.reaperOfKids()
	var left []*Process
	steps := 0
	p.children.each(func(c *Process) bool {
		k.turn(&steps)
		zombie, g := c.State() == Zombie, c.group.Load()
		k.unlinkChild(c)
		c.parent = to
		c.exitSignal = int(syscall.SIGCHLD) // a new parent gets SIGCHLD, whatever the old one had asked for
		c.madeBy(nil)
		k.linkChild(c)
		c.parentDied(t)
		if zombie && k.announce(c, exit.InParent) {
			left = append(left, c)
		}
		if k.stopped.Load() > 0 {
			k.hangUp(g, p, nil) // only the last child of p in g makes a difference
			k.cfg.Yield()       // the group may have many members
		}
		return true
	})
	if left != nil {
		k.payLater(left)
	}
}

// reaperOfKids returns the process that gets p's children when p ends, or nil if there is
// none. Preconditions: k.treeMu held, p is dead.
func (p *Process) reaperOfKids() *Process {
	for a := p.parent; p.adopted && a != nil; a = a.parent {
		if a.adopts && a.State() == Live {
			return a
		}
	}
	return p.k.init
}

// leaveKids gives the children whose maker is t to another running thread of the process,
// and sends the signals that they have asked for (PR_SET_PDEATHSIG). If no other thread
// runs, the children go with the process: die gives them away.
func (t *Thread) leaveKids() {
	p, k := t.p, t.p.k
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	var moved []*Process
	p.mu.Lock()
	heir, steps := p.threads, 0
	for heir != nil && heir.state != Live {
		k.glance(&steps)
		heir = heir.next
	}
	if heir != nil {
		// The lock keeps the heir running. When it leaves its own kids later, it finds
		// these among them.
		p.children.each(func(c *Process) bool {
			k.glance(&steps)
			if c.maker == t {
				c.madeBy(heir)
				moved = append(moved, c)
			}
			return true
		})
	}
	p.mu.Unlock()
	for _, c := range moved {
		k.turn(&steps)
		c.parentDied(t)
	}
}

// madeBy makes t the maker of p; nil means no thread. Preconditions: k.treeMu held.
func (p *Process) madeBy(t *Thread) {
	if p.maker != nil {
		p.maker.kids.Add(-1)
	}
	if p.maker = t; t != nil {
		t.kids.Add(1)
	}
}

// parentDied sends the signals that p's threads have asked for when their maker ends. t is
// that thread. The signals come from t, which must be allowed to send them. Preconditions:
// k.treeMu held.
func (p *Process) parentDied(t *Thread) {
	if !p.k.pdeaths.Load() {
		return
	}
	var sigs []syscall.Signal
	steps := 0
	p.mu.Lock()
	for c := p.threads; c != nil; c = c.next {
		p.k.glance(&steps)
		if c.pdeath != 0 {
			sigs = append(sigs, c.pdeath)
		}
	}
	p.mu.Unlock()
	p.k.cfg.Yield() // the caller may have many such processes
	for _, s := range sigs {
		p.k.turn(&steps)
		// An error means that t may not send it, or that a queue is full. There is nothing
		// to do about that.
		_ = t.send(p, nil, &Siginfo{Signo: s, Code: SI_USER, PID: int32(t.p.pid), UID: t.cred.UID})
	}
}

// exit2 is step 6, under the design d. Either it puts the thread on deadproc and wakes the
// reaper, and returns false: the thread then belongs to the reaper, and the caller must not
// touch it. Or it returns true: the goroutine must bury the thread after main has returned.
// Preconditions: p.mu held, or t is the process's last thread.
func (k *Kernel) exit2(t *Thread, d *exit.Design) (bury bool) {
	if t.state != Dead {
		panic("proc: exit2: thread is " + t.state.String() + ", not dead")
	}
	if d.Threads == exit.ToReaper {
		k.traceThread(exit.StepDeadproc, t)
		k.dead.put(t)
		return false
	}
	if d.Threads == exit.Kept {
		t.keep()
	}
	return true
}
