package main

import (
	"syscall"
	"unsafe"

	"grim/user/bare"
)

// setup is the work of a child before it exits.
type setup func(arg uintptr) int

// child forks a child that lets the parent go to sleep in wait4, calls set, stores the time
// and exits. child returns only in the parent.
func child(set setup, arg uintptr) int {
	pid := bare.Fork()
	if pid != 0 {
		return pid
	}
	bare.Yield()
	bare.Yield()
	*shared = 1 // so that it is present later
	if status := set(arg); status != 0 {
		bare.Exit(status)
	}
	stampAndExit(shared)
	return 0
}

// timedWait waits for a child and returns the time at which wait4 returned.
func timedWait(pid int) (ret int, status uint32, t uint64) {
	status = ^uint32(0)
	c := call{syscall.SYS_WAIT4, [6]uintptr{uintptr(pid), uintptr(unsafe.Pointer(&status))}}
	for {
		_, t, ret = timedCall(&c)
		if ret != -int(syscall.EINTR) {
			return ret, status, t
		}
	}
}

// exitCase measures the exit alone: from just before the child's exit_group to
// the return of the parent's wait4.
func exitCase(name string, n int, set setup, arg uintptr) {
	if !selected(name) {
		return
	}
	n = reps(n)
	for i := -warmup; i < n; i++ {
		pid := child(set, arg)
		ret, status, t := timedWait(pid)
		bare.Unlink(tmpName)
		if !waited(name, pid, ret, status) {
			return
		}
		if i >= 0 {
			sample[i] = t - *shared
		}
	}
	report(name, n, "", 0)
}

// timeline prints the record of one exit in /proc/exits, if there is such a file.
func timeline(name string, set setup, arg uintptr) {
	if trace || list || !selected(name) {
		return
	}
	pid := child(set, arg)
	if ret, status, _ := timedWait(pid); !waited(name, pid, ret, status) {
		return
	}
	fd := bare.Open("/proc/exits\x00", syscall.O_RDONLY, 0)
	if fd < 0 {
		return
	}
	printSteps(name, fd, pid)
	bare.Close(fd)
}

// printSteps copies the lines of one process, "PID ...", as "exit=NAME PID ...".
func printSteps(name string, fd, pid int) {
	var b [1024]byte
	var line [256]byte
	used := 0
	for {
		n := bare.Read(fd, b[:])
		if n <= 0 {
			return
		}
		for _, c := range b[:n] {
			if c != '\n' {
				if used < len(line) {
					line[used] = c
					used++
				}
				continue
			}
			if text := unsafe.String(&line[0], used); number(text) == pid {
				bare.Put("exit=")
				bare.Put(name)
				bare.Put(" ")
				bare.Put(text)
				bare.Flush()
			}
			used = 0
		}
	}
}
