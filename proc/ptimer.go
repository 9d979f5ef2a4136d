package proc

import (
	"sync"
	"syscall"
	"time"

	"grim/mm/charge"
)

// Timer is a POSIX timer (timer_create(2)). It lives on its process until it is
// deleted, or until exec or exit1's step 3.
//
// A timer has one signal queued at a time. Like realTimer it does not start again when
// it expires, but when its signal is taken from the queue; what passes in between is
// the overrun. So a program that cannot keep up costs one expiry for each signal that
// it takes, however short the interval is.
type Timer struct {
	p      *Process       // [I]
	id     int            // [I]
	cpu    bool           // [I] the clock counts CPU time: the process's, or with tid a thread's
	tid    int            // [I]
	target *Thread        // [I] SIGEV_THREAD_ID; nil: any thread
	sig    syscall.Signal // [I] 0: none (SIGEV_NONE)
	value  uint64         // [I]
	wall   bool           // [I] absolute times are of the wall clock

	mu       sync.Mutex // alone, or inside Process.mu
	timer    *time.Timer
	at       int64 // of the clock; 0: not armed
	interval int64
	queued   bool // its signal is
	gone     bool // deleted
	overrun  int  // of the signal that was taken last
}

// TimerArgs are what timer_create(2) is asked for.
type TimerArgs struct {
	// CPU: the clock counts CPU time of this process, or with CPUThread of a thread of
	// it. Else it is the monotonic one.
	CPU       bool
	CPUThread int
	Signal    syscall.Signal // 0: none
	Value     uint64         // of the signal
	OwnID     bool           // Value is the timer's number
	Wall      bool           // absolute times are of the wall clock
	Target    *Thread        // of the process; nil: any
}

// maxOverrun is DELAYTIMER_MAX.
const maxOverrun = 1<<31 - 1

// NewTimer makes a timer, not armed. EAGAIN: the user may not have more, as each holds
// a queued signal. For a thread of the process.
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

// ID is the timer's number.
func (tm *Timer) ID() int { return tm.id }

// TimerOf is the timer of a number: EINVAL.
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

// stopTimers deletes all: at exec, and at exit.
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

// stop ends the timer for good. It is on no list any more.
func (tm *Timer) stop() {
	tm.mu.Lock()
	tm.gone = true
	tm.startLocked(0)
	tm.mu.Unlock()
	tm.p.account.GiveOne(charge.Signal, signalCost)
}

// Wall says whether absolute times are of the wall clock.
func (tm *Timer) Wall() bool { return tm.wall }

// Now is the timer's clock; for one of the wall clock, the monotonic one.
func (tm *Timer) Now() int64 { return tm.now() }

func (tm *Timer) now() int64 {
	if tm.cpu {
		return tm.p.CPUTime(tm.tid)
	}
	return tm.p.k.now()
}

// Set arms the timer: to expire at the time given, 0 not at all, and then at every
// interval. It returns what was left, and the old interval.
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

// leftLocked: an armed timer has at least 1 ns left. Preconditions: tm.mu held.
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

// startLocked lets it expire at a time, 0 never. Preconditions: tm.mu held.
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
	tm.p.k.TimerMoved()
}

// leastRestart is how long a timer waits whose signal was thrown away.
const leastRestart = int64(10 * time.Millisecond)

// fire looks whether the time has come, and sends the signal. No lock is held.
func (tm *Timer) fire() {
	now := tm.now()
	tm.mu.Lock()
	if tm.at == 0 || now < tm.at || tm.queued || tm.gone { // set anew meanwhile, or not taken yet
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

// postTimer queues the signal, and says whether it will be taken from the queue: not if
// it is ignored, or one of its number waits already.
func (p *Process) postTimer(info *Siginfo, target *Thread) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := &p.pending
	if target != nil {
		q = &target.pending
	}
	act := p.acts.get(info.Signo)
	if p.State() != Live || target != nil && target.state != Live ||
		info.Signo < SIGRTMIN && q.set.Has(info.Signo) || p.discardsByLocked(&act, info.Signo, target) {
		return false
	}
	return p.postLocked(info, target) == nil
}

// taken is called when the signal is taken from the queue, and returns the overrun: a
// timer with an interval goes on. Preconditions: p.mu held.
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
