package main

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var timerTests = []test{
	{name: "timer-posix", run: timerPosix},
	{name: "timer-arguments", run: timerArguments},
	{name: "timer-cpu", run: timerCPU},
	{name: "timer-virtual", run: timerVirtual},
	{name: "timer-cpu-limit", run: timerCPULimit, slow: true},
	{name: "clock-other", run: clockOther},
	{name: "clock-set", run: arena(clockSet)},
}

type sigevent struct {
	value         uint64
	signo, notify int32
	tid           int32
	_             [44]byte
}

type itimerspec struct{ interval, value unix.Timespec }

func timerCreate(clock int, ev *sigevent) (id int32, e unix.Errno) {
	_, _, e = unix.RawSyscall(unix.SYS_TIMER_CREATE, uintptr(clock), uintptr(unsafe.Pointer(ev)), ptr(&id))
	return id, e
}

func timerSet(id int32, flags uintptr, value, interval time.Duration) {
	s := itimerspec{unix.NsecToTimespec(int64(interval)), unix.NsecToTimespec(int64(value))}
	sysMust(unix.SYS_TIMER_SETTIME, uintptr(id), flags, ptr(&s), 0)
}

// blocked is a signal that block has blocked in this thread. wait takes one such signal.
type blocked struct {
	set  unix.Sigset_t
	info [128]byte
}

func block(sig int) *blocked {
	runtime.LockOSThread()
	b := &blocked{}
	b.set.Val[(sig-1)/64] = 1 << ((sig - 1) % 64)
	sysMust(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, ptr(&b.set), 0, 8)
	return b
}

func (b *blocked) wait(d time.Duration) bool {
	// The Go runtime interrupts a thread that seems to run for long.
	for end := time.Now().Add(d); ; d = max(time.Until(end), 0) {
		ts := unix.NsecToTimespec(int64(d))
		switch e := sysErr(unix.SYS_RT_SIGTIMEDWAIT, ptr(&b.set), ptr(&b.info), ptr(&ts), 8); e {
		case 0:
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			fail("sigtimedwait: %v", e)
		}
	}
}

func word32(b []byte, at int) int32 { return *(*int32)(unsafe.Pointer(&b[at])) }

// timerPosix: a timer's signals go to its thread, with its value and the number of missed
// expirations.
func timerPosix() {
	b := block(40)
	for _, clock := range []int{unix.CLOCK_MONOTONIC, unix.CLOCK_REALTIME, unix.CLOCK_BOOTTIME} {
		id, e := timerCreate(clock, &sigevent{value: 77, signo: 40, notify: 4, tid: int32(unix.Gettid())})
		equal("timer_create", e, 0)
		timerSet(id, 0, 2*time.Millisecond, 0)
		if !b.wait(5 * time.Second) {
			fail("clock %d: no signal", clock)
		}
		equal("code", word32(b.info[:], 8), -2)
		equal("timer", word32(b.info[:], 16), id)
		equal("value", word32(b.info[:], 24), 77)
		var s itimerspec
		sysMust(unix.SYS_TIMER_GETTIME, uintptr(id), ptr(&s))
		equal("what is left", s.value, unix.Timespec{})
		timerSet(id, 0, time.Millisecond, time.Millisecond)
		time.Sleep(20 * time.Millisecond)
		if !b.wait(5 * time.Second) {
			fail("clock %d: no signal of a series", clock)
		}
		over := int(sysMust(unix.SYS_TIMER_GETOVERRUN, uintptr(id)))
		if over < 5 {
			fail("clock %d: overrun %d after 20 of 1 ms", clock, over)
		}
		equal("overrun in siginfo", int(word32(b.info[:], 20)), over)
		if !b.wait(5 * time.Second) {
			fail("clock %d: the series ends", clock)
		}
		sysMust(unix.SYS_TIMER_DELETE, uintptr(id))
		for b.wait(0) {
		}
		if b.wait(5 * time.Millisecond) {
			fail("clock %d: a deleted timer goes on", clock)
		}
	}
	id, _ := timerCreate(unix.CLOCK_MONOTONIC, &sigevent{signo: 40, notify: 4, tid: int32(unix.Gettid())})
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	timerSet(id, 1, time.Duration(now.Nano())+3*time.Millisecond, 0) // TIMER_ABSTIME
	if !b.wait(5 * time.Second) {
		fail("absolute: no signal")
	}
}

func timerArguments() {
	runtime.LockOSThread()
	none := &sigevent{notify: 1}
	id, e := timerCreate(unix.CLOCK_MONOTONIC, none)
	equal("SIGEV_NONE", e, 0)
	timerSet(id, 0, time.Hour, time.Minute)
	var s itimerspec
	sysMust(unix.SYS_TIMER_GETTIME, uintptr(id), ptr(&s))
	equal("interval", s.interval, unix.Timespec{Sec: 60})
	if s.value.Sec < 3500 {
		fail("left: %v", s.value)
	}
	for _, c := range []struct {
		what string
		got  unix.Errno
		want unix.Errno
	}{
		{"no such clock", func() unix.Errno { _, e := timerCreate(99, none); return e }(), unix.EINVAL},
		{"coarse clock", func() unix.Errno { _, e := timerCreate(unix.CLOCK_MONOTONIC_COARSE, none); return e }(), unix.EOPNOTSUPP},
		{"no such signal", func() unix.Errno { _, e := timerCreate(1, &sigevent{signo: 99}); return e }(), unix.EINVAL},
		{"no such notification", func() unix.Errno { _, e := timerCreate(1, &sigevent{signo: 10, notify: 9}); return e }(), unix.EINVAL},
		{"another's thread", func() unix.Errno { _, e := timerCreate(1, &sigevent{signo: 10, notify: 4, tid: 1}); return e }(), unix.EINVAL},
		{"settime of none", sysErr(unix.SYS_TIMER_SETTIME, 12345, 0, ptr(&s), 0), unix.EINVAL},
		{"settime to nothing", sysErr(unix.SYS_TIMER_SETTIME, uintptr(id), 0, 0, 0), unix.EINVAL},
		{"settime, bad time", func() unix.Errno {
			bad := itimerspec{value: unix.Timespec{Nsec: 1e9}}
			return sysErr(unix.SYS_TIMER_SETTIME, uintptr(id), 0, ptr(&bad), 0)
		}(), unix.EINVAL},
		{"gettime of none", sysErr(unix.SYS_TIMER_GETTIME, 12345, ptr(&s)), unix.EINVAL},
		{"overrun of none", sysErr(unix.SYS_TIMER_GETOVERRUN, 12345), unix.EINVAL},
		{"delete of none", sysErr(unix.SYS_TIMER_DELETE, 12345), unix.EINVAL},
	} {
		if c.got != c.want {
			fail("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
}

// burn uses CPU time until done returns true.
func burn(done func() bool) {
	for end := time.Now().Add(20 * time.Second); !done(); {
		for i := 0; i < 100000; i++ {
			burnt += i
		}
		if time.Now().After(end) {
			fail("it does not come")
		}
	}
}

var burnt int

// timerCPU: a timer of the process's CPU time expires when that time has been used, and not
// before.
func timerCPU() {
	b := block(40)
	id, e := timerCreate(unix.CLOCK_PROCESS_CPUTIME_ID, &sigevent{signo: 40, notify: 4, tid: int32(unix.Gettid())})
	equal("timer_create", e, 0)
	timerSet(id, 0, 50*time.Millisecond, 0)
	if b.wait(60 * time.Millisecond) {
		fail("it expires while nothing runs")
	}
	burn(func() bool { return b.wait(0) })
}

// timerVirtual: the timers of setitimer(2) that count CPU time end a process that does not
// handle their signals.
func timerVirtual() {
	set := [4]int64{0, 0, 0, 20_000}
	at := ptr(&set)
	for _, c := range []struct {
		which uintptr
		sig   unix.Signal
	}{{unix.ITIMER_VIRTUAL, unix.SIGVTALRM}, {unix.ITIMER_PROF, unix.SIGPROF}} {
		sigaction(c.sig, 0) // SIG_DFL, in place of the runtime's
		pid := fork(func() int {
			var got [4]int64
			unix.RawSyscall(unix.SYS_SETITIMER, c.which, at, 0)
			unix.RawSyscall(unix.SYS_GETITIMER, c.which, uintptr(unsafe.Pointer(&got)), 0)
			if got[3] == 0 || got[3] > 24_000 {
				return 1
			}
			for {
				burnt++
			}
		})
		st := wait(pid)
		if !st.Signaled() || st.Signal() != c.sig {
			fail("timer %d: status %#x, want %v", c.which, uint32(st), c.sig)
		}
	}
	var old [4]int64
	equal("no such timer", sysErr(unix.SYS_SETITIMER, 3, 0, ptr(&old)), unix.EINVAL)
	runtime.KeepAlive(&set)
}

// timerCPULimit: SIGXCPU at the soft limit ends a process that does not handle it.
func timerCPULimit() {
	lim := unix.Rlimit{Cur: 1, Max: 3}
	at := ptr(&lim)
	sigaction(unix.SIGXCPU, 0)
	pid := fork(func() int {
		unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CPU, at, 0, 0, 0)
		for {
			burnt++
		}
	})
	st := wait(pid)
	if !st.Signaled() || st.Signal() != unix.SIGXCPU {
		fail("status %#x, want SIGXCPU", uint32(st))
	}
	runtime.KeepAlive(&lim)
}

// clockOther: the CPU time of another process is a clock.
func clockOther() {
	pid := fork(func() int {
		for {
			burnt++
		}
	})
	clock := int32(^pid<<3 | 2)
	var a, z unix.Timespec
	sysMust(unix.SYS_CLOCK_GETTIME, uintptr(clock), ptr(&a))
	burn(func() bool {
		unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
		sysMust(unix.SYS_CLOCK_GETTIME, uintptr(clock), ptr(&z))
		return z.Nano() > a.Nano()
	})
	unix.Kill(pid, unix.SIGKILL)
	wait(pid)
	equal("gone", sysErr(unix.SYS_CLOCK_GETTIME, uintptr(clock), ptr(&a)), unix.EINVAL)
	ts := unix.Timespec{Nsec: 1e6}
	equal("sleep by the thread's CPU time", sysErr(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_THREAD_CPUTIME_ID, 0, ptr(&ts), 0), unix.EOPNOTSUPP)
	equal("sleep by the raw clock", sysErr(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC_RAW, 0, ptr(&ts), 0), unix.EOPNOTSUPP)
}

// clockSet: the permission to set clocks, and the valid times. The clock is not changed.
func clockSet() {
	ts := unix.Timespec{Nsec: -1}
	equal("bad time", sysErr(unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, ptr(&ts)), unix.EINVAL)
	ts = unix.Timespec{Sec: 1e9}
	equal("monotonic", sysErr(unix.SYS_CLOCK_SETTIME, unix.CLOCK_MONOTONIC, ptr(&ts)), unix.EINVAL)
	equal("CPU time", sysErr(unix.SYS_CLOCK_SETTIME, unix.CLOCK_PROCESS_CPUTIME_ID, ptr(&ts)), unix.EINVAL)
	tz := [2]int32{10000, 0}
	equal("time zone", sysErr(unix.SYS_SETTIMEOFDAY, 0, ptr(&tz)), unix.EINVAL)
	nobody()
	equal("clock_settime", sysErr(unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, ptr(&ts)), unix.EPERM)
	tv := unix.Timeval{Sec: 1e9}
	equal("settimeofday", sysErr(unix.SYS_SETTIMEOFDAY, ptr(&tv), 0), unix.EPERM)
}
