package main

import (
	"slices"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var schedTests = []test{
	{name: "sched-nice", run: schedNice, slow: true},
	{name: "sched-idle", run: schedIdle, slow: true},
	{name: "sched-fifo", run: schedFIFO, slow: true},
	{name: "sched-round-robin", run: schedRoundRobin, slow: true},
	{name: "sched-affinity", run: schedAffinity},
	{name: "sched-shared-out", run: schedSharedOut, slow: true},
	{name: "sched-each-cpu", run: schedEachCPU},
}

// raced is memory that race and its children share.
type raced struct {
	ready, start, stop uint32
	turns              [8]struct {
		n uint64
		_ [56]byte
	}
}

func newRaced() *raced {
	b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	check("mmap", err)
	return (*raced)(unsafe.Pointer(&b[0]))
}

// race has n children that compute, for ns nanoseconds of CPU time each at most. It returns
// how much CPU time each child had, in nanoseconds. before is called in child i.
func race(n int, ns int64, before func(i int)) []int64 {
	r := newRaced()
	pids := make([]int, n)
	for i := range n {
		pids[i] = fork(func() int {
			before(i)
			atomic.AddUint32(&r.ready, 1)
			for atomic.LoadUint32(&r.start) == 0 {
				nap()
			}
			begin := clockOf(unix.CLOCK_THREAD_CPUTIME_ID)
			for atomic.LoadUint32(&r.stop) == 0 {
				if atomic.AddUint64(&r.turns[i].n, 1)%64 == 0 && clockOf(unix.CLOCK_THREAD_CPUTIME_ID)-begin > ns {
					atomic.StoreUint32(&r.stop, 1) // the first child with ns nanoseconds ends the race for all
				}
			}
			atomic.StoreUint64(&r.turns[i].n, uint64(clockOf(unix.CLOCK_THREAD_CPUTIME_ID)-begin))
			return 0
		})
	}
	for atomic.LoadUint32(&r.ready) != uint32(n) {
		nap()
	}
	atomic.StoreUint32(&r.start, 1)
	had := make([]int64, n)
	for i, pid := range pids {
		equal("child's status", wait(pid), 0)
		had[i] = int64(r.turns[i].n)
	}
	return had
}

// nap sleeps for a millisecond, without the runtime.
//
//go:nosplit
func nap() {
	ts := unix.Timespec{Nsec: 1e6}
	syscall.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// compute computes for ns nanoseconds.
//
//go:nosplit
func compute(ns int64) {
	for begin := clockOf(unix.CLOCK_MONOTONIC); clockOf(unix.CLOCK_MONOTONIC)-begin < ns; {
	}
}

//go:nosplit
func clockOf(id int) int64 {
	var ts unix.Timespec
	syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, uintptr(id), uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Sec*1e9 + ts.Nsec
}

// firstCPU returns the first CPU that this process may use, as a mask.
func firstCPU() uint64 {
	m := affinity()
	return m & -m
}

func affinity() (mask uint64) {
	var set unix.CPUSet
	check("sched_getaffinity", unix.SchedGetaffinity(0, &set))
	for i := range 64 {
		if set.IsSet(i) {
			mask |= 1 << i
		}
	}
	return mask
}

//go:nosplit
func setAffinity(mask uint64) {
	syscall.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0, 8, uintptr(unsafe.Pointer(&mask)))
}

//go:nosplit
func setPolicy(policy int, prio int32) syscall.Errno {
	_, _, errno := syscall.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, 0, uintptr(policy), uintptr(unsafe.Pointer(&prio)))
	return errno
}

// between fails unless measure returns a value from low to high, in one of four tries. A
// busy host does not run the CPUs of an emulator at the same speed.
func between(what string, low, high float64, measure func() float64) {
	var got [4]float64
	for i := range got {
		if got[i] = measure(); low <= got[i] && got[i] <= high {
			return
		}
	}
	fail("%s: %.2f, want %.2f to %.2f", what, got, low, high)
}

// schedNice: of two processes that compute on one CPU, the one with nice 5 gets a third of
// the other's time. (A step of nice is a quarter: 1.25^5 is 3.05.)
// Broken by: a slice that does not depend on the nice value.
func schedNice() {
	quiet()
	cpu := firstCPU()
	between("nice 0 over nice 5", 2, 4.6, func() float64 {
		had := race(2, 150e6, func(i int) {
			setAffinity(cpu)
			syscall.RawSyscall(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, uintptr(5*i))
		})
		return float64(had[0]) / float64(had[1])
	})
}

// schedIdle: SCHED_IDLE gets nearly no time while another process computes.
// Broken by: a slice that does not depend on the policy.
func schedIdle() {
	quiet()
	cpu := firstCPU()
	between("share of SCHED_IDLE", 0, 0.12, func() float64 {
		had := race(2, 100e6, func(i int) {
			setAffinity(cpu)
			if i == 1 {
				setPolicy(5, 0)
			}
		})
		return float64(had[1]) / float64(had[0])
	})
}

// mayRealTime reports whether this process may use real-time policies. Some machines that
// run Linux in a container forbid that.
func mayRealTime() bool {
	ok := setPolicy(1, 1) == 0
	setPolicy(0, 0)
	return ok
}

// schedFIFO: a thread of SCHED_FIFO keeps the CPU from ordinary threads, and from real-time
// threads of lower priority. A thread of higher priority preempts it as soon as it is
// woken.
// Broken by: a place without the real-time priority.
func schedFIFO() {
	quiet()
	if !mayRealTime() {
		return
	}
	setAffinity(firstCPU())
	r := newRaced()
	var fds [2]int
	check("pipe", unix.Pipe2(fds[:], 0))
	child := func(i int, prio int32) int {
		return fork(func() int {
			if prio != 0 {
				setPolicy(1, prio)
			} else {
				setPolicy(0, 0)
			}
			atomic.AddUint32(&r.ready, 1)
			if i == 2 { // sleeps until it is woken
				var b [1]byte
				syscall.RawSyscall(unix.SYS_READ, uintptr(fds[0]), uintptr(unsafe.Pointer(&b)), 1)
				atomic.StoreUint64(&r.turns[2].n, 1)
				return 0
			}
			for atomic.LoadUint32(&r.stop) == 0 {
				atomic.AddUint64(&r.turns[i].n, 1)
				if i == 1 {
					nap()
				}
			}
			return 0
		})
	}
	pids := []int{child(0, 0), child(1, 10), child(2, 30)}
	for atomic.LoadUint32(&r.ready) != 3 {
		nap()
	}
	nap()
	nap()
	// Another child computes: this process has threads that would disturb it.
	boss := fork(func() int {
		setPolicy(1, 20)
		var seen [2]uint64
		for i := range seen {
			seen[i] = atomic.LoadUint64(&r.turns[i].n)
		}
		compute(60e6)
		for i := range seen {
			if atomic.LoadUint64(&r.turns[i].n) != seen[i] {
				return 1 + i
			}
		}
		var b byte
		syscall.RawSyscall(unix.SYS_WRITE, uintptr(fds[1]), uintptr(unsafe.Pointer(&b)), 1)
		compute(2e6)
		if atomic.LoadUint64(&r.turns[2].n) == 0 {
			return 3
		}
		return 0
	})
	switch status := wait(boss).ExitStatus(); status {
	case 0:
	case 3:
		fail("a child of higher priority has not run after it was woken")
	default:
		fail("child %d ran while a thread of higher priority computed", status-1)
	}
	atomic.StoreUint32(&r.stop, 1)
	for _, pid := range pids {
		equal("child's status", wait(pid), 0)
	}
}

// schedRoundRobin: two threads of SCHED_RR share the CPU. Their interval is not 0, the
// interval of SCHED_FIFO.
// Broken by: sliceOver that puts a real-time thread first also if it is of SCHED_RR.
func schedRoundRobin() {
	quiet()
	var ts unix.Timespec
	sysMust(unix.SYS_SCHED_RR_GET_INTERVAL, 0, ptr(&ts))
	if !mayRealTime() {
		return
	}
	setPolicy(1, 1)
	sysMust(unix.SYS_SCHED_RR_GET_INTERVAL, 0, ptr(&ts))
	equal("interval of SCHED_FIFO", ts, unix.Timespec{})
	setPolicy(2, 1)
	sysMust(unix.SYS_SCHED_RR_GET_INTERVAL, 0, ptr(&ts))
	equal("interval of SCHED_RR", ts, unix.Timespec{Nsec: 100e6})
	setPolicy(0, 0)
	cpu := firstCPU()
	between("one over the other", 0.3, 3.4, func() float64 {
		had := race(2, 250e6, func(i int) {
			setAffinity(cpu)
			setPolicy(2, 5)
		})
		return float64(had[0]) / float64(had[1])
	})
}

// schedAffinity: a thread runs on the CPU that it has set, both when sched_setaffinity
// returns and later, after it has slept and been woken.
// Broken by: SetPlace without moveAway, and putSpecial that queues on the waker's CPU.
func schedAffinity() {
	quiet()
	all := affinity()
	for range 20 {
		for i := range 64 {
			if all>>i&1 == 0 {
				continue
			}
			setAffinity(1 << i)
			equal("sched_getaffinity", affinity(), 1<<i)
			for range 3 {
				equal("the CPU", rawCPU(), i)
				nap()
			}
		}
	}
	if errno := sysErr(unix.SYS_SCHED_SETAFFINITY, 0, 8, func() uintptr { m := uint64(1) << 63; return ptr(&m) }()); all>>63 == 0 {
		equal("a CPU that is not there", errno, unix.EINVAL)
	}
	setAffinity(firstCPU())
	want := affinity()
	equal("a child's", wait(fork(func() int {
		var mask uint64
		syscall.RawSyscall(unix.SYS_SCHED_GETAFFINITY, 0, 8, uintptr(unsafe.Pointer(&mask)))
		if mask != want {
			return 1
		}
		return 0
	})), 0)
	setAffinity(all)
	equal("all again", affinity(), all)
}

//go:nosplit
func rawCPU() int {
	var cpu uint32
	syscall.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	return int(cpu)
}

// schedSharedOut: there is one computing child more than CPUs. No child gets less than a
// third of another's time.
func schedSharedOut() {
	quiet()
	all := affinity()
	two := firstCPU()
	two |= (all &^ two) & -(all &^ two)
	between("least over most", 0.34, 1, func() float64 {
		had := race(3, 120e6, func(int) { setAffinity(two) })
		return float64(slices.Min(had)) / float64(slices.Max(had))
	})
}

// schedEachCPU: of two children that compute, each on a CPU of its own and without a word to the
// kernel, none keeps the other from running. An emulator that runs the CPUs in turn could.
func schedEachCPU() {
	quiet()
	all := affinity()
	if all&(all-1) == 0 {
		return
	}
	first := all & -all
	second := (all &^ first) & -(all &^ first)
	between("the turns of one over those of the other", 0.1, 10, func() float64 {
		r := newRaced()
		var pids [2]int
		for i := range pids {
			pids[i] = fork(func() int {
				setAffinity([2]uint64{first, second}[i])
				for atomic.LoadUint32(&r.stop) == 0 {
					atomic.AddUint64(&r.turns[i].n, 1)
				}
				return 0
			})
		}
		// The sleeper changes its CPU. An emulator that runs the CPUs in turn goes on with the
		// other CPU whenever a timer is set, so the sleeper's CPU would lose its turns.
		for i := range 40 {
			setAffinity([2]uint64{first, second}[i%2])
			nap()
			nap()
		}
		setAffinity(all)
		atomic.StoreUint32(&r.stop, 1)
		for _, pid := range pids {
			equal("child's status", wait(pid), 0)
		}
		return float64(r.turns[0].n+1) / float64(r.turns[1].n+1)
	})
}
