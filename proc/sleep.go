package proc

import (
	"math"
	"sync/atomic"
	"syscall"
	"time"
)

// Forever is a deadline that never comes.
const Forever int64 = math.MaxInt64

// Results of an interrupted system call that only the kernel sees (Linux
// include/linux/errno.h). The system-call layer stores them in the result register like any
// errno. Before the thread enters user mode again they become EINTR, or the call starts
// again (restart).
const (
	ERESTARTSYS           = syscall.Errno(512) // starts again if the handler has SA_RESTART, or if no handler runs
	ERESTARTNOINTR        = syscall.Errno(513) // always starts again
	ERESTARTNOHAND        = syscall.Errno(514) // starts again only if no handler runs
	ERESTART_RESTARTBLOCK = syscall.Errno(516) // the same, with the deadline of SaveDeadline
)

// Wake makes t check again what it sleeps for or, if it is in user mode, what it has to do.
// It never blocks. It may be called with any lock held, and for a thread that does not
// sleep or is dead.
func (t *Thread) Wake() {
	t.parker.wake()
	if n := t.note.Load(); n != nil {
		n.wake()
	}
	t.interruptUser()
}

// notifier turns Wake into a channel, for sleeps that also wait for another channel.
type notifier struct{ ch chan struct{} } // holds one wake-up; a thread that is woken checks again

func (n *notifier) wake() {
	select {
	case n.ch <- struct{}{}:
	default: // a wake-up waits to be read already
	}
}

// woken returns the channel of t's wake-ups. Wakes before this call are not recorded: the
// caller must test its condition after the call and before it sleeps. Only the thread
// itself may call it.
func (t *Thread) woken() <-chan struct{} {
	n := t.note.Load()
	if n == nil {
		n = &notifier{make(chan struct{}, 1)}
		t.note.Store(n)
	}
	return n.ch
}

// Interrupted reports whether the thread has something else to do: a signal may be
// deliverable, the process is stopped, or the thread must exit. A system call that gives up
// because of that returns Interrupt's error.
func (t *Thread) Interrupted() bool { return t.todo.Load()&todoWake != 0 }

// Dying reports whether the thread will exit as soon as the system call returns. Its result
// does not matter then.
func (t *Thread) Dying() bool { return t.todo.Load()&todoExit != 0 }

// Interrupt returns the error of a system call that is cut short: ERESTARTSYS. The caller
// may replace it by another of its kind, by EINTR, or by a partial result. Only the thread
// itself may call it.
func (t *Thread) Interrupt() error {
	t.todo.Or(todoRestart)
	return ERESTARTSYS
}

// Sleep blocks until ch can be received from (nil), a signal or an exit needs the thread
// (Interrupt's error), or the clock passes deadline (ETIMEDOUT). A nil ch is never ready.
// If several have happened, ch comes first. The caller holds no lock.
func (t *Thread) Sleep(ch <-chan struct{}, deadline int64) error {
	select {
	case <-ch:
		return nil
	default:
	}
	woken := t.woken()
	if t.Interrupted() {
		return t.Interrupt()
	}
	t.pause('S')
	defer t.resume()
	timeout := t.startTimer(deadline)
	for {
		select {
		case <-ch:
			return t.stopTimer(timeout, nil)
		case <-woken:
		case <-timeout:
		}
		if t.Interrupted() {
			select {
			case <-ch:
				return t.stopTimer(timeout, nil)
			default:
				return t.stopTimer(timeout, t.Interrupt())
			}
		}
		if deadline != Forever && t.p.k.now() >= deadline {
			return t.stopTimer(timeout, syscall.ETIMEDOUT)
		}
	}
}

// sleepOn blocks until done is not 0, one of the todo bits in mask is set, or the deadline
// has passed. Code that sets done must call Wake afterwards. With a mask of todoExit only
// the thread's end cuts the sleep short. The caller holds no lock.
func (t *Thread) sleepOn(done *atomic.Uint32, mask uint32, deadline int64) error {
	if done.Load() != 0 {
		return nil
	}
	if deadline != Forever {
		return t.sleepUntil(done, mask, deadline)
	}
	how := byte('S')
	if mask == todoExit {
		how = 'D'
	}
	t.pause(how)
	for done.Load() == 0 && t.todo.Load()&mask == 0 {
		t.parker.sleep()
	}
	t.resume()
	if done.Load() == 0 {
		return t.Interrupt()
	}
	return nil
}

// sleepUntil is sleepOn with a deadline.
func (t *Thread) sleepUntil(done *atomic.Uint32, mask uint32, deadline int64) error {
	woken := t.woken()
	t.pause('S')
	defer t.resume()
	timeout := t.startTimer(deadline)
	for {
		switch {
		case done.Load() != 0:
			return t.stopTimer(timeout, nil)
		case t.todo.Load()&mask != 0:
			return t.stopTimer(timeout, t.Interrupt())
		case t.p.k.now() >= deadline:
			return t.stopTimer(timeout, syscall.ETIMEDOUT)
		}
		select {
		case <-woken:
		case <-timeout:
		}
	}
}

// startTimer arms the thread's timer and returns its channel, or nil for Forever.
func (t *Thread) startTimer(deadline int64) <-chan time.Time {
	if deadline == Forever {
		return nil
	}
	d := max(time.Duration(deadline-t.p.k.now()), 0)
	if t.timer == nil {
		t.timer = time.NewTimer(d)
	} else {
		t.timer.Reset(d)
	}
	return t.timer.C
}

func (t *Thread) stopTimer(timeout <-chan time.Time, err error) error {
	if timeout != nil {
		t.timer.Stop()
	}
	return err
}

// pause ends a period in which the thread used the CPU; resume begins a new one with a
// fresh slice. Every wait of this package is between them. how is the letter that /proc
// shows meanwhile: S, D or T.
func (t *Thread) pause(how byte) {
	t.charge(t.p.k.now())
	t.usage.voluntary.Add(1)
	t.computes = false
	t.waits.Store(uint32(how))
}

func (t *Thread) resume() {
	t.waits.Store(0)
	if t.rseq.at != 0 {
		t.todo.Or(todoRseq)
	}
	t.resumed = t.p.k.now()
	t.turn = t.resumed
	t.share = share
	t.sliceEnd = t.resumed + t.slice
}

// SaveDeadline stores the absolute deadline of a system call that is cut short, and returns
// ERESTART_RESTARTBLOCK. If no handler runs, the same call starts again, and SavedDeadline
// returns the deadline. Only the thread itself may call it.
func (t *Thread) SaveDeadline(d int64) error {
	t.deadline = d
	return ERESTART_RESTARTBLOCK
}

// SavedDeadline returns the deadline if this system call continues an interrupted one. It
// does so once.
func (t *Thread) SavedDeadline() (d int64, ok bool) {
	ok = t.resuming
	t.resuming = false
	return t.deadline, ok
}
