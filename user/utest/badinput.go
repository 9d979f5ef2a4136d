package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var badInputTests = []test{
	{name: "bad-pointers", run: badPointers},
	{name: "bad-numbers", run: badNumbers},
	{name: "grind", run: grind, slow: true},
}

// wantErr makes a system call that must fail with the error want.
func wantErr(what string, want syscall.Errno, nr uintptr, args ...uintptr) {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, got := syscall.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); got != want {
		fail("%s: %v, want %v", what, got, want)
	}
}

// badPointers: unmapped, kernel, wrapping and half valid pointers are EFAULT.
func badPointers() {
	f, err := os.CreateTemp("", "bad")
	check("create", err)
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 8192))
	check("write", err)
	fd := f.Fd()
	two := anon(8192)
	check("mprotect", unix.Mprotect(two[4096:], unix.PROT_NONE))
	half := addr(two) + 4096 - 4
	read := addr(anon(4096))
	check("mprotect", unix.Mprotect(at(read, 4096), unix.PROT_READ))

	for _, p := range []struct {
		name string
		p    uintptr
	}{
		{"null", 0}, {"unmapped", 0x1000}, {"kernel", 0xffffffff80200000}, {"direct map", 0xffff800000200000},
		{"top", ^uintptr(0) - 3}, {"end of user", 1<<47 - 4}, {"non-canonical", 1 << 47},
	} {
		wantErr("read to "+p.name, unix.EFAULT, unix.SYS_PREAD64, fd, p.p, 16, 0)
		wantErr("write from "+p.name, unix.EFAULT, unix.SYS_PWRITE64, fd, p.p, 16, 0)
		wantErr("open of "+p.name, unix.EFAULT, unix.SYS_OPENAT, ^uintptr(99), p.p, 0)
		wantErr("fstat to "+p.name, unix.EFAULT, unix.SYS_FSTAT, fd, p.p)
		wantErr("pipe2 to "+p.name, unix.EFAULT, unix.SYS_PIPE2, p.p, 0)
		wantErr("clock_gettime to "+p.name, unix.EFAULT, unix.SYS_CLOCK_GETTIME, 0, p.p)
		wantErr("execve of "+p.name, unix.EFAULT, unix.SYS_EXECVE, p.p, 0, 0)
		wantErr("uname to "+p.name, unix.EFAULT, unix.SYS_UNAME, p.p)
		if p.p != 0 {
			wantErr("nanosleep from "+p.name, unix.EFAULT, unix.SYS_NANOSLEEP, p.p, 0)
			wantErr("rt_sigprocmask from "+p.name, unix.EFAULT, unix.SYS_RT_SIGPROCMASK, 0, p.p, 0, 8)
		}
	}
	wantErr("fstat to a half valid buffer", unix.EFAULT, unix.SYS_FSTAT, fd, half)
	wantErr("fstat to a read-only page", unix.EFAULT, unix.SYS_FSTAT, fd, read)
	wantErr("path without an end", unix.EFAULT, unix.SYS_OPENAT, ^uintptr(99), func() uintptr {
		for i := range 4096 {
			two[i] = 'a'
		}
		return half
	}(), 0)
	wantErr("futex on a misaligned word", unix.EINVAL, unix.SYS_FUTEX, read+1, 0, 0, 0)
	// Half valid: the accessible part is transferred, as on Linux.
	n, err := f.ReadAt(at(half, 4), 0)
	if n != 4 || err != nil {
		fail("read of 4 bytes up to the edge: %d %v", n, err)
	}
}

func badNumbers() {
	fd := ^uintptr(0)
	for _, bad := range []uintptr{fd, 12345, 1 << 31} {
		wantErr(fmt.Sprint("close ", bad), unix.EBADF, unix.SYS_CLOSE, bad)
		wantErr(fmt.Sprint("read ", bad), unix.EBADF, unix.SYS_READ, bad, 0, 0)
	}
	wantErr("mmap of length 0", unix.EINVAL, unix.SYS_MMAP, 0, 0, rw, unix.MAP_PRIVATE|unix.MAP_ANON, fd, 0)
	wantErr("mmap of everything", unix.ENOMEM, unix.SYS_MMAP, 0, ^uintptr(4095), rw, unix.MAP_PRIVATE|unix.MAP_ANON, fd, 0)
	wantErr("mmap without a kind", unix.EINVAL, unix.SYS_MMAP, 0, 4096, rw, unix.MAP_ANON, fd, 0)
	wantErr("mmap fixed of the kernel", unix.ENOMEM, unix.SYS_MMAP, 0xffffffff80200000, 4096, rw, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED, fd, 0)
	wantErr("mmap fixed misaligned", unix.EINVAL, unix.SYS_MMAP, 0x10001, 4096, rw, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED, fd, 0)
	wantErr("munmap misaligned", unix.EINVAL, unix.SYS_MUNMAP, 1, 4096)
	wantErr("munmap of the kernel", unix.EINVAL, unix.SYS_MUNMAP, 0xffffffff80200000, 4096)
	hole := addr(anon(3*4096)) + 4096
	check("munmap", munmap(at(hole, 4096)))
	wantErr("mprotect of a hole", unix.ENOMEM, unix.SYS_MPROTECT, hole, 4096, 1)
	wantErr("kill with a bad signal", unix.EINVAL, unix.SYS_KILL, uintptr(os.Getpid()), 65)
	wantErr("kill of nobody", unix.ESRCH, unix.SYS_KILL, 0x3fffffff, 0)
	wantErr("rt_sigaction of SIGKILL", unix.EINVAL, unix.SYS_RT_SIGACTION, uintptr(unix.SIGKILL), ptr(&[4]uintptr{1}), 0, 8)
	wantErr("rt_sigaction with a bad size", unix.EINVAL, unix.SYS_RT_SIGACTION, uintptr(unix.SIGTERM), 0, 0, 4)
	wantErr("nanosleep of 2e9 ns", unix.EINVAL, unix.SYS_NANOSLEEP, ptr(&unix.Timespec{Nsec: 2e9}), 0)
	wantErr("clone of a thread without its memory", unix.EINVAL, unix.SYS_CLONE, unix.CLONE_THREAD, 0, 0, 0, 0)
	wantErr("getrandom with bad flags", unix.EINVAL, unix.SYS_GETRANDOM, 0, 0, 0xff00)
	wantErr("dup3 onto itself", unix.EINVAL, unix.SYS_DUP3, 1, 1, 0)
}

// inGrim reports whether uname(2) names Grim. On any other system, as root, random system
// calls would damage the machine.
func inGrim() bool {
	var u unix.Utsname
	return unix.Uname(&u) == nil && unix.ByteSliceToString(u.Version[:]) == "grim"
}

// grind makes random system calls with random arguments, in children of its own, which may
// end in any way. The kernel must survive: the parent's own fork and wait keep working.
// Each round is a process group, so that the processes forked by its calls end with it. The
// console is not among its descriptors.
func grind() {
	if !inGrim() {
		fail("makes random system calls: for a Grim guest only")
	}
	quiet()
	seed := uint64(1)
	null, err := unix.Open("/dev/null", unix.O_RDWR, 0)
	check("open", err)
	skip := map[uintptr]bool{unix.SYS_REBOOT: true, unix.SYS_KILL: true, unix.SYS_TKILL: true, unix.SYS_TGKILL: true,
		unix.SYS_RT_SIGQUEUEINFO: true, unix.SYS_SETSID: true, unix.SYS_SETPGID: true,
		// Calls that change shared and permanent things: /dev/null, through its descriptor,
		// ...
		unix.SYS_FCHMOD: true, unix.SYS_FCHOWN: true,
		// ... and objects, names and the clock of the machine.
		unix.SYS_SHMGET: true, unix.SYS_MSGGET: true, unix.SYS_SEMGET: true,
		unix.SYS_SETHOSTNAME: true, unix.SYS_SETDOMAINNAME: true,
		unix.SYS_SETTIMEOFDAY: true, unix.SYS_CLOCK_SETTIME: true, unix.SYS_CLOCK_ADJTIME: true}
	interesting := []uintptr{0, 1, 2, 3, 8, 4096, 1 << 20, 1 << 31, 1 << 40, 1 << 47, 1<<47 - 4096, 1 << 63,
		^uintptr(0), ^uintptr(4095), 0xffffffff80200000, addr(anon(4 << 20))}
	for round := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, round))
		var calls [200][7]uintptr
		for i := range calls {
			nr := uintptr(rnd.IntN(460))
			for skip[nr] {
				nr = uintptr(rnd.IntN(460))
			}
			calls[i][0] = nr
			for j := range 6 {
				calls[i][1+j] = interesting[rnd.IntN(len(interesting))] + uintptr(rnd.IntN(3)*8)
			}
		}
		pid := fork(func() int {
			alarm := unix.Itimerval{Value: unix.Timeval{Usec: 200_000}}
			sigaction(unix.SIGALRM, 0)
			syscall.RawSyscall(unix.SYS_SETITIMER, 0, ptr(&alarm), 0)
			syscall.RawSyscall(unix.SYS_SETPGID, 0, 0, 0)
			for fd := range uintptr(3) {
				syscall.RawSyscall(unix.SYS_DUP3, uintptr(null), fd, 0)
			}
			for i := range calls {
				c := &calls[i]
				syscall.RawSyscall6(c[0], c[1], c[2], c[3], c[4], c[5], c[6])
			}
			return 0
		})
		// Its calls may have delayed the alarm, or blocked it, and then sleep.
		var ws unix.WaitStatus
		for begin := time.Now(); ; time.Sleep(time.Millisecond) {
			got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
			if got == pid || err != nil && err != unix.EINTR {
				check(fmt.Sprintf("wait in round %d of seed %d", round, seed), err)
				break
			}
			switch waited := time.Since(begin); {
			case waited > 20*time.Second:
				fail("round %d of seed %d does not die of SIGKILL", round, seed)
			case waited > 400*time.Millisecond:
				unix.Kill(pid, unix.SIGKILL)
			}
		}
		// ESRCH is the usual result: no process is left.
		if err := unix.Kill(-pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
			fail("kill of the group of round %d: %v", round, err)
		}
	}
	runtime.KeepAlive(interesting)
}
