package main

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var futexTests = []test{
	{name: "futex-wake-zero", run: futexWakeZero},
	{name: "futex-private-shared", run: futexPrivateShared},
	{name: "futex-addresses", run: futexAddresses},
}

// Operations of futex(2).
const (
	futexWait    = 0
	futexWake    = 1
	futexPrivate = 128
)

// futex makes the call at an address.
func futex(va uintptr, op, val int) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_FUTEX, va, uintptr(op), uintptr(val), 0, 0, 0)
	return int(n), errno
}

// shared maps n bytes that forked children share.
func shared(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	check("mmap", err)
	return b
}

// futexWakeZero: FUTEX_WAKE of 0 wakes one thread, as Linux always has.
func futexWakeZero() {
	quiet()
	va := addr(shared(4096))
	var pids [2]int
	for i := range pids {
		pids[i] = fork(func() int { _, e := futex(va, futexWait, 0); return int(e) })
	}
	for range pids {
		n := 0
		for range 1000 {
			if n, _ = futex(va, futexWake, 0); n != 0 {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		equal("woken by a wake of 0", n, 1)
	}
	for _, pid := range pids {
		equal("waiter's errno", wait(pid), 0)
	}
}

// futexPrivateShared: on a word of private memory, a shared wake-up does not end a private
// wait.
func futexPrivateShared() {
	va := addr(anon(4096))
	done := make(chan syscall.Errno)
	go func() {
		_, _, errno := syscall.Syscall6(unix.SYS_FUTEX, va, futexWait|futexPrivate, 0, 0, 0, 0)
		done <- errno
	}()
	for range 1000 {
		n, errno := futex(va, futexWake, 1)
		equal("errno of a shared wake-up", errno, 0)
		equal("woken by a shared wake-up", n, 0)
		if n, _ = futex(va, futexWake|futexPrivate, 1); n == 1 {
			equal("waiter's errno", <-done, 0)
			return
		}
		time.Sleep(time.Millisecond)
	}
	fail("the private wake-up finds no waiter")
}

// futexAddresses: addresses are checked by wake-ups too.
func futexAddresses() {
	page := anon(2 * 4096)
	va := addr(page)
	check("mprotect", unix.Mprotect(page[4096:], unix.PROT_NONE))
	readOnly, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
	check("mmap", err)
	gone := va // unmapped below
	kernel := uintptr(0xffff800000000000)
	for _, c := range []struct {
		what string
		va   uintptr
		op   int
		want syscall.Errno
	}{
		{"misaligned, shared", va + 1, futexWake, unix.EINVAL},
		{"misaligned, private", va + 2, futexWake | futexPrivate, unix.EINVAL},
		{"kernel, shared", kernel, futexWake, unix.EFAULT},
		{"kernel, private", kernel, futexWake | futexPrivate, unix.EFAULT},
		{"no access, shared", va + 4096, futexWake, unix.EFAULT},
		{"no access, private", va + 4096, futexWake | futexPrivate, 0},
		{"read-only private memory, shared", addr(readOnly), futexWake, unix.EFAULT},
		{"page 0, shared", 0, futexWake, unix.EFAULT},
		{"page 0, private", 0, futexWake | futexPrivate, 0},
		{"no access, shared wait", va + 4096, futexWait, unix.EFAULT},
		{"no access, private wait", va + 4096, futexWait | futexPrivate, unix.EFAULT},
	} {
		if _, errno := futex(c.va, c.op, 1); errno != c.want {
			fail("%s: %v, want %v", c.what, errno, c.want)
		}
	}
	check("munmap", unix.Munmap(page))
	if _, errno := futex(gone, futexWake, 1); errno != unix.EFAULT {
		fail("unmapped: %v, want EFAULT", errno)
	}
}
