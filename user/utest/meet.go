package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tests of ends that processes and threads on other CPUs depend on. On one CPU they pass too.
var meetTests = []test{
	{name: "meet-robust", run: meetRobust},
	{name: "meet-pid-reuse", run: meetPIDReuse},
	{name: "meet-waits", run: meetWaits},
	{name: "meet-poll", run: meetPoll},
}

// robustSlots is how many owners of a robust futex there may be at one time.
const robustSlots = 16

// robustArea is memory that all owners of one robust futex share. The futex is a lock. The
// thread that has it increments a, and then b. A thread that dies in between leaves them
// different.
type robustArea struct {
	entry uintptr // the link of the one owner: the futex's place in its list
	word  uint32
	stop  uint32 // no more deaths
	kill  uint32 // the process that is to be killed
	// arrived is how many processes are about to take the lock for the first time.
	arrived uint32
	a, b    uint64
	died    uint64 // owners that were about to die
	saw     uint64 // owners that were told of a death
	bad     uint32 // a and b were different, and nobody had died
	heads   [robustSlots]struct{ next, offset, pending uintptr }
}

// Bits of a robust futex.
const (
	futexWaiters   = 1 << 31
	futexOwnerDied = 1 << 30
	futexTID       = futexOwnerDied - 1
)

// robustOwner is a thread that takes the lock. Its methods may be called after a fork.
type robustOwner struct {
	*robustArea
	slot  int
	tid   uint32
	spins bool // it waits for the lock without sleeping
}

func (o *robustOwner) entryAddr() uintptr { return uintptr(unsafe.Pointer(&o.entry)) }
func (o *robustOwner) headAddr() uintptr  { return uintptr(unsafe.Pointer(&o.heads[o.slot])) }

// begin gives the kernel the thread's list, which is empty.
func (o *robustOwner) begin() {
	tid, _, _ := syscall.RawSyscall(unix.SYS_GETTID, 0, 0, 0)
	o.tid = uint32(tid)
	h := &o.heads[o.slot]
	h.next, h.pending = o.headAddr(), 0
	h.offset = uintptr(unsafe.Pointer(&o.word)) - o.entryAddr()
	syscall.RawSyscall(unix.SYS_SET_ROBUST_LIST, o.headAddr(), unsafe.Sizeof(*h), 0)
}

// lock takes the lock. If its last owner has died, it makes a and b the same.
func (o *robustOwner) lock() {
	h := &o.heads[o.slot]
	atomic.StoreUintptr(&h.pending, o.entryAddr())
	keep := uint32(futexWaiters) // what the new owner keeps of the word
	if o.spins {
		keep = 0
	}
	waited, dead := uint32(0), false
	for {
		v := atomic.LoadUint32(&o.word)
		if v&futexTID == 0 {
			if atomic.CompareAndSwapUint32(&o.word, v, o.tid|v&futexWaiters|waited) {
				dead = v&futexOwnerDied != 0
				break
			}
			continue
		}
		if o.spins {
			syscall.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			continue
		}
		if v&futexWaiters == 0 && !atomic.CompareAndSwapUint32(&o.word, v, v|futexWaiters) {
			continue
		}
		syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&o.word)), futexWait, uintptr(v|futexWaiters), 0, 0, 0)
		waited = keep // others may sleep
	}
	atomic.StoreUintptr(&o.entry, o.headAddr())
	atomic.StoreUintptr(&h.next, o.entryAddr())
	atomic.StoreUintptr(&h.pending, 0)
	if dead {
		o.saw++
		o.b = o.a
	} else if o.a != o.b {
		o.bad = 1
	}
}

func (o *robustOwner) unlock() {
	h := &o.heads[o.slot]
	atomic.StoreUintptr(&h.pending, o.entryAddr())
	atomic.StoreUintptr(&h.next, o.headAddr())
	if atomic.SwapUint32(&o.word, 0)&futexWaiters != 0 {
		syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&o.word)), futexWake, 1, 0, 0, 0)
	}
	atomic.StoreUintptr(&h.pending, 0)
}

// work takes the lock a few times. The last time, unless there are to be no more deaths, it
// returns true, with the lock, and the caller must die.
func (o *robustOwner) work(turns int) bool {
	for {
		o.lock()
		stop := atomic.LoadUint32(&o.stop) != 0
		o.a++
		if turns--; turns == 0 && !stop {
			o.died++
			return true
		}
		handOver()
		o.b++
		o.unlock()
		if stop {
			return false
		}
		handOver()
	}
}

// meetRobust: owners of a robust futex die on all CPUs, while others sleep and spin there: by
// exit_group(2), by SIGKILL, by execve(2), and as threads of a process that goes on. Each
// death is told to exactly one of the others, which then has the lock.
// Broken by: ownerDied that wakes nobody; Exec without releaseRobustFutexes.
func meetRobust() {
	runtime.GOMAXPROCS(8)
	quiet()
	robustChain()
	robustDeaths()
}

func newRobustArea() *robustArea {
	return (*robustArea)(ptrTo(shared(int(unsafe.Sizeof(robustArea{})))))
}

// robustProcesses makes and waits for owners that die.
type robustProcesses struct {
	*robustArea
	n     int // made so far
	alive map[int]unix.WaitStatus
	// What those that execute a program pass to execve(2).
	path, arg0, arg1 []byte
	argv             [3]uintptr
	envp             [1]uintptr
}

func newRobustProcesses(a *robustArea) *robustProcesses {
	r := &robustProcesses{robustArea: a, alive: map[int]unix.WaitStatus{},
		path: []byte("/proc/self/exe\x00"), arg0: []byte("utest\x00"), arg1: []byte("helper-meet-7\x00")}
	r.argv = [3]uintptr{addr(r.arg0), addr(r.arg1)}
	return r
}

// start makes a process that takes the lock some times, and dies with it.
func (r *robustProcesses) start(slot, turns int, spins bool) {
	o, how := robustOwner{robustArea: r.robustArea, slot: slot, spins: spins}, r.n%3
	r.n++
	path, argv, envp := addr(r.path), ptrAddr(&r.argv), ptrAddr(&r.envp)
	pid := fork(func() int {
		o.begin()
		atomic.AddUint32(&o.arrived, 1)
		if !o.work(turns) {
			return 9
		}
		switch how {
		case 1:
			pid, _, _ := syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
			atomic.StoreUint32(&o.kill, uint32(pid))
			for i := uint32(1); ; i++ {
				if i%64 == 0 { // mostly it is in user mode
					handOver()
				}
			}
		case 2:
			syscall.RawSyscall(unix.SYS_EXECVE, path, argv, envp)
			return 8
		}
		return 7
	})
	if r.alive[pid] = 7 << 8; how == 1 {
		r.alive[pid] = unix.WaitStatus(unix.SIGKILL)
	}
}

// reap kills the process that wants that, and waits for the end of one, if there is one. It
// reports whether there was.
func (r *robustProcesses) reap() bool {
	if pid := atomic.SwapUint32(&r.kill, 0); pid != 0 {
		check("kill", unix.Kill(int(pid), unix.SIGKILL))
	}
	var ws unix.WaitStatus
	pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
	check("wait4", err)
	if pid == 0 {
		handOver()
		return false
	}
	equal("status of an owner", ws, r.alive[pid])
	delete(r.alive, pid)
	return true
}

// finish takes the lock, and checks the counts.
func (a *robustArea) finish(o *robustOwner, deaths uint64) {
	o.lock()
	equal("a and b are different without a death", a.bad, 0)
	equal("deaths that others were told of", a.saw, a.died)
	if a.died < deaths {
		fail("%d owners died, want %d and more", a.died, deaths)
	}
	o.unlock()
}

// robustChain: many sleep, and each that is woken dies. No other thread comes, so each death
// must wake the next.
func robustChain() {
	const deaths = 12
	r := newRobustProcesses(newRobustArea())
	me := robustOwner{robustArea: r.robustArea, slot: robustSlots - 1}
	me.begin()
	me.lock()
	for i := range deaths {
		r.start(i, 1, false)
	}
	for atomic.LoadUint32(&r.arrived) < deaths {
		handOver()
	}
	for range 20 { // now most of them sleep
		handOver()
	}
	me.a++
	me.b++
	me.unlock()
	for len(r.alive) > 0 {
		r.reap()
	}
	r.finish(&me, deaths)
}

// robustDeaths: processes and threads come and go. Half of them spin.
func robustDeaths() {
	const deaths, processes = 40, 5
	r := newRobustProcesses(newRobustArea())
	var threads sync.WaitGroup
	for i := range 2 { // threads of this process; each begins the next when it ends
		threads.Add(1)
		var thread func(k int)
		thread = func(k int) {
			runtime.LockOSThread() // so the thread ends with the goroutine
			o := robustOwner{robustArea: r.robustArea, slot: 10 + 3*i + k%3, spins: i == 0}
			o.begin()
			if !o.work(5) {
				threads.Done()
				return
			}
			go thread(k + 1)
		}
		go thread(0)
	}
	for ended := 0; ended < deaths; {
		for len(r.alive) < processes && ended+len(r.alive) < deaths {
			r.start(r.n%10, 1+r.n%4, r.n%2 == 0)
		}
		if r.reap() {
			ended++
		}
	}
	atomic.StoreUint32(&r.stop, 1)
	threads.Wait()
	me := robustOwner{robustArea: r.robustArea}
	me.begin()
	r.finish(&me, deaths)
}

func init() { helpers["helper-meet-7"] = func([]string) { os.Exit(7) } }

// reuseBase and reuseSpan are the numbers that meetPIDReuse uses again and again.
const reuseBase, reuseSpan = 20_000, 64

// reuseArea is memory that the makers share.
type reuseArea struct {
	last  [reuseSpan]uint32 // the maker whose child had the number last
	again uint32            // how often a number came from another maker's child
}

// meetPIDReuse: makers on all CPUs make and end children whose numbers are used again at once,
// mostly by another maker's child. A descriptor of a process, and an open file of its /proc
// folder, never mean the next process with the number; a child keeps its number until its
// parent has waited, whoever else exits.
// Broken by: a pidfd_send_signal that looks for the number; a number that is free when its
// process is a zombie.
func meetPIDReuse() {
	quiet()
	set, err := unix.Open("/proc/sys/kernel/ns_last_pid", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(set, []byte(fmt.Sprint(reuseBase)))
	}
	if err != nil {
		return // only root may set it
	}
	area := (*reuseArea)(ptrTo(shared(int(unsafe.Sizeof(reuseArea{})))))
	var makers [4]int
	for i := range makers {
		makers[i] = fork(func() int { return reuseNumbers(area, uint32(i+1), set) })
	}
	for _, pid := range makers {
		equal("maker's status", wait(pid).ExitStatus(), 0)
	}
	if n := atomic.LoadUint32(&area.again); n < reuseAgain {
		fail("only %d numbers were used again by another maker's child", n)
	}
}

// reuseAgain is how often another maker's child must get a number.
const reuseAgain = 20

// reuseNumbers is a forked process that makes children, until enough numbers have been used
// again. It returns the exit status: 0 if all went well.
func reuseNumbers(area *reuseArea, me uint32, set int) int {
	last := [5]byte{'2', '0', '0', '0', '0'}
	var path [64]byte
	var buf [256]byte
	for i := 0; i < 30 || i < 3000 && atomic.LoadUint32(&area.again) < reuseAgain; i++ {
		syscall.RawSyscall6(unix.SYS_PWRITE64, uintptr(set), uintptr(unsafe.Pointer(&last)), 5, 0, 0, 0)
		var fd int32
		pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PIDFD|uintptr(unix.SIGCHLD), 0, uintptr(unsafe.Pointer(&fd)), 0, 0, 0)
		if errno != 0 {
			return 2
		}
		killed := i%2 == 0
		if pid == 0 {
			for k := 0; killed || k < i%8; k++ {
				handOver()
			}
			exit(int(me))
		}
		if k := pid - reuseBase; k < reuseSpan {
			if old := atomic.SwapUint32(&area.last[k], me); old != 0 && old != me {
				atomic.AddUint32(&area.again, 1)
			}
		}
		// Its /proc/PID/stat begins with its number, and has its parent's.
		b := append(path[:0], "/proc/"...)
		b = appendNumber(b, pid)
		copy(path[len(b):], "/stat\x00")
		stat, _, errno := syscall.RawSyscall6(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(&path)), unix.O_RDONLY, 0, 0, 0)
		if errno != 0 {
			return 3
		}
		if r, _, _ := syscall.RawSyscall(unix.SYS_READ, stat, uintptr(unsafe.Pointer(&buf)), 200); int(r) <= 0 || !startsWithNumber(buf[:], pid) {
			return 4
		}
		how := uintptr(0)
		if killed {
			how = uintptr(unix.SIGKILL)
		}
		if _, _, errno := syscall.RawSyscall(unix.SYS_KILL, pid, how, 0); errno != 0 {
			return 5
		}
		status, ok := rawWait(int(pid))
		if !ok {
			return 6
		}
		if want := uint32(me) << 8; !killed && status != want || killed && status != uint32(unix.SIGKILL) {
			return 7
		}
		// From here on the number may be another child's, which these calls must not find.
		for range i % 4 {
			handOver()
		}
		if _, _, errno := syscall.RawSyscall6(unix.SYS_PIDFD_SEND_SIGNAL, uintptr(fd), uintptr(unix.SIGKILL), 0, 0, 0, 0); errno != unix.ESRCH {
			return 8
		}
		syscall.RawSyscall(unix.SYS_LSEEK, stat, 0, 0)
		if _, _, errno := syscall.RawSyscall(unix.SYS_READ, stat, uintptr(unsafe.Pointer(&buf)), 200); errno != unix.ESRCH {
			return 9
		}
		if _, _, errno := syscall.RawSyscall6(unix.SYS_WAITID, unix.P_PIDFD, uintptr(fd), 0, unix.WEXITED, 0, 0); errno != unix.ECHILD {
			return 10
		}
		syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
		syscall.RawSyscall(unix.SYS_CLOSE, stat, 0, 0)
	}
	return 0
}

// appendNumber appends decimal digits. It does not allocate.
func appendNumber(b []byte, n uintptr) []byte {
	if n >= 10 {
		b = appendNumber(b, n/10)
	}
	return append(b, '0'+byte(n%10))
}

func startsWithNumber(b []byte, n uintptr) bool {
	var room [24]byte
	want := append(appendNumber(room[:0], n), ' ')
	return len(b) >= len(want) && string(b[:len(want)]) == string(want)
}

// meetWaits: threads wait in all ways at the same time: for any child, for a group, for one by
// number and by descriptor, without taking it, and without sleeping. Each child is taken once.
// Broken by: WNOWAIT that takes the child.
func meetWaits() {
	runtime.GOMAXPROCS(8)
	quiet()
	const children = 40
	var pids, fds [children]int
	index := map[int]int{}
	for i := range children {
		pids[i] = fork(func() int {
			for range i % 7 {
				handOver()
			}
			return i
		})
		fd, err := unix.PidfdOpen(pids[i], 0)
		check("pidfd_open", err)
		fds[i] = fd
		index[pids[i]] = i
	}
	var taken [children]atomic.Int32
	take := func(what string, pid int, status int) {
		i, ok := index[pid]
		if !ok {
			fail("%s: %d is no child", what, pid)
		}
		equal(what+": status", status, i)
		equal(what+": taken before", taken[i].Add(1), 1)
	}
	var all sync.WaitGroup
	id := func(what string, kind, id, options int) error {
		var info unix.Siginfo
		err := unix.Waitid(kind, id, &info, options|unix.WEXITED, nil)
		if err == nil && options&unix.WNOWAIT == 0 && info.Signo != 0 {
			v := (*[32]int32)(unsafe.Pointer(&info)) // si_pid, si_uid, si_status from word 4 on
			take(what, int(v[4]), int(v[6]))
		}
		return err
	}
	until := func(f func() error) {
		all.Go(func() {
			for {
				if err := f(); err == unix.ECHILD {
					return
				} else if err != unix.EINTR {
					check("wait", err)
				}
			}
		})
	}
	any := func(what string, pid, options int) func() error {
		return func() error {
			var ws unix.WaitStatus
			got, err := unix.Wait4(pid, &ws, options, nil)
			if got > 0 {
				take(what, got, ws.ExitStatus())
			} else {
				handOver()
			}
			return err
		}
	}
	until(any("any child", -1, 0))
	until(any("the group", 0, 0))
	until(any("without sleeping", -1, unix.WNOHANG))
	until(func() error { return id("look", unix.P_ALL, 0, unix.WNOWAIT) })
	each := func(what string, kind int, ids *[children]int) {
		all.Go(func() {
			for i := range children {
				if err := id(what, kind, ids[children-1-i], 0); err != nil && err != unix.ECHILD && err != unix.EINTR {
					check(what, err)
				}
			}
		})
	}
	each("by number", unix.P_PID, &pids)
	each("by descriptor", unix.P_PIDFD, &fds)
	all.Wait()
	var lost []string
	for i := range taken {
		if taken[i].Load() != 1 {
			lost = append(lost, fmt.Sprint(i))
		}
	}
	equal("children that were not taken", strings.Join(lost, " "), "")
}

// meetPoll: poll(2) stores results, and nothing else: what another thread changes in the array
// meanwhile stays.
// Broken, on CPUs that run in parallel, by a poll that copies whole entries back.
func meetPoll() {
	runtime.GOMAXPROCS(8)
	quiet()
	const n = 64
	fds := (*[n]unix.PollFd)(ptrTo(shared(n * 8)))
	for i := range fds {
		fds[i] = unix.PollFd{Fd: -1, Events: unix.POLLIN}
	}
	var p [2]int
	check("pipe", unix.Pipe(p[:]))
	fds[n-1] = unix.PollFd{Fd: int32(p[1]), Events: unix.POLLOUT}
	var stop atomic.Bool
	var polls atomic.Int64
	var done sync.WaitGroup
	done.Go(func() {
		runtime.LockOSThread()
		for ; !stop.Load(); polls.Add(1) {
			fds[n-1].Revents = 0
			if r, _, e := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(fds)), n, ptr(&unix.Timespec{}), 0, 8, 0); r != 1 {
				fail("poll: %d, %v", r, e)
			}
			if fds[n-1].Revents != unix.POLLOUT {
				fail("revents: %#x", fds[n-1].Revents)
			}
		}
	})
	for i := int32(1); polls.Load() < 2000; i++ {
		for k := range n - 1 {
			atomic.StoreInt32(&fds[k].Fd, -i)
		}
		if i%8 == 0 {
			handOver()
		}
		for k := range n - 1 {
			if v := atomic.LoadInt32(&fds[k].Fd); v != -i {
				fail("entry %d: descriptor %d was stored, and is %d now", k, -i, v)
			}
		}
	}
	stop.Store(true)
	done.Wait()
}
