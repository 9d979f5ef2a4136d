package proc

import (
	"sync"
	"syscall"
	"time"
)

// realTimer is ITIMER_REAL (setitimer(2), alarm(2)): it sends SIGALRM when the monotonic
// clock reaches a time. It belongs to the process until step 3 of exit1.
//
// A timer with an interval does not start again when it expires, but when its SIGALRM is
// taken from the queue, by a handler's start or by sigtimedwait(2). So for a program that
// cannot keep up with its timer, the timer costs one expiry for each signal taken, however
// short the interval is. A SIGALRM that is ignored is never taken, which ends the timer, as
// on Linux.
type realTimer struct {
	p *Process

	mu       sync.Mutex // alone, or inside Process.mu
	timer    *time.Timer
	at       int64 // Kernel.Now at which it expires; 0: not armed
	expired  int64 // when it expired, if it has not started again since; otherwise 0
	interval int64
}

// SetTimer arms the process's real-time timer. It expires in value nanoseconds (0 disarms
// it) and then every interval (0: only once). It returns the time that was left and the old
// interval.
func (p *Process) SetTimer(value, interval int64) (oldValue, oldInterval int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.timer
	if r == nil {
		if value == 0 || p.State() != Live {
			return 0, 0
		}
		r = &realTimer{p: p}
		p.timer = r
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	oldValue, oldInterval = r.left()
	r.arm(value, interval)
	return oldValue, oldInterval
}

// Timer is getitimer(2): it returns the nanoseconds left and the interval.
func (p *Process) Timer() (value, interval int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer == nil {
		return 0, 0
	}
	p.timer.mu.Lock()
	defer p.timer.mu.Unlock()
	return p.timer.left()
}

// left returns the time left and the interval. An armed timer has at least 1 ns left. A
// timer that has expired and whose signal has not been taken has none. Preconditions: r.mu
// held.
func (r *realTimer) left() (value, interval int64) {
	if r.at == 0 {
		return 0, r.interval
	}
	return max(r.at-r.p.k.now(), 1), r.interval
}

// arm starts or stops the timer. Preconditions: r.mu held.
func (r *realTimer) arm(value, interval int64) {
	if r.timer != nil {
		r.timer.Stop()
	}
	r.at, r.expired, r.interval = 0, 0, 0
	if value > 0 {
		r.interval = interval
		r.start(later(r.p.k.now(), value))
	}
}

// start makes the timer expire at a time. Preconditions: r.mu held.
func (r *realTimer) start(at int64) {
	r.at, r.expired = at, 0
	d := time.Duration(at - r.p.k.now())
	if r.timer == nil {
		r.timer = time.AfterFunc(d, r.fire)
	} else {
		r.timer.Reset(d)
	}
}

// later returns the time d nanoseconds after at, or Forever if that overflows.
func later(at, d int64) int64 {
	if d > Forever-at {
		return Forever
	}
	return at + d
}

// fire sends SIGALRM. It runs in a goroutine of its own. SetTimer holds the same lock, so a
// timer that has been disarmed sends nothing any more.
func (r *realTimer) fire() {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	r.mu.Lock()
	due := r.at != 0 && p.k.now() >= r.at // else it was disarmed or set anew meanwhile
	if due {
		r.at, r.expired = 0, r.at
	}
	r.mu.Unlock()
	if due {
		_ = p.postLocked(&Siginfo{Signo: syscall.SIGALRM, Code: SI_KERNEL}, nil)
	}
}

// taken is called when a SIGALRM for the process is taken from the queue. It restarts a
// timer with an interval, at the first expiry of its series that is still to come. All
// expiries in between count as one signal.
func (r *realTimer) taken() {
	r.mu.Lock()
	if r.expired != 0 && r.interval > 0 {
		n := (r.p.k.now() - r.expired) / r.interval
		r.start(later(r.expired+n*r.interval, r.interval))
	}
	r.mu.Unlock()
}

// stop disarms the timer for good. Its process does not refer to it any more.
func (r *realTimer) stop() {
	r.mu.Lock()
	r.arm(0, 0)
	r.mu.Unlock()
}
