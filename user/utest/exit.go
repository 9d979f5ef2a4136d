package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

var exitTests = []test{
	{name: "exit-coherence-read", run: coherenceRead},
	{name: "exit-coherence-mapping", run: coherenceMapping},
	{name: "exit-coherence-killed", run: coherenceKilled},
	{name: "exit-memory-returns", run: exitMemoryReturns, slow: true},
	{name: "exit-group-ends-threads", run: exitGroupThreads},
	{name: "thread-churn", run: threadChurn, slow: true},
	{name: "vfork-parent-keeps-memory", run: vforkKeeps},
}

const coherencePages = 64

// sharedFile makes a file of coherencePages pages and maps it shared.
func sharedFile() (*os.File, []byte) {
	f, err := os.CreateTemp("", "coherence")
	check("create", err)
	check("unlink", os.Remove(f.Name()))
	check("truncate", f.Truncate(coherencePages*4096))
	m, err := unix.Mmap(int(f.Fd()), 0, coherencePages*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	check("mmap", err)
	return f, m
}

// readBack checks by read(2) that the child's writes are in the file.
func readBack(f *os.File) {
	b := make([]byte, coherencePages*4096)
	_, err := f.ReadAt(b, 0)
	check("read", err)
	for i := range coherencePages {
		if b[i*4096+7] != byte(i+1) {
			fail("page %d reads %d after wait, want %d", i, b[i*4096+7], i+1)
		}
	}
}

// coherenceRead (E1): a child writes through a shared mapping and exits without msync or
// munmap. When wait has returned, read sees all of it.
func coherenceRead() {
	quiet()
	f, m := sharedFile()
	ws := wait(fork(func() int {
		for i := range coherencePages {
			m[i*4096+7] = byte(i + 1)
		}
		return 0
	}))
	equal("status", ws, 0)
	readBack(f)
}

// coherenceMapping is the same, seen by another mapping made after the exit.
func coherenceMapping() {
	quiet()
	f, m := sharedFile()
	equal("status", wait(fork(func() int {
		for i := range coherencePages {
			m[i*4096+7] = byte(i + 1)
		}
		return 0
	})), 0)
	o, err := unix.Mmap(int(f.Fd()), 0, coherencePages*4096, unix.PROT_READ, unix.MAP_SHARED)
	check("mmap", err)
	for i := range coherencePages {
		if m[i*4096+7] != byte(i+1) || o[i*4096+7] != byte(i+1) {
			fail("page %d: old mapping %d, new mapping %d, want %d", i, m[i*4096+7], o[i*4096+7], i+1)
		}
	}
}

// coherenceKilled is the same for a child that ends by a signal.
func coherenceKilled() {
	quiet()
	f, m := sharedFile()
	ws := wait(fork(func() int {
		for i := range coherencePages {
			m[i*4096+7] = byte(i + 1)
		}
		pid, _, _ := syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
		syscall.RawSyscall(unix.SYS_KILL, pid, uintptr(unix.SIGKILL), 0)
		return 1
	}))
	if !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		fail("status %#x, want killed by SIGKILL", ws)
	}
	readBack(f)
}

// memFree reads MemFree from /proc/meminfo, in KB.
func memFree() int {
	b, err := os.ReadFile("/proc/meminfo")
	check("meminfo", err)
	var total, free int
	if n, err := fmt.Sscanf(string(b), "MemTotal: %d kB\nMemFree: %d kB", &total, &free); n != 2 {
		fail("meminfo: %v in %q", err, b)
	}
	return free
}

// exitMemoryReturns: 30 children touch 16 MB each, one after the other. On a machine of 256
// MB this works only if each child's memory is free when wait returns. The children check
// that the memory is zero, so an uncleared frame is detected.
func exitMemoryReturns() {
	quiet()
	const size = 16 << 20
	before := memFree()
	for range 30 {
		b := anon(size)
		ws := wait(fork(func() int {
			for i := 0; i < size; i += 4096 {
				if b[i] != 0 {
					return 1
				}
				b[i] = 0xa5
			}
			return 0
		}))
		equal("status", ws, 0)
		check("munmap", unix.Munmap(b))
	}
	memReturns(before, "30 children of 16 MB")
}

// exitGroupThreads: exit_group from one thread ends threads that sleep, spin
// and wait in system calls.
func exitGroupThreads() {
	cmd := self("helper-threads-then-exit")
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 7 {
		fail("helper: %v, want exit 7", err)
	}
}

func init() {
	helpers["helper-threads-then-exit"] = func([]string) {
		var ready sync.WaitGroup
		var p [2]int
		check("pipe", unix.Pipe(p[:]))
		block := func(f func()) {
			ready.Add(1)
			go func() {
				runtime.LockOSThread()
				ready.Done()
				f()
			}()
		}
		for range 3 {
			block(func() { unix.Read(p[0], make([]byte, 1)) })
			block(func() { unix.Nanosleep(&unix.Timespec{Sec: 100}, nil) })
			block(func() {
				for i := 0; ; i++ {
					sink = i
				}
			})
		}
		ready.Wait()
		unix.Exit(7)
	}
}

var sink int

// threadChurn (E5): if a goroutine ends while it is locked to its thread, the thread ends
// too. So each of these goroutines makes and ends a thread. An ordinary user may have half as
// many threads as are made here, so a system that keeps those that have ended runs out of
// them, however much memory it has.
func threadChurn() {
	if os.Geteuid() == 0 { // a user who has no other threads
		if !rlimit(unix.RLIMIT_NPROC, 1000) {
			fail("setrlimit")
		}
		check("setresuid", syscall.Setresuid(54321, 54321, 54321))
	}
	for range 500 {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { runtime.LockOSThread() })
		}
		wg.Wait()
	}
}

// vforkKeeps (E9): os/exec uses CLONE_VFORK|CLONE_VM. A child whose execve fails exits on
// the borrowed address space, and the parent's memory is unharmed.
func vforkKeeps() {
	b := anon(1 << 20)
	for i := range b {
		b[i] = byte(i)
	}
	for range 20 {
		_, err := syscall.ForkExec("/nonexistent", []string{"x"}, &syscall.ProcAttr{})
		if err != syscall.ENOENT {
			fail("exec of a missing file: %v, want ENOENT", err)
		}
	}
	for i := range b {
		if b[i] != byte(i) {
			fail("byte %d changed", i)
		}
	}
}
