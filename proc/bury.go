package proc

import (
	"syscall"

	"grim/mm/vm"
	"grim/proc/exit"
)

// bury frees a dead thread, or leaves it with its process if it is to be kept. With the
// last thread to be buried it ends the process. The thread's goroutine does not use the
// thread any more, and no CPU is on its u-area or root (exit1, steps 2b and 6), so both may
// be freed (E3). bury runs in the reaper, or in the worker after main has returned.
func (k *Kernel) bury(t *Thread, by exit.Context) {
	p := t.p
	if t.last {
		step := exit.StepOffStack
		if by == exit.InReaper {
			step = exit.StepReaper
		}
		k.trace(step, p.pid, by)
	}
	if !t.kept {
		t.free()
	}
	// Each thread has added 1 when it died, except the last one. So the burial that makes
	// the count -1 is the last: all threads are buried.
	if p.unburied.Add(-1) != -1 {
		return
	}
	p.unburied.Store(0)
	if p.kept != nil && p.design.Threads != exit.Kept {
		(*ending)(p).FreeThreads() // the process had another design when they ended
	}
	p.design.Last((*ending)(p), by)
}

// keep puts a dead thread on the list of those that stay with the process. Preconditions:
// p.mu held, or t is the process's last thread.
func (t *Thread) keep() {
	t.kept = true
	t.nextDead, t.p.kept = t.p.kept, t
}

// ending is a process as its exit design sees it. It implements exit.Process.
type ending Process

// Purge is VMSpace.Purge for the last user of the space. The space stays with the process,
// empty, until FreeSpace.
func (e *ending) Purge(by exit.Context) {
	if p := (*Process)(e); p.unpurged {
		p.unpurged = false
		p.k.purge(p.space.vs, p.pid, by)
	}
}

func (k *Kernel) purge(vs *vm.VMSpace, pid int, by exit.Context) {
	k.trace(exit.StepPurgeBegin, pid, by)
	var did vm.PurgeStats
	vs.Purge(&did)
	k.traceFreed(exit.StepPurgeEnd, pid, by, did.Pages, did.Tables)
}

// FreeSpace is uvmspace_free: the process gives up its reference to the vmspace. If that is
// the last reference, map and pmap must be empty (E8, checked in VMSpace.Release), and the
// root is destroyed. After a purge the cost does not depend on what the process had mapped.
func (e *ending) FreeSpace(by exit.Context) {
	p := (*Process)(e)
	if p.unpurged {
		e.Purge(by)
	}
	p.mu.Lock()
	s := p.space
	p.space = nil
	p.mu.Unlock()
	if s != nil {
		s.vs.Release()
		p.k.trace(exit.StepSpaceFreed, p.pid, by)
	}
}

// FreeThreads frees the dead threads that the process has kept. All of them are buried.
func (e *ending) FreeThreads() {
	p := (*Process)(e)
	p.mu.Lock()
	t := p.kept
	p.kept = nil
	p.mu.Unlock()
	for t != nil {
		next := t.nextDead
		t.nextDead = nil
		t.free()
		t = next
	}
}

// Apart takes the address space off the process, runs zombify, and then takes the space
// apart. Makers of processes wait if too many spaces are on their way (waitRoom), and no
// process is killed for memory that is about to come back (outOfMemory). After zombify has
// run, nothing here touches the process, as it may be gone.
func (e *ending) Apart(zombify func()) {
	p := (*Process)(e)
	k, pid := p.k, p.pid
	p.mu.Lock()
	s, purge := p.space, p.unpurged
	p.space, p.unpurged = nil, false
	p.mu.Unlock()
	k.dead.begin()
	k.apart.Add(1)
	zombify()
	if purge {
		k.purge(s.vs, pid, exit.InBackground)
	}
	s.vs.Release()
	k.trace(exit.StepSpaceFreed, pid, exit.InBackground)
	k.apart.Add(-1)
	k.dead.done()
}

// Zombify makes a dead process a zombie, sends SIGCHLD and wakes the parent. If no process
// will wait it releases the process instead. Under a sound design FreeSpace has run before:
// from here on the parent may return from wait(2) and rely on all effects of the child
// (E1), and a zombie must hold nothing (E10).
func (e *ending) Zombify(by exit.Context) {
	p, k := (*Process)(e), e.k
	isInit, status := p.isInit(), Status(0)
	if isInit {
		status = p.Status() // p may be gone below
	}
	k.treeMu.Lock()
	if owed := p.design.Owed; owed != nil {
		p.debt = owing
		if p.unwanted() { // before any process is woken
			p.debt = none
			k.treeMu.Unlock()
			owed(e, by)
			k.treeMu.Lock()
		}
	}
	kids := k.siblings(p)
	kids.live.remove(linkSibling, p)
	p.onZombies = true
	kids.zombies.push(linkSibling, p)
	claimed := k.announce(p, by)
	k.treeMu.Unlock()
	if claimed { // the parent has begun to ignore its children only now
		k.settle(p, by)
	}
	if isInit && k.cfg.InitExited != nil {
		k.cfg.InitExited(status)
	}
}

// unwanted reports whether no process would wait for p if it became a zombie now.
// Preconditions: k.treeMu held.
func (p *Process) unwanted() bool {
	nowait, _, _ := p.wanted()
	return nowait
}

// wanted returns what p's parent wants when p ends. nowait: no zombie. silent: no signal.
// moot: the signal would be ignored. Preconditions: k.treeMu held.
func (p *Process) wanted() (nowait, silent, moot bool) {
	parent := p.parent
	if parent == nil {
		return !p.ofKernel, true, true // Process.Wait collects children of the kernel
	}
	if nowait, silent, moot = parent.ignoresChildren(); p.exitSignal != int(syscall.SIGCHLD) {
		nowait, silent, moot = false, p.exitSignal == 0, false
	}
	return nowait, silent, moot
}

// announce reports the end of a dead process, or reports a zombie to its new parent. The
// order never changes (E6): zombie, SIGCHLD, wake-up. If the parent does not want a zombie,
// the process is gone instead, or, if it owes something, it is claimed: then announce
// returns true, and the caller must settle it. Preconditions: k.treeMu held, p on its
// parent's list of zombies.
func (k *Kernel) announce(p *Process, by exit.Context) (claimed bool) {
	parent := p.parent
	nowait, silent, moot := p.wanted()
	news := p.State() == Dead
	if nowait && p.debt != paying {
		claimed = !k.claim(p, by)
	} else if news {
		p.advance(Zombie, by)
	}
	if !silent {
		k.trace(exit.StepSIGCHLD, p.pid, by)
		if !moot {
			info := p.childInfo(0)
			info.Signo = syscall.Signal(p.exitSignal)
			parent.post(info, nil)
		}
	}
	k.trace(exit.StepWakeup, p.pid, by)
	if news {
		p.notify(NoteReap)
	}
	parent.notifyChild()
	return claimed
}

// notifyChild is notify(NoteChild) for a parent; p may be nil.
func (p *Process) notifyChild() {
	if p != nil {
		p.notify(NoteChild)
	}
}
