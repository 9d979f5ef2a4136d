package proc

import "syscall"

// Job control: the threads of a stopped process wait in stopHere. The last thread to arrive
// tells the parent. After SIGCONT the first thread to leave tells the parent, and not the
// sender of the signal, which may hold locks that this needs.

// stopState is a process's job-control state. Process.mu guards it.
type stopState struct {
	on     bool           // threads must stop, or have stopped
	sig    syscall.Signal // the signal that stopped the process
	conts  uint32         // number of SIGCONTs so far: a stop signal older than the last one is void
	here   int            // threads in stopHere
	told   bool           // every thread has stopped: the parent is told of this stop
	resume bool           // the parent is to be told of the continuation
}

// jobEvent is an event that wait(2) may report once. The zero value means none.
type jobEvent struct {
	code   int32 // CLD_STOPPED, CLD_CONTINUED
	status Status
}

// statusContinued is wait(2)'s encoding of a continued child.
const statusContinued Status = 0xffff

// jobControlLocked does what sending a signal must do at once, before the signal is taken.
// Stop signals and SIGCONT cancel each other, and SIGCONT continues a stopped process.
// Preconditions: p.mu held.
func (p *Process) jobControlLocked(s syscall.Signal) {
	switch {
	case s == syscall.SIGCONT:
		p.dropPendingLocked(stopSignals)
		p.stop.conts++
		p.continueLocked()
	case stopSignals.Has(s):
		p.dropPendingLocked(SigBit(syscall.SIGCONT))
	}
}

// continueLocked ends a stop. Preconditions: p.mu held.
func (p *Process) continueLocked() {
	if !p.stop.on {
		return
	}
	p.stop.on = false
	p.stop.resume = p.stop.told
	p.stop.told = false
	p.k.stopped.Add(-1)
	steps := 0
	for t := p.threads; t != nil; t = t.next {
		p.k.turn(&steps)
		t.todo.And(^uint32(todoStop))
		t.Wake()
	}
}

// stopAll does the default action of the stop signals, unless a SIGCONT has come since
// conts was read. The terminal's stop signals do nothing to an orphaned process group, as
// no process would continue it.
func (p *Process) stopAll(s syscall.Signal, conts uint32) {
	k := p.k
	k.treeMu.Lock()
	orphaned := s != syscall.SIGSTOP && p.group.Load().orphaned(nil)
	k.treeMu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if orphaned || p.stop.conts != conts || p.stop.on || p.State() != Live {
		return
	}
	p.stop = stopState{on: true, sig: s, conts: conts, here: p.stop.here}
	k.stopped.Add(1)
	steps := 0
	for t := p.threads; t != nil; t = t.next {
		k.turn(&steps)
		t.todo.Or(todoStop)
		t.Wake()
	}
}

// stopHere waits while the process is stopped.
func (t *Thread) stopHere() {
	p := t.p
	p.mu.Lock()
	p.stop.here++
	tell := p.allStoppedLocked()
	p.mu.Unlock()
	if tell {
		p.tellStopped()
	}
	t.pause('T')
	for t.todo.Load()&(todoStop|todoExit) == todoStop {
		t.parker.sleep()
	}
	t.resume()
	p.mu.Lock()
	p.stop.here--
	resumed := p.stop.resume
	p.stop.resume = false
	p.mu.Unlock()
	if resumed {
		p.k.tellJob(p, jobEvent{CLD_CONTINUED, statusContinued})
	}
}

// allStoppedLocked returns true once for each stop, when every thread has stopped.
// Preconditions: p.mu held.
func (p *Process) allStoppedLocked() bool {
	if !p.stop.on || p.stop.told || p.live == 0 || p.stop.here < p.live {
		return false
	}
	p.stop.told = true
	return true
}

// tellStopped tells the parent of the stop, for which allStoppedLocked has returned true. If
// the process has been continued since, there is nothing to tell: another thread may have told
// of that already.
func (p *Process) tellStopped() {
	k := p.k
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	p.mu.Lock()
	sig, stopped := p.stop.sig, p.stop.told
	p.mu.Unlock()
	if stopped {
		k.tellJobLocked(p, jobEvent{CLD_STOPPED, Status(0x7f | int(sig)<<8)})
	}
}

// tellJob records the event for wait(2), sends SIGCHLD and wakes the parent.
func (k *Kernel) tellJob(p *Process, ev jobEvent) {
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	k.tellJobLocked(p, ev)
}

// tellJobLocked is tellJob. Preconditions: treeMu held.
func (k *Kernel) tellJobLocked(p *Process, ev jobEvent) {
	parent := p.parent
	p.jobEvent = ev
	if parent == nil {
		return
	}
	if acts := parent.actions(); acts != nil {
		act := acts.get(syscall.SIGCHLD)
		if act.Handler != SIG_IGN && act.Flags&SA_NOCLDSTOP == 0 {
			info := p.childInfo(ev.code)
			info.Status = int32(ev.status >> 8 & 0xff)
			if ev.code == CLD_CONTINUED {
				info.Status = int32(syscall.SIGCONT)
			}
			parent.post(info, nil)
		}
	}
	parent.notify(NoteChild)
}

// Stopped reports whether job control has stopped the process.
func (p *Process) Stopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stop.on
}
