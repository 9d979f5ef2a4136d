package main

import (
	"syscall"
	"unsafe"

	"grim/user/bare"
)

// switchCase measures two switches between processes: from this one, which writes a
// byte into a pipe and reads one from another, to a child that does the opposite, and
// back. The child's user is uid, if the superuser runs this.
func switchCase(name string, n int, uid uintptr) {
	if !selected(name) {
		return
	}
	n = reps(n)
	r0, w0, err0 := bare.Pipe() // to the child
	r1, w1, err1 := bare.Pipe()
	if err0 < 0 || err1 < 0 {
		failed(name, "pipe", min(err0, err1))
		return
	}
	pid := bare.Fork()
	if pid < 0 {
		failed(name, "fork", pid)
		return
	}
	if pid == 0 {
		bare.Close(w0)
		bare.Close(r1)
		bare.Call(syscall.SYS_SETUID, uid)
		var b [1]byte
		for bare.Read(r0, b[:]) == 1 {
			bare.Write(w1, b[:])
		}
		bare.Exit(0)
	}
	bare.Close(r0)
	bare.Close(w1)
	var b [1]byte
	c := call{syscall.SYS_READ, [6]uintptr{uintptr(r1), uintptr(unsafe.Pointer(&b)), 1}}
	for i := -warmup; i < n; i++ {
		bare.Write(w0, b[:])
		t0, t1, got := timedCall(&c)
		if got != 1 {
			failed(name, "read", got)
			break
		}
		if i >= 0 {
			sample[i] = t1 - t0
		}
	}
	bare.Close(w0)
	bare.Close(r1)
	ret, status := bare.Wait(pid)
	if waited(name, pid, ret, status) {
		report(name, n, "", 0)
	}
}
