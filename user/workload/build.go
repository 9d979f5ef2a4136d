package main

import (
	"syscall"
	"unsafe"

	"grim/user/bare"
)

const (
	buildJobs   = 40 // files to compile
	buildAtOnce = 4  // make -j4
	stormCount  = 500
)

// build does what make does: for each file it starts a driver process, which starts a
// compiler and waits for it, four at a time. The compilers touch 1 to 30 MB.
func build(name string) {
	start := bare.Now()
	running := 0
	for i := range buildJobs {
		if running == buildAtOnce {
			collect()
			running--
		}
		if must(bare.Fork(), "fork") == 0 {
			drive(1 + i*11%30) // 11 and 30 have no common factor, so all sizes occur
		}
		running++
	}
	for ; running > 0; running-- {
		collect()
	}
	figure(name, "total", int(bare.Now()-start), "ticks")
}

// collect waits for any child, which must have succeeded.
func collect() {
	pid, status := bare.Wait(-1)
	must(pid, "wait4")
	if status != 0 {
		bare.Fail("a process of the build ended with another status than 0", "")
	}
}

// drive is the compiler's driver: it runs the compiler and passes its status on.
func drive(size int) {
	pid := must(bare.Fork(), "fork")
	if pid == 0 {
		var b [20]byte
		var arg [21]byte // ends in a zero
		copy(arg[:], bare.Decimal(&b, size))
		exec(bare.CString("-job\x00"), &arg[0])
	}
	_, status := bare.Wait(pid)
	bare.Exit(int(status >> 8 & 0xff))
}

// compile touches memory, computes a little with it, writes a file, and exits.
func compile(size int) {
	n := uintptr(size) * mb
	p := bare.Anon(n)
	if p == nil {
		bare.Exit(11)
	}
	bare.Touch(p, n, page)
	sum := byte(0)
	for o := uintptr(0); o < n; o += 64 {
		sum += *(*byte)(unsafe.Add(p, o))
	}
	fd := bare.Open("/tmp/object\x00", syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC, 0o644)
	if fd < 0 || bare.Write(fd, unsafe.Slice((*byte)(p), 16*page)) != 16*page {
		bare.Exit(12)
	}
	*(*byte)(p) = sum
	bare.Exit(0)
}

// storm is like a shell script: tiny programs, one after another.
func storm(name string) {
	start := bare.Now()
	longest := 0
	for range stormCount {
		t := bare.Now()
		pid := must(bare.Fork(), "fork")
		if pid == 0 {
			exec(bare.CString("-exit-now\x00"), nil)
		}
		if r, status := bare.Wait(pid); r != pid || status != 0 {
			bare.Fail("a command of the storm failed", "")
		}
		longest = max(longest, int(bare.Now()-t))
	}
	figure(name, "command", int(bare.Now()-start)/stormCount, "ticks")
	figure(name, "command_max", longest, "ticks")
}

// threads makes and ends 100 000 threads, and prints how much memory that took at most, and
// how much it keeps. A process of its own makes them: a kernel that keeps ended threads frees
// them with the process, and refuses more at some number.
func threads(name string) {
	pid := must(bare.Fork(), "fork")
	if pid == 0 {
		makeThreads(name)
		bare.Exit(0)
	}
	if _, status := bare.Wait(pid); status != 0 {
		bare.Fail("the maker of threads failed", "")
	}
}

func makeThreads(name string) {
	const count = 100_000
	before := freeMemory()
	least := before
	start := bare.Now()
	made := 0
	for ; made < count; made++ {
		ret, _, _ := bare.Thread()
		if ret == -int(syscall.EAGAIN) || ret == -int(syscall.ENOMEM) {
			break
		}
		must(ret, "clone")
		if made%1000 == 0 {
			least = min(least, freeMemory())
		}
	}
	least = min(least, freeMemory())
	figure(name, "thread", int(bare.Now()-start)/max(1, made), "ticks")
	figure(name, "made", made, "threads")
	figure(name, "held_most", before-least, "bytes")
	figure(name, "held_after", before-freeMemory(), "bytes")
}

// zombies makes children of 256 KB that end and are not waited for. It prints the memory that
// each still holds: page frames, and the kernel's heap if the kernel reports it (Linux
// takes its objects from page frames). The first 500 fill the kernel's stocks; the next 500
// are measured, or as many as there is memory for.
func zombies(name string) {
	const count = 500
	first := leave(count)
	free, heap := freeMemory(), kernelHeap()
	made := leave(count)
	frames, objects := (free-freeMemory())/max(1, made), (kernelHeap()-heap)/max(1, made)
	figure(name, "made", made, "zombies")
	figure(name, "each_holds", frames+objects, "bytes")
	if heap > 0 {
		figure(name, "each_frames", frames, "bytes")
		figure(name, "each_heap", objects, "bytes")
	}
	start := bare.Now()
	for range first + made {
		collect()
	}
	figure(name, "wait", int(bare.Now()-start)/max(1, first+made), "ticks")
}

// zombieSize is so small that there is room for 1 000 zombies that keep their memory: a
// kernel may take it from them when there is none left.
const zombieSize = 256 << 10

// leave makes children that become zombies, one at a time: all at once would need too much
// memory. It returns how many it could make.
func leave(count int) (made int) {
	for ; made < count; made++ {
		pid := bare.Fork()
		if pid == -int(syscall.EAGAIN) || pid == -int(syscall.ENOMEM) {
			break
		}
		if must(pid, "fork") == 0 {
			p := bare.Anon(zombieSize)
			if p == nil {
				bare.Exit(11)
			}
			bare.Touch(p, zombieSize, page)
			bare.Exit(0)
		}
		peek()
	}
	sleep(100e6) // for memory that kernels free later
	return made
}

// kernelHeap returns the size of Grim's objects after a collection, in bytes, or 0 on a
// kernel without /proc/heap.
func kernelHeap() (bytes int) {
	fd := bare.Open("/proc/heap\x00", syscall.O_RDWR, 0)
	if fd < 0 {
		return 0
	}
	var b [256]byte
	bare.Write(fd, b[:copy(b[:], "collect")])
	n := bare.Read(fd, b[:])
	bare.Close(fd)
	for text := b[:max(0, n)]; len(text) > 0; {
		end := 0
		for end < len(text) && text[end] != '\n' {
			end++
		}
		line := unsafe.String(&text[0], end)
		for _, want := range [...]string{"live ", "stacks "} {
			if len(line) > len(want) && line[:len(want)] == want {
				bytes += number(line[len(want):])
			}
		}
		text = text[min(end+1, len(text)):]
	}
	return bytes
}

// peek waits until some child is a zombie, without reaping it. If there is an old zombie,
// waitid returns at once, so peek sleeps a little too.
func peek() {
	const all, exited, nowait = 0, 4, 0x01000000 // P_ALL, WEXITED, WNOWAIT: linux/wait.h
	var info [128]byte
	must(bare.Call(syscall.SYS_WAITID, all, 0, uintptr(unsafe.Pointer(&info)), exited|nowait, 0), "waitid")
	sleep(5e6)
}
