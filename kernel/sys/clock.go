package sys

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/proc"
)

// clock reads a clock of clock_gettime(2): EINVAL for one there is not.
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
	return 0, syscall.EINVAL
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

// sysClockGetres: every clock counts nanoseconds.
func sysClockGetres(c ctx) (uint64, error) {
	if _, err := c.clock(c.int(0)); err != nil {
		return 0, err
	}
	if c.va(1) == 0 {
		return 0, nil
	}
	return 0, put(c, c.va(1), &unix.Timespec{Nsec: 1})
}

func sysClockSettime(c ctx) (uint64, error) {
	if _, err := c.clock(c.int(0)); err != nil {
		return 0, err
	}
	return 0, syscall.EPERM
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

// sleepUntil sleeps to a deadline of the monotonic clock. Cut short, it stores
// what is left at rem, if rem is not null, and gives the deadline back to the
// call when it starts again.
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
	if id == unix.CLOCK_THREAD_CPUTIME_ID || flags&^unix.TIMER_ABSTIME != 0 {
		return 0, syscall.EINVAL
	}
	if id == unix.CLOCK_PROCESS_CPUTIME_ID {
		return 0, syscall.EOPNOTSUPP
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

// deadline turns a relative timespec argument of poll-like calls into a
// monotonic deadline; a null pointer is never.
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
