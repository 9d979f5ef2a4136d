package proc

import (
	"sync"
	"syscall"
	"time"
)

// realTimer is ITIMER_REAL (setitimer(2), alarm(2)): SIGALRM when the monotonic
// clock gets there. It lives on the process until exit1's step 3.
type realTimer struct {
	p *Process

	mu       sync.Mutex // alone, or inside Process.mu
	timer    *time.Timer
	at       int64 // Kernel.Now; 0: not armed
	interval int64
}

// SetTimer arms the process's real-time timer: in value nanoseconds, 0 disarms,
// then every interval, 0 once. It returns what was left, and the old interval.
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

// Timer is getitimer(2): nanoseconds left and the interval.
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

// left: an armed timer has at least 1 ns left. Preconditions: r.mu held.
func (r *realTimer) left() (value, interval int64) {
	if r.at == 0 {
		return 0, 0
	}
	return max(r.at-r.p.k.now(), 1), r.interval
}

// arm starts or stops it. Preconditions: r.mu held.
func (r *realTimer) arm(value, interval int64) {
	if r.timer != nil {
		r.timer.Stop()
	}
	r.at, r.interval = 0, interval
	if value <= 0 {
		return
	}
	r.at = r.p.k.now() + value
	if r.timer == nil {
		r.timer = time.AfterFunc(time.Duration(value), r.fire)
	} else {
		r.timer.Reset(time.Duration(value))
	}
	r.p.k.TimerMoved()
}

// fire runs in a goroutine of its own.
func (r *realTimer) fire() {
	r.mu.Lock()
	if r.at == 0 || r.p.k.now() < r.at { // disarmed or set anew meanwhile
		r.mu.Unlock()
		return
	}
	r.at = 0
	if r.interval > 0 {
		r.arm(r.interval, r.interval)
	}
	r.mu.Unlock()
	r.p.post(&Siginfo{Signo: syscall.SIGALRM, Code: SI_KERNEL}, nil)
}

// stop disarms it for good: its process has let go of it.
func (r *realTimer) stop() {
	r.mu.Lock()
	r.arm(0, 0)
	r.mu.Unlock()
}
