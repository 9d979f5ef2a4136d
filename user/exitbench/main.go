// Command exitbench measures the cost of the exit of a process, and of related operations,
// in ticks of the counter that user mode may read. In QEMU with -icount, a tick is a fixed
// number of guest instructions (amd64: 1, arm64: 16), so the figures are the same in each
// run.
//
// It is a program without a runtime (package bare). The same file runs as the first process
// of Grim and of Linux, so both are measured with the same instructions. qemu/BENCH.md
// explains what each number includes.
//
// Arguments:
//
//	-list       print the names of the cases and measure nothing
//	-exit-now   exit at once (case exec_exit_wait starts the program like this)
//	-c PREFIX   only the cases whose names start so
//	-n N        at most N repetitions of each case
//	-trace      the one case whose name -c gives in full; before it say "trace
//	            ready" and wait for a line of input, so that a profiler can be
//	            switched on
//
// Other arguments are ignored: Linux passes unknown words of its command line to init.
package main

import (
	"grim/user/bare"
)

const (
	page = 4096
	mb   = 1 << 20
)

var (
	// only is the prefix of the names of the cases to run.
	only string
	// trace: only is a whole name, and a profiler counts.
	trace bool
	// list: print the names of the cases, do not run them.
	list bool
	// limit is the maximum number of repetitions of a case.
	limit = len(sample)
	// freq is the counter's ticks per second; 0: not known.
	freq int
	// self is this program's path, for exec.
	self *byte
	// shared is a page that children share. It holds the time of a child's exit.
	shared *uint64
)

func main() {
	start := bare.Now()
	options()
	if list {
		theExitSet()
		theRest()
		theCPUSet()
		return
	}
	shared = (*uint64)(bare.SharedMemory(page))
	if shared == nil {
		bare.Fail("mmap of the shared page", "")
	}
	*shared = 0
	prefault()
	calibrate(int(start))
	if trace {
		bare.Put("trace ready")
		bare.Flush()
		var b [16]byte
		bare.Read(0, b[:])
	}
	theExitSet()
	theRest()
	theCPUSet()
	bare.Put("exitbench done")
	bare.Flush()
	bare.PowerOff()
}

// options reads the arguments. It does not return for -exit-now.
func options() {
	self = bare.Arg(0)
	if bare.NumArgs() == 0 || *self != '/' {
		self = bare.CString("/init\x00")
	}
	for i := 1; i < bare.NumArgs(); i++ {
		last := i+1 == bare.NumArgs()
		switch bare.String(bare.Arg(i)) {
		case "-exit-now":
			bare.Exit(0)
		case "-trace":
			trace = true
		case "-list":
			list = true
		case "-c":
			if !last {
				only = bare.String(bare.Arg(i + 1))
			}
		case "-n":
			if !last {
				limit = min(max(1, number(bare.String(bare.Arg(i+1)))), len(sample))
			}
		}
	}
}

func number(s string) (n int) {
	for i := 0; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		n = n*10 + int(s[i]-'0')
	}
	return n
}

// selected reports whether a case must run.
func selected(name string) bool {
	switch {
	case list:
		bare.Put(name)
		bare.Flush()
		return false
	case trace && name != only:
		return false
	case len(name) < len(only) || name[:len(only)] != only:
		return false
	}
	caseBegins()
	return true
}

// caseBegins does nothing. A call of it shows the observers of the program that the next
// case begins (qemu/cache/plugin.c).
//
//go:noinline
func caseBegins() {}

// theExitSet runs the cases about exits. Their order is a part of their definition: each
// case finds the kernel's caches as the one before has left them.
func theExitSet() {
	timerCase("null_timer", 200)
	getpidCase("null_getpid", 200)
	forkCase("fork_exit_wait", 200, 0)
	forkBatchCase("fork_exit_wait_x100", 10, 100)
	exitCase("exit_anon_0MB", 200, setNothing, 0)
	exitCase("exit_anon_1MB", 100, setAnon, 1*mb)
	exitCase("exit_anon_4MB", 100, setAnon, 4*mb)
	exitCase("exit_anon_16MB", 50, setAnon, 16*mb)
	exitCase("exit_anon_64MB", 20, setAnon, 64*mb)
	exitCase("exit_shmem_1MB", 100, setShmem, 1*mb)
	exitCase("exit_shmem_16MB", 30, setShmem, 16*mb)
	exitCase("exit_file_1MB", 100, setFile, 1*mb)
	exitCase("exit_file_16MB", 30, setFile, 16*mb)
	exitCase("exit_sparse_1024", 50, setSparse, 1024)
	forkCase("fork_dirty_1MB", 100, 1*mb)
	forkCase("fork_dirty_16MB", 50, 16*mb)
	forkCase("fork_dirty_64MB", 20, 64*mb)
	exitCase("exit_maps_1000", 50, setMaps, 1000)
	exitCase("exit_maps_gap_1000", 50, setMapsGap, 1000)
	threadCase("thread_create_exit", 200)
	execCase("exec_exit_wait", 200)
	munmapCase("munmap_anon_16MB", 50, 16*mb)
}

// theRest runs the cases that were added later, after the exit set, so that they do not
// change it.
func theRest() {
	exitCase("exit_dense_10", 50, setAnon, 10*page)
	exitCase("exit_sparse_1TB_10", 50, setTerabyte, 10)
	faultCase("page_fault", 200)
	touchCase("touch_order_64MB", 10, inOrder, 64*mb/page)
	touchCase("touch_random_64MB", 10, atRandom, 64*mb/page)
	touchCase("touch_each_2MB", 20, eachBlock, 32)
	switchCase("switch_process", 200, 0)
	switchCase("switch_user", 200, 1000)
	timeline("exit_anon_64MB", setAnon, 64*mb)
	timeline("exit_anon_0MB", setNothing, 0)
}
