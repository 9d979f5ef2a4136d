package proc

import "syscall"

// Pause gives way in the middle of a system call whose length the program
// chooses. Call it, without locks, at least every 10 000 instructions. Threads
// that were woken run at once; those that compute get their turn when the slice
// of this one is over. The result is Interrupt's error if the process has been
// told to end: the call returns what it has done so far. For the thread itself
// only.
func (t *Thread) Pause() error {
	if t.todo.Load()&(todoExit|todoSignal) != 0 && t.killed() {
		return t.Interrupt()
	}
	k := t.p.k
	before := k.now()
	if before >= t.sliceEnd {
		t.usage.involuntary.Add(1)
		t.Yield() // no interrupt ends an emulator's turn in kernel mode
		return nil
	}
	k.cfg.Yield()
	if gone := k.now() - before; gone > 0 { // others used it
		t.resumed += gone
		t.sliceEnd += gone
	}
	return nil
}

// turn counts the steps of a loop over threads or processes, whose number programs
// choose, and lets others run now and then. Locks may be held, which keep the list as it
// is: threads that need them wait as long as the loop takes.
func (k *Kernel) turn(steps *int) {
	if *steps++; *steps%loopTurn == 0 {
		k.cfg.Yield()
	}
}

// loopTurn is how many steps of such a loop follow each other, of some 200 to 500
// instructions.
const loopTurn = 32

// MayEnd is a hint whether Pause would return an error: it is true also if a signal is
// pending that does not end the process. It takes no lock.
func (t *Thread) MayEnd() bool { return t.todo.Load()&(todoExit|todoSignal) != 0 }

// killed reports whether the thread will end as soon as it looks at its signals:
// its exit has begun, or a signal is deliverable that terminates by default.
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
