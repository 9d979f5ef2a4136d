package main

import (
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var signalTests = slices.Concat([]test{
	{name: "signal-kills", run: signalKills},
	{name: "signal-handler", run: signalHandler},
	{name: "signal-sigchld", run: signalChild},
	{name: "signal-interrupts-sleep", run: signalSleep},
	{name: "signal-mask-holds-back", run: signalMask},
	{name: "signal-kill-spinning", run: signalSpinning},
	{name: "signal-tiny-timers", run: signalTinyTimers},
	{name: "signal-tiny-timers-kill", run: signalTinyTimersKill},
	{name: "signal-timed-wait", run: signalTimedWait},
	{name: "signal-one-shot", run: signalOneShot},
	{name: "signal-poll", run: signalPoll},
	{name: "signal-pending-limit", run: signalPendingLimit},
}, sigframeTests)

// signalKills: the default action of each of these signals ends the process, and the parent
// gets the signal's number.
func signalKills() {
	quiet()
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGILL, unix.SIGABRT,
		unix.SIGBUS, unix.SIGFPE, unix.SIGKILL, unix.SIGUSR1, unix.SIGSEGV, unix.SIGPIPE, unix.SIGALRM, unix.SIGTERM} {
		killedBy("child", wait(fork(func() int {
			sigaction(sig, 0)
			pid, _, _ := syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
			syscall.RawSyscall(unix.SYS_KILL, pid, uintptr(sig), 0)
			sleepRaw(5 * time.Second)
			return 1
		})), sig)
	}
}

func signalHandler() {
	c := make(chan os.Signal, 10)
	signal.Notify(c, unix.SIGUSR1, unix.SIGUSR2)
	for _, sig := range []unix.Signal{unix.SIGUSR1, unix.SIGUSR2, unix.SIGUSR1} {
		check("kill", unix.Kill(os.Getpid(), sig))
		select {
		case got := <-c:
			equal("signal", got, os.Signal(sig))
		case <-time.After(2 * time.Minute):
			fail("%v did not arrive", sig)
		}
	}
}

// signalChild (E6): SIGCHLD is sent when the child is a zombie already, so a handler's
// WNOHANG wait finds it.
func signalChild() {
	quiet()
	c := make(chan os.Signal, 10)
	signal.Notify(c, unix.SIGCHLD)
	pid := fork(func() int { return 4 })
	select {
	case <-c:
	case <-time.After(2 * time.Minute):
		fail("no SIGCHLD")
	}
	var ws unix.WaitStatus
	got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
	check("wait4", err)
	equal("pid", got, pid)
	equal("status", ws.ExitStatus(), 4)
}

// signalSleep: a signal ends a child's long sleep.
func signalSleep() {
	quiet()
	start := time.Now()
	pid := fork(func() int { sigaction(unix.SIGTERM, 0); sleepRaw(100 * time.Second); return 0 })
	time.Sleep(20 * time.Millisecond)
	check("kill", unix.Kill(pid, unix.SIGTERM))
	killedBy("sleeper", wait(pid), unix.SIGTERM)
	if d := time.Since(start); d > 50*time.Second {
		fail("took %v", d)
	}
}

// signalMask: a blocked signal waits until it is unblocked.
func signalMask() {
	quiet()
	killedBy("child", wait(fork(func() int {
		sigaction(unix.SIGTERM, 0)
		set := uint64(1) << (unix.SIGTERM - 1)
		syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, 0 /* SIG_BLOCK */, ptr(&set), 0, 8, 0, 0)
		pid, _, _ := syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
		syscall.RawSyscall(unix.SYS_KILL, pid, uintptr(unix.SIGTERM), 0)
		var pending uint64
		syscall.RawSyscall(unix.SYS_RT_SIGPENDING, ptr(&pending), 8, 0)
		if pending != set {
			return 1
		}
		syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, 1 /* SIG_UNBLOCK */, ptr(&set), 0, 8, 0, 0)
		return 2
	})), unix.SIGTERM)
}

// signalSpinning: a process that never makes a system call can be killed too.
func signalSpinning() {
	quiet()
	pid := fork(func() int {
		for i := 0; ; i++ {
			sink = i
		}
	})
	time.Sleep(20 * time.Millisecond)
	check("kill", unix.Kill(pid, unix.SIGKILL))
	killedBy("spinner", wait(pid), unix.SIGKILL)
}

// monotonic returns the clock, in nanoseconds.
func monotonic() int64 {
	var ts unix.Timespec
	rawSys(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, ptr(&ts))
	return ts.Nano()
}

// tinyTimers starts timers with intervals of a microsecond and a nanosecond.
func tinyTimers() (fd uintptr, ok bool) {
	errno := rawSys(unix.SYS_SETITIMER, unix.ITIMER_REAL, ptr(&[4]uintptr{0, 1, 0, 1}), 0)
	fd, errno2 := rawSys2(unix.SYS_TIMERFD_CREATE, unix.CLOCK_MONOTONIC, 0)
	errno3 := rawSys(unix.SYS_TIMERFD_SETTIME, fd, 0, ptr(&[4]uintptr{0, 1, 0, 1}), 0)
	return fd, errno == 0 && errno2 == 0 && errno3 == 0
}

// signalTinyTimers: a program whose timers expire faster than it can run is not slowed down
// while no thread takes their signals or reads them. The expirations are counted. (Packages
// proc and fs test that the timers do not expire in the meantime.)
func signalTinyTimers() {
	quiet()
	child("tiny timers", func() int {
		set := uint64(1) << (unix.SIGALRM - 1)
		rawSys(unix.SYS_RT_SIGPROCMASK, 0 /* SIG_BLOCK */, ptr(&set), 0, 8)
		work := func() int64 {
			begin := monotonic()
			for i := range 2000000 {
				sink = i
			}
			return monotonic() - begin
		}
		alone := work()
		fd, ok := tinyTimers()
		if !ok {
			return 1
		}
		for round := range 3 {
			if work() > 10*alone+100e6 {
				return 30 + round
			}
			var count uint64
			if n, _ := rawSys2(unix.SYS_READ, fd, ptr(&count), 8); n != 8 || count < 1000 {
				return 10 + round
			}
			var info [16]int64
			if n, _ := rawSys2(unix.SYS_RT_SIGTIMEDWAIT, ptr(&set), ptr(&info), 0, 8); n != uintptr(unix.SIGALRM) {
				return 20 + round
			}
		}
		return 0
	})
}

// signalTinyTimersKill: a program that only handles the signals of its timers does not stop
// others, and can be killed.
func signalTinyTimersKill() {
	quiet()
	pid := fork(func() int {
		if rawAction(unix.SIGALRM, 0, 0) != 0 {
			return 1
		}
		if _, ok := tinyTimers(); !ok {
			return 2
		}
		for i := 0; ; i++ {
			sink = i
		}
	})
	for i := range 1000000 {
		sink = i
	}
	time.Sleep(20 * time.Millisecond)
	check("kill", unix.Kill(pid, unix.SIGKILL))
	killedBy("the program", wait(pid), unix.SIGKILL)
}

// signalTimedWait: sigtimedwait(2) does not return an ignored signal that is not blocked,
// and does not wait if the time is zero.
func signalTimedWait() {
	quiet()
	child("timed wait", func() int {
		sigaction(unix.SIGCHLD, 0)
		me, _ := rawSys2(unix.SYS_GETPID)
		sigaction(unix.SIGUSR1, 1)
		set := uint64(1) << (unix.SIGUSR1 - 1)
		timedWait := func(ns uintptr) (uintptr, syscall.Errno) {
			return rawSys2(unix.SYS_RT_SIGTIMEDWAIT, ptr(&set), 0, ptr(&[2]uintptr{0, ns}), 8)
		}
		helper, _ := rawSys2(unix.SYS_CLONE, uintptr(unix.SIGCHLD))
		if helper == 0 {
			sleepRaw(10 * time.Millisecond)
			rawSys(unix.SYS_KILL, me, uintptr(unix.SIGUSR1))
			exit(0)
		}
		if _, errno := timedWait(50e6); errno != unix.EAGAIN {
			return 1
		}
		rawSys2(unix.SYS_WAIT4, helper, 0, 0, 0) // so that its signal has come
		rawSys(unix.SYS_RT_SIGPROCMASK, 0 /* SIG_BLOCK */, ptr(&set), 0, 8)
		rawSys(unix.SYS_KILL, me, uintptr(unix.SIGUSR1))
		if n, _ := timedWait(0); n != uintptr(unix.SIGUSR1) {
			return 2
		}
		if _, errno := timedWait(0); errno != unix.EAGAIN {
			return 3
		}
		return 0
	})
}

// signalOneShot: SA_RESETHAND resets only the handler of the action.
func signalOneShot() {
	quiet()
	child("one shot", func() int {
		if rawAction(unix.SIGUSR1, saResethand|saRestart|saNodefer, 0x1234) != 0 {
			return 1
		}
		before := rawGetAction(unix.SIGUSR1)
		raise(unix.SIGUSR1)
		before[0] = 0
		if sigRec.n != 1 || rawGetAction(unix.SIGUSR1) != before {
			return 2
		}
		return 0
	})
}

// signalPoll: a poll that a signal has ended has written revents.
func signalPoll() {
	quiet()
	child("poll", func() int {
		if rawAction(unix.SIGALRM, 0, 0) != 0 {
			return 1
		}
		var p [2]int32
		rawSys(unix.SYS_PIPE2, ptr(&p), 0)
		// The timer has an interval: on a slow machine its first signal may come before the
		// call that it is to end.
		rawSys(unix.SYS_SETITIMER, unix.ITIMER_REAL, ptr(&[4]uintptr{0, 20000, 0, 20000}), 0)
		for i := range 2 {
			fds := [2]unix.PollFd{{Fd: p[0], Events: unix.POLLIN, Revents: 0x55}, {Fd: -1, Revents: 0x55}}
			var errno syscall.Errno
			if i == 0 {
				errno = rawSys(unix.SYS_PPOLL, ptr(&fds), 2, 0, 0, 0)
			} else {
				errno = rawSys(unix.SYS_PPOLL, ptr(&fds), 2, ptr(&[2]uintptr{100, 0}), 0, 0)
			}
			if errno != unix.EINTR || fds[0].Revents != 0 || fds[1].Revents != 0 {
				return 10 + i
			}
		}
		// select(2) does not change its sets.
		set := [16]uint64{1 << uint(p[0])}
		if errno := rawSys(unix.SYS_PSELECT6, uintptr(p[0]+1), ptr(&set), 0, 0, 0, 0); errno != unix.EINTR || set[0] != 1<<uint(p[0]) {
			return 3
		}
		return 0
	})
}

// signalPendingLimit: when RLIMIT_SIGPENDING is used up, sigqueue(3) of a real-time signal
// is EAGAIN. kill(2) sends it without siginfo, and a standard signal with siginfo.
func signalPendingLimit() {
	quiet()
	child("limit", func() int {
		const rlimitSigpending, rt, siQueue = 11, 40, 0xffffffff
		me, _ := rawSys2(unix.SYS_GETPID)
		all := ^uint64(0)
		rawSys(unix.SYS_RT_SIGPROCMASK, 0 /* SIG_BLOCK */, ptr(&all), 0, 8)
		if rawSys(unix.SYS_PRLIMIT64, 0, rlimitSigpending, ptr(&[2]uint64{0, 0}), 0) != 0 {
			return 1
		}
		queue := func(sig uint64) syscall.Errno {
			info := [16]uint64{sig, siQueue, 0x1234, 0x5678}
			return rawSys(unix.SYS_RT_SIGQUEUEINFO, me, uintptr(sig), ptr(&info))
		}
		take := func() (sig int32, code int32, pid int32) {
			var info [16]int64
			rawSys2(unix.SYS_RT_SIGTIMEDWAIT, ptr(&all), ptr(&info), ptr(&[2]uintptr{}), 8)
			return int32(info[0]), int32(info[1]), int32(info[2])
		}
		if queue(rt) != unix.EAGAIN {
			return 2
		}
		for range 2 {
			if rawSys(unix.SYS_KILL, me, rt) != 0 {
				return 3
			}
		}
		if queue(uint64(unix.SIGUSR2)) != 0 || rawSys(unix.SYS_KILL, me, uintptr(unix.SIGUSR1)) != 0 {
			return 4
		}
		if sig, code, pid := take(); sig != int32(unix.SIGUSR1) || code != 0 || pid != int32(me) {
			return 5
		}
		if sig, code, pid := take(); sig != int32(unix.SIGUSR2) || code != 0 || pid != 0 {
			return 6
		}
		if sig, code, pid := take(); sig != rt || code != 0 || pid != 0 {
			return 7
		}
		if sig, _, _ := take(); sig != 0 { // the two signals were one bit
			return 8
		}
		return 0
	})
}
