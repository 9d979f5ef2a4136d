package main

import (
	"syscall"
	"unsafe"

	"grim/user/bare"
)

// Cases with several CPUs. On one CPU, the par_ cases run one process, and the others are
// left out.

// maxPar is the maximum number of CPUs that the cases use.
const maxPar = 4

// parOps is how many operations each process makes between two readings.
const parOps = 20

// cpus returns how many CPUs this process may use, at most maxPar.
func cpus() (n int) {
	var mask uint64
	bare.Call(syscall.SYS_SCHED_GETAFFINITY, 0, 8, uintptr(unsafe.Pointer(&mask)))
	for ; mask != 0; mask &= mask - 1 {
		n++
	}
	return min(max(n, 1), maxPar)
}

// bind binds a thread to one CPU.
func bind(tid, cpu int) {
	mask := uint64(1) << cpu
	bare.Call(syscall.SYS_SCHED_SETAFFINITY, uintptr(tid), 8, uintptr(unsafe.Pointer(&mask)))
}

// meeting is shared by processes and threads that start together.
type meeting struct{ arrived, begin uint64 }

func newMeeting() *meeting { return (*meeting)(bare.SharedMemory(page)) }

// arrive waits for the others. It yields, for emulators that run one CPU at a time.
func (m *meeting) arrive() {
	add(&m.arrived, 1)
	for atomicLoad(&m.begin) == 0 {
		bare.Pause()
	}
}

// open waits until n have arrived, and lets them continue.
func (m *meeting) open(n int) {
	for atomicLoad(&m.arrived) < uint64(n) {
		bare.Yield()
	}
	m.begin = 1
}

// parCase measures an operation that one process on each CPU makes, all at the same time.
// It reports the ticks of all CPUs together for each operation, and the interrupts between
// CPUs for 100 operations.
func parCase(name string, n int, op func() bool) {
	if !selected(name) {
		return
	}
	n = reps(n)
	width := cpus()
	sent := 0
	for i := -1; i < n; i++ {
		m := newMeeting()
		for c := range width {
			pid := bare.Fork()
			if pid == 0 {
				bind(0, c)
				m.arrive()
				for range parOps {
					if !op() {
						bare.Exit(1)
					}
				}
				bare.Exit(0)
			}
			if pid < 0 {
				failed(name, "fork", pid)
				return
			}
		}
		m.open(width)
		before := interrupts()
		t0 := bare.Now()
		for range width {
			if _, status := bare.Wait(-1); status != 0 {
				failed(name, "status", int(status))
				return
			}
		}
		t1 := bare.Now()
		bare.Unmap(unsafe.Pointer(m), page)
		if i >= 0 {
			sample[i] = (t1 - t0) / uint64(width*parOps)
			sent += interrupts() - before
		}
	}
	report(name, n, "interrupts_100", sent*100/(n*width*parOps))
}

func parFork() bool {
	status := ^uint32(0)
	pid, ret, _, _ := timedFork(&status, nil, nil, nil)
	return pid > 0 && ret == pid && status == 0
}

func parExec() bool {
	status := ^uint32(0)
	argv := [3]*byte{self, bare.CString("-exit-now\x00"), nil}
	pid, ret, _, _ := timedFork(&status, self, &argv[0], bare.Environ())
	return pid > 0 && ret == pid && status == 0
}

func parThread() bool {
	ret, _, _ := bare.Thread()
	return ret > 0
}

// parExit is the life of a child that has written to 16 MB.
func parExit() bool {
	pid := bare.Fork()
	if pid == 0 {
		bare.Exit(setAnon(16 * mb))
	}
	ret, status := bare.Wait(pid)
	return ret == pid && status == 0
}

// siblings makes threads that run user code on CPUs 1 and up until the process ends, and
// binds the caller to CPU 0. It returns when they run.
func siblings(count *uint64) {
	n := cpus() - 1
	*count = 0
	for i := range n {
		if tid := bare.Spinner(count); tid > 0 {
			bind(tid, i+1)
		}
	}
	for atomicLoad(count) < uint64(n) {
		bare.Yield()
	}
	bind(0, 0)
	bare.Yield()
}

// inFamily measures in a child whose other threads run on all other CPUs. measure takes
// sample i and returns how many interrupts CPUs have sent each other meanwhile; -1: it
// failed.
func inFamily(name string, n int, measure func(i int) (sent int)) {
	if cpus() < maxPar && !list || !selected(name) {
		return
	}
	n = reps(n)
	pid := bare.Fork()
	if pid != 0 {
		if pid, status := bare.Wait(pid); pid < 0 || status != 0 {
			failed(name, "status", int(status))
		}
		return
	}
	siblings(shared)
	sent := 0
	for i := -warmup; i < n; i++ {
		more := measure(max(i, 0))
		if more < 0 {
			bare.Exit(1)
		}
		if i >= 0 {
			sent += more
		}
	}
	report(name, n, "interrupts_100", sent*100/n)
	bare.Exit(0)
}

// timeOf times a system call on 16 MB that have been written to.
func timeOf(i int, nr uintptr, prot uintptr) (sent int) {
	p := bare.Anon(16 * mb)
	bare.Touch(p, 16*mb, page)
	before := interrupts()
	t0, t1, ret := timedCall(&call{nr, [6]uintptr{uintptr(p), 16 * mb, prot}})
	sent = interrupts() - before
	sample[i] = t1 - t0
	if nr != syscall.SYS_MUNMAP {
		bare.Unmap(p, 16*mb)
	}
	if ret != 0 {
		return -1
	}
	return sent
}

// endsCase measures the end of a process whose threads run on all CPUs: from its
// exit_group, or from a kill by its parent, to the return of the parent's wait4.
func endsCase(name string, n int, kill bool) {
	if cpus() < maxPar && !list || !selected(name) {
		return
	}
	n = reps(n)
	sent := 0
	m := newMeeting()
	for i := -warmup; i < n; i++ {
		m.arrived, m.begin = 0, 0
		pid := bare.Fork()
		if pid == 0 {
			siblings(&m.arrived)
			bare.Yield()
			m.begin = 1
			if kill {
				for {
					bare.Pause()
				}
			}
			*shared = 1
			stampAndExit(shared)
		}
		for atomicLoad(&m.begin) == 0 {
			bare.Yield()
		}
		before := interrupts()
		t0 := bare.Now()
		if kill {
			bare.Call(syscall.SYS_KILL, uintptr(pid), uintptr(syscall.SIGKILL))
		}
		ret, _, t := timedWait(pid)
		if ret != pid {
			failed(name, "wait4", ret)
			return
		}
		if !kill {
			t0 = *shared
		}
		if i >= 0 {
			sample[i] = t - t0
			sent += interrupts() - before
		}
	}
	bare.Unmap(unsafe.Pointer(m), page)
	report(name, n, "interrupts_100", sent*100/n)
}

// pingPong measures a wake-up and the way back: two processes on two CPUs exchange a byte
// through two pipes.
func pingPong(name string, n int) {
	if cpus() < 2 && !list || !selected(name) {
		return
	}
	n = reps(n)
	var there, back [2]int32
	bare.Call(syscall.SYS_PIPE2, uintptr(unsafe.Pointer(&there)), 0)
	bare.Call(syscall.SYS_PIPE2, uintptr(unsafe.Pointer(&back)), 0)
	pid := bare.Fork()
	if pid == 0 {
		bind(0, 1)
		bare.Close(int(there[1]))
		var b [1]byte
		for bare.Read(int(there[0]), b[:]) == 1 {
			bare.Write(int(back[1]), b[:])
		}
		bare.Exit(0)
	}
	bind(0, 0)
	var b [1]byte
	before := 0
	for i := -warmup; i < n; i++ {
		if i == 0 {
			before = interrupts()
		}
		t0 := bare.Now()
		bare.Write(int(there[1]), b[:])
		bare.Read(int(back[0]), b[:])
		if i >= 0 {
			sample[i] = bare.Now() - t0
		}
	}
	sent := interrupts() - before
	for _, fd := range [4]int32{there[0], there[1], back[0], back[1]} {
		bare.Close(int(fd))
	}
	bare.Wait(pid)
	report(name, n, "interrupts_100", sent*100/n)
}

// interrupts returns how many interrupts the CPUs have sent each other so far, from
// /proc/interrupts: the lines RES, CAL and TLB; for Linux on arm64 those that start with
// IPI.
func interrupts() (sum int) {
	fd := bare.Open("/proc/interrupts\x00", syscall.O_RDONLY, 0)
	if fd < 0 {
		return 0
	}
	var b [4096]byte
	counts, label := false, true
	at, number := 0, 0
	var name [3]byte
	for {
		n := bare.Read(fd, b[:])
		if n <= 0 {
			break
		}
		for _, c := range b[:n] {
			switch {
			case c == '\n':
				sum += number
				label, counts, at, number = true, false, 0, 0
			case label && c == ':':
				label = false
				s := string3(name)
				counts = s == "RES" || s == "CAL" || s == "TLB" || s == "IPI"
			case label && c != ' ' && at < len(name):
				name[at] = c
				at++
			case !label && counts && c >= '0' && c <= '9':
				number = number*10 + int(c-'0')
			case !label && counts && c == ' ':
				sum += number
				number = 0
			case !label && counts:
				counts = false // the words at the end of the line are no counts
			}
		}
	}
	bare.Close(fd)
	return sum
}

func string3(b [3]byte) string { return unsafe.String(&b[0], len(b)) }

// theCPUSet runs the cases with several CPUs.
func theCPUSet() {
	parCase("par_fork_exit", 10, parFork)
	parCase("par_exit_anon_16MB", 3, parExit)
	parCase("par_exec", 5, parExec)
	parCase("par_thread", 10, parThread)
	endsCase("exit_group_4", 20, false)
	endsCase("kill_4", 20, true)
	inFamily("munmap_4", 20, func(i int) int { return timeOf(i, syscall.SYS_MUNMAP, 0) })
	inFamily("mprotect_4", 20, func(i int) int { return timeOf(i, syscall.SYS_MPROTECT, syscall.PROT_READ) })
	inFamily("fork_4", 20, func(i int) int {
		status := ^uint32(0)
		before := interrupts()
		pid, ret, t0, t1 := timedFork(&status, nil, nil, nil)
		sample[i] = t1 - t0
		if pid <= 0 || ret != pid || status != 0 {
			return -1
		}
		return interrupts() - before
	})
	pingPong("wake_pingpong", 100)
}

// add adds to a word to which others add too.
func add(p *uint64, n uint64) { bare.Add(p, n) }
