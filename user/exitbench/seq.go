package main

import "unsafe"

// The measured sequences are assembly, so that only the work is between two readings of the
// counter: seq_$GOARCH.s.

// call is a system call with its arguments.
type call struct {
	nr  uintptr
	arg [6]uintptr
}

// timedNothing reads the counter twice.
func timedNothing() (t0, t1 uint64)

// timedCall makes a system call between two readings. ret is -errno if it failed.
//
//go:noescape
func timedCall(c *call) (t0, t1 uint64, ret int)

// timedStore writes one byte between two readings.
func timedStore(p unsafe.Pointer) (t0, t1 uint64)

// timedFork forks, and waits for the child, between two readings. The child ends at once
// with status
// 0. If path is not nil, it first executes that program, and ends with status 20 if that
// failed. ret is the result of wait4. pid is the result of clone, or -errno.
//
//go:noescape
func timedFork(status *uint32, path *byte, argv, envp **byte) (pid, ret int, t0, t1 uint64)

// stampAndExit stores a reading and ends the process with status 0.
func stampAndExit(stamp *uint64)

// spin executes 2*n instructions.
func spin(n int)
