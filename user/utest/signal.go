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
}, sigframeTests)

// signalKills: the default action of each of these ends the process, and the
// parent is told which it was.
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
		case <-time.After(10 * time.Second):
			fail("%v did not arrive", sig)
		}
	}
}

// signalChild (E6): SIGCHLD comes after the child is a zombie, so that a
// handler's WNOHANG wait finds it.
func signalChild() {
	quiet()
	c := make(chan os.Signal, 10)
	signal.Notify(c, unix.SIGCHLD)
	pid := fork(func() int { return 4 })
	select {
	case <-c:
	case <-time.After(10 * time.Second):
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

// signalSpinning: a process that never makes a system call is killed all the same.
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
