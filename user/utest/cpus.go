package main

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tests of CPUs that interact: threads of one address space run at the same time while its
// mappings change or the process ends. On one CPU the tests pass too.
var cpusTests = []test{
	{name: "cpus-unmap", run: cpusUnmap},
	{name: "cpus-fork", run: cpusFork},
	{name: "cpus-end", run: cpusEnd, slow: true},
	{name: "cpus-exits", run: cpusExits},
	{name: "cpus-wait", run: cpusWait},
}

func init() { helpers["helper-cpus-end"] = cpusEndHelper }

// crowdSize is how many threads use a page at the same time.
const crowdSize = 3

// crowd is a group of threads that write to one page, each to its own word.
type crowd struct {
	page  atomic.Uintptr // 0: none
	stop  atomic.Bool
	turns atomic.Uint64 // of all threads
	wrote [crowdSize]uint64
	done  sync.WaitGroup
}

// newCrowd starts the threads. The runtime neither stops them nor disturbs them.
func newCrowd() *crowd {
	runtime.GOMAXPROCS(crowdSize + 2)
	quiet()
	c := new(crowd)
	c.done.Add(crowdSize)
	for i := range crowdSize {
		go c.work(i)
	}
	return c
}

func (c *crowd) end() {
	c.stop.Store(true)
	c.done.Wait()
}

// handOver lets other threads run, and an emulator's other CPUs.
func handOver() { syscall.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

func (c *crowd) work(i int) {
	defer c.done.Done()
	runtime.LockOSThread()
	debug.SetPanicOnFault(true)
	for !c.stop.Load() {
		if page := c.page.Load(); page != 0 {
			c.write(i, page)
		}
		c.turns.Add(1)
		handOver()
	}
}

// write increments the thread's word a number of times, or until the page is gone or
// read-only.
func (c *crowd) write(i int, page uintptr) {
	defer func() { recover() }()
	word := (*uint64)(unsafe.Add(*(*unsafe.Pointer)(unsafe.Pointer(&page)), 64*i))
	for range 20_000 { // for so long no entry to the kernel tells the CPU of a change
		*word++
		c.wrote[i]++ // not counted if it faults
	}
}

// busy waits until the crowd has made a few turns.
func (c *crowd) busy() {
	for end := c.turns.Load() + 2*crowdSize; c.turns.Load() < end; {
		handOver()
	}
}

// same fails if memory that no thread may write to changes while the crowd is busy.
func (c *crowd) same(what string, b []byte) {
	before := string(b)
	c.busy()
	if string(b) != before {
		fail("%s: memory changes that no thread may write to", what)
	}
}

// cpusUnmap: after a page is unmapped, made read-only, dropped, moved or replaced, no
// thread writes to it any more, whatever its CPU has cached: neither when the call has
// returned, nor when the memory has another use.
func cpusUnmap() {
	c := newCrowd()
	const size = 4096
	place := addr(anon(size)) // where mremap moves pages
	other := anon(8 * size)   // where new memory is mapped: not where the crowd still writes
	fresh := func(va, n uintptr) {
		sysMust(unix.SYS_MMAP, va, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED, ^uintptr(0), 0)
	}
	for round := range 10 {
		for _, kind := range []string{"munmap", "mprotect", "MADV_DONTNEED", "mremap", "MAP_FIXED"} {
			b := anon(size)
			b[0] = 1
			c.page.Store(addr(b))
			c.busy()
			switch kind {
			case "munmap":
				sysMust(unix.SYS_MUNMAP, addr(b), size)
			case "mprotect":
				sysMust(unix.SYS_MPROTECT, addr(b), size, unix.PROT_READ)
				c.same(kind, b)
			case "MADV_DONTNEED":
				sysMust(unix.SYS_MADVISE, addr(b), size, unix.MADV_DONTNEED)
			case "mremap":
				sysMust(unix.SYS_MREMAP, addr(b), size, size, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, place)
				c.same(kind, at(place, size))
			case "MAP_FIXED":
				fresh(addr(b), size)
			}
			// The old memory of the page is likely to be in this area.
			fresh(addr(other), 8*size)
			for i := range other {
				if other[i] != 0 {
					fail("%s, round %d: byte %d of new memory is %d", kind, round, i, other[i])
				}
				other[i] = byte(round)
			}
			c.same(kind+", memory used anew", other)
			c.page.Store(0)
			c.busy()
			sysMust(unix.SYS_MADVISE, addr(other), 8*size, unix.MADV_DONTNEED)
			if kind != "mremap" {
				syscall.RawSyscall(unix.SYS_MUNMAP, addr(b), size, 0)
			}
		}
	}
	c.end()
}

// cpusFork: a child sees its parent's memory as it was at the fork, and no later writes of
// the parent's threads. These threads lose none of their writes.
func cpusFork() {
	c := newCrowd()
	const size = 600 * 4096 // more than a 2 MB block
	b := anon(size)
	for i := 0; i < size; i += 4096 {
		b[i+4095] = 1
	}
	c.page.Store(addr(b))
	word := func(i int) *uint64 { return (*uint64)(unsafe.Add(ptrTo(b), 64*i)) }
	for range 12 {
		c.busy()
		child := fork(func() int {
			var seen [crowdSize]uint64
			for i := range seen {
				seen[i] = atomic.LoadUint64(word(i))
			}
			for range 30 {
				handOver()
				for i := range seen {
					if atomic.LoadUint64(word(i)) != seen[i] {
						return 1
					}
				}
			}
			return 0
		})
		equal("child's status", wait(child), 0)
	}
	c.end()
	for i := range crowdSize {
		equal("what a thread has counted", *word(i), c.wrote[i])
	}
}

// cpusEnd: processes whose threads run on all CPUs end in every possible way, several at a
// time. Such a process also forks, and lends its memory to a child, while its threads run.
func cpusEnd() {
	var all sync.WaitGroup
	for _, c := range []struct {
		how    string
		status int
		killed unix.Signal
	}{{"exit", 7, 0}, {"kill", 0, unix.SIGKILL}, {"exec", 9, 0}, {"fork", 7, 0}, {"vfork", 7, 0}, {"fault", 0, unix.SIGSEGV}} {
		all.Go(func() {
			for range 2 {
				cmd := self("helper-cpus-end", c.how)
				cmd.Stderr = nil // a fault's traceback
				err := cmd.Run()
				ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
				if c.killed != 0 && (!ws.Signaled() || ws.Signal() != c.killed) || c.killed == 0 && ws.ExitStatus() != c.status {
					fail("%s: %v", c.how, err)
				}
			}
		})
	}
	all.Wait()
}

func cpusEndHelper(args []string) {
	if status, err := strconv.Atoi(args[0]); err == nil {
		os.Exit(status)
	}
	c := newCrowd()
	c.page.Store(addr(anon(4096)))
	c.busy()
	switch args[0] {
	case "kill":
		sysMust(unix.SYS_KILL, uintptr(os.Getpid()), uintptr(unix.SIGKILL))
	case "exec":
		check("exec", syscall.Exec("/proc/self/exe", []string{"utest", "helper-cpus-end", "9"}, nil))
	case "fork":
		for range 4 {
			equal("child", wait(fork(func() int { return 3 })).ExitStatus(), 3)
		}
	case "vfork":
		cmd := exec.Command("/proc/self/exe", "helper-cpus-end", "5")
		cmd.Run()
		equal("child", cmd.ProcessState.ExitCode(), 5)
	case "fault":
		sigaction(unix.SIGSEGV, 0)
		poke(8)
	}
	os.Exit(7)
}

// cpusExits: processes on all CPUs make children at the same time. The children end by
// themselves or are killed. Each is reaped once, with its own status.
func cpusExits() {
	quiet()
	var makers [4]int
	for i := range makers {
		makers[i] = fork(func() int { return makeChildren(60) })
	}
	for _, pid := range makers {
		equal("maker's status", wait(pid), 0)
	}
}

// makeChildren is a forked process that makes n children. It returns the exit status: 0 if
// all children ended as they should.
func makeChildren(n int) int {
	b, _, errno := syscall.RawSyscall6(unix.SYS_MMAP, 0, 16*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON, ^uintptr(0), 0)
	if errno != 0 {
		return 1
	}
	for i := range n {
		poke(b + uintptr(i%16)*4096)
		pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return 2
		}
		if pid == 0 {
			for k := range uintptr(i % 16) {
				poke(b + k*4096)
			}
			exit(i)
		}
		killed := i%3 == 0
		if killed {
			syscall.RawSyscall(unix.SYS_KILL, pid, uintptr(unix.SIGKILL), 0)
		}
		status, ok := rawWait(int(pid))
		if !ok {
			return 3
		}
		if status != uint32(i)<<8 && !(killed && status == uint32(unix.SIGKILL)) {
			return 4
		}
		if _, _, errno := syscall.RawSyscall(unix.SYS_KILL, pid, 0, 0); errno != unix.ESRCH {
			return 5
		}
	}
	return 0
}

// cpusWait: several threads wait for any child at the same time. Each child is reported to
// one of them.
func cpusWait() {
	quiet()
	const children = 80
	var mu sync.Mutex
	alive := map[int]int{} // number to exit status
	for i := range children {
		alive[fork(func() int {
			for range i % 5 {
				handOver()
			}
			return i
		})] = i
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				var ws unix.WaitStatus
				pid, err := unix.Wait4(-1, &ws, 0, nil)
				if err == unix.EINTR {
					continue
				}
				if err == unix.ECHILD {
					return
				}
				check("wait4", err)
				mu.Lock()
				want, there := alive[pid]
				if !there {
					fail("child %d is told twice, or is none", pid)
				}
				equal("status of a child", ws.ExitStatus(), want)
				delete(alive, pid)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	equal("children that nobody was told of", len(alive), 0)
}
