package proc

import (
	"slices"
	"sync"
	"syscall"
)

// deadBound is how many dead threads may wait for the reaper before whoever
// makes another has to wait for it (E5). A thread costs about two pages, so
// this is some half a megabyte; a burst of that many exits is absorbed without
// anybody waiting.
const deadBound = 64

// deadQueue is deadproc: dead threads in order of death.
type deadQueue struct {
	mu         sync.Mutex
	head, tail *Thread
	n          int       // on the list, plus the one the reaper holds
	reaper     parker    // where the reaper sleeps
	room       []*Thread // makers of threads that wait for n < deadBound
	closed     bool
}

func (d *deadQueue) init() { d.reaper.init() }

// put appends a dead thread. It does not block.
func (d *deadQueue) put(t *Thread) {
	d.mu.Lock()
	if d.tail != nil {
		d.tail.nextDead = t
	} else {
		d.head = t
	}
	d.tail = t
	d.n++
	d.mu.Unlock()
	d.reaper.wake()
}

// take waits for the next; nil once closed and empty.
func (d *deadQueue) take() *Thread {
	d.mu.Lock()
	for d.head == nil {
		if d.closed {
			d.mu.Unlock()
			return nil
		}
		d.mu.Unlock()
		d.reaper.sleep()
		d.mu.Lock()
	}
	t := d.head
	if d.head = t.nextDead; d.head == nil {
		d.tail = nil
	}
	t.nextDead = nil
	d.mu.Unlock()
	return t
}

// done says that the thread taken last is freed.
func (d *deadQueue) done() {
	d.mu.Lock()
	d.n--
	if d.n == deadBound-1 {
		for _, t := range d.room {
			t.Wake()
		}
		clear(d.room) // a thread that waits again has to be added again
		d.room = d.room[:0]
	}
	d.mu.Unlock()
}

// waitRoom blocks t while too many threads wait to be freed. The reaper always
// gets on, so this ends by itself, but maybe late: under PolicyReaper it may wait
// for a pager. The end of t cuts it short: ERESTARTNOINTR. No lock is held.
func (d *deadQueue) waitRoom(t *Thread) error {
	d.mu.Lock()
	if d.n < deadBound {
		d.mu.Unlock()
		return nil
	}
	t.pause('D')
	for d.n >= deadBound && !t.Dying() {
		if !slices.Contains(d.room, t) {
			d.room = append(d.room, t)
		}
		d.mu.Unlock()
		t.parker.sleep()
		d.mu.Lock()
	}
	if i := slices.Index(d.room, t); i >= 0 {
		d.room = slices.Delete(d.room, i, i+1)
	}
	d.mu.Unlock()
	t.resume()
	if t.Dying() {
		t.Interrupt()
		return ERESTARTNOINTR
	}
	return nil
}

func (d *deadQueue) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

func (d *deadQueue) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.reaper.wake()
}

// reaper is the kernel task that finishes exits: one for the machine. It never
// waits for a user process; under PolicyReaper it may wait for a pager, and
// everybody's exit with it, which is what that policy is there to show.
func (k *Kernel) reaper() {
	for t := k.dead.take(); t != nil; t = k.dead.take() {
		k.reap(t)
		k.dead.done()
	}
}

// reap finishes one dead thread. Its goroutine has made its last use of it, and
// no CPU is on its u-area or root (exit1, steps 2b and 6), so both may go (E3).
func (k *Kernel) reap(t *Thread) {
	p, last := t.p, t.last
	t.free()
	if !last {
		return
	}
	k.trace(StepReaper, p.pid, InReaper)
	k.freeSpace(p)
	k.zombify(p)
}

// freeSpace is uvmspace_free: the process lets go of its vmspace. If it holds
// the last reference, map and pmap are asserted to be empty (E8, in
// VMSpace.Release) and the root goes. Under PolicyPurge that costs the same
// whatever the process had mapped; PolicyReaper does the whole teardown here.
func (k *Kernel) freeSpace(p *Process) {
	if p.unpurged {
		p.purge(InReaper)
		p.unpurged = false
	}
	p.mu.Lock()
	s := p.space
	p.space = nil
	p.mu.Unlock()
	s.vs.Release()
	k.trace(StepSpaceFreed, p.pid, InReaper)
}

// zombify makes a dead process a zombie, sends SIGCHLD and wakes the parent; or
// releases it, if nobody will wait. Not before freeSpace: from here on the
// parent may return from wait(2) and expects everything of the child's to be
// done (E1), and a zombie is to hold nothing (E10).
func (k *Kernel) zombify(p *Process) {
	isInit, status := p.isInit(), Status(0)
	if isInit {
		status = p.Status() // p may be gone below
	}
	k.treeMu.Lock()
	k.unlinkChild(p)
	p.onZombies = true
	k.linkChild(p)
	k.announce(p)
	k.treeMu.Unlock()
	if isInit && k.cfg.InitExited != nil {
		k.cfg.InitExited(status)
	}
}

// announce tells the world of a dead process, or the new parent of a zombie, in
// the order that never changes (E6): zombie, SIGCHLD, wake-up. If the parent
// does not want it, it is gone instead. Preconditions: k.treeMu held, p on its
// parent's list of zombies.
func (k *Kernel) announce(p *Process) {
	parent := p.parent
	nowait, silent, moot := true, true, true
	if parent != nil {
		if nowait, silent, moot = parent.ignoresChildren(); p.exitSignal != int(syscall.SIGCHLD) {
			nowait, silent, moot = false, p.exitSignal == 0, false
		}
	} else if p.ofKernel {
		nowait = false // Process.Wait collects it
	}
	news := p.State() == Dead
	if nowait {
		k.release(p, InReaper)
	} else if news {
		p.advance(Zombie, InReaper)
	}
	if !silent {
		k.trace(StepSIGCHLD, p.pid, InReaper)
		if !moot {
			info := p.childInfo(0)
			info.Signo = syscall.Signal(p.exitSignal)
			parent.post(info, nil)
		}
	}
	k.trace(StepWakeup, p.pid, InReaper)
	if news {
		p.notify(NoteReap)
	}
	if parent != nil {
		parent.notify(NoteChild)
	}
}

// release makes a dead or zombie process Gone: its number is free again, unless
// a group or session has it. Preconditions: k.treeMu held, p on its parent's
// list of zombies.
func (k *Kernel) release(p *Process, ctx Context) {
	k.unlinkChild(p)
	p.advance(Gone, ctx)
	p.parent = nil
	p.madeBy(nil)
	k.leaveGroup(p)
	k.all.remove(linkAll, p)
	k.pids.releaseProcess(p.pid)
	p.endAccount()
	k.counts.procs.Add(-1)
	k.counts.reaped.Add(1)
}
