package proc

import (
	"math"
	"sync/atomic"
	"syscall"
	"time"
)

// Forever is a deadline that never comes.
const Forever int64 = math.MaxInt64

// Results of an interrupted system call that the kernel understands and user
// code never sees (Linux include/linux/errno.h). The system-call layer stores
// them in the result register like any errno; before the thread enters user
// mode again they become EINTR, or the call starts again (restart).
const (
	ERESTARTSYS           = syscall.Errno(512) // again if the handler has SA_RESTART, or if none runs
	ERESTARTNOINTR        = syscall.Errno(513) // always again
	ERESTARTNOHAND        = syscall.Errno(514) // again only if no handler runs
	ERESTART_RESTARTBLOCK = syscall.Errno(516) // the same, with the deadline of SaveDeadline
)

// Wake makes t look again at what it sleeps for, or, in user mode, at what it has to do.
// It never blocks, and may be
// called with any lock held, for a thread that does not sleep, or is dead.
func (t *Thread) Wake() {
	t.parker.wake()
	if n := t.note.Load(); n != nil {
		n.wake()
	}
	t.interruptUser()
}

// notifier is Wake as a channel, for sleeps that wait for a channel too.
type notifier struct{ ch chan struct{} } // holds one wake-up; who sleeps looks again

func (n *notifier) wake() {
	select {
	case n.ch <- struct{}{}:
	default: // one is waiting to be read already
	}
}

// woken is the channel of t's wake-ups. The caller looks at what it waits for
// after this and before it sleeps: Wake has known the channel only since now. For
// the thread itself only.
func (t *Thread) woken() <-chan struct{} {
	n := t.note.Load()
	if n == nil {
		n = &notifier{make(chan struct{}, 1)}
		t.note.Store(n)
	}
	return n.ch
}

// Interrupted reports whether the thread is wanted elsewhere: a signal may be
// deliverable, the process stops, or the thread is to exit. A system call that
// gives up for it returns Interrupt's error.
func (t *Thread) Interrupted() bool { return t.todo.Load()&todoWake != 0 }

// Dying reports whether the thread will exit as soon as the system call
// returns: what it returns does not matter any more.
func (t *Thread) Dying() bool { return t.todo.Load()&todoExit != 0 }

// Interrupt is the error of a system call cut short: ERESTARTSYS, which the
// caller may exchange for another of its kind, for EINTR, or for a partial
// result. For the thread itself only.
func (t *Thread) Interrupt() error {
	t.todo.Or(todoRestart)
	return ERESTARTSYS
}

// Sleep blocks until ch can be received from (nil), a signal or exit wants the
// thread (Interrupt's error), or the clock passes deadline (ETIMEDOUT). A nil ch
// never is ready. The caller holds no lock. When both have come, ch wins.
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

// sleepOn blocks until done is not 0, one of the todo bits in mask is set, or
// the deadline has passed. Who sets done calls Wake after. A mask of todoExit
// makes a sleep that only the thread's end cuts short. The caller holds no lock.
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

// startTimer arms the thread's timer; nil for Forever.
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

// pause ends the time the thread used the CPU, resume begins a new one with a
// fresh slice. Every wait of this package stands between them. how is the letter
// that /proc shows meanwhile: S, D or T.
func (t *Thread) pause(how byte) {
	t.usage.charge(&t.resumed, t.p.k.now())
	t.usage.voluntary.Add(1)
	t.waits.Store(uint32(how))
}

func (t *Thread) resume() {
	k := t.p.k
	t.waits.Store(0)
	if t.rseq.at != 0 {
		t.todo.Or(todoRseq)
	}
	t.resumed = k.now()
	t.sliceEnd = t.resumed + k.slice
	if c := &k.cpus[0]; !k.several && c.nextTimer() < c.armed.Load() {
		c.armed.Store(math.MaxInt64) // others have started timers meanwhile
	}
}

// SaveDeadline keeps the absolute deadline of a system call that was cut short
// and returns ERESTART_RESTARTBLOCK: if no handler runs, the same call starts
// again, and SavedDeadline tells it when to end. For the thread itself only.
func (t *Thread) SaveDeadline(d int64) error {
	t.deadline = d
	return ERESTART_RESTARTBLOCK
}

// SavedDeadline returns the deadline if this system call goes on from an
// interrupted one, once.
func (t *Thread) SavedDeadline() (d int64, ok bool) {
	ok = t.resuming
	t.resuming = false
	return t.deadline, ok
}
