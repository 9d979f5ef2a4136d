package proc

import (
	"math"
	"syscall"
)

// Timers and limits of a process's CPU time are checked when a thread's slice ends
// (Thread.interrupt). So they are exact to a slice. A process that has none pays for one
// load there.

// cpuTimer is ITIMER_VIRTUAL or ITIMER_PROF. Process.mu guards it.
type cpuTimer struct{ at, interval int64 } // of the process's CPU time; at 0: not armed

// Kinds of CPU timers (setitimer(2)).
const (
	TimerVirtual = 0 // user time, SIGVTALRM
	TimerProf    = 1 // user and system time, SIGPROF
)

// watchCPU makes the process's threads check the timers of CPU time.
func (p *Process) watchCPU() { p.cpuWatch.Store(true) }

// usageLocked returns what the process itself has used so far. Preconditions: p.mu held.
func (p *Process) usageLocked() Usage {
	u, steps := p.usage, 0
	for t := p.threads; t != nil; t = t.next {
		p.k.glance(&steps)
		t.usage.addTo(&u)
	}
	return u
}

// cpuLocked returns the process's CPU time. Preconditions: p.mu held.
func (p *Process) cpuLocked() int64 {
	u := p.usageLocked()
	return u.UserTime + u.SystemTime
}

// CPUTime returns the CPU time of the process or, if tid is not 0, of a live thread. The
// time of a running thread is included up to when it was last charged.
func (p *Process) CPUTime(tid int) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cpuTimeLocked(tid)
}

// cpuTimeLocked is CPUTime. Preconditions: p.mu held.
func (p *Process) cpuTimeLocked(tid int) int64 {
	if tid == 0 {
		return p.cpuLocked()
	}
	if t := p.findLocked(tid); t != nil {
		return t.usage.total.Load()
	}
	return 0
}

// SetCPUTimer is setitimer(2) for the timers of CPU time. The timer expires in value
// nanoseconds (0 disarms it) and then every interval. It returns the time that was left and
// the old interval. Only a thread of the process may call it.
func (t *Thread) SetCPUTimer(kind int, value, interval int64) (oldValue, oldInterval int64) {
	t.charge(t.p.k.now())
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	oldValue, oldInterval = p.cpuTimerLeft(kind)
	c := &p.cpuTimers[kind]
	*c = cpuTimer{}
	if value > 0 {
		*c = cpuTimer{later(p.cpuOf(kind), value), interval}
		p.watchCPU()
	}
	return oldValue, oldInterval
}

// CPUTimer is getitimer(2).
func (t *Thread) CPUTimer(kind int) (value, interval int64) {
	t.charge(t.p.k.now())
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return t.p.cpuTimerLeft(kind)
}

// cpuTimerLeft returns the time left and the interval of a CPU timer. Preconditions: p.mu
// held.
func (p *Process) cpuTimerLeft(kind int) (value, interval int64) {
	c := &p.cpuTimers[kind]
	if c.at == 0 {
		return 0, c.interval
	}
	return max(c.at-p.cpuOf(kind), 1), c.interval
}

// cpuOf returns the time that a timer of the kind counts. Preconditions: p.mu held.
func (p *Process) cpuOf(kind int) int64 {
	u := p.usageLocked()
	if kind == TimerVirtual {
		return u.UserTime
	}
	return u.UserTime + u.SystemTime
}

// checkCPU sends the signals that are due: those of timers, SIGXCPU at each second over the
// soft limit, SIGKILL at the hard limit. Only the thread itself may call it, after its time
// has been charged.
func (t *Thread) checkCPU() {
	p := t.p
	var due []*Timer
	p.mu.Lock()
	any := false
	for kind := range p.cpuTimers {
		c := &p.cpuTimers[kind]
		if c.at == 0 {
			continue
		}
		any = true
		now := p.cpuOf(kind)
		if now < c.at {
			continue
		}
		if c.interval > 0 {
			c.at = later(c.at+(now-c.at)/c.interval*c.interval, c.interval)
		} else {
			c.at = 0
		}
		sig := [2]syscall.Signal{syscall.SIGVTALRM, syscall.SIGPROF}[kind]
		_ = p.postLocked(&Siginfo{Signo: sig, Code: SI_KERNEL}, nil)
	}
	now := p.cpuLocked()
	if l := p.limits[syscall.RLIMIT_CPU]; l.Cur != Unlimited {
		any = true
		sec := uint64(now / 1e9)
		switch {
		case sec >= l.Max:
			_ = p.postLocked(&Siginfo{Signo: syscall.SIGKILL, Code: SI_KERNEL}, nil)
		case sec >= l.Cur && sec >= p.xcpuNext:
			p.xcpuNext = sec + 1
			_ = p.postLocked(&Siginfo{Signo: syscall.SIGXCPU, Code: SI_KERNEL}, nil)
		}
	}
	steps := 0
	for _, tm := range p.timers {
		p.k.glance(&steps)
		if !tm.cpu {
			continue
		}
		any = true
		due = append(due, tm)
	}
	if !any {
		p.cpuWatch.Store(false)
	}
	p.mu.Unlock()
	for _, tm := range due {
		p.k.turn(&steps)
		tm.fire()
	}
}

// cpuLimited reports whether there is an RLIMIT_CPU. Preconditions: p.mu held, or p is new.
func (p *Process) cpuLimited() bool { return p.limits[syscall.RLIMIT_CPU].Cur != math.MaxUint64 }
