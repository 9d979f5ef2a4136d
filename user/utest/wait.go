package main

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var waitTests = []test{
	{name: "wait-nohang", run: waitNohang},
	{name: "wait-nowait", run: waitNowait},
	{name: "wait-echild", run: waitNoChild},
	{name: "wait-sigchld-ignored", run: waitIgnored},
	{name: "wait-orphan-goes-to-init", run: waitOrphan},
	{name: "wait-zombie-until-asked", run: waitZombie},
	{name: "wait-process-group", run: waitGroup},
}

// sleepRaw sleeps in a forked child.
func sleepRaw(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	syscall.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

func waitNohang() {
	quiet()
	var p [2]int
	check("pipe", unix.Pipe(p[:]))
	fd := uintptr(p[0])
	pid := fork(func() int {
		var b [1]byte
		syscall.RawSyscall(unix.SYS_READ, fd, ptr(&b), 1)
		return 3
	})
	got, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
	check("wait4", err)
	equal("pid while the child lives", got, 0)
	_, err = unix.Write(p[1], []byte("x"))
	check("write", err)
	ws := wait(pid)
	equal("status", ws.ExitStatus(), 3)
}

func waitNowait() {
	quiet()
	pid := fork(func() int { return 9 })
	var info unix.Siginfo
	for range 2 {
		check("waitid", unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil))
		equal("si_signo", info.Signo, int32(unix.SIGCHLD))
	}
	equal("status", wait(pid).ExitStatus(), 9)
	if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.ECHILD {
		fail("second wait: %v, want ECHILD", err)
	}
}

func waitNoChild() {
	if _, err := unix.Wait4(-1, nil, 0, nil); err != unix.ECHILD {
		fail("wait4: %v, want ECHILD", err)
	}
	if err := unix.Waitid(unix.P_PID, 0x7ffffff, nil, unix.WEXITED, nil); err != unix.ECHILD {
		fail("waitid: %v, want ECHILD", err)
	}
	if _, err := unix.Wait4(-1, nil, 0x40000, nil); err != unix.EINVAL {
		fail("wait4 with a bad option: %v, want EINVAL", err)
	}
}

// sigaction sets a signal's action to SIG_DFL (0) or SIG_IGN (1), with the kernel's own
// struct sigaction, whose other fields are zero.
func sigaction(sig unix.Signal, handler uintptr) syscall.Errno {
	var act [4]uintptr
	act[0] = handler
	_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
	return errno
}

// waitIgnored: if SIGCHLD is ignored, no child becomes a zombie. When the last child has
// ended, wait returns ECHILD.
func waitIgnored() {
	quiet()
	ws := wait(fork(func() int {
		if sigaction(unix.SIGCHLD, 1) != 0 {
			return 1
		}
		for range 8 {
			p, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
			if errno != 0 {
				return 2
			}
			if p == 0 {
				exit(0)
			}
		}
		_, _, errno := syscall.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), 0, 0, 0, 0, 0)
		if errno != unix.ECHILD {
			return 3
		}
		return 0
	}))
	equal("status", ws, 0)
}

// waitOrphan: when a parent ends, its child gets another parent.
func waitOrphan() {
	quiet()
	var p [2]int
	check("pipe", unix.Pipe(p[:]))
	middle := fork(func() int {
		me, _, _ := syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
		g, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return 1
		}
		if g == 0 {
			var verdict [1]byte
			for range 200 {
				ppid, _, _ := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
				if ppid != me {
					verdict[0] = 1
					break
				}
				sleepRaw(10 * time.Millisecond)
			}
			syscall.RawSyscall(unix.SYS_WRITE, uintptr(p[1]), uintptr(unsafe.Pointer(&verdict)), 1)
			exit(0)
		}
		return 0
	})
	equal("status", wait(middle), 0)
	var b [1]byte
	_, err := unix.Read(p[0], b[:])
	check("read", err)
	equal("new parent", b[0], byte(1))
}

// waitZombie (E10): kill(pid, 0) works for a zombie that has not been waited for.
func waitZombie() {
	quiet()
	pid := fork(func() int { return 5 })
	var info unix.Siginfo
	check("waitid", unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil))
	check("kill 0 of a zombie", unix.Kill(pid, 0))
	equal("status", wait(pid).ExitStatus(), 5)
	if err := unix.Kill(pid, 0); err != unix.ESRCH {
		fail("kill 0 after wait: %v, want ESRCH", err)
	}
}

func waitGroup() {
	quiet()
	a := fork(func() int {
		syscall.RawSyscall(unix.SYS_SETPGID, 0, 0, 0)
		sleepRaw(20 * time.Millisecond)
		return 1
	})
	err := unix.Setpgid(a, a) // either process may be the first to do this
	if err != nil && err != unix.EACCES {
		check("setpgid", err)
	}
	b := fork(func() int { return 2 })
	var ws unix.WaitStatus
	got, err := unix.Wait4(-a, &ws, 0, nil)
	check("wait4 by group", err)
	equal("pid", got, a)
	equal("status", ws.ExitStatus(), 1)
	equal("other child", wait(b).ExitStatus(), 2)
}
