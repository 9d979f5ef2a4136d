package proc

import (
	"sync"
	"syscall"
	"time"

	"grim/mm/charge"
)

// Timer is a POSIX timer (timer_create(2)). It belongs to its process until it is deleted,
// or until exec or step 3 of exit1.
//
// A timer has at most one signal queued. Like realTimer it does not start again when it
// expires, but when its signal is taken from the queue; expiries in between are the
// overrun. So for a program that cannot keep up, the timer costs one expiry for each signal
// taken, however short the interval is.
type Timer struct {
	p      *Process       // [I]
	id     int            // [I]
	cpu    bool           // [I] the clock counts CPU time of the process, or if tid is not 0 of that thread
	tid    int            // [I]
	target *Thread        // [I] SIGEV_THREAD_ID; nil: any thread
	sig    syscall.Signal // [I] 0: none (SIGEV_NONE)
	value  uint64         // [I]
	wall   bool           // [I] absolute times are those of the wall clock

	mu       sync.Mutex // alone, or inside Process.mu
	timer    *time.Timer
	at       int64 // time of the clock at which it expires; 0: not armed
	interval int64
	queued   bool // its signal is queued
	gone     bool // it has been deleted
	overrun  int  // overrun of the signal that was taken last
}

// TimerArgs are the arguments of timer_create(2).
type TimerArgs struct {
	// CPU: the clock counts CPU time of this process, or if CPUThread is not 0 of that
	// thread. Otherwise it is the monotonic clock.
	CPU       bool
	CPUThread int
	Signal    syscall.Signal // 0: none
	Value     uint64         // value in the signal
	OwnID     bool           // Value is the timer's number
	Wall      bool           // absolute times are those of the wall clock
	Target    *Thread        // a thread of the process; nil: any
}

// maxOverrun is DELAYTIMER_MAX.
const maxOverrun = 1<<31 - 1

// NewTimer makes a timer that is not armed. EAGAIN: the user may not have more, as each is
// charged as a queued signal. Only a thread of the process may call it.
func (p *Process) NewTimer(a TimerArgs) (*Timer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.account.TakeOne(charge.Signal, signalCost, p.limits[rlimitSigpending].Cur) {
		return nil, syscall.EAGAIN
	}
	if p.timers == nil {
		p.timers = make(map[int]*Timer)
	}
	for p.timers[p.nextTimer] != nil {
		p.nextTimer = (p.nextTimer + 1) & (1<<31 - 1)
	}
	tm := &Timer{p: p, id: p.nextTimer, cpu: a.CPU, tid: a.CPUThread, sig: a.Signal, value: a.Value, target: a.Target, wall: a.Wall}
	if a.OwnID {
		tm.value = uint64(tm.id)
	}
	p.nextTimer++
	p.timers[tm.id] = tm
	return tm, nil
}

// ID returns the timer's number.
func (tm *Timer) ID() int { return tm.id }

// TimerOf returns the timer with a number. EINVAL.
func (p *Process) TimerOf(id int) (*Timer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if tm := p.timers[id]; tm != nil {
		return tm, nil
	}
	return nil, syscall.EINVAL
}

// DeleteTimer is timer_delete(2).
func (p *Process) DeleteTimer(id int) error {
	p.mu.Lock()
	tm := p.timers[id]
	delete(p.timers, id)
	p.mu.Unlock()
	if tm == nil {
		return syscall.EINVAL
	}
	tm.stop()
	return nil
}

// stopTimers deletes all timers, at exec and at exit.
func (p *Process) stopTimers() {
	p.mu.Lock()
	all := p.timers
	p.timers, p.nextTimer = nil, 0
	p.mu.Unlock()
	n := 0
	for _, tm := range all {
		tm.stop()
		if n++; n%64 == 0 {
			p.k.cfg.Yield()
		}
	}
}

// stop ends the timer for good. It has been taken off the process's list.
func (tm *Timer) stop() {
	tm.mu.Lock()
	tm.gone = true
	tm.startLocked(0)
	tm.mu.Unlock()
	tm.p.account.GiveOne(charge.Signal, signalCost)
}

// Wall reports whether absolute times are those of the wall clock.
func (tm *Timer) Wall() bool { return tm.wall }

// Now returns the time of the timer's clock. For a wall-clock timer it returns the time of
// the monotonic clock.
func (tm *Timer) Now() int64 { return tm.now() }

func (tm *Timer) now() int64 {
	if tm.cpu {
		return tm.p.CPUTime(tm.tid)
	}
	return tm.p.k.now()
}

// Set arms the timer to expire at time at (0 disarms it) and then at every interval. It
// returns the time that was left and the old interval.
func (tm *Timer) Set(at, interval int64) (value, old int64) {
	now := tm.now()
	tm.mu.Lock()
	defer tm.mu.Unlock()
	value, old = tm.leftLocked(now)
	tm.interval, tm.queued, tm.overrun = interval, false, 0
	if !tm.gone {
		tm.startLocked(at)
	}
	return value, old
}

// Left is timer_gettime(2).
func (tm *Timer) Left() (value, interval int64) {
	now := tm.now()
	tm.mu.Lock()
	defer tm.mu.Unlock()
	return tm.leftLocked(now)
}

// leftLocked returns the time left and the interval. An armed timer has at least 1 ns left.
// Preconditions: tm.mu held.
func (tm *Timer) leftLocked(now int64) (value, interval int64) {
	switch {
	case tm.at == 0:
		return 0, tm.interval
	case tm.at > now:
		return tm.at - now, tm.interval
	case tm.interval > 0: // its signal has not been taken yet
		return tm.interval - (now-tm.at)%tm.interval, tm.interval
	case tm.sig == 0:
		return 0, tm.interval
	}
	return 1, tm.interval
}

// Overrun is timer_getoverrun(2).
func (tm *Timer) Overrun() int {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	return tm.overrun
}

// startLocked makes the timer expire at a time, or never if at is 0. Preconditions: tm.mu
// held.
func (tm *Timer) startLocked(at int64) {
	if tm.timer != nil {
		tm.timer.Stop()
	}
	if tm.at = at; at == 0 || tm.sig == 0 {
		return
	}
	if tm.cpu {
		tm.p.watchCPU()
		return
	}
	d := time.Duration(at - tm.p.k.now())
	if tm.timer == nil {
		tm.timer = time.AfterFunc(d, tm.fire)
	} else {
		tm.timer.Reset(d)
	}
}

// leastRestart is how long a timer waits at least after its signal was discarded.
const leastRestart = int64(10 * time.Millisecond)

// fire sends the signal if the time has come. No lock is held.
func (tm *Timer) fire() {
	now := tm.now()
	tm.mu.Lock()
	if tm.at == 0 || now < tm.at || tm.queued || tm.gone { // set anew meanwhile, or its signal was not taken yet
		tm.mu.Unlock()
		return
	}
	tm.queued = true
	tm.mu.Unlock()
	info := &Siginfo{Signo: tm.sig, Code: SI_TIMER, PID: int32(tm.id), Value: tm.value, timer: tm}
	if tm.p.postTimer(info, tm.target) {
		return
	}
	tm.mu.Lock()
	tm.queued = false
	switch {
	case tm.gone || tm.at == 0 || tm.at > now:
	case tm.interval == 0:
		tm.at = 0
	default:
		at := tm.at + ((now-tm.at)/tm.interval+1)*tm.interval
		tm.startLocked(max(at, later(now, leastRestart)))
	}
	tm.mu.Unlock()
}

// postTimer queues the signal, and reports whether it will be taken from the queue. It will
// not if it is ignored, if a signal with its number is queued already, or if the timer has
// been deleted: fire may have begun on another CPU before, and a deleted timer sends nothing.
func (p *Process) postTimer(info *Siginfo, target *Thread) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := &p.pending
	if target != nil {
		q = &target.pending
	}
	act := p.acts.get(info.Signo)
	if tm := info.timer; p.timers[tm.id] != tm {
		return false
	}
	if p.State() != Live || target != nil && target.state != Live ||
		info.Signo < SIGRTMIN && q.set.Has(info.Signo) || p.discardsByLocked(&act, info.Signo, target) {
		return false
	}
	return p.postLocked(info, target) == nil
}

// taken is called when the signal is taken from the queue. It returns the overrun, and
// restarts a timer that has an interval. Preconditions: p.mu held.
func (tm *Timer) taken() int {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	if !tm.queued || tm.gone {
		return tm.overrun
	}
	tm.queued, tm.overrun = false, 0
	if tm.interval == 0 {
		tm.at = 0
		return 0
	}
	now := tm.p.k.now()
	if tm.cpu {
		now = tm.p.cpuTimeLocked(tm.tid)
	}
	n := max(now-tm.at, 0) / tm.interval
	tm.overrun = int(min(n, maxOverrun))
	tm.startLocked(later(tm.at+n*tm.interval, tm.interval))
	return tm.overrun
}
