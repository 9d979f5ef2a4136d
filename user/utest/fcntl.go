package main

import (
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var fcntlTests = []test{
	{name: "lock-ranges", run: lockRanges},
	{name: "lock-close", run: lockClose},
	{name: "lock-exit", run: lockExit},
	{name: "lock-waits", run: lockWaits},
	{name: "lock-deadlock", run: lockDeadlock},
	{name: "lock-description", run: lockDescription},
	{name: "lock-flock-pipe", run: lockFlockPipe},
	{name: "fcntl-arguments", run: fcntlArguments},
	{name: "fcntl-owner-signal", run: fcntlOwnerSignal},
}

// tmpfile returns an open file without a name.
func tmpfile() *os.File {
	f, err := os.CreateTemp("", "utest")
	check("create", err)
	check("unlink", os.Remove(f.Name()))
	return f
}

// ask does F_GETLK in another process, which sees the test's locks.
func ask(f *os.File, typ int16, start, n int64) unix.Flock_t {
	l := unix.Flock_t{Type: typ, Start: start, Len: n}
	out, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	check("mmap", err)
	defer unix.Munmap(out)
	fd := f.Fd()
	where := (*unix.Flock_t)(ptrTo(out))
	*where = l
	at := ptr(where)
	pid := fork(func() int {
		_, _, e := syscall.RawSyscall(unix.SYS_FCNTL, fd, unix.F_GETLK, at)
		return int(e)
	})
	equal("F_GETLK of a child", wait(pid), 0)
	return *where
}

func setlk(f *os.File, cmd int, typ int16, start, n int64) error {
	return unix.FcntlFlock(f.Fd(), cmd, &unix.Flock_t{Type: typ, Start: start, Len: n})
}

// lockRanges: locks are split and merged, and only other processes see them.
func lockRanges() {
	f := tmpfile()
	check("lock", setlk(f, unix.F_SETLK, unix.F_WRLCK, 10, 10))
	check("again", setlk(f, unix.F_SETLK, unix.F_WRLCK, 15, 15))
	l := ask(f, unix.F_RDLCK, 0, 0)
	equal("type", l.Type, unix.F_WRLCK)
	equal("start", l.Start, 10)
	equal("length", l.Len, 20)
	equal("pid", int(l.Pid), os.Getpid())
	check("read lock inside", setlk(f, unix.F_SETLK, unix.F_RDLCK, 12, 2))
	equal("readers", ask(f, unix.F_RDLCK, 12, 2).Type, unix.F_UNLCK)
	equal("writers", ask(f, unix.F_WRLCK, 12, 2).Type, unix.F_RDLCK)
	check("unlock all", setlk(f, unix.F_SETLK, unix.F_UNLCK, 0, 0))
	equal("nothing left", ask(f, unix.F_WRLCK, 0, 0).Type, unix.F_UNLCK)
	equal("negative start", setlk(f, unix.F_SETLK, unix.F_WRLCK, -1, 1), error(unix.EINVAL))
	equal("no such type", setlk(f, unix.F_SETLK, 7, 0, 1), error(unix.EINVAL))
	r, err := os.Open("/proc/self/exe")
	check("open", err)
	equal("write lock of a file open for reading", setlk(r, unix.F_SETLK, unix.F_WRLCK, 0, 1), error(unix.EBADF))
	equal("not a descriptor", unix.FcntlFlock(9999, unix.F_SETLK, &unix.Flock_t{}), error(unix.EBADF))
}

// lockClose: closing any descriptor of the file releases the locks.
func lockClose() {
	f := tmpfile()
	check("lock", setlk(f, unix.F_SETLK, unix.F_WRLCK, 0, 0))
	equal("held", ask(f, unix.F_RDLCK, 0, 0).Type, unix.F_WRLCK)
	fd, err := unix.Open("/proc/self/fd/"+itoa(int(f.Fd())), unix.O_RDWR, 0)
	check("open again", err)
	check("close", unix.Close(fd))
	equal("after a close", ask(f, unix.F_RDLCK, 0, 0).Type, unix.F_UNLCK)
}

// lockExit: a process's locks are released when it ends in any way, before its parent gets
// the status.
func lockExit() {
	f := tmpfile()
	fd := f.Fd()
	for _, sig := range []unix.Signal{0, unix.SIGKILL} {
		l := unix.Flock_t{Type: unix.F_WRLCK}
		at := ptr(&l)
		pid := fork(func() int {
			_, _, e := syscall.RawSyscall(unix.SYS_FCNTL, fd, unix.F_SETLK, at)
			if sig != 0 {
				syscall.RawSyscall(unix.SYS_KILL, uintptr(os.Getpid()), uintptr(sig), 0)
			}
			return int(e)
		})
		st := wait(pid)
		equal("status", int(st), int(sig))
		check("lock after its end", setlk(f, unix.F_SETLK, unix.F_WRLCK, 0, 0))
		check("unlock", setlk(f, unix.F_SETLK, unix.F_UNLCK, 0, 0))
		runtime.KeepAlive(&l)
	}
}

// lockWaits: F_SETLKW sleeps until the lock is free.
func lockWaits() {
	f := tmpfile()
	fd := f.Fd()
	check("lock", setlk(f, unix.F_SETLK, unix.F_WRLCK, 0, 0))
	l := unix.Flock_t{Type: unix.F_WRLCK}
	at := ptr(&l)
	pid := fork(func() int {
		if _, _, e := syscall.RawSyscall(unix.SYS_FCNTL, fd, unix.F_SETLK, at); e != unix.EAGAIN {
			return 1
		}
		_, _, e := syscall.RawSyscall(unix.SYS_FCNTL, fd, unix.F_SETLKW, at)
		return int(e)
	})
	time.Sleep(20 * time.Millisecond)
	var st unix.WaitStatus
	if p, _ := unix.Wait4(pid, &st, unix.WNOHANG, nil); p != 0 {
		fail("the child has the lock: %v", st)
	}
	check("unlock", setlk(f, unix.F_SETLK, unix.F_UNLCK, 0, 0))
	equal("child", wait(pid), 0)
	runtime.KeepAlive(&l)
}

// lockDeadlock: a wait that would close a cycle fails.
func lockDeadlock() {
	f := tmpfile()
	fd := f.Fd()
	check("lock", setlk(f, unix.F_SETLK, unix.F_WRLCK, 0, 1))
	a, b := unix.Flock_t{Type: unix.F_WRLCK, Start: 1, Len: 1}, unix.Flock_t{Type: unix.F_WRLCK, Start: 0, Len: 1}
	pa, pb := ptr(&a), ptr(&b)
	pid := fork(func() int {
		if _, _, e := syscall.RawSyscall(unix.SYS_FCNTL, fd, unix.F_SETLK, pa); e != 0 {
			return 1
		}
		_, _, e := syscall.RawSyscall(unix.SYS_FCNTL, fd, unix.F_SETLKW, pb)
		return int(e)
	})
	for letter("/proc/"+itoa(pid)) != 'S' {
		time.Sleep(time.Millisecond)
	}
	equal("a circle", setlk(f, unix.F_SETLKW, unix.F_WRLCK, 1, 1), error(unix.EDEADLK))
	check("unlock", setlk(f, unix.F_SETLK, unix.F_UNLCK, 0, 0))
	equal("child", wait(pid), 0)
	runtime.KeepAlive(&a)
	runtime.KeepAlive(&b)
}

// lockDescription: locks of an open file description conflict within a process, and are
// released with the last descriptor.
func lockDescription() {
	f := tmpfile()
	g, err := os.OpenFile("/proc/self/fd/"+itoa(int(f.Fd())), os.O_RDWR, 0)
	check("open", err)
	check("lock", setlk(f, unix.F_OFD_SETLK, unix.F_WRLCK, 0, 0))
	equal("another description", setlk(g, unix.F_OFD_SETLK, unix.F_RDLCK, 0, 0), error(unix.EAGAIN))
	l := unix.Flock_t{Type: unix.F_RDLCK}
	check("F_OFD_GETLK", unix.FcntlFlock(g.Fd(), unix.F_OFD_GETLK, &l))
	equal("pid", l.Pid, -1)
	equal("with a pid", unix.FcntlFlock(g.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Pid: 1}), error(unix.EINVAL))
	fd, err := unix.Dup(int(f.Fd()))
	check("dup", err)
	unix.Close(fd)
	equal("after a close of one descriptor", setlk(g, unix.F_OFD_SETLK, unix.F_RDLCK, 0, 0), error(unix.EAGAIN))
	f.Close()
	check("after the last", setlk(g, unix.F_OFD_SETLK, unix.F_RDLCK, 0, 0))
}

// lockFlockPipe: the two ends of a pipe are two descriptions of one file.
func lockFlockPipe() {
	var p [2]int
	check("pipe", unix.Pipe(p[:]))
	check("flock", unix.Flock(p[0], unix.LOCK_EX))
	equal("the other end", unix.Flock(p[1], unix.LOCK_EX|unix.LOCK_NB), error(unix.EWOULDBLOCK))
	unix.Close(p[0])
	check("after a close", unix.Flock(p[1], unix.LOCK_EX|unix.LOCK_NB))
}

// fcntlArguments: the result of F_GETFL, and the calls that an O_PATH descriptor refuses.
func fcntlArguments() {
	large := map[string]int{"amd64": 0x8000, "arm64": 0x20000}[runtime.GOARCH]
	f := tmpfile()
	fl, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	check("F_GETFL", err)
	equal("flags", fl, unix.O_RDWR|large)
	fd, err := unix.Open("/", unix.O_PATH, 0)
	check("open", err)
	fl, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	check("F_GETFL", err)
	equal("flags of O_PATH", fl, unix.O_PATH)
	for _, cmd := range []int{unix.F_SETFL, unix.F_GETOWN, unix.F_GETLK, unix.F_GETPIPE_SZ} {
		if _, err := unix.FcntlInt(uintptr(fd), cmd, 0); err != unix.EBADF {
			fail("command %d of an O_PATH descriptor: %v", cmd, err)
		}
	}
	_, err = unix.FcntlInt(f.Fd(), 99, 0)
	equal("no such command", err, error(unix.EINVAL))
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETOWN, 1<<30)
	equal("no such owner", err, error(unix.ESRCH))
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETOWN, -unix.Getpgrp())
	check("F_SETOWN", err)
	const fGetOwnEx = 16 // F_GETOWN's result looks like an error for small groups
	var owner [2]int32
	sysMust(unix.SYS_FCNTL, f.Fd(), fGetOwnEx, ptr(&owner))
	equal("owner", owner, [2]int32{2, int32(unix.Getpgrp())})
}

// fcntlOwnerSignal: when a pipe with O_ASYNC gets data, it sends SIGIO, or the signal of
// F_SETSIG, to its owner.
func fcntlOwnerSignal() {
	runtime.LockOSThread()
	for _, sig := range []int{0, 40} {
		var p [2]int
		check("pipe", unix.Pipe(p[:]))
		want := sig
		if want == 0 {
			want = int(unix.SIGIO)
		}
		set := unix.Sigset_t{}
		set.Val[(want-1)/64] = 1 << ((want - 1) % 64)
		sysMust(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, ptr(&set), 0, 8)
		const fSetSig, fSetOwnEx = 10, 15
		owner := [2]int32{0, int32(unix.Gettid())} // this thread
		sysMust(unix.SYS_FCNTL, uintptr(p[0]), fSetOwnEx, ptr(&owner))
		sysMust(unix.SYS_FCNTL, uintptr(p[0]), fSetSig, uintptr(sig))
		sysMust(unix.SYS_FCNTL, uintptr(p[0]), unix.F_SETFL, unix.O_ASYNC)
		unix.Write(p[1], []byte("x"))
		ts := unix.Timespec{Sec: 5}
		var info [128]byte
		for sysErr(unix.SYS_RT_SIGTIMEDWAIT, ptr(&set), ptr(&info), ptr(&ts), 8) == unix.EINTR {
		}
		equal("signal", int(info[0]), want)
		sysMust(unix.SYS_FCNTL, uintptr(p[0]), unix.F_SETFL, 0)
		unix.Write(p[1], []byte("x"))
		ts = unix.Timespec{Nsec: 1e7}
		e := unix.EINTR
		for e == unix.EINTR {
			e = sysErr(unix.SYS_RT_SIGTIMEDWAIT, ptr(&set), 0, ptr(&ts), 8)
		}
		equal("signal without O_ASYNC", e, unix.EAGAIN)
		unix.Close(p[0])
		unix.Close(p[1])
	}
}
