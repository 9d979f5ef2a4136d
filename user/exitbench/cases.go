package main

import (
	"syscall"
	"unsafe"

	"grim/user/bare"
)

// timerCase measures the cost of the measurement itself.
func timerCase(name string, n int) {
	if !selected(name) {
		return
	}
	n = reps(n)
	for i := range n {
		t0, t1 := timedNothing()
		sample[i] = t1 - t0
	}
	report(name, n, "", 0)
}

// getpidCase measures a system call that does nothing.
func getpidCase(name string, n int) {
	if !selected(name) {
		return
	}
	n = reps(n)
	c := call{nr: syscall.SYS_GETPID}
	for i := -warmup; i < n; i++ {
		t0, t1, _ := timedCall(&c)
		if i >= 0 {
			sample[i] = t1 - t0
		}
	}
	report(name, n, "", 0)
}

// forkCase measures fork, the child's immediate exit and wait. The parent has size bytes of
// anonymous memory, which are written again before every repetition.
func forkCase(name string, n int, size uintptr) {
	if !selected(name) {
		return
	}
	n = reps(n)
	var p unsafe.Pointer
	if size > 0 {
		if p = bare.Anon(size); p == nil {
			failed(name, "mmap", int(size))
			return
		}
	}
	for i := -warmup; i < n; i++ {
		status := ^uint32(0)
		bare.Touch(p, size, page)
		pid, ret, t0, t1 := timedFork(&status, nil, nil, nil)
		if !waited(name, pid, ret, status) {
			return
		}
		if i >= 0 {
			sample[i] = t1 - t0
		}
	}
	if size > 0 {
		bare.Unmap(p, size)
	}
	report(name, n, "", 0)
}

// forkBatchCase measures batches, so that work that the kernel delays is included.
func forkBatchCase(name string, n, batch int) {
	if !selected(name) {
		return
	}
	n = reps(n)
	for i := -2; i < n; i++ {
		start := bare.Now()
		for range batch {
			status := ^uint32(0)
			pid, ret, _, _ := timedFork(&status, nil, nil, nil)
			if !waited(name, pid, ret, status) {
				return
			}
		}
		end := bare.Now() // in the warm-up too: a profiler counts the readings
		if i >= 0 {
			sample[i] = end - start
		}
	}
	report(name, n, "", 0)
}

// execCase is forkCase with an execve of this program, which exits at once.
func execCase(name string, n int) {
	if !selected(name) {
		return
	}
	n = reps(n)
	argv := [3]*byte{self, bare.CString("-exit-now\x00"), nil}
	for i := -warmup; i < n; i++ {
		status := ^uint32(0)
		pid, ret, t0, t1 := timedFork(&status, self, &argv[0], bare.Environ())
		if !waited(name, pid, ret, status) {
			return
		}
		if i >= 0 {
			sample[i] = t1 - t0
		}
	}
	report(name, n, "", 0)
}

// threadCase measures the life of a thread: clone, the exit of the thread, and the futex
// wait of its creator.
func threadCase(name string, n int) {
	if !selected(name) {
		return
	}
	n = reps(n)
	for i := -warmup; i < n; i++ {
		ret, t0, t1 := bare.Thread()
		if ret < 0 {
			failed(name, "clone", ret)
			return
		}
		if i >= 0 {
			sample[i] = t1 - t0
		}
	}
	report(name, n, "", 0)
}

// munmapCase measures munmap of touched anonymous memory.
func munmapCase(name string, n int, size uintptr) {
	if !selected(name) {
		return
	}
	n = reps(n)
	for i := -warmup; i < n; i++ {
		p := bare.Anon(size)
		if p == nil {
			failed(name, "mmap", int(size))
			return
		}
		bare.Touch(p, size, page)
		t0, t1, _ := timedCall(&call{syscall.SYS_MUNMAP, [6]uintptr{uintptr(p), size}})
		if i >= 0 {
			sample[i] = t1 - t0
		}
	}
	report(name, n, "", 0)
}
