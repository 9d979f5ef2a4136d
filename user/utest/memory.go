package main

import (
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var memoryTests = []test{
	{name: "mem-anonymous", run: memAnonymous},
	{name: "mem-protect", run: memProtect},
	{name: "mem-holes", run: memHoles},
	{name: "mem-dontneed", run: memDontneed},
	{name: "mem-remap", run: memRemap},
	{name: "mem-shared-anonymous", run: memSharedAnon},
	{name: "mem-private-file", run: memPrivateFile},
	{name: "mem-limit", run: memLimit},
	{name: "mem-exhaustion", run: memExhaustion, slow: true},
	{name: "mem-sparse-1TB", run: memSparse},
	{name: "mem-block-half-unmapped", run: memHalfBlock},
	{name: "mem-maps-file", run: memMapsFile},
}

const rw = unix.PROT_READ | unix.PROT_WRITE

func memAnonymous() {
	b := anon(8 << 20)
	for i := 0; i < len(b); i += 4096 {
		equal("fresh byte", b[i], byte(0))
		b[i] = byte(i >> 12)
	}
	for i := 0; i < len(b); i += 4096 {
		equal("byte", b[i], byte(i>>12))
	}
	check("munmap", unix.Munmap(b))
}

// touch forks a child that reads or writes one byte, and returns its status.
func touch(b []byte, i int, write bool) unix.WaitStatus {
	return wait(fork(func() int {
		sigaction(unix.SIGSEGV, 0)
		sigaction(unix.SIGBUS, 0)
		if write {
			b[i] = 1
		} else if b[i] == 255 {
			return 1
		}
		return 0
	}))
}

// killedBy fails unless the status says that sig ended the process.
func killedBy(what string, ws unix.WaitStatus, sig unix.Signal) {
	if !ws.Signaled() || ws.Signal() != sig {
		fail("%s: status %#x, want killed by %v", what, uint32(ws), sig)
	}
}

func memProtect() {
	quiet()
	b := anon(3 * 4096)
	b[0], b[4096], b[8192] = 1, 2, 3
	check("mprotect none", unix.Mprotect(b[:4096], unix.PROT_NONE))
	check("mprotect read", unix.Mprotect(b[4096:8192], unix.PROT_READ))
	killedBy("read of PROT_NONE", touch(b, 0, false), unix.SIGSEGV)
	killedBy("write of PROT_READ", touch(b, 4096, true), unix.SIGSEGV)
	equal("read of PROT_READ", touch(b, 4096, false), 0)
	equal("write of the neighbour", touch(b, 8192, true), 0)
	check("mprotect back", unix.Mprotect(b, rw))
	equal("bytes kept", [3]byte{b[0], b[4096], b[8192]}, [3]byte{1, 2, 3})
}

func memHoles() {
	quiet()
	b := anon(5 * 4096)
	for i := range 5 {
		b[i*4096] = byte(i + 1)
	}
	for _, i := range []int{1, 3} {
		check("munmap", munmap(b[i*4096:(i+1)*4096]))
	}
	for i := range 5 {
		ws := touch(b, i*4096, false)
		if i == 1 || i == 3 {
			killedBy("read of a hole", ws, unix.SIGSEGV)
		} else {
			equal("status", ws, 0)
			equal("byte", b[i*4096], byte(i+1))
		}
	}
}

// munmap unmaps part of a mapping, which unix.Munmap does not offer.
func munmap(b []byte) error {
	_, _, errno := syscall.Syscall(unix.SYS_MUNMAP, addr(b), uintptr(len(b)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func memDontneed() {
	b := anon(4 << 20)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 7
	}
	check("madvise", unix.Madvise(b[4096:len(b)-4096], unix.MADV_DONTNEED))
	for i := 4096; i < len(b)-4096; i += 4096 {
		equal("byte after MADV_DONTNEED", b[i], byte(0))
	}
	equal("first page", b[0], byte(7))
	equal("last page", b[len(b)-4096], byte(7))
}

func memRemap() {
	b := anon(4 * 4096)
	for i := range 4 {
		b[i*4096] = byte(i + 1)
	}
	n, _, errno := syscall.Syscall6(unix.SYS_MREMAP, addr(b), 4*4096, 600*4096, unix.MREMAP_MAYMOVE, 0, 0)
	if errno != 0 {
		fail("mremap: %v", errno)
	}
	g := at(n, 600*4096)
	for i := range 600 {
		want := byte(0)
		if i < 4 {
			want = byte(i + 1)
		}
		equal("byte after mremap", g[i*4096], want)
	}
}

func memSharedAnon() {
	quiet()
	b, err := unix.Mmap(-1, 0, 4*4096, rw, unix.MAP_SHARED|unix.MAP_ANON)
	check("mmap", err)
	equal("status", wait(fork(func() int {
		for i := range 4 {
			b[i*4096] = byte(i + 1)
		}
		return 0
	})), 0)
	for i := range 4 {
		equal("byte written by the child", b[i*4096], byte(i+1))
	}
}

func memPrivateFile() {
	quiet()
	f, err := os.CreateTemp("", "private")
	check("create", err)
	defer os.Remove(f.Name())
	_, err = f.Write([]byte(strings.Repeat("x", 6000)))
	check("write", err)
	m, err := unix.Mmap(int(f.Fd()), 0, 3*4096, rw, unix.MAP_PRIVATE)
	check("mmap", err)
	m[0] = 'y'
	b := make([]byte, 1)
	_, err = f.ReadAt(b, 0)
	check("read", err)
	equal("file after a private write", b[0], byte('x'))
	equal("mapped past the end in the last page", m[6001], byte(0))
	killedBy("read of a page past the end", touch(m, 2*4096, false), unix.SIGBUS)
	check("truncate", f.Truncate(100))
	killedBy("read after truncation", touch(m, 4096, false), unix.SIGBUS)
	equal("first page", m[0], byte('y'))
}

func memLimit() {
	quiet()
	equal("status", wait(fork(func() int {
		lim := unix.Rlimit{Cur: 1 << 30, Max: 1 << 30}
		if _, _, e := syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_AS, ptr(&lim), 0, 0, 0); e != 0 {
			return 1
		}
		_, _, e := syscall.RawSyscall6(unix.SYS_MMAP, 0, 2<<30, rw, unix.MAP_PRIVATE|unix.MAP_ANON, ^uintptr(0), 0)
		if e != unix.ENOMEM {
			return 2
		}
		return 0
	})), 0)
}

// memExhaustion: a process that touches more memory than exists ends by SIGKILL (or gets
// ENOMEM), and its memory is freed.
func memExhaustion() {
	quiet()
	before := memFree()
	ws := wait(fork(func() int {
		size := uintptr(before)<<10 + 1<<30
		p, _, e := syscall.RawSyscall6(unix.SYS_MMAP, 0, size, rw, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE, ^uintptr(0), 0)
		if e != 0 {
			return 9
		}
		b := at(p, int(size))
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		return 1
	}))
	if ws.Exited() {
		equal("status of a child that was told", ws.ExitStatus(), 9)
	} else {
		killedBy("child out of memory", ws, unix.SIGKILL)
	}
	memReturns(before, "an out-of-memory kill")
}

// memReturns fails unless the memory that was free before is free again, except for 8 MB.
// That is so at once, unless the exit design (or Linux's reaper of killed processes)
// continues after the wait.
func memReturns(before int, after string) {
	lost := before - memFree()
	for range 100 {
		if lost <= 8<<10 {
			return
		}
		time.Sleep(10 * time.Millisecond)
		lost = before - memFree()
	}
	fail("%d KB are gone after %s", lost, after)
}

func memSparse() {
	quiet()
	const size = 1 << 40
	equal("status", wait(fork(func() int {
		p, _, e := syscall.RawSyscall6(unix.SYS_MMAP, 0, size, rw, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE, ^uintptr(0), 0)
		if e != 0 {
			return 1
		}
		b := at(p, size)
		for i := range 10 {
			b[i*(size/10)] = 1
		}
		return 0
	})), 0)
}

// memHalfBlock: a part of a region that may be mapped with a 2 MB block is unmapped and
// protected. The rest keeps its contents.
func memHalfBlock() {
	quiet()
	b := anon(6 << 20)
	for i := 0; i < len(b); i += 4096 {
		b[i] = byte(i>>12) | 1
	}
	start := int(-addr(b) & (2<<20 - 1)) // the first 2 MB boundary
	mid := start + 1<<20
	check("munmap", munmap(b[mid:mid+512<<10]))
	check("mprotect", unix.Mprotect(b[mid+512<<10:mid+1<<20], unix.PROT_READ))
	for i := 0; i < len(b); i += 4096 {
		if i >= mid && i < mid+512<<10 {
			continue
		}
		equal("byte", b[i], byte(i>>12)|1)
	}
	killedBy("read of the hole", touch(b, mid+4096, false), unix.SIGSEGV)
	killedBy("write of the read-only part", touch(b, mid+512<<10, true), unix.SIGSEGV)
	equal("write before the hole", touch(b, mid-4096, true), 0)
}

func memMapsFile() {
	b := anon(3 * 4096)
	check("mprotect", unix.Mprotect(b[4096:8192], unix.PROT_READ))
	text, err := os.ReadFile("/proc/self/maps")
	check("maps", err)
	want := hex(addr(b)+4096) + "-" + hex(addr(b)+8192) + " r--p"
	if !strings.Contains(string(text), want) {
		fail("/proc/self/maps lacks %q:\n%s", want, text)
	}
}
