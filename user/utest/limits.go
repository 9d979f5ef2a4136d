package main

import (
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var limitTests = []test{
	{name: "limit-memlock", run: limitMemlock},
	{name: "limit-data", run: limitData},
	{name: "limit-stack", run: limitStack},
	{name: "limit-arguments", run: limitArguments},
	{name: "limit-threads", run: limitThreads},
	{name: "overcommit", run: overcommit},
}

// rlimit sets a limit of the calling process. A forked child can use it too.
func rlimit(which int, n uint64) bool {
	lim := unix.Rlimit{Cur: n, Max: n}
	_, _, e := syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(which), ptr(&lim), 0, 0, 0)
	return e == 0
}

// raw makes a system call in a forked child and returns its error.
func raw(nr uintptr, a ...uintptr) syscall.Errno {
	var p [6]uintptr
	copy(p[:], a)
	_, _, e := syscall.RawSyscall6(nr, p[0], p[1], p[2], p[3], p[4], p[5])
	return e
}

// steps runs a child that does several things in order, and reports which one failed.
func steps(what string, do func(want func(got, want syscall.Errno))) {
	if os.Getuid() != 0 {
		return
	}
	n, bad := 0, 0
	want := func(got, want syscall.Errno) { // a child cannot allocate it
		if n++; got != want && bad == 0 {
			bad = n
		}
	}
	ws := wait(fork(func() int { do(want); return bad }))
	if ws != 0 {
		fail("%s: status %#x: that step went wrong", what, uint32(ws))
	}
}

// limitMemlock: RLIMIT_MEMLOCK limits all users except the superuser.
func limitMemlock() {
	quiet()
	b := anon(32 * 4096)
	p := addr(b)
	priv := uintptr(unix.MAP_PRIVATE | unix.MAP_ANON)
	none := ^uintptr(0)
	steps("memlock", func(want func(got, want syscall.Errno)) {
		if !rlimit(unix.RLIMIT_MEMLOCK, 8*4096) {
			want(1, 0)
		}
		want(raw(unix.SYS_MLOCK, p, 9*4096), 0) // as the superuser
		want(raw(unix.SYS_MUNLOCK, p, 9*4096), 0)
		want(raw(unix.SYS_SETUID, 1000), 0)
		want(raw(unix.SYS_MLOCK, p, 9*4096), unix.ENOMEM) // step 4
		want(raw(unix.SYS_MLOCK, p, 8*4096), 0)
		want(raw(unix.SYS_MLOCK, p, 8*4096), 0)
		want(raw(unix.SYS_MLOCK2, p+8*4096, 4096, unix.MLOCK_ONFAULT), unix.ENOMEM)
		want(raw(unix.SYS_MMAP, 0, 4096, rw, priv|unix.MAP_LOCKED, none, 0), unix.EAGAIN) // step 8
		want(raw(unix.SYS_MREMAP, p, 8*4096, 9*4096, unix.MREMAP_MAYMOVE, 0), unix.EAGAIN)
		want(raw(unix.SYS_MLOCKALL, unix.MCL_CURRENT), unix.ENOMEM)
		want(raw(unix.SYS_MUNLOCK, p, 4096), 0)
		want(raw(unix.SYS_MLOCK, p+8*4096, 4096), 0) // step 12
	})
	steps("no memlock", func(want func(got, want syscall.Errno)) {
		if !rlimit(unix.RLIMIT_MEMLOCK, 0) {
			want(1, 0)
		}
		want(raw(unix.SYS_SETUID, 1000), 0)
		want(raw(unix.SYS_MLOCK, p, 4096), unix.EPERM)
		want(raw(unix.SYS_MLOCKALL, unix.MCL_CURRENT), unix.EPERM)
		want(raw(unix.SYS_MMAP, 0, 4096, rw, priv|unix.MAP_LOCKED, none, 0), unix.EPERM)
		want(raw(unix.SYS_MUNLOCK, p, 4096), 0)
	})
}

// limitData: RLIMIT_DATA counts private writable memory, however it was made.
func limitData() {
	quiet()
	ro, err := unix.Mmap(-1, 0, 64<<20, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
	check("mmap", err)
	p := addr(ro)
	priv := uintptr(unix.MAP_PRIVATE | unix.MAP_ANON)
	none := ^uintptr(0)
	steps("data", func(want func(got, want syscall.Errno)) {
		if !rlimit(unix.RLIMIT_DATA, 1<<20) { // less than the present use
			want(1, 0)
		}
		want(raw(unix.SYS_MMAP, 0, 4096, rw, priv, none, 0), unix.ENOMEM)
		want(raw(unix.SYS_MMAP, 0, 4096, unix.PROT_READ, priv, none, 0), 0)
		want(raw(unix.SYS_MMAP, 0, 4096, rw, unix.MAP_SHARED|unix.MAP_ANON, none, 0), 0)
		want(raw(unix.SYS_MPROTECT, p, 4096, rw), unix.ENOMEM) // step 4
		want(raw(unix.SYS_MPROTECT, p, 4096, unix.PROT_READ|unix.PROT_EXEC), 0)
		old, _, _ := syscall.RawSyscall(unix.SYS_BRK, 0, 0, 0)
		now, _, _ := syscall.RawSyscall(unix.SYS_BRK, old+1<<20, 0, 0)
		if now != old {
			want(1, 0)
		}
	})
}

// limitStack: a stack grows up to RLIMIT_STACK, and not further.
func limitStack() {
	quiet()
	area := anon2(16 << 20)
	check("munmap", munmap(at(area, 16<<20)))
	top := area + 16<<20 - 4096
	if _, e := mapAt(top, 4096, rw, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_ANON|unix.MAP_GROWSDOWN|unix.MAP_NORESERVE, -1, 0); e != 0 {
		fail("mmap: %v", e)
	}
	grow := func(to uintptr) unix.WaitStatus {
		return wait(fork(func() int {
			sigaction(unix.SIGSEGV, 0)
			if !rlimit(unix.RLIMIT_STACK, 1<<20) {
				return 1
			}
			*(*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&to))) = 1
			return 0
		}))
	}
	equal("as far as the limit", grow(top+4096-1<<20), 0)
	killedBy("beyond the limit", grow(top+4096-1<<20-1), unix.SIGSEGV)
}

// limitArguments: arguments and environment take at most a quarter of RLIMIT_STACK.
func limitArguments() {
	long := strings.Repeat("x", 100<<10)
	run := func(n int) error {
		cmd := self("helper-echo")
		for range n {
			cmd.Args = append(cmd.Args, long)
		}
		cmd.Env = []string{"GRIM_TEST=value"}
		return cmd.Run()
	}
	check("many arguments", run(10))
	var old unix.Rlimit
	check("getrlimit", unix.Getrlimit(unix.RLIMIT_STACK, &old))
	check("setrlimit", unix.Setrlimit(unix.RLIMIT_STACK, &unix.Rlimit{Cur: 2 << 20, Max: old.Max}))
	check("fewer arguments", run(4))
	wantError("more than a quarter of the stack", run(6), unix.E2BIG)
	check("setrlimit", unix.Setrlimit(unix.RLIMIT_STACK, &old))
}

// overcommit: one request for more than all memory fails, unless its flags say that the
// memory will not be used.
func overcommit() {
	mode, err := os.ReadFile("/proc/sys/vm/overcommit_memory")
	check("overcommit_memory", err)
	if mode[0] != '0' {
		return
	}
	const size = 16 << 40
	priv, shared := unix.MAP_PRIVATE|unix.MAP_ANON, unix.MAP_SHARED|unix.MAP_ANON
	for _, c := range []struct {
		name        string
		prot, flags int
		want        syscall.Errno
	}{
		{"private", rw, priv, unix.ENOMEM},
		{"shared", rw, shared, unix.ENOMEM},
		{"private, not reserved", rw, priv | unix.MAP_NORESERVE, 0},
		{"for reading", unix.PROT_READ, priv, 0},
		{"without access", 0, priv, 0},
	} {
		p, e := mapAt(0, size, c.prot, c.flags, -1, 0)
		if e != c.want {
			fail("mmap of 16 TB, %s: %v, want %v", c.name, e, c.want)
		}
		if e != 0 {
			continue
		}
		_, _, e = syscall.Syscall(unix.SYS_MPROTECT, p, size, rw)
		if want := c.flags&unix.MAP_NORESERVE == 0; (e == unix.ENOMEM) != want {
			fail("mprotect of 16 TB, %s: %v", c.name, e)
		}
		check("munmap", munmap(at(p, size)))
	}
	b := anon(4096)
	if _, _, e := syscall.Syscall6(unix.SYS_MREMAP, addr(b), 4096, size, unix.MREMAP_MAYMOVE, 0, 0); e != unix.ENOMEM {
		fail("mremap to 16 TB: %v, want ENOMEM", e)
	}
	old, _, _ := syscall.RawSyscall(unix.SYS_BRK, 0, 0, 0)
	if now, _, _ := syscall.RawSyscall(unix.SYS_BRK, old+size, 0, 0); now != old {
		fail("brk moved to %#x", now)
	}
}

// limitThreads: RLIMIT_NPROC counts all threads of an ordinary user, and a child that ends
// makes room.
func limitThreads() {
	quiet()
	const limit, user = 4, 54321
	steps("RLIMIT_NPROC", func(want func(got, want syscall.Errno)) {
		want(raw(unix.SYS_SETRESUID, user, user, user), 0)
		if !rlimit(unix.RLIMIT_NPROC, limit) {
			want(syscall.EPERM, 0)
		}
		var pids [limit]uintptr
		for i := range pids {
			pid, _, e := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
			if e == 0 && pid == 0 {
				for {
					syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
				}
			}
			pids[i] = pid
			if i < limit-1 { // the first is this process
				want(e, 0)
			} else {
				want(e, syscall.EAGAIN)
			}
		}
		want(raw(unix.SYS_KILL, pids[0], uintptr(unix.SIGKILL)), 0)
		want(raw(unix.SYS_WAIT4, pids[0], 0, 0, 0), 0)
		pid, _, e := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if e == 0 && pid == 0 {
			exit(0)
		}
		want(e, 0)
		pids[0] = pid
		for _, p := range pids[:limit-1] {
			raw(unix.SYS_KILL, p, uintptr(unix.SIGKILL))
			want(raw(unix.SYS_WAIT4, p, 0, 0, 0), 0)
		}
	})
}
