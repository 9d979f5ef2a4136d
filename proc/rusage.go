package proc

import (
	"sync/atomic"
	"syscall"
)

// Usage is what rusage(2) reports. Times are in nanoseconds. A thread's CPU time is
// measured from one wait to the next. Fork, exec and exit count as system time, and all
// else as user time: two clock readings in every system call and fault would cost as much
// as the short ones do.
type Usage struct {
	UserTime, SystemTime int64
	MaxRSS               uint64 // bytes
	Faults               int64  // page faults; all are reported as minor, as a vmspace does not tell which waited
	Voluntary            int64  // context switches by waiting
	Involuntary          int64  // context switches by yielding in the middle or at the end of a slice
}

func (u *Usage) add(v *Usage) {
	u.UserTime += v.UserTime
	u.SystemTime += v.SystemTime
	u.MaxRSS = max(u.MaxRSS, v.MaxRSS)
	u.Faults += v.Faults
	u.Voluntary += v.Voluntary
	u.Involuntary += v.Involuntary
}

// threadUsage is the account of a live thread. Only its goroutine writes it; getrusage(2)
// of any thread of the process reads it.
type threadUsage struct {
	total, system, faults, voluntary, involuntary atomic.Int64
}

// charge adds the CPU time since *from, and sets *from to now.
func (u *threadUsage) charge(from *int64, now int64) {
	u.total.Add(now - *from)
	*from = now
}

// charge adds the CPU time since the last call, or since resume, to the account, and with
// several CPUs to that of this CPU.
func (t *Thread) charge(now int64) {
	if t.p.k.several {
		t.p.k.thisCPU().busy.Add(now - t.resumed)
	}
	t.usage.charge(&t.resumed, now)
}

// addTo adds the thread's account to sum.
func (u *threadUsage) addTo(sum *Usage) {
	sys := u.system.Load()
	sum.UserTime += max(u.total.Load()-sys, 0)
	sum.SystemTime += sys
	sum.Faults += u.faults.Load()
	sum.Voluntary += u.voluntary.Load()
	sum.Involuntary += u.involuntary.Load()
}

// Values of who in getrusage(2).
const (
	UsageSelf     = syscall.RUSAGE_SELF
	UsageChildren = syscall.RUSAGE_CHILDREN
	UsageThread   = 1 // RUSAGE_THREAD
)

// Usage is getrusage(2) and times(2). EINVAL for any other value of who.
func (t *Thread) Usage(who int) (Usage, error) {
	t.charge(t.p.k.now())
	switch who {
	case UsageThread:
		var u Usage
		t.usage.addTo(&u)
		u.MaxRSS = t.space.vs.Stats().PeakRSS
		return u, nil
	case UsageSelf:
		return t.p.Usage(), nil
	case UsageChildren:
		t.p.mu.Lock()
		defer t.p.mu.Unlock()
		return t.p.childUse, nil
	}
	return Usage{}, syscall.EINVAL
}

// Usage returns the process's own usage: the usage of its dead threads, and the usage of
// the live ones up to when each was last charged.
func (p *Process) Usage() Usage {
	var peak uint64
	if vs := p.VM(); vs != nil {
		peak = vs.Stats().PeakRSS
		vs.Release()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.usage
	p.eachLocked(func(t *Thread) bool {
		t.usage.addTo(&u)
		return true
	})
	u.MaxRSS = max(u.MaxRSS, peak)
	return u
}
