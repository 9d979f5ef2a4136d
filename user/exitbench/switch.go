package main

import (
	"syscall"

	"grim/user/bare"
)

// switchCase measures two switches between processes: to a child that only yields, and
// back. If the superuser runs this, the child's user is uid.
func switchCase(name string, n int, uid uintptr) {
	if !selected(name) {
		return
	}
	n = reps(n)
	*shared = 0
	pid := bare.Fork()
	if pid < 0 {
		failed(name, "fork", pid)
		return
	}
	if pid == 0 {
		bare.Call(syscall.SYS_SETUID, uid)
		for atomicLoad(shared) == 0 {
			bare.Yield()
		}
		bare.Exit(0)
	}
	c := call{nr: syscall.SYS_SCHED_YIELD}
	for i := -warmup; i < n; i++ {
		t0, t1, _ := timedCall(&c)
		if i >= 0 {
			sample[i] = t1 - t0
		}
	}
	*shared = 1
	ret, status := bare.Wait(pid)
	if waited(name, pid, ret, status) {
		report(name, n, "", 0)
	}
}

// atomicLoad reads a word that another process writes. The call keeps the compiler from
// reading it only once.
//
//go:noinline
func atomicLoad(p *uint64) uint64 { return *p }
