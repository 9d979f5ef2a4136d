package main

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var sysvTests = []test{
	{name: "sem-operations", run: semOperations},
	{name: "sem-waits", run: semWaits},
	{name: "sem-undo", run: semUndo},
	{name: "msg-queues", run: msgQueues},
	{name: "shm-segments", run: shmSegments},
	{name: "shm-exit", run: shmExit},
	{name: "ipc-permissions", run: arena(ipcPermissions)},
}

const (
	ipcCreat  = 0o1000
	ipcExcl   = 0o2000
	ipcNowait = 0o4000
	semGetval = 12
	semSetval = 16
)

type sembuf struct {
	num uint16
	op  int16
	flg int16
}

func semop(id uintptr, ops ...sembuf) unix.Errno {
	return sysErr(unix.SYS_SEMOP, id, uintptr(unsafe.Pointer(&ops[0])), uintptr(len(ops)))
}

func semNew(n uintptr) uintptr { return sysMust(unix.SYS_SEMGET, 0, n, ipcCreat|0o600) }

func semVal(id, num uintptr) uintptr { return sysMust(unix.SYS_SEMCTL, id, num, semGetval, 0) }

// semOperations: all of a call's operations are done, or none.
func semOperations() {
	id := semNew(3)
	equal("add", semop(id, sembuf{0, 5, 0}, sembuf{1, 1, 0}), 0)
	equal("one would wait", semop(id, sembuf{0, -2, ipcNowait}, sembuf{2, -1, ipcNowait}), unix.EAGAIN)
	equal("nothing was done", semVal(id, 0), 5)
	equal("zero", semop(id, sembuf{2, 0, 0}), 0)
	equal("no such semaphore", semop(id, sembuf{3, 1, 0}), unix.EFBIG)
	equal("too much", semop(id, sembuf{0, 32767, 0}), unix.ERANGE)
	equal("no operation", sysErr(unix.SYS_SEMOP, id, 0, 0), unix.EINVAL)
	equal("too many", sysErr(unix.SYS_SEMOP, id, 0, 501), unix.E2BIG)
	equal("set", sysErr(unix.SYS_SEMCTL, id, 0, semSetval, 7), 0)
	equal("value", semVal(id, 0), 7)
	equal("set too much", sysErr(unix.SYS_SEMCTL, id, 0, semSetval, 40000), unix.ERANGE)
	ts := unix.Timespec{Nsec: 1e6}
	op := sembuf{2, -1, 0}
	e := unix.EINTR
	for e == unix.EINTR { // by signals of the Go runtime
		e = sysErr(unix.SYS_SEMTIMEDOP, id, uintptr(unsafe.Pointer(&op)), 1, ptr(&ts))
	}
	equal("timeout", e, unix.EAGAIN)
	const key = 0x67726d31
	named := sysMust(unix.SYS_SEMGET, key, 2, ipcCreat|ipcExcl|0o600)
	equal("again", sysErr(unix.SYS_SEMGET, key, 2, ipcCreat|ipcExcl|0o600), unix.EEXIST)
	equal("the same", sysMust(unix.SYS_SEMGET, key, 0, 0), named)
	equal("larger", sysErr(unix.SYS_SEMGET, key, 3, 0), unix.EINVAL)
	sysMust(unix.SYS_SEMCTL, named, 0, 0, 0)
	equal("removed", sysErr(unix.SYS_SEMGET, key, 0, 0), unix.ENOENT)
	sysMust(unix.SYS_SEMCTL, id, 0, 0, 0)
	equal("gone", semop(id, sembuf{0, 1, 0}), unix.EINVAL)
}

// semWaits: another process's operation ends a wait, and the wait fails when the set is
// removed.
func semWaits() {
	id := semNew(1)
	op := sembuf{0, -1, 0}
	at := ptr(&op)
	wait1 := func() int {
		_, _, e := syscall.RawSyscall(unix.SYS_SEMOP, id, at, 1)
		return int(e)
	}
	pid := fork(wait1)
	for letter("/proc/"+itoa(pid)) != 'S' {
		runtime.Gosched()
	}
	equal("who waits", sysMust(unix.SYS_SEMCTL, id, 0, 14, 0), 1)
	equal("add", semop(id, sembuf{0, 1, 0}), 0)
	equal("child", wait(pid), 0)
	equal("value", semVal(id, 0), 0)
	equal("last process", int(sysMust(unix.SYS_SEMCTL, id, 0, 11, 0)), pid)
	pid = fork(wait1)
	for letter("/proc/"+itoa(pid)) != 'S' {
		runtime.Gosched()
	}
	sysMust(unix.SYS_SEMCTL, id, 0, 0, 0)
	equal("removed", wait(pid).ExitStatus(), int(unix.EIDRM))
	runtime.KeepAlive(&op)
}

// semUndo: the changes of a process with SEM_UNDO are undone when it ends, by itself or
// killed, before its parent gets the status.
func semUndo() {
	id := semNew(1)
	op := sembuf{0, 3, 0x1000}
	at := ptr(&op)
	for _, sig := range []uintptr{0, uintptr(unix.SIGKILL)} {
		pid := fork(func() int {
			_, _, e := syscall.RawSyscall(unix.SYS_SEMOP, id, at, 1)
			if sig != 0 {
				syscall.RawSyscall(unix.SYS_KILL, uintptr(syscall.Getpid()), sig, 0)
			}
			return int(e)
		})
		equal("child", int(wait(pid)), int(sig))
		equal("value", semVal(id, 0), 0)
	}
	sysMust(unix.SYS_SEMCTL, id, 0, 0, 0)
	runtime.KeepAlive(&op)
}

type msgbuf struct {
	typ  int64
	text [64]byte
}

// msgQueues: messages are taken by type.
func msgQueues() {
	id := sysMust(unix.SYS_MSGGET, 0, ipcCreat|0o600)
	send := func(typ int64, text string) unix.Errno {
		m := msgbuf{typ: typ}
		copy(m.text[:], text)
		return sysErr(unix.SYS_MSGSND, id, uintptr(unsafe.Pointer(&m)), uintptr(len(text)), ipcNowait)
	}
	recv := func(typ int64, flags uintptr) (string, unix.Errno) {
		var m msgbuf
		n, _, e := syscall.RawSyscall6(unix.SYS_MSGRCV, id, uintptr(unsafe.Pointer(&m)), 64, uintptr(typ), flags|ipcNowait, 0)
		if e != 0 {
			return "", e
		}
		return string(m.text[:n]), 0
	}
	for i, text := range []string{"three", "one", "two", "one again"} {
		equal("send", send([]int64{3, 1, 2, 1}[i], text), 0)
	}
	for _, c := range []struct {
		typ   int64
		flags uintptr
		want  string
		err   unix.Errno
	}{
		{2, 0, "two", 0}, {-2, 0, "one", 0}, {1, 0o20000, "three", 0}, {9, 0, "", unix.ENOMSG}, {0, 0, "one again", 0}, {0, 0, "", unix.ENOMSG},
	} {
		got, e := recv(c.typ, c.flags)
		if got != c.want || e != c.err {
			fail("type %d: %q, %v; want %q, %v", c.typ, got, e, c.want, c.err)
		}
	}
	equal("type 0", send(0, "x"), unix.EINVAL)
	equal("send", send(1, "0123456789"), 0)
	var m msgbuf
	equal("too large", sysErr(unix.SYS_MSGRCV, id, ptr(&m), 4, 0, ipcNowait), unix.E2BIG)
	equal("cut", sysMust(unix.SYS_MSGRCV, id, ptr(&m), 4, 0, ipcNowait|0o10000), 4)
	n := 0
	for send(1, "0123456789012345678901234567890123456789012345678901234567890123") == 0 {
		n++
	}
	equal("messages until it is full", n, 16384/64)
	sysMust(unix.SYS_MSGCTL, id, 0, 0)
	equal("gone", send(1, "x"), unix.EINVAL)
}

type shmid struct {
	perm                [48]byte
	size                uint64
	atime, dtime, ctime int64
	cpid, lpid          int32
	nattch              uint64
	_                   [2]uint64
}

func nattch(id uintptr) int {
	var ds shmid
	sysMust(unix.SYS_SHMCTL, id, 2, ptr(&ds))
	return int(ds.nattch)
}

// shmSegments: a segment is the same memory wherever it is attached.
func shmSegments() {
	id := sysMust(unix.SYS_SHMGET, 0, 10000, ipcCreat|0o600)
	a, b := sysMust(unix.SYS_SHMAT, id, 0, 0), sysMust(unix.SYS_SHMAT, id, 0, 0o10000)
	at(a, 10000)[9999] = 7
	equal("seen by the other", at(b, 10000)[9999], 7)
	equal("attached", nattch(id), 2)
	pid := fork(func() int { at(a, 1)[0] = 9; return 0 })
	equal("child", wait(pid), 0)
	equal("written by a child", at(b, 1)[0], 9)
	equal("not aligned", sysErr(unix.SYS_SHMAT, id, 12345, 0), unix.EINVAL)
	equal("shmdt of nothing", sysErr(unix.SYS_SHMDT, a+4096), unix.EINVAL)
	sysMust(unix.SYS_SHMDT, a)
	equal("attached", nattch(id), 1)
	equal("shmdt again", sysErr(unix.SYS_SHMDT, a), unix.EINVAL)
	sysMust(unix.SYS_SHMCTL, id, 0, 0)
	equal("after the removal", at(b, 10000)[9999], 7)
	sysMust(unix.SYS_SHMDT, b)
	equal("gone", sysErr(unix.SYS_SHMAT, id, 0, 0), unix.EINVAL)
	equal("no size", sysErr(unix.SYS_SHMGET, 0, 0, ipcCreat|0o600), unix.EINVAL)
}

// shmExit: a removed segment is freed with its last user, before the parent gets the
// status; the self-test's leak check counts its memory. The end of a child detaches.
func shmExit() {
	id := sysMust(unix.SYS_SHMGET, 0, 1<<20, ipcCreat|0o600)
	pid := fork(func() int {
		p, _, _ := syscall.RawSyscall(unix.SYS_SHMAT, id, 0, 0)
		mem := at(p, 1<<20)
		for i := 0; i < len(mem); i += 4096 {
			mem[i] = 1
		}
		return 0
	})
	equal("child", wait(pid), 0)
	equal("attached", nattch(id), 0)
	p := sysMust(unix.SYS_SHMAT, id, 0, 0)
	equal("what the child wrote", at(p, 1<<20)[4096], 1)
	sysMust(unix.SYS_SHMCTL, id, 0, 0)
	// The exit of this process detaches the last mapping.
}

// ipcPermissions: the mode limits other users, and only owners remove.
func ipcPermissions() {
	sem := sysMust(unix.SYS_SEMGET, 0, 1, ipcCreat|0o604)
	msg := sysMust(unix.SYS_MSGGET, 0, ipcCreat|0o600)
	shm := sysMust(unix.SYS_SHMGET, 0, 1, ipcCreat|0o604)
	pid := fork(func() int { // as an ordinary user
		for _, c := range [][2]uintptr{{unix.SYS_SETRESGID, 1000}, {unix.SYS_SETRESUID, 1000}} {
			syscall.RawSyscall(c[0], c[1], c[1], c[1])
		}
		op := sembuf{0, 1, 0}
		for i, c := range [][5]uintptr{
			{unix.SYS_SEMCTL, sem, 0, semGetval, 0},
			{unix.SYS_SEMOP, sem, uintptr(unsafe.Pointer(&op)), 1, uintptr(unix.EACCES)},
			{unix.SYS_SEMCTL, sem, 0, 0, uintptr(unix.EPERM)},
			{unix.SYS_MSGCTL, msg, 0, 0, uintptr(unix.EPERM)},
			{unix.SYS_SHMAT, shm, 0, 0, uintptr(unix.EACCES)},
			{unix.SYS_SHMCTL, shm, 0, 0, uintptr(unix.EPERM)},
		} {
			if _, _, e := syscall.RawSyscall(c[0], c[1], c[2], c[3]); uintptr(e) != c[4] {
				return i + 1
			}
		}
		return 0
	})
	equal("child", wait(pid), 0)
	sysMust(unix.SYS_SEMCTL, sem, 0, 0, 0)
	sysMust(unix.SYS_MSGCTL, msg, 0, 0)
	sysMust(unix.SYS_SHMCTL, shm, 0, 0)
}
