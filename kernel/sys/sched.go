package sys

import (
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/proc"
	"grim/proc/cred"
)

// Scheduling. Policies, priorities, nice values and sets of CPUs are checked here. Package
// proc makes them take effect.

const schedReset = 0x40000000 // SCHED_RESET_ON_FORK

// schedTarget returns the thread that a sched_*(2) call names. 0 is the caller. Errors:
// EINVAL, ESRCH.
func (c ctx) schedTarget() (*proc.Thread, error) {
	tid := c.int(0)
	if tid < 0 {
		return nil, syscall.EINVAL
	}
	return c.thread(tid)
}

// thread returns the thread with a number. 0 is the caller. Error: ESRCH.
func (c ctx) thread(tid int) (*proc.Thread, error) {
	if tid == 0 {
		return c.t, nil
	}
	if t := c.s.k.Thread(tid); t != nil {
		return t, nil
	}
	return nil, syscall.ESRCH
}

func sysSchedGetaffinity(c ctx) (uint64, error) {
	t, err := c.thread(c.int(0))
	if err != nil {
		return 0, err
	}
	if n := c.uint32(1); n < 8 || n%8 != 0 {
		return 0, syscall.EINVAL
	}
	mask := uint64(1)<<c.s.cfg.CPUs - 1
	if cpus := t.Sched().CPUs; cpus != 0 {
		mask = cpus
	}
	return 8, put(c, c.va(2), &mask)
}

func sysSchedSetaffinity(c ctx) (uint64, error) {
	var mask [8]byte
	if err := c.mem().CopyIn(mask[:min(c.uint32(1), 8)], c.va(2)); err != nil {
		return 0, err
	}
	t, err := c.thread(c.int(0))
	if err != nil {
		return 0, err
	}
	if err := c.t.MaySchedule(t); err != nil {
		return 0, err
	}
	all := uint64(1)<<c.s.cfg.CPUs - 1
	cpus := le.Uint64(mask[:]) & all
	if cpus == 0 {
		return 0, syscall.EINVAL
	}
	if cpus == all {
		cpus = 0
	}
	t.ChangeSched(func(s *proc.Sched) { s.CPUs = cpus })
	return 0, nil
}

// realtime reports whether a policy has priorities 1 to 99. EINVAL: there is no such
// policy.
func realtime(policy int) (bool, error) {
	switch policy {
	case proc.SchedFIFO, proc.SchedRR:
		return true, nil
	case proc.SchedOther, proc.SchedBatch, proc.SchedIdle:
		return false, nil
	}
	return false, syscall.EINVAL
}

func sysSchedPriorityMax(c ctx) (uint64, error) {
	rt, err := realtime(c.int(0))
	if rt {
		return 99, err
	}
	return 0, err
}

func sysSchedPriorityMin(c ctx) (uint64, error) {
	rt, err := realtime(c.int(0))
	if rt {
		return 1, err
	}
	return 0, err
}

func sysSchedGetscheduler(c ctx) (uint64, error) {
	t, err := c.schedTarget()
	if err != nil {
		return 0, err
	}
	s := t.Sched()
	if s.Reset {
		s.Policy |= schedReset
	}
	return uint64(s.Policy), nil
}

// setSched lets choose change t's policy, priority and nice value, checks them, and sets them.
// choose may be called several times: see DecideSched.
func (c ctx) setSched(t *proc.Thread, choose func(*proc.Sched)) error {
	return t.DecideSched(func(s *proc.Sched) error {
		old := *s
		choose(s)
		rt, err := realtime(s.Policy)
		switch {
		case err != nil:
			return err
		case rt && (s.Priority < 1 || s.Priority > 99), !rt && s.Priority != 0:
			return syscall.EINVAL
		}
		if c.t.Cred().Has(cred.SysNice) {
			return nil
		}
		limit, _ := t.Process().Limit(unix.RLIMIT_RTPRIO)
		wasRT := old.Policy == proc.SchedFIFO || old.Policy == proc.SchedRR
		if rt && (limit.Cur == 0 && (!wasRT || s.Policy != old.Policy) ||
			uint64(s.Priority) > limit.Cur && !(wasRT && s.Priority <= old.Priority)) ||
			old.Reset && !s.Reset || s.Nice < old.Nice && !c.mayNice(t, s.Nice) {
			return syscall.EPERM
		}
		return c.t.MaySchedule(t)
	})
}

// mayNice reports whether t may have a nice value, by RLIMIT_NICE or the caller's
// capability.
func (c ctx) mayNice(t *proc.Thread, nice int) bool {
	limit, _ := t.Process().Limit(unix.RLIMIT_NICE)
	return uint64(20-nice) <= limit.Cur || c.t.Cred().Has(cred.SysNice)
}

func (c ctx) setScheduler(va arch.VA, policy func(old proc.Sched) int) (uint64, error) {
	if va == 0 || c.int(0) < 0 {
		return 0, syscall.EINVAL
	}
	prio, err := get[int32](c, va)
	if err != nil {
		return 0, err
	}
	t, err := c.schedTarget()
	if err != nil {
		return 0, err
	}
	return 0, c.setSched(t, func(s *proc.Sched) {
		p := policy(*s)
		s.Priority, s.Policy, s.Reset = int(prio), p&^schedReset, p&schedReset != 0
	})
}

func sysSchedSetscheduler(c ctx) (uint64, error) {
	if c.int(1) < 0 {
		return 0, syscall.EINVAL
	}
	return c.setScheduler(c.va(2), func(proc.Sched) int { return c.int(1) })
}

func sysSchedSetparam(c ctx) (uint64, error) {
	return c.setScheduler(c.va(1), func(old proc.Sched) int {
		if old.Reset {
			return old.Policy | schedReset
		}
		return old.Policy
	})
}

func sysSchedGetparam(c ctx) (uint64, error) {
	if c.va(1) == 0 {
		return 0, syscall.EINVAL
	}
	t, err := c.schedTarget()
	if err != nil {
		return 0, err
	}
	prio := int32(t.Sched().Priority)
	return 0, put(c, c.va(1), &prio)
}

// sysSchedRRGetInterval stores the slice of a thread. It is 0 for FIFO.
func sysSchedRRGetInterval(c ctx) (uint64, error) {
	t, err := c.schedTarget()
	if err != nil {
		return 0, err
	}
	sched := t.Sched()
	ts := timespecOf(int64(c.s.k.Slice(sched)))
	if sched.Policy == proc.SchedFIFO {
		ts = unix.Timespec{}
	}
	return 0, put(c, c.va(1), &ts)
}

// schedAttr is struct sched_attr, its first version.
type schedAttr struct {
	Size, Policy              uint32
	Flags                     uint64
	Nice                      int32
	Priority                  uint32
	Runtime, Deadline, Period uint64
}

const schedAttrSize = 48

func sysSchedGetattr(c ctx) (uint64, error) {
	size := c.uint32(2)
	if c.va(1) == 0 || c.int(0) < 0 || size < schedAttrSize || size > arch.PageSize || c.arg(3) != 0 {
		return 0, syscall.EINVAL
	}
	t, err := c.schedTarget()
	if err != nil {
		return 0, err
	}
	s := t.Sched()
	a := schedAttr{Size: schedAttrSize, Policy: uint32(s.Policy), Nice: int32(s.Nice), Priority: uint32(s.Priority)}
	if s.Reset {
		a.Flags = 1
	}
	return 0, put(c, c.va(1), &a)
}

func sysSchedSetattr(c ctx) (uint64, error) {
	if c.va(1) == 0 || c.int(0) < 0 || c.arg(2) != 0 {
		return 0, syscall.EINVAL
	}
	a, err := get[schedAttr](c, c.va(1))
	if err != nil {
		return 0, err
	}
	if a.Size != 0 && a.Size < schedAttrSize || a.Size > arch.PageSize {
		size := uint32(schedAttrSize)
		if err := put(c, c.va(1), &size); err != nil {
			return 0, err
		}
		return 0, syscall.E2BIG
	}
	if int32(a.Policy) < 0 || a.Flags&^0x7f != 0 {
		return 0, syscall.EINVAL
	}
	t, err := c.schedTarget()
	if err != nil {
		return 0, err
	}
	return 0, c.setSched(t, func(s *proc.Sched) {
		s.Policy, s.Priority, s.Reset = int(a.Policy), int(a.Priority), a.Flags&1 != 0
		if rt, _ := realtime(s.Policy); !rt {
			s.Nice = int(min(max(a.Nice, -20), 19))
		}
	})
}

// sysGetpriority returns 20-nice, as the kernel's interface requires: the highest value of
// all selected threads.
func sysGetpriority(c ctx) (uint64, error) {
	which := c.int(0)
	if which < proc.SchedProcess || which > proc.SchedUser {
		return 0, syscall.EINVAL
	}
	best := 0
	err := c.t.Scheduled(which, c.int(1), func(t *proc.Thread) { best = max(best, 20-t.Sched().Nice) })
	return uint64(best), err
}

func sysSetpriority(c ctx) (uint64, error) {
	which, nice := c.int(0), min(max(c.int(2), -20), 19)
	if which < proc.SchedProcess || which > proc.SchedUser {
		return 0, syscall.EINVAL
	}
	var failed error
	err := c.t.Scheduled(which, c.int(1), func(t *proc.Thread) {
		err := t.DecideSched(func(s *proc.Sched) error {
			switch {
			case c.t.MaySchedule(t) != nil:
				return syscall.EPERM
			case nice < s.Nice && !c.mayNice(t, nice):
				return syscall.EACCES
			}
			s.Nice = nice
			return nil
		})
		if err != nil {
			failed = err
		}
	})
	if err != nil {
		return 0, err
	}
	return 0, failed
}

// Classes of I/O priorities (ioprio_set(2)), above ioprioShift.
const (
	ioprioShift = 13
	ioprioNone  = 0
	ioprioRT    = 1
	ioprioBE    = 2
	ioprioIdle  = 3
)

// ioprioWho checks the first argument of both calls. Its values are those of getpriority(2)
// plus 1.
func (c ctx) ioprioWho() (int, error) {
	if which := c.int(0); which >= 1 && which <= 3 {
		return which - 1, nil
	}
	return 0, syscall.EINVAL
}

func sysIoprioSet(c ctx) (uint64, error) {
	v := c.int(2)
	class, data := v>>ioprioShift, v&(1<<ioprioShift-1)
	switch class {
	case ioprioRT:
		if who := c.t.Cred(); !who.Has(cred.SysAdmin) && !who.Has(cred.SysNice) {
			return 0, syscall.EPERM
		}
		fallthrough
	case ioprioBE:
		if data >= 8 {
			return 0, syscall.EINVAL
		}
	case ioprioIdle:
	case ioprioNone:
		if data != 0 {
			return 0, syscall.EINVAL
		}
	default:
		return 0, syscall.EINVAL
	}
	which, err := c.ioprioWho()
	if err != nil {
		return 0, err
	}
	var failed error
	err = c.t.Scheduled(which, c.int(1), func(t *proc.Thread) {
		if c.t.MaySchedule(t) != nil {
			failed = syscall.EPERM
			return
		}
		t.ChangeSched(func(s *proc.Sched) { s.IO = v })
	})
	if err != nil {
		return 0, err
	}
	return 0, failed
}

func sysIoprioGet(c ctx) (uint64, error) {
	which, err := c.ioprioWho()
	if err != nil {
		return 0, err
	}
	best := 0
	err = c.t.Scheduled(which, c.int(1), func(t *proc.Thread) {
		v := t.Sched().IO
		if v>>ioprioShift == ioprioNone {
			v = ioprioBE<<ioprioShift | 4 // the value without a choice
			if which == proc.SchedProcess {
				v = 0
			}
		}
		if best == 0 || v < best {
			best = v
		}
	})
	return uint64(best), err
}
