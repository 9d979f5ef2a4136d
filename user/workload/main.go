// Command workload runs whole jobs in which processes end, as they are used in arguments
// about exit paths, and prints a figure for each. Like user/exitbench it is a program
// without a runtime (package bare) that runs as the first process of Grim and of Linux.
//
// Arguments:
//
//	-c PREFIX  only the workloads whose names start so
//	-list      print the names of the workloads and run none
//	-job MB    be a compiler's process: touch that much, compute, exit
//	-exit-now  be a tiny program: exit at once
package main

import (
	"syscall"
	"unsafe"

	"grim/user/bare"
)

const (
	page = 4096
	mb   = 1 << 20
)

// self is this program's path, for exec.
var self *byte

func main() {
	start := bare.Now()
	self = bare.Arg(0)
	if bare.NumArgs() == 0 || *self != '/' {
		self = bare.CString("/init\x00")
	}
	only, list := "", false
	for i := 1; i < bare.NumArgs(); i++ {
		last := i+1 == bare.NumArgs()
		switch bare.String(bare.Arg(i)) {
		case "-exit-now":
			bare.Exit(0)
		case "-list":
			list = true
		case "-job":
			if !last {
				compile(number(bare.String(bare.Arg(i + 1))))
			}
		case "-c":
			if !last {
				only = bare.String(bare.Arg(i + 1))
			}
		}
	}
	if list {
		for i := range workloads {
			bare.Put(workloads[i].name)
			bare.Flush()
		}
		return
	}
	bare.Flush() // firmware may have left an unfinished line on the console
	bare.Put("workload arch=" + arch)
	if hz := bare.Frequency(); hz != 0 {
		bare.PutField("counter_hz", int(hz))
	}
	bare.PutField("start", int(start))
	bare.Flush()
	for i := range workloads {
		w := &workloads[i]
		if len(w.name) >= len(only) && w.name[:len(only)] == only {
			w.run(w.name)
		}
	}
	bare.Put("workload done")
	bare.Flush()
	bare.PowerOff()
}

// workloads in the order in which they run.
var workloads = [...]struct {
	name string
	run  func(name string)
}{
	{"build", build},
	{"storm", storm},
	{"server", server},
	{"threads", threads},
	{"zombies", zombies},
}

// figure prints one result.
func figure(workload, name string, value int, unit string) {
	bare.Put("figure=")
	bare.Put(workload)
	bare.Put(".")
	bare.Put(name)
	bare.PutField("value", value)
	bare.Put(" unit=")
	bare.Put(unit)
	bare.Flush()
}

// must ends the program if a system call has failed.
func must(r int, what string) int {
	if r < 0 {
		bare.PutInt(-r)
		bare.Put(": ")
		bare.Flush()
		bare.Fail(what, "")
	}
	return r
}

func number(s string) (n int) {
	for i := 0; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		n = n*10 + int(s[i]-'0')
	}
	return n
}

// exec runs this program with up to two arguments; it does not return.
func exec(arg1, arg2 *byte) {
	argv := [4]*byte{self, arg1, arg2, nil}
	bare.Call(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(self)), uintptr(unsafe.Pointer(&argv)), uintptr(unsafe.Pointer(bare.Environ())))
	bare.Exit(20)
}

// freeMemory returns how much memory is free, in bytes, as the kernel reports it.
func freeMemory() int {
	var s syscall.Sysinfo_t
	must(bare.Call(syscall.SYS_SYSINFO, uintptr(unsafe.Pointer(&s))), "sysinfo")
	return int(s.Freeram) * max(1, int(s.Unit))
}

// sleep sleeps for ns nanoseconds.
func sleep(ns int64) {
	ts := syscall.NsecToTimespec(ns)
	bare.Call(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0)
}
