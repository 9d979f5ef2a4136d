package sys

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/proc"
	"grim/proc/cred"
)

// clock returns the time of a clock of clock_gettime(2). EINVAL: there is no such clock.
func (c ctx) clock(id int) (int64, error) {
	switch id {
	case unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_MONOTONIC_COARSE,
		unix.CLOCK_BOOTTIME, unix.CLOCK_BOOTTIME_ALARM:
		return c.s.now(), nil
	case unix.CLOCK_REALTIME, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_REALTIME_ALARM, unix.CLOCK_TAI:
		return c.s.cfg.Wall(), nil
	case unix.CLOCK_PROCESS_CPUTIME_ID:
		return c.cpuTime(proc.UsageSelf)
	case unix.CLOCK_THREAD_CPUTIME_ID:
		return c.cpuTime(proc.UsageThread)
	}
	p, tid, err := c.cpuClock(id)
	if err != nil {
		return 0, err
	}
	if p == c.t.Process() { // include the time since the last switch
		if _, err := c.cpuTime(proc.UsageThread); err != nil {
			return 0, err
		}
	}
	return p.CPUTime(tid), nil
}

// cpuClock returns the process, and perhaps the thread, of a clock number that counts CPU
// time (clock_getcpuclockid(3)). Such a number is the complement of the process or thread
// number, shifted by 3, plus 4 for a thread, plus 0 to 2 for the kind of time. Error:
// EINVAL.
func (c ctx) cpuClock(id int) (p *proc.Process, tid int, err error) {
	if id >= 0 || id&3 == 3 {
		return nil, 0, syscall.EINVAL
	}
	n := ^(id >> 3)
	if id&4 != 0 {
		t, err := c.thread(n)
		if err != nil || t.Process() != c.t.Process() {
			return nil, 0, syscall.EINVAL
		}
		return t.Process(), t.TID(), nil
	}
	if n == 0 {
		return c.t.Process(), 0, nil
	}
	if p = c.s.k.Process(n); p == nil {
		return nil, 0, syscall.EINVAL
	}
	return p, 0, nil
}

func (c ctx) cpuTime(who int) (int64, error) {
	u, err := c.t.Usage(who)
	return u.UserTime + u.SystemTime, err
}

func sysClockGettime(c ctx) (uint64, error) {
	ns, err := c.clock(c.int(0))
	if err != nil {
		return 0, err
	}
	ts := timespecOf(ns)
	return 0, put(c, c.va(1), &ts)
}

// sysClockGetres returns 1 ns: every clock counts nanoseconds.
func sysClockGetres(c ctx) (uint64, error) {
	if _, err := c.clock(c.int(0)); err != nil {
		return 0, err
	}
	if c.va(1) == 0 {
		return 0, nil
	}
	return 0, put(c, c.va(1), &unix.Timespec{Nsec: 1})
}

// setWall sets the wall clock. Error: EPERM.
func (c ctx) setWall(ns int64) (uint64, error) {
	if !c.t.Cred().Has(cred.SysTime) {
		return 0, syscall.EPERM
	}
	if ns < c.s.now() { // the machine would have been started before 1970
		return 0, syscall.EINVAL
	}
	if c.s.cfg.SetWall != nil {
		c.s.cfg.SetWall(ns)
	}
	return 0, nil
}

func sysClockSettime(c ctx) (uint64, error) {
	id := c.int(0)
	if id != unix.CLOCK_REALTIME {
		if id < 0 {
			if _, err := c.clock(id); err == nil {
				return 0, syscall.EPERM
			}
		}
		return 0, syscall.EINVAL
	}
	ts, err := get[unix.Timespec](c, c.va(1))
	if err != nil {
		return 0, err
	}
	ns, err := nanoseconds(ts)
	if err != nil {
		return 0, err
	}
	return c.setWall(ns)
}

// sysSettimeofday checks a time zone, and ignores it.
func sysSettimeofday(c ctx) (uint64, error) {
	var ns int64
	if va := c.va(0); va != 0 {
		tv, err := get[unix.Timeval](c, va)
		if err != nil {
			return 0, err
		}
		if ns, err = nanosecondsOfTimeval(tv); err != nil {
			return 0, err
		}
	}
	if va := c.va(1); va != 0 {
		tz, err := get[[2]int32](c, va)
		if err != nil {
			return 0, err
		}
		if tz[0] > 15*60 || tz[0] < -15*60 {
			return 0, syscall.EINVAL
		}
	}
	if !c.t.Cred().Has(cred.SysTime) {
		return 0, syscall.EPERM
	}
	if c.va(0) == 0 {
		return 0, nil
	}
	return c.setWall(ns)
}

func sysGettimeofday(c ctx) (uint64, error) {
	if va := c.va(0); va != 0 {
		tv := timevalOf(c.s.cfg.Wall())
		if err := put(c, va, &tv); err != nil {
			return 0, err
		}
	}
	if va := c.va(1); va != 0 { // struct timezone: UTC
		return 0, put(c, va, &[2]int32{})
	}
	return 0, nil
}

func sysTime(c ctx) (uint64, error) {
	now := c.s.cfg.Wall() / second
	if va := c.va(0); va != 0 {
		if err := put(c, va, &now); err != nil {
			return 0, err
		}
	}
	return uint64(now), nil
}

// sleepUntil sleeps until a deadline of the monotonic clock. If the sleep is interrupted,
// it stores the remaining time at rem, unless rem is null, and keeps the deadline for a
// restart of the call.
func (c ctx) sleepUntil(deadline int64, rem arch.VA) (uint64, error) {
	err := c.t.Sleep(nil, deadline)
	if err == syscall.ETIMEDOUT {
		return 0, nil
	}
	if rem != 0 {
		ts := timespecOf(max(deadline-c.s.now(), 0))
		if err := put(c, rem, &ts); err != nil {
			return 0, err
		}
	}
	return 0, c.t.SaveDeadline(deadline)
}

func sysNanosleep(c ctx) (uint64, error) { return c.sleepFor(c.va(0), c.va(1)) }

func (c ctx) sleepFor(req, rem arch.VA) (uint64, error) {
	ts, err := get[unix.Timespec](c, req)
	if err != nil {
		return 0, err
	}
	d, err := nanoseconds(ts)
	if err != nil {
		return 0, err
	}
	deadline, again := c.t.SavedDeadline()
	if !again {
		deadline = addTime(c.s.now(), d)
	}
	return c.sleepUntil(deadline, rem)
}

func sysClockNanosleep(c ctx) (uint64, error) {
	id, flags := c.int(0), c.int(1)
	if flags&^unix.TIMER_ABSTIME != 0 {
		return 0, syscall.EINVAL
	}
	switch id {
	case unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE, unix.CLOCK_THREAD_CPUTIME_ID:
		return 0, syscall.EOPNOTSUPP
	case unix.CLOCK_PROCESS_CPUTIME_ID:
		return c.cpuSleep(id, flags)
	}
	if id < 0 {
		return c.cpuSleep(id, flags)
	}
	now, err := c.clock(id)
	if err != nil {
		return 0, err
	}
	if flags == 0 {
		return c.sleepFor(c.va(2), c.va(3))
	}
	ts, err := get[unix.Timespec](c, c.va(2))
	if err != nil {
		return 0, err
	}
	at, err := nanoseconds(ts)
	if err != nil {
		return 0, err
	}
	if err := c.t.Sleep(nil, addTime(c.s.now(), max(at-now, 0))); err != syscall.ETIMEDOUT {
		return 0, proc.ERESTARTNOHAND
	}
	return 0, nil
}

// cpuSleep is clock_nanosleep(2) with a clock of CPU time. Other threads use up that time,
// so it wakes at the earliest possible time and looks at the clock again.
func (c ctx) cpuSleep(id, flags int) (uint64, error) {
	now, err := c.clock(id)
	if err != nil {
		return 0, err
	}
	ts, err := get[unix.Timespec](c, c.va(2))
	if err != nil {
		return 0, err
	}
	at, err := nanoseconds(ts)
	if err != nil {
		return 0, err
	}
	if flags&unix.TIMER_ABSTIME == 0 {
		at = addTime(now, at)
	}
	for {
		if now, err = c.clock(id); err != nil || now >= at {
			return 0, err
		}
		until := addTime(c.s.now(), max((at-now)/int64(c.s.cfg.CPUs), second/1000))
		if err := c.t.Sleep(nil, until); err != syscall.ETIMEDOUT {
			if va := c.va(3); va != 0 && flags&unix.TIMER_ABSTIME == 0 {
				left := timespecOf(at - now)
				if err := put(c, va, &left); err != nil {
					return 0, err
				}
			}
			return 0, syscall.EINTR
		}
	}
}

// deadline converts a relative timespec argument of calls like poll to a monotonic
// deadline. A null pointer means never.
func (c ctx) deadline(va arch.VA) (int64, error) {
	if va == 0 {
		return math.MaxInt64, nil
	}
	ts, err := get[unix.Timespec](c, va)
	if err != nil {
		return 0, err
	}
	d, err := nanoseconds(ts)
	return addTime(c.s.now(), d), err
}
