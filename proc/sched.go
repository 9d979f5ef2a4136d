package proc

import (
	"syscall"
	"unsafe"

	"grim/proc/cred"
)

// Sched says how a thread wants to be scheduled (sched(7)). It is stored, inherited and
// reported, but has no effect: the Go scheduler is the kernel's, and has one policy.
type Sched struct {
	Policy   int // SCHED_OTHER 0, FIFO 1, RR 2, BATCH 3, IDLE 5
	Priority int // of FIFO and RR, 1 to 99
	Nice     int // -20 to 19
	Reset    bool
	IO       int // ioprio_set(2)
}

// afterFork returns the values of a child.
func (s Sched) afterFork() Sched {
	if s.Reset {
		if s.Policy == 1 || s.Policy == 2 {
			s.Policy, s.Priority = 0, 0
		}
		s.Nice, s.Reset = max(s.Nice, 0), false
	}
	return s
}

// Sched and SetSched may be called for any thread.
func (t *Thread) Sched() Sched {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return t.sched
}

func (t *Thread) SetSched(s Sched) {
	t.p.mu.Lock()
	t.sched = s
	t.p.mu.Unlock()
}

// Nice returns the nice value of the thread numbered tid.
func (p *Process) Nice(tid int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := p.threads; t != nil; t = t.next {
		if t.TID() == tid {
			return t.sched.Nice
		}
	}
	return 0
}

// defaultSlack is the timer slack of a thread that has not set another, in nanoseconds.
const defaultSlack = 50_000

// TimerSlack and SetTimerSlack are PR_GET_TIMERSLACK and PR_SET_TIMERSLACK. Setting 0 or
// less restores the value that the thread began with. Timers are never delayed here. Only
// the thread itself may call them.
func (t *Thread) TimerSlack() int64 { return defaultSlack + t.slack }

func (t *Thread) SetTimerSlack(ns int64) {
	if t.slack = ns - defaultSlack; ns <= 0 {
		t.slack = t.bornSlack
	}
}

// NoHuge and SetNoHuge are PR_GET_THP_DISABLE and PR_SET_THP_DISABLE. The value is only
// stored, because a block never takes more memory than the pages that were touched.
func (p *Process) NoHuge() bool      { return p.noHuge.Load() }
func (p *Process) SetNoHuge(on bool) { p.noHuge.Store(on) }

// SignalTable returns a number by which the signal tables of processes can be compared.
func (p *Process) SignalTable() uintptr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return uintptr(unsafe.Pointer(p.acts))
}

// MaySchedule returns EPERM if t may not change how target is scheduled.
func (t *Thread) MaySchedule(target *Thread) error {
	theirs := target.p.Cred()
	if theirs == nil || t.cred.EUID == theirs.UID || t.cred.EUID == theirs.EUID || t.cred.Has(cred.SysNice) {
		return nil
	}
	return syscall.EPERM
}

// Values of kind for Scheduled.
const (
	SchedProcess = 0
	SchedGroup   = 1
	SchedUser    = 2
)

// Scheduled calls fn for the threads that getpriority(2) and its like select: one thread,
// all of a process group, or all of a user. A who of 0 means the caller's. fn must not take
// a lock that is held here; it may take Process.mu. ESRCH if there is none.
func (t *Thread) Scheduled(kind, who int, fn func(*Thread)) error {
	k := t.p.k
	if kind == SchedProcess {
		target := t
		if who != 0 {
			if target = k.Thread(who); target == nil {
				return syscall.ESRCH
			}
		}
		fn(target)
		return nil
	}
	var list []*Process
	group := t.p.group.Load()
	if kind == SchedGroup && who != 0 {
		k.treeMu.Lock()
		group = k.pids.group(who)
		k.treeMu.Unlock()
	}
	uid := uint32(who)
	if who == 0 {
		uid = t.cred.UID
	}
	k.treeMu.Lock()
	for p := k.all.head; p != nil; p = p.links[linkAll].next {
		if p.State() >= Zombie {
			continue
		}
		if kind == SchedGroup {
			if group != nil && p.group.Load() == group {
				list = append(list, p)
			}
		} else if c := p.Cred(); c != nil && c.UID == uid {
			list = append(list, p)
		}
	}
	k.treeMu.Unlock()
	found := false
	for _, p := range list {
		for _, tid := range p.TIDs() {
			if o := k.Thread(tid); o != nil {
				fn(o)
				found = true
			}
		}
		k.cfg.Yield()
	}
	if !found {
		return syscall.ESRCH
	}
	return nil
}
