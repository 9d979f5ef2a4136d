package proc

import "syscall"

// Pause lets others run in the middle of a system call whose length the program chooses.
// The caller holds no lock, and calls it at least every 10 000 instructions. Threads that
// were woken run at once; threads that compute run when this thread's slice is over. If the
// process has been told to end, Pause returns Interrupt's error, and the call must return
// what it has done so far. Only the thread itself may call it.
func (t *Thread) Pause() error {
	if t.todo.Load()&(todoExit|todoSignal) != 0 && t.killed() {
		return t.Interrupt()
	}
	k := t.p.k
	before := k.now()
	if before >= t.sliceEnd {
		t.usage.involuntary.Add(1)
		t.computes = true
		t.Yield() // in kernel mode no interrupt ends an emulator's turn
		return nil
	}
	k.cfg.Yield()
	if gone := k.now() - before; gone > 0 { // others have used it
		t.resumed += gone
		t.turn += gone
		t.sliceEnd += gone
	}
	return nil
}

// turn counts the steps of a loop over threads or processes, whose number programs choose,
// and lets others run now and then. Locks may be held that keep the list unchanged: threads
// that need them wait as long as the loop takes.
func (k *Kernel) turn(steps *int) {
	if *steps++; *steps%loopTurn == 0 {
		k.cfg.Yield()
	}
}

// loopTurn is how many steps of such a loop are made before others may run, at some 200 to
// 500 instructions each.
const loopTurn = 32

// glance is turn for a loop with few instructions a step, up to 40.
func (k *Kernel) glance(steps *int) {
	if *steps++; *steps%threadsTurn == 0 {
		k.cfg.Yield()
	}
}

// eachLocked calls fn for the process's threads until fn returns false. It lets others run
// now and then, because programs choose the number of threads. Preconditions: p.mu held; it
// stays held.
func (p *Process) eachLocked(fn func(*Thread) bool) {
	steps := 0
	for t := p.threads; t != nil && fn(t); t = t.next {
		p.k.glance(&steps)
	}
}

// findLocked returns the thread numbered tid, or nil. Preconditions: p.mu held.
func (p *Process) findLocked(tid int) (found *Thread) {
	p.eachLocked(func(t *Thread) bool {
		if t.TID() == tid {
			found = t
		}
		return found == nil
	})
	return found
}

// threadsTurn is how many steps glance makes before others may run.
const threadsTurn = 256

// MayEnd is a hint whether Pause would return an error. It is also true if a signal is
// pending that does not end the process. It takes no lock.
func (t *Thread) MayEnd() bool { return t.todo.Load()&(todoExit|todoSignal) != 0 }

// killed reports whether the thread will end as soon as it looks at its signals: its exit
// has begun, or a signal is deliverable whose default action ends the process.
func (t *Thread) killed() bool {
	if t.Dying() {
		return true
	}
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	set := (p.pending.set | t.pending.set) &^ (t.mask | harmless | stopSignals)
	if p.isInit() {
		set &= synchronous
	}
	for s := syscall.Signal(1); set>>(s-1) != 0; s++ {
		if set.Has(s) && p.acts.get(s).Handler == SIG_DFL {
			return true
		}
	}
	return false
}
