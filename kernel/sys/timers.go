package sys

import (
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/proc"
	"grim/proc/cred"
)

// itimerval is struct itimerval: interval, then value.
type itimerval [2]unix.Timeval

func itimervalOf(value, interval int64) itimerval {
	// An armed timer never shows zero, which would mean that it is disarmed.
	round := func(ns int64) unix.Timeval {
		if ns > 0 && ns < 1000 {
			ns = 1000
		}
		return timevalOf(ns)
	}
	return itimerval{round(interval), round(value)}
}

func sysSetitimer(c ctx) (uint64, error) {
	which := c.int(0)
	if which < unix.ITIMER_REAL || which > unix.ITIMER_PROF {
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
	var old itimerval
	if which == unix.ITIMER_REAL {
		old = itimervalOf(c.t.Process().SetTimer(value, interval))
	} else {
		old = itimervalOf(c.t.SetCPUTimer(which-unix.ITIMER_VIRTUAL, value, interval))
	}
	if c.va(2) == 0 {
		return 0, nil
	}
	return 0, put(c, c.va(2), &old)
}

func sysGetitimer(c ctx) (uint64, error) {
	var it itimerval
	switch which := c.int(0); which {
	case unix.ITIMER_REAL:
		it = itimervalOf(c.t.Process().Timer())
	case unix.ITIMER_VIRTUAL, unix.ITIMER_PROF:
		it = itimervalOf(c.t.CPUTimer(which - unix.ITIMER_VIRTUAL))
	default:
		return 0, syscall.EINVAL
	}
	return 0, put(c, c.va(1), &it)
}

// sysAlarm returns the remaining seconds, rounded, at least 1.
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

// timerSetting reads a struct itimerspec, in nanoseconds. Errors: EFAULT, EINVAL.
func (c ctx) timerSetting(va arch.VA) (interval, value int64, err error) {
	set, err := get[itimerspec](c, va)
	if err != nil {
		return 0, 0, err
	}
	if interval, err = nanoseconds(set[0]); err != nil {
		return 0, 0, err
	}
	value, err = nanoseconds(set[1])
	return interval, value, err
}

func sysTimerfdSettime(c ctx) (uint64, error) {
	if err := onlyFlags(c.int(1), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET); err != nil {
		return 0, err
	}
	interval, value, err := c.timerSetting(c.va(2))
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

// sigevent is struct sigevent.
type sigevent struct {
	Value         uint64
	Signo, Notify int32
	TID           int32
	Rest          [44]byte
}

// Values of sigevent.Notify (sigevent(7)).
const (
	sigevSignal   = 0
	sigevNone     = 1
	sigevThread   = 2
	sigevThreadID = 4
)

// timerClock sets the clock of timer_create(2) in a. Errors: EINVAL, EOPNOTSUPP, EPERM.
func (c ctx) timerClock(id int, a *proc.TimerArgs) error {
	switch id {
	case unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME:
		return nil
	case unix.CLOCK_REALTIME, unix.CLOCK_TAI:
		a.Wall = true
		return nil
	case unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM:
		a.Wall = id == unix.CLOCK_REALTIME_ALARM
		if !c.t.Cred().Has(cred.WakeAlarm) {
			return syscall.EPERM
		}
		return nil
	case unix.CLOCK_PROCESS_CPUTIME_ID:
		a.CPU = true
		return nil
	case unix.CLOCK_THREAD_CPUTIME_ID:
		a.CPU, a.CPUThread = true, c.t.TID()
		return nil
	case unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE:
		return syscall.EOPNOTSUPP
	}
	p, tid, err := c.cpuClock(id)
	if err != nil || p != c.t.Process() {
		return syscall.EINVAL
	}
	a.CPU, a.CPUThread = true, tid
	return nil
}

func sysTimerCreate(c ctx) (uint64, error) {
	a := proc.TimerArgs{Signal: syscall.SIGALRM, OwnID: true}
	if err := c.timerClock(c.int(0), &a); err != nil {
		return 0, err
	}
	if va := c.va(1); va != 0 {
		ev, err := get[sigevent](c, va)
		if err != nil {
			return 0, err
		}
		a.Signal, a.Value, a.OwnID = syscall.Signal(ev.Signo), ev.Value, false
		if ev.Notify != sigevNone && (ev.Signo <= 0 || ev.Signo > proc.NumSignals) {
			return 0, syscall.EINVAL
		}
		switch ev.Notify {
		case sigevNone:
			a.Signal = 0
		case sigevSignal, sigevThread:
		case sigevSignal | sigevThreadID:
			t := c.s.k.Thread(int(ev.TID))
			if t == nil || t.Process() != c.t.Process() {
				return 0, syscall.EINVAL
			}
			a.Target = t
		default:
			return 0, syscall.EINVAL
		}
	}
	p := c.t.Process()
	tm, err := p.NewTimer(a)
	if err != nil {
		return 0, err
	}
	id := int32(tm.ID())
	if err := put(c, c.va(2), &id); err != nil {
		_ = p.DeleteTimer(tm.ID())
		return 0, err
	}
	return 0, nil
}

func sysTimerSettime(c ctx) (uint64, error) {
	if c.va(2) == 0 {
		return 0, syscall.EINVAL
	}
	interval, value, err := c.timerSetting(c.va(2))
	if err != nil {
		return 0, err
	}
	tm, err := c.t.Process().TimerOf(c.int(0))
	if err != nil {
		return 0, err
	}
	at := int64(0)
	if value != 0 {
		now := tm.Now()
		if at = addTime(now, value); c.int(1)&unix.TIMER_ABSTIME != 0 {
			at = value
			if tm.Wall() {
				at = addTime(now, value-min(c.s.cfg.Wall(), value))
			}
			at = max(at, 1)
		}
	}
	v, i := tm.Set(at, interval)
	if c.va(3) == 0 {
		return 0, nil
	}
	return 0, put(c, c.va(3), &itimerspec{timespecOf(i), timespecOf(v)})
}

func sysTimerGettime(c ctx) (uint64, error) {
	tm, err := c.t.Process().TimerOf(c.int(0))
	if err != nil {
		return 0, err
	}
	v, i := tm.Left()
	return 0, put(c, c.va(1), &itimerspec{timespecOf(i), timespecOf(v)})
}

func sysTimerGetoverrun(c ctx) (uint64, error) {
	tm, err := c.t.Process().TimerOf(c.int(0))
	if err != nil {
		return 0, err
	}
	return uint64(tm.Overrun()), nil
}

func sysTimerDelete(c ctx) (uint64, error) { return 0, c.t.Process().DeleteTimer(c.int(0)) }
