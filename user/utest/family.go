package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var familyTests = []test{
	{name: "family-subreaper", run: familySubreaper},
	{name: "family-parent-death", run: familyParentDeath},
	{name: "family-prctl", run: familyPrctl},
	{name: "family-thread-names", run: familyNames},
	{name: "family-exit-signal", run: familyExitSignal},
	{name: "family-wait-for-stops", run: familyWaitStops},
	{name: "family-setpgid-zombie", run: familySetpgid},
	{name: "family-kill-by-thread", run: familyKillThread},
	{name: "family-no-hangup", run: familyNoHangUp},
	{name: "family-exec-shared-descriptors", run: familyExecShared},
	{name: "family-close-shared-descriptors", run: familyCloseShared},
	{name: "family-state-letters", run: familyLetters},
	{name: "family-sysctl", run: familySysctl},
}

// rawCall makes a system call in a forked child.
func rawCall(nr uintptr, args ...uintptr) int {
	var a [6]uintptr
	copy(a[:], args)
	r, _, errno := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		return -int(errno)
	}
	return int(r)
}

// rawFork forks in a forked child, with an exit signal.
func rawFork(sig unix.Signal, child func() int) int {
	pid := rawCall(unix.SYS_CLONE, uintptr(sig))
	if pid == 0 {
		exit(child())
	}
	return pid
}

// familySubreaper: an orphan goes to the nearest ancestor that is a subreaper.
func familySubreaper() {
	quiet()
	equal("status", wait(fork(func() int {
		var on int32
		if rawCall(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1) != 0 ||
			rawCall(unix.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER, ptr(&on)) != 0 || on != 1 {
			return 1
		}
		me := rawCall(unix.SYS_GETPID)
		middle := rawFork(unix.SIGCHLD, func() int {
			rawFork(0, func() int { // no exit signal: an orphan still sends SIGCHLD
				rawCall(unix.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER, ptr(&on))
				if on != 0 {
					return 9
				}
				for range 1000 {
					if rawCall(unix.SYS_GETPPID) == me {
						return 7
					}
					sleepRaw(5 * time.Millisecond)
				}
				return 8
			})
			return 0
		})
		if s, ok := rawWait(middle); !ok || s != 0 {
			return 2
		}
		var s uint32
		if rawCall(unix.SYS_WAIT4, ^uintptr(0), ptr(&s)) < 0 || s>>8 != 7 {
			return 3
		}
		return 0
	})).ExitStatus(), 0)
}

// familyParentDeath: PR_SET_PDEATHSIG.
func familyParentDeath() {
	quiet()
	var p [2]int
	check("pipe", unix.Pipe(p[:]))
	equal("middle", wait(fork(func() int {
		rawFork(unix.SIGCHLD, func() int {
			var got int32
			if rawCall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, 65) != -int(unix.EINVAL) ||
				rawCall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL)) != 0 ||
				rawCall(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, ptr(&got)) != 0 || got != int32(unix.SIGKILL) {
				return 1
			}
			b := byte('x')
			rawCall(unix.SYS_WRITE, uintptr(p[1]), ptr(&b), 1)
			sleepRaw(100 * time.Second)
			return 0
		})
		var b byte
		rawCall(unix.SYS_READ, uintptr(p[0]), ptr(&b), 1)
		return int(b) - 'x'
	})).ExitStatus(), 0)
	// The pipe is at its end when the grandchild has died.
	check("close", unix.Close(p[1]))
	var b [1]byte
	for {
		n, err := unix.Read(p[0], b[:])
		if err == unix.EINTR {
			continue
		}
		check("read", err)
		equal("bytes", n, 0)
		return
	}
}

// familyPrctl: settings can be read back, and are inherited or reset as they should.
func familyPrctl() {
	quiet()
	root := os.Geteuid() == 0
	equal("status", wait(fork(func() int {
		get := func(what uintptr) int { return rawCall(unix.SYS_PRCTL, what) }
		if get(unix.PR_GET_DUMPABLE) != 1 || get(unix.PR_GET_NO_NEW_PRIVS) != 0 {
			return 1
		}
		if rawCall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 1) != -int(unix.EINVAL) ||
			rawCall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1) != 0 || get(unix.PR_GET_NO_NEW_PRIVS) != 1 {
			return 2
		}
		if rawCall(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0) != 0 || get(unix.PR_GET_DUMPABLE) != 0 {
			return 3
		}
		s, ok := rawWait(rawFork(unix.SIGCHLD, func() int {
			return get(unix.PR_GET_DUMPABLE) | get(unix.PR_GET_NO_NEW_PRIVS)<<1
		}))
		if !ok || s>>8 != 2 {
			return 4
		}
		if !root {
			return 0
		}
		// With another effective user, a process is not dumpable, and gets no parent-death
		// signal.
		sig := int32(1)
		rawCall(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1)
		rawCall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM))
		if rawCall(unix.SYS_SETRESUID, ^uintptr(0), 1000, ^uintptr(0)) != 0 || get(unix.PR_GET_DUMPABLE) != 0 {
			return 5
		}
		if rawCall(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, ptr(&sig)) != 0 || sig != 0 {
			return 6
		}
		return 0
	})).ExitStatus(), 0)
}

// familyNames: a thread has its own name. The process's name is its leader's.
func familyNames() {
	before, err := os.ReadFile("/proc/self/comm")
	check("comm", err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked, so the thread ends with the goroutine
		tid := unix.Gettid()
		if tid == os.Getpid() {
			done2 := make(chan struct{}) // this is the leader itself, so use another thread
			go func() { defer close(done2); runtime.LockOSThread(); nameThread(unix.Gettid()) }()
			<-done2
			return
		}
		nameThread(tid)
	}()
	<-done
	after, err := os.ReadFile("/proc/self/comm")
	check("comm", err)
	equal("the process's name", string(after), string(before))
}

func nameThread(tid int) {
	name := [16]byte{'w', 'o', 'r', 'k', 'e', 'r'}
	var got [16]byte
	check("PR_SET_NAME", unix.Prctl(unix.PR_SET_NAME, ptr(&name), 0, 0, 0))
	check("PR_GET_NAME", unix.Prctl(unix.PR_GET_NAME, ptr(&got), 0, 0, 0))
	equal("the thread's name", got, name)
	comm, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/comm", tid))
	check("comm", err)
	equal("the thread's comm", string(comm), "worker\n")
}

// familyExitSignal: an exit signal other than SIGCHLD has the same siginfo.
func familyExitSignal() {
	quiet()
	equal("status", wait(fork(func() int {
		set := uint64(1) << (unix.SIGUSR1 - 1)
		rawCall(unix.SYS_RT_SIGPROCMASK, 0, ptr(&set), 0, 8)
		pid := rawFork(unix.SIGUSR1, func() int { return 7 })
		var info [128]byte
		for {
			r := rawCall(unix.SYS_RT_SIGTIMEDWAIT, ptr(&set), ptr(&info), 0, 8)
			if r == -int(unix.EINTR) {
				continue
			}
			if r != int(unix.SIGUSR1) {
				return 1
			}
			break
		}
		const cldExited = 1
		if le := binary.LittleEndian; le.Uint32(info[8:]) != cldExited || le.Uint32(info[16:]) != uint32(pid) {
			return 2
		} else if le.Uint32(info[24:]) != 7 {
			return 3
		}
		return 0
	})).ExitStatus(), 0)
}

// familyWaitStops: a wait that does not ask for ends ignores a zombie.
func familyWaitStops() {
	quiet()
	pid := fork(func() int { return 0 })
	var info unix.Siginfo
	check("waitid", unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil))
	for _, o := range []int{unix.WSTOPPED, unix.WCONTINUED, unix.WSTOPPED | unix.WCONTINUED} {
		if err := unix.Waitid(unix.P_PID, pid, &info, o, nil); err != unix.ECHILD {
			fail("waitid with %#x and only a zombie: %v, want ECHILD", o, err)
		}
	}
	equal("status", wait(pid), 0)
}

// familySetpgid: a zombie child can change its group, unless it has exec'd.
func familySetpgid() {
	quiet()
	pid := fork(func() int { return 0 })
	var info unix.Siginfo
	check("waitid", unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil))
	check("setpgid of a zombie", unix.Setpgid(pid, 0))
	g, err := unix.Getpgid(pid)
	check("getpgid of a zombie", err)
	equal("group", g, pid)
	equal("status", wait(pid), 0)
	if err := unix.Setpgid(-1, 0); err != unix.EINVAL {
		fail("setpgid(-1, 0): %v, want EINVAL", err)
	}
	cmd := self("helper-echo")
	check("start", cmd.Start())
	check("waitid", unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil))
	if err := unix.Setpgid(cmd.Process.Pid, 0); err != unix.EACCES {
		fail("setpgid of a zombie that has exec'd: %v, want EACCES", err)
	}
	check("wait", cmd.Wait())
}

// familyKillThread: kill and rt_sigqueueinfo find a process by the number of any thread.
func familyKillThread() {
	var tid int
	for range 1000 {
		dirs, err := filepath.Glob("/proc/self/task/*")
		check("glob", err)
		for _, d := range dirs {
			if n, err := strconv.Atoi(filepath.Base(d)); err == nil && n != os.Getpid() {
				tid = n
			}
		}
		if tid != 0 {
			break
		}
		go func() { time.Sleep(time.Millisecond) }() // the runtime starts threads for these
		time.Sleep(time.Millisecond)
	}
	check("kill(tid, 0)", unix.Kill(tid, 0))
	if g, err := unix.Getpgid(tid); err != nil || g != unix.Getpgrp() {
		fail("getpgid(tid): %d, %v", g, err)
	}
	var info [128]byte
	binary.LittleEndian.PutUint32(info[8:], ^uint32(0)) // SI_QUEUE
	if r := rawCall(unix.SYS_RT_SIGQUEUEINFO, uintptr(tid), uintptr(unix.SIGURG), addr(info[:])); r != 0 {
		fail("rt_sigqueueinfo(tid): %v", syscall.Errno(-r))
	}
}

// familyNoHangUp: in a group that was orphaned before, the exit of one process does not
// continue a stopped one.
func familyNoHangUp() {
	quiet()
	equal("status", wait(fork(func() int {
		rawCall(unix.SYS_SETSID) // no process outside can continue this group
		sleeper := rawFork(unix.SIGCHLD, func() int { sleepRaw(100 * time.Second); return 0 })
		rawCall(unix.SYS_KILL, uintptr(sleeper), uintptr(unix.SIGSTOP))
		rawCall(unix.SYS_WAIT4, uintptr(sleeper), 0, unix.WUNTRACED)
		if _, ok := rawWait(rawFork(unix.SIGCHLD, func() int { return 0 })); !ok {
			return 1
		}
		sleepRaw(20 * time.Millisecond)
		var s uint32
		if rawCall(unix.SYS_WAIT4, uintptr(sleeper), ptr(&s), unix.WNOHANG|unix.WCONTINUED) != 0 {
			return 2
		}
		rawCall(unix.SYS_KILL, uintptr(sleeper), uintptr(unix.SIGKILL))
		if s, ok := rawWait(sleeper); !ok || s != uint32(unix.SIGKILL) {
			return 3
		}
		return 0
	})).ExitStatus(), 0)
}

// familyExecShared: execve of a process that shares its descriptors closes the
// close-on-exec ones only in its own copy.
func familyExecShared() {
	quiet()
	var p [2]int
	check("pipe2", unix.Pipe2(p[:], unix.O_CLOEXEC))
	path, err := syscall.BytePtrFromString("/proc/self/exe")
	check("path", err)
	argv, err := syscall.SlicePtrFromStrings([]string{"utest", "helper-fd-open", fmt.Sprint(p[0])})
	check("arguments", err)
	envp := []*byte{nil}
	pid := forkWith(unix.CLONE_FILES, func() int {
		rawCall(unix.SYS_EXECVE, ptr(path), ptr(&argv[0]), ptr(&envp[0]))
		return 99
	})
	equal("descriptor in the new program, 3 for closed", wait(pid).ExitStatus(), 3)
	if _, err := unix.FcntlInt(uintptr(p[0]), unix.F_GETFD, 0); err != nil {
		fail("the descriptor in the process that shared it: %v", err)
	}
}

// familyCloseShared: close_range with CLOSE_RANGE_UNSHARE closes only the caller's own
// descriptors.
func familyCloseShared() {
	quiet()
	var p [2]int
	check("pipe", unix.Pipe(p[:]))
	pid := forkWith(unix.CLONE_FILES, func() int {
		if rawCall(unix.SYS_CLOSE_RANGE, uintptr(p[0]), uintptr(p[1]), unix.CLOSE_RANGE_UNSHARE) != 0 {
			return 1
		}
		if rawCall(unix.SYS_FCNTL, uintptr(p[0]), unix.F_GETFD) != -int(unix.EBADF) {
			return 2
		}
		return 0
	})
	equal("status", wait(pid), 0)
	if _, err := unix.FcntlInt(uintptr(p[0]), unix.F_GETFD, 0); err != nil {
		fail("the descriptor in the process that shared it: %v", err)
	}
}

// letter returns field 3 of a stat file, if the letter in the status file is the same.
func letter(dir string) byte {
	stat, err := os.ReadFile(dir + "/stat")
	check("stat", err)
	status, err := os.ReadFile(dir + "/status")
	check("status", err)
	at := strings.LastIndexByte(string(stat), ')') + 2
	if _, after, _ := strings.Cut(string(status), "\nState:\t"); after == "" || after[0] != stat[at] {
		return '?' // it has changed between the two reads, or they differ
	}
	return stat[at]
}

// familyLetters: R, S, T, Z, and D for a parent in vfork.
func familyLetters() {
	quiet()
	equal("oneself", letter("/proc/thread-self"), 'R')
	until := func(what, dir string, want byte) {
		for range 1000 {
			if letter(dir) == want {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		fail("%s: %c, want %c", what, letter(dir), want)
	}
	pid := fork(func() int { sleepRaw(100 * time.Second); return 0 })
	dir := fmt.Sprint("/proc/", pid)
	task := fmt.Sprint(dir, "/task/", pid)
	until("a sleeper", dir, 'S')
	until("a sleeping thread", task, 'S')
	check("kill", unix.Kill(pid, unix.SIGSTOP))
	until("a stopped process", dir, 'T')
	until("a stopped thread", task, 'T')
	check("kill", unix.Kill(pid, unix.SIGKILL))
	until("a zombie", dir, 'Z')
	wait(pid)

	pid = fork(func() int {
		for i := 0; ; i++ {
			sink = i
		}
	})
	until("a spinner", fmt.Sprint("/proc/", pid), 'R')
	check("kill", unix.Kill(pid, unix.SIGKILL))
	wait(pid)

	asked := sharedWord() // the grandchild will end with its parent
	pid = fork(func() int {
		sigaction(unix.SIGTERM, 0)
		child := rawCall(unix.SYS_CLONE, unix.CLONE_VFORK|uintptr(unix.SIGCHLD))
		if child == 0 {
			rawCall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
			*asked = 1
			sleepRaw(100 * time.Second)
			exit(0)
		}
		return 0
	})
	dir = fmt.Sprint("/proc/", pid)
	until("a parent in vfork", dir, 'D')
	for atomic.LoadUint32(asked) == 0 {
		time.Sleep(time.Millisecond)
	}
	// A fatal signal ends it there, with its default action too.
	check("kill", unix.Kill(pid, unix.SIGTERM))
	killedBy("the parent in vfork", wait(pid), unix.SIGTERM)
}

// familySysctl: the values in /proc/sys are true. A process has a number below pid_max, and
// may have ngroups_max groups, but not more.
func familySysctl() {
	number := func(path string) int {
		b, err := os.ReadFile(path)
		check(path, err)
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		check(path, err)
		return n
	}
	if limit := number("/proc/sys/kernel/pid_max"); os.Getpid() >= limit {
		fail("pid %d, pid_max %d", os.Getpid(), limit)
	}
	groups := make([]uint32, number("/proc/sys/kernel/ngroups_max")+1)
	quiet()
	equal("status", wait(fork(func() int {
		if rawCall(unix.SYS_SETGROUPS, uintptr(len(groups)), ptr(&groups[0])) != -int(unix.EINVAL) {
			return 1
		}
		if r := rawCall(unix.SYS_SETGROUPS, uintptr(len(groups)-1), ptr(&groups[0])); r != 0 && r != -int(unix.EPERM) {
			return 2
		}
		return 0
	})).ExitStatus(), 0)
}
