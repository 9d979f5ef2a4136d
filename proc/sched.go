package proc

import (
	"reflect"
	"syscall"
	"time"

	"grim/proc/cred"
)

// Sched has a thread's settings for scheduling (sched(7)).
//
// Threads that compute take turns on a CPU. The length of a turn follows from the nice
// value: 5 ms for 0, and a quarter more for each step down. Threads that have been woken go
// before them, except those of SCHED_BATCH and SCHED_IDLE: a thread that has had share
// gives way, and continues its turn later (giveWay). Real-time threads go before all
// others, by priority. If a ready thread is changed, it stays in its old queue until its
// turn comes.
type Sched struct {
	Policy   int // SchedOther and so on
	Priority int // of FIFO and RR, 1 to 99
	Nice     int // -20 to 19
	Reset    bool
	IO       int // ioprio_set(2), kept only

	CPUs uint64 // the CPUs on which it may run, bit n for CPU n; 0: all
}

// Policies, by their numbers for sched_setscheduler(2).
const (
	SchedOther = 0
	SchedFIFO  = 1
	SchedRR    = 2
	SchedBatch = 3
	SchedIdle  = 5
)

// RealTimeSlice is how long a thread of SCHED_RR runs while others of its priority wait.
// A thread of SCHED_FIFO continues after that, if real-time threads have time left.
const RealTimeSlice = 100 * time.Millisecond

// minSlice is the shortest turn.
const minSlice = int64(100 * time.Microsecond)

// Slice is how long a thread runs while others wait.
func (k *Kernel) Slice(s Sched) time.Duration {
	switch s.Policy {
	case SchedFIFO, SchedRR:
		return RealTimeSlice
	case SchedIdle:
		return time.Duration(minSlice)
	}
	slice := k.slice
	for n := s.Nice; n > 0; n-- {
		slice = slice * 4 / 5
	}
	for n := s.Nice; n < 0; n++ {
		slice = slice * 5 / 4
	}
	return time.Duration(max(slice, minSlice))
}

// obeySched makes the thread's new Sched take effect. It returns on a CPU that the thread
// may use. Only the thread itself may call it.
func (t *Thread) obeySched() {
	t.p.mu.Lock()
	t.todo.And(^uint32(todoSched))
	s := t.sched
	t.p.mu.Unlock()
	t.slice = int64(t.p.k.Slice(s))
	t.usage.charge(&t.resumed, t.p.k.now())
	t.setPlace(s)
	had := t.share
	t.resume()
	t.share = had
}

// setPlace passes s to the scheduler of goroutines.
func (t *Thread) setPlace(s Sched) {
	t.place = s.CPUs != 0 || s.Policy != SchedOther
	t.realTime = s.Policy == SchedFIFO || s.Policy == SchedRR
	priority := 0
	if t.realTime {
		priority = s.Priority
	}
	setPlace(s.CPUs, priority, s.Policy == SchedFIFO, s.Policy == SchedBatch || s.Policy == SchedIdle)
}

// afterFork returns the values of a child.
func (s Sched) afterFork() Sched {
	if s.Reset {
		if s.Policy == SchedFIFO || s.Policy == SchedRR {
			s.Policy, s.Priority = SchedOther, 0
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

// ChangeSched calls change, with Process.mu held, to change the thread's Sched. The change
// takes effect soon if the thread is on another CPU; for the caller itself it does before
// the system call returns.
func (t *Thread) ChangeSched(change func(*Sched)) {
	t.p.mu.Lock()
	change(&t.sched)
	t.todo.Or(todoSched)
	t.p.mu.Unlock()
	t.interruptUser()
}

func (t *Thread) SetSched(s Sched) { t.ChangeSched(func(old *Sched) { *old = s }) }

// DecideSched is ChangeSched with a function that may take locks, for example to find out
// whether the change is allowed. It gets a copy of the thread's Sched, and what it leaves
// there becomes the thread's. If another thread has changed the Sched meanwhile, decide is
// called again with that. An error of decide ends the call.
func (t *Thread) DecideSched(decide func(*Sched) error) error {
	for {
		old := t.Sched()
		s := old
		if err := decide(&s); err != nil {
			return err
		}
		done := false
		t.ChangeSched(func(now *Sched) {
			if done = *now == old; done {
				*now = s
			}
		})
		if done {
			return nil
		}
	}
}

// SchedOf returns how the thread numbered tid has asked to be scheduled.
func (p *Process) SchedOf(tid int) Sched {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.findLocked(tid); t != nil {
		return t.sched
	}
	return Sched{}
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
	return reflect.ValueOf(p.acts).Pointer()
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
	steps := 0
	for p := k.all.head; p != nil; p = p.links[linkAll].next {
		k.turn(&steps)
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
