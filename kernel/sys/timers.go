package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// itimerval is struct itimerval: interval, then value.
type itimerval [2]unix.Timeval

func itimervalOf(value, interval int64) itimerval {
	// A timer that is armed never shows zero, which would mean that it is not.
	round := func(ns int64) unix.Timeval {
		if ns > 0 && ns < 1000 {
			ns = 1000
		}
		return timevalOf(ns)
	}
	return itimerval{round(interval), round(value)}
}

// sysSetitimer arms ITIMER_REAL. The timers that count CPU time are not offered:
// EINVAL, with which profilers know how to live.
func sysSetitimer(c ctx) (uint64, error) {
	if c.int(0) != unix.ITIMER_REAL {
		return 0, syscall.EINVAL
	}
	var set itimerval
	var err error
	if va := c.va(1); va != 0 {
		if set, err = get[itimerval](c, va); err != nil {
			return 0, err
		}
	}
	interval, err := nanosecondsOfTimeval(set[0])
	if err != nil {
		return 0, err
	}
	value, err := nanosecondsOfTimeval(set[1])
	if err != nil {
		return 0, err
	}
	old := itimervalOf(c.t.Process().SetTimer(value, interval))
	if c.va(2) == 0 {
		return 0, nil
	}
	return 0, put(c, c.va(2), &old)
}

func sysGetitimer(c ctx) (uint64, error) {
	if c.int(0) != unix.ITIMER_REAL {
		return 0, syscall.EINVAL
	}
	it := itimervalOf(c.t.Process().Timer())
	return 0, put(c, c.va(1), &it)
}

// sysAlarm returns the seconds that were left, rounded, at least 1.
func sysAlarm(c ctx) (uint64, error) {
	old, _ := c.t.Process().SetTimer(int64(c.uint32(0))*second, 0)
	if old == 0 {
		return 0, nil
	}
	return uint64(max((old+second/2)/second, 1)), nil
}

// itimerspec is struct itimerspec: interval, then value.
type itimerspec [2]unix.Timespec

func sysTimerfdCreate(c ctx) (uint64, error) {
	flags := c.int(1)
	if err := onlyFlags(flags, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return 0, err
	}
	f, err := c.s.fs.Timerfd(c.task(), c.int(0), flags)
	if err != nil {
		return 0, err
	}
	return c.install(f, flags&unix.TFD_CLOEXEC != 0)
}

func sysTimerfdSettime(c ctx) (uint64, error) {
	if err := onlyFlags(c.int(1), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET); err != nil {
		return 0, err
	}
	set, err := get[itimerspec](c, c.va(2))
	if err != nil {
		return 0, err
	}
	interval, err := nanoseconds(set[0])
	if err != nil {
		return 0, err
	}
	value, err := nanoseconds(set[1])
	if err != nil {
		return 0, err
	}
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	v, i, err := f.TimerfdSet(value, interval, c.int(1)&unix.TFD_TIMER_ABSTIME != 0)
	if err != nil || c.va(3) == 0 {
		return 0, err
	}
	return 0, put(c, c.va(3), &itimerspec{timespecOf(i), timespecOf(v)})
}

func sysTimerfdGettime(c ctx) (uint64, error) {
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	v, i, err := f.TimerfdGet()
	if err != nil {
		return 0, err
	}
	return 0, put(c, c.va(1), &itimerspec{timespecOf(i), timespecOf(v)})
}

// sysTimerCreate: POSIX timers are not offered.
func sysTimerCreate(c ctx) (uint64, error) { return 0, syscall.EINVAL }
