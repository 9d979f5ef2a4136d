package main

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var forkTests = []test{
	{name: "fork-status", run: forkStatus},
	{name: "fork-while-collecting", run: forkWhileCollecting},
	{name: "fork-cow", run: forkCOW},
	{name: "fork-tree", run: forkTree},
	{name: "fork-storm", run: forkStorm, slow: true},
}

// fork runs child in a forked process and returns its pid. Of a Go program only the calling
// thread exists in the child. So child may make raw system calls and access existing
// memory; it must not allocate, block in the runtime, or return to code that does. Its
// result is the exit status.
func fork(child func() int) int { return forkWith(0, child) }

// forkWith is fork with flags of clone(2) that share no memory.
//
// The child must not inherit a request to yield, of which there is one whenever a collection
// begins or ends, and when the goroutine has run for 10 ms: it could obey only by waiting for a
// thread that it does not have. Such a request is a value of the goroutine's stack bound, which
// afterFork sets anew in the child too. But it is remembered, and anything that holds a lock of
// the runtime for a moment, as an allocation does, sets it again. Gosched obeys what has been
// requested so far.
func forkWith(flags uintptr, child func() int) int {
	runtime.Gosched()
	beforeFork()
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	afterFork()
	if errno != 0 {
		fail("fork: %v", errno)
	}
	if pid == 0 {
		exit(child())
	}
	return int(pid)
}

// beforeFork and afterFork are what package syscall calls around a fork. In between signals
// are blocked, and no function may check for room on the stack.
//
//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

// sharedWords is memory that children share with this process. Each sharedWord is a word of
// it; after the last word the first is used again.
var (
	sharedWords = sync.OnceValue(func() []byte {
		b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
		check("mmap", err)
		return b
	})
	wordsUsed atomic.Uint32
)

// sharedWord returns a word that is 0.
func sharedWord() *uint32 {
	p := (*uint32)(unsafe.Pointer(&sharedWords()[wordsUsed.Add(1)%1024*4]))
	*p = 0
	return p
}

// exit ends the process without the runtime's help.
func exit(status int) {
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(status), 0, 0)
	}
}

// quiet keeps the runtime from disturbing fork: no collection starts, the goroutine stays
// on its thread, and its stack has room. Otherwise a child might have to grow the stack,
// with a lock held by a thread that the child does not have.
func quiet() {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	growStack(make([]byte, 1))
}

//go:noinline
func growStack(b []byte) {
	var room [32 << 10]byte
	copy(room[len(b):], b)
	b[0] = room[len(room)-1]
}

// wait waits for one child and returns its status.
func wait(pid int) unix.WaitStatus {
	var ws unix.WaitStatus
	for {
		got, err := unix.Wait4(pid, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		check("wait4", err)
		equal("wait4's pid", got, pid)
		return ws
	}
}

// rawWait is wait for a forked child's own children.
func rawWait(pid int) (status uint32, ok bool) {
	got, _, _ := syscall.RawSyscall6(unix.SYS_WAIT4, uintptr(pid), uintptr(unsafe.Pointer(&status)), 0, 0, 0, 0)
	return status, int(got) == pid
}

func forkStatus() {
	quiet()
	for _, want := range []int{0, 1, 42, 255} {
		ws := wait(fork(func() int { return want }))
		if !ws.Exited() || ws.ExitStatus() != want {
			fail("status %#x, want exit %d", ws, want)
		}
	}
}

// anon maps n bytes of private anonymous memory.
func anon(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	check("mmap", err)
	return b
}

// forkCOW: neither side sees the other's writes after the fork, and the parent's page stays
// its own after the child has ended.
func forkCOW() {
	quiet()
	const pages = 600 // more than one 2 MB block
	b := anon(pages * 4096)
	for i := range pages {
		b[i*4096] = 1
	}
	p := anon(4096) // not used by the child, so it has no memory
	child := fork(func() int {
		for i := range pages {
			if b[i*4096] != 1 {
				return 1
			}
			b[i*4096] = 2
		}
		for i := range pages {
			if b[i*4096] != 2 {
				return 2
			}
		}
		return 0
	})
	for i := range pages {
		b[i*4096+1] = 3
	}
	ws := wait(child)
	equal("child's status", ws, 0)
	for i := range pages {
		if b[i*4096] != 1 || b[i*4096+1] != 3 {
			fail("page %d is %d %d after the child's end, want 1 3", i, b[i*4096], b[i*4096+1])
		}
	}
	equal("untouched page", p[0], byte(0))
}

// forkTree: each process forks two more, five levels deep. The number of leaves is returned
// through the exit statuses. The root of the tree is a forked child, which has no second
// thread that could ask it to yield.
func forkTree() {
	quiet()
	equal("leaves", wait(fork(func() int { return tree(5) })).ExitStatus(), 32)
}

func tree(depth int) int {
	if depth == 0 {
		return 1
	}
	var pid [2]int
	for i := range pid {
		p, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return 0
		}
		if p == 0 {
			exit(tree(depth - 1))
		}
		pid[i] = int(p)
	}
	n := 0
	for _, p := range pid {
		status, ok := rawWait(p)
		if !ok || status&0x7f != 0 {
			return 0
		}
		n += int(status >> 8)
	}
	return n
}

// forkStorm: 600 children, sixteen alive at a time.
func forkStorm() {
	quiet()
	var live []int
	for range 600 {
		if len(live) == 16 {
			equal("status", wait(live[0]), 0)
			live = live[1:]
		}
		live = append(live, fork(func() int { return 0 }))
	}
	for _, p := range live {
		equal("status", wait(p), 0)
	}
}

// forkWhileCollecting: children of a process whose collector is at work run to their end.
// Broken by: forkWith without beforeFork and afterFork (a child waits for ever).
func forkWhileCollecting() {
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			runtime.GC()
		}
	})
	for range 300 {
		equal("child's status", wait(fork(func() int {
			sum := 0
			for i := range 100 {
				sum = addWithCheck(sum, i)
			}
			return sum & 1
		})), 0)
	}
	stop.Store(true)
	wg.Wait()
}

// addWithCheck is a function that looks for room on the stack, and so for a request to yield.
//
//go:noinline
func addWithCheck(a, b int) int {
	var room [256]byte
	room[a&255] = byte(b)
	return a + b + int(room[(a+1)&255])
}
