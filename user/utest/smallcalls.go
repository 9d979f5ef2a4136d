package main

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

var smallTests = []test{
	{name: "sched-arguments", run: schedArguments},
	{name: "sched-kept", run: arena(schedKept)},
	{name: "process-vm", run: processVM},
	{name: "pidfd-getfd", run: pidfdGetfd},
	{name: "kcmp", run: kcmpKinds},
	{name: "prctl-kept", run: prctlKept},
}

type schedAttr struct {
	size, policy              uint32
	flags                     uint64
	nice                      int32
	prio                      uint32
	runtime, deadline, period uint64
}

// schedArguments: the arguments that sched_*(2) and similar calls refuse, and the errors.
func schedArguments() {
	runtime.LockOSThread()
	prio := int32(0)
	p, none := ptr(&prio), uintptr(1<<22-1)
	neg := ^uintptr(0)
	for _, c := range []struct {
		what string
		got  unix.Errno
		want unix.Errno
	}{
		{"getscheduler -1", sysErr(unix.SYS_SCHED_GETSCHEDULER, neg), unix.EINVAL},
		{"getscheduler of nobody", sysErr(unix.SYS_SCHED_GETSCHEDULER, none), unix.ESRCH},
		{"getparam -1", sysErr(unix.SYS_SCHED_GETPARAM, neg, p), unix.EINVAL},
		{"getparam of nobody", sysErr(unix.SYS_SCHED_GETPARAM, none, p), unix.ESRCH},
		{"getparam to nowhere", sysErr(unix.SYS_SCHED_GETPARAM, 0, 0), unix.EINVAL},
		{"setparam, OTHER with a priority", func() unix.Errno { x := int32(1); return sysErr(unix.SYS_SCHED_SETPARAM, 0, ptr(&x)) }(), unix.EINVAL},
		{"setscheduler, no such policy", sysErr(unix.SYS_SCHED_SETSCHEDULER, 0, 99, p), unix.EINVAL},
		{"setscheduler, FIFO without priority", sysErr(unix.SYS_SCHED_SETSCHEDULER, 0, 1, p), unix.EINVAL},
		{"setscheduler of nobody", sysErr(unix.SYS_SCHED_SETSCHEDULER, none, 0, p), unix.ESRCH},
		{"rr_get_interval -1", sysErr(unix.SYS_SCHED_RR_GET_INTERVAL, neg, p), unix.EINVAL},
		{"rr_get_interval of nobody", sysErr(unix.SYS_SCHED_RR_GET_INTERVAL, none, p), unix.ESRCH},
		{"setaffinity of nobody", func() unix.Errno { m := uint64(1); return sysErr(unix.SYS_SCHED_SETAFFINITY, none, 8, ptr(&m)) }(), unix.ESRCH},
		{"getpriority, no such kind", sysErr(unix.SYS_GETPRIORITY, 3, 0), unix.EINVAL},
		{"getpriority of nobody", sysErr(unix.SYS_GETPRIORITY, 0, none), unix.ESRCH},
		{"getpriority of no group", sysErr(unix.SYS_GETPRIORITY, 1, none), unix.ESRCH},
		{"setpriority of nobody", sysErr(unix.SYS_SETPRIORITY, 0, none, 0), unix.ESRCH},
		{"ioprio_get, no such kind", sysErr(unix.SYS_IOPRIO_GET, 0, 0), unix.EINVAL},
		{"ioprio_set, no such class", sysErr(unix.SYS_IOPRIO_SET, 1, 0, 7<<13), unix.EINVAL},
		{"ioprio_set, data of none", sysErr(unix.SYS_IOPRIO_SET, 1, 0, 3), unix.EINVAL},
		{"sched_getattr, small", func() unix.Errno { var a schedAttr; return sysErr(unix.SYS_SCHED_GETATTR, 0, ptr(&a), 8, 0) }(), unix.EINVAL},
	} {
		if c.got != c.want {
			fail("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
	check("nice 5", unix.Setpriority(unix.PRIO_PROCESS, 0, 5))
	equal("nice", sysMust(unix.SYS_GETPRIORITY, 0, 0), 15)
	sysMust(unix.SYS_IOPRIO_SET, 1, 0, 2<<13|7)
	equal("ioprio", sysMust(unix.SYS_IOPRIO_GET, 1, 0), 2<<13|7)
	var a schedAttr
	sysMust(unix.SYS_SCHED_GETATTR, 0, ptr(&a), unsafe.Sizeof(a), 0)
	equal("nice of sched_getattr", a.nice, 5)
}

// schedKept: the values that a privileged thread has set are returned, and its children
// have them. An ordinary user may not set them.
func schedKept() {
	prio := int32(10)
	sysMust(unix.SYS_SCHED_SETSCHEDULER, 0, 2, ptr(&prio))
	equal("policy", sysMust(unix.SYS_SCHED_GETSCHEDULER, 0), 2)
	prio = 0
	sysMust(unix.SYS_SCHED_GETPARAM, 0, ptr(&prio))
	equal("priority", prio, 10)
	sysMust(unix.SYS_SCHED_SETSCHEDULER, 0, 0, func() uintptr { prio = 0; return ptr(&prio) }())
	check("nice", unix.Setpriority(unix.PRIO_PROCESS, 0, -5))
	nobody()
	equal("lower nice", unix.Setpriority(unix.PRIO_PROCESS, 0, -6), error(unix.EACCES))
	check("higher nice", unix.Setpriority(unix.PRIO_PROCESS, 0, 3))
	equal("another's", unix.Setpriority(unix.PRIO_PROCESS, os.Getppid(), 19), error(unix.EPERM))
	prio = 1
	equal("real time", sysErr(unix.SYS_SCHED_SETSCHEDULER, 0, 1, ptr(&prio)), unix.EPERM)
	equal("ioprio real time", sysErr(unix.SYS_IOPRIO_SET, 1, 0, 1<<13|1), unix.EPERM)
}

// processVM: memory of a child is read and written, up to the first bad address.
func processVM() {
	mem, err := unix.Mmap(-1, 0, 3*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	check("mmap", err)
	copy(mem[4090:], "hello, child")
	check("mprotect", unix.Mprotect(mem[8192:], unix.PROT_NONE))
	at := addr(mem)
	pid := fork(func() int { // waits for a word to change
		for *(*byte)(ptrTo(mem)) == 0 {
			unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		}
		return int(mem[0])
	})
	got := make([]byte, 12)
	local := []unix.Iovec{{Base: &got[0], Len: 5}, {Base: &got[5], Len: 7}}
	n, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: at + 4090, Len: 12}}, 0)
	check("readv", err)
	equal("read", string(got[:n]), "hello, child")
	big := make([]byte, 3*4096)
	n, err = unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &big[0], Len: 3 * 4096}}, []unix.RemoteIovec{{Base: at, Len: 3 * 4096}}, 0)
	check("readv", err)
	equal("up to the bad page", n, 8192)
	_, err = unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: at + 8192, Len: 1}}, 0)
	equal("bad address", err, error(unix.EFAULT))
	_, err = unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: at, Len: 1}}, 1)
	equal("flags", err, error(unix.EINVAL))
	_, err = unix.ProcessVMReadv(1<<22-1, local, []unix.RemoteIovec{{Base: at, Len: 1}}, 0)
	equal("nobody", err, error(unix.ESRCH))
	b := []byte{42}
	_, err = unix.ProcessVMWritev(pid, []unix.Iovec{{Base: &b[0], Len: 1}}, []unix.RemoteIovec{{Base: at, Len: 1}}, 0)
	check("writev", err)
	equal("child", wait(pid).ExitStatus(), 42)
	equal("our own", mem[0], 0)
}

// pidfdGetfd: the copy of another process's descriptor shares the description.
func pidfdGetfd() {
	f := tmpfile()
	pid := fork(func() int {
		for {
			unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		}
	})
	pfd, err := unix.PidfdOpen(pid, 0)
	check("pidfd_open", err)
	fd, err := unix.PidfdGetfd(pfd, int(f.Fd()), 0)
	check("pidfd_getfd", err)
	f.Seek(7, 0)
	off, err := unix.Seek(fd, 0, 1)
	check("seek", err)
	equal("offset", off, 7)
	_, err = unix.PidfdGetfd(pfd, 9999, 0)
	equal("no such descriptor", err, error(unix.EBADF))
	_, err = unix.PidfdGetfd(pfd, 0, 1)
	equal("flags", err, error(unix.EINVAL))
	unix.Kill(pid, unix.SIGKILL)
	wait(pid)
	_, err = unix.PidfdGetfd(pfd, 0, 0)
	equal("gone", err, error(unix.ESRCH))
}

// kcmpKinds: what a forked child shares with its parent, and what it does not.
func kcmpKinds() {
	f := tmpfile()
	pid := fork(func() int {
		for {
			unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		}
	})
	me := uintptr(os.Getpid())
	kcmp := func(kind, a, b uintptr) uintptr { return sysMust(unix.SYS_KCMP, me, uintptr(pid), kind, a, b) }
	equal("the same file", kcmp(0, f.Fd(), f.Fd()), 0)
	if kcmp(0, f.Fd(), 2) == 0 {
		fail("two files are the same")
	}
	if kcmp(1, 0, 0) == 0 || kcmp(2, 0, 0) == 0 {
		fail("a forked child shares memory or descriptors")
	}
	equal("no such kind", sysErr(unix.SYS_KCMP, me, uintptr(pid), 99, 0, 0), unix.EINVAL)
	equal("no such descriptor", sysErr(unix.SYS_KCMP, me, uintptr(pid), 0, 9999, 0), unix.EBADF)
	equal("nobody", sysErr(unix.SYS_KCMP, me, 1<<22-1, 0, 0, 0), unix.ESRCH)
	unix.Kill(pid, unix.SIGKILL)
	wait(pid)
}

// prctlKept: settings that are only kept and returned.
func prctlKept() {
	runtime.LockOSThread()
	slack, err := prctl(unix.PR_GET_TIMERSLACK)
	check("GET_TIMERSLACK", err)
	_, err = prctl(unix.PR_SET_TIMERSLACK, 1234)
	check("SET_TIMERSLACK", err)
	n, _ := prctl(unix.PR_GET_TIMERSLACK)
	equal("slack", n, 1234)
	prctl(unix.PR_SET_TIMERSLACK, 0)
	n, _ = prctl(unix.PR_GET_TIMERSLACK)
	equal("slack again", n, slack)
	_, err = prctl(unix.PR_SET_THP_DISABLE, 1)
	check("SET_THP_DISABLE", err)
	n, _ = prctl(unix.PR_GET_THP_DISABLE)
	equal("THP_DISABLE", n, 1)
	_, err = prctl(unix.PR_SET_THP_DISABLE, 0, 1)
	equal("SET_THP_DISABLE, more arguments", err, error(unix.EINVAL))
	_, err = prctl(unix.PR_SET_TIMING, 1)
	equal("SET_TIMING", err, error(unix.EINVAL))
	_, err = prctl(9999)
	equal("no such request", err, error(unix.EINVAL))
}
