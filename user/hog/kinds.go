package main

import (
	"syscall"
	"unsafe"

	"grim/user/bare"
)

const page = 4096

// kinds has every kind of object that a program can make the kernel hold in any number. A
// program without a runtime runs no init functions, so this must be constant data.
var kinds = [...]kind{
	{name: "processes", take: takeProcess, refusals: [4]syscall.Errno{syscall.EAGAIN, syscall.ENOMEM}},
	{name: "zombies", take: takeZombie, refusals: [4]syscall.Errno{syscall.EAGAIN, syscall.ENOMEM}},
	{name: "threads", take: takeThread, procs: 4, refusals: [4]syscall.Errno{syscall.EAGAIN, syscall.ENOMEM}},
	{name: "shared-memory", take: takeShared, procs: 4, refusals: [4]syscall.Errno{syscall.ENOMEM}, killed: true},
	{name: "map-entries", take: takeEntries, procs: 8, refusals: [4]syscall.Errno{syscall.ENOMEM}},
	{name: "page-tables", take: takeTables, procs: 2, refusals: [4]syscall.Errno{syscall.ENOMEM}, killed: true},
	{name: "memory", take: takeMemory, procs: 4, refusals: [4]syscall.Errno{syscall.ENOMEM}, killed: true},
	{name: "memory-again", take: takeMemoryAgain, procs: 3, refusals: [4]syscall.Errno{syscall.ENOMEM}, again: true},
	{name: "memory-by-calls", take: takeMemoryByCalls, procs: 3, refusals: [4]syscall.Errno{syscall.ENOMEM}, again: true},
	{name: "pipes", take: takePipe, procs: 4, refusals: [4]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}},
	{name: "big-pipes", take: takeBigPipe, procs: 4, refusals: [4]syscall.Errno{syscall.EPERM, syscall.ENFILE, syscall.ENOMEM}},
	{name: "socketpairs", take: takeSocketpair, procs: 4, refusals: [4]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}},
	{name: "in-flight", take: takeInFlight, procs: 4, refusals: [4]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ETOOMANYREFS, syscall.ENOBUFS}},
	{name: "backlog", take: takeBacklog, procs: 4, refusals: [4]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS}},
	{name: "eventfds", take: takeEventfd, procs: 4, refusals: [4]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}},
	{name: "timerfds", take: takeTimerfd, procs: 4, refusals: [4]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}},
	{name: "memfds", take: takeMemfd, procs: 4, refusals: [4]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOSPC, syscall.ENOMEM}},
	{name: "pidfds", take: takePidfd, procs: 4, refusals: [4]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}},
	{name: "epolls", take: takeEpoll, procs: 4, refusals: [4]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}},
	{name: "epoll-items", take: takeEpollItem, procs: 4, refusals: [4]syscall.Errno{syscall.ENOSPC, syscall.ENFILE, syscall.EMFILE}},
	{name: "open-files", take: takeOpen, procs: 4, refusals: [4]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}},
	{name: "file-locks", take: takeLock, procs: 4, refusals: [4]syscall.Errno{syscall.ENOLCK, syscall.EMFILE, syscall.ENFILE}},
	{name: "descriptor-tables", take: takeTable, refusals: [4]syscall.Errno{syscall.EAGAIN, syscall.ENOMEM, syscall.ENFILE}},
	{name: "signals", take: takeSignal, procs: 4, refusals: [4]syscall.Errno{syscall.EAGAIN}},
	{name: "files", take: takeFile, refusals: [4]syscall.Errno{syscall.ENOSPC, syscall.ENFILE}},
	{name: "folders", take: takeFolder, refusals: [4]syscall.Errno{syscall.ENOSPC, syscall.ENOMEM}},
	{name: "links", take: takeLink, refusals: [4]syscall.Errno{syscall.ENOSPC, syscall.ENOMEM}},
	{name: "sparse-file", take: takeSparse, refusals: [4]syscall.Errno{syscall.ENOSPC, syscall.ENOMEM}},
	{name: "file-data", take: takeData, refusals: [4]syscall.Errno{syscall.ENOSPC}},
	{name: "nameless-files", take: takeNameless, procs: 4, refusals: [4]syscall.Errno{syscall.ENOSPC, syscall.EMFILE, syscall.ENFILE}},
	{name: "deep-folders", take: takeDeep, refusals: [4]syscall.Errno{syscall.ENOSPC, syscall.ENOMEM}},
	{name: "long-links", take: takeLongLink, refusals: [4]syscall.Errno{syscall.ENOSPC, syscall.ENOMEM}},
	{name: "semaphores", take: takeSemaphores, refusals: [4]syscall.Errno{syscall.ENOSPC, syscall.ENOMEM}},
	{name: "messages", take: takeMessages, refusals: [4]syscall.Errno{syscall.ENOSPC, syscall.ENOMEM}},
	{name: "segments", take: takeSegments, refusals: [4]syscall.Errno{syscall.ENOSPC, syscall.ENOMEM}},
	{name: "record-locks", take: takeRecordLock, refusals: [4]syscall.Errno{syscall.ENOLCK}},
	{name: "timers", take: takeTimer, procs: 4, refusals: [4]syscall.Errno{syscall.EAGAIN}},
	{name: "signalfds", take: takeSignalfd, procs: 4, refusals: [4]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}},
	{name: "ptys", take: takePty, procs: 2, refusals: [4]syscall.Errno{syscall.ENOSPC, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}},
	{name: "connections", take: takeConnection, procs: 2, refusals: [4]syscall.Errno{syscall.ENOBUFS, syscall.EMFILE, syscall.ENFILE}},
	{name: "pending-connections", take: takePending, procs: 2, refusals: [4]syscall.Errno{syscall.ENOBUFS, syscall.EMFILE, syscall.ENFILE}},
	{name: "datagrams", take: takeDatagrams, procs: 2, refusals: [4]syscall.Errno{syscall.ENOBUFS, syscall.EMFILE, syscall.ENFILE}},
	{name: "watches", take: takeInotify, procs: 2, refusals: [4]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOSPC}},
	{name: "garbage", take: takeGarbage, refusals: [4]syscall.Errno{syscall.ERANGE}},
	{name: "arguments", take: takeArguments, refusals: [4]syscall.Errno{syscall.EAGAIN, syscall.ENOMEM, syscall.ENFILE}},
}

func takeProcess() int {
	pid := bare.Fork()
	if pid == 0 {
		forever()
	}
	return pid
}

func takeZombie() int {
	pid := bare.Fork()
	if pid == 0 {
		bare.Exit(0)
	}
	return pid
}

func takeThread() int { return bare.Sleeper() }

func takeShared() int {
	r := bare.Call(syscall.SYS_MMAP, 0, page, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_SHARED|syscall.MAP_ANON, ^uintptr(0), 0)
	if r < 0 {
		return r
	}
	// A system call writes the byte, so that a refusal is an errno and not a signal.
	return fill(unsafe.Add(nil, r))
}

// fill makes the kernel write a byte at p.
func fill(p unsafe.Pointer) int {
	const grndNonblock = 1
	if r := bare.Call(sysGetrandom, uintptr(p), 1, grndNonblock); r != -int(syscall.EFAULT) {
		return r
	}
	return -int(syscall.ENOMEM)
}

var area, areaEnd uintptr

// takeEntries makes two entries of one by protecting every second page.
func takeEntries() int {
	if area == areaEnd {
		const size = 1 << 30
		p := bare.Map(nil, size, syscall.PROT_READ, syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE, -1)
		if p == nil {
			return -int(syscall.ENOMEM)
		}
		area = uintptr(p)
		areaEnd = area + size
	}
	r := bare.Call(syscall.SYS_MPROTECT, area, page, 0)
	area += 2 * page
	return r
}

// takeTables touches one page in every 2 MB, so each needs a table page.
func takeTables() int { return takeStep(2 << 20) }

// takeMemory touches every page.
func takeMemory() int { return takeStep(page) }

// takeMemoryAgain has a child that takes all memory until the kernel kills it. So memory is
// short all the time while others work, and each of their steps may be the one that finds
// no frame.
func takeMemoryAgain() int { return takeInChild(takeMemory) }

// takeMemoryByCalls is takeMemoryAgain with system calls that write to untouched pages,
// without a fault in user mode.
func takeMemoryByCalls() int { return takeInChild(takeByCall) }

// takeInChild has a child take until it is killed. It returns -ENOMEM once one was killed.
func takeInChild(take func() int) int {
	pid := bare.Fork()
	if pid < 0 {
		return pid
	}
	if pid == 0 {
		for {
			take()
		}
	}
	_, status := bare.Wait(pid)
	if status != uint32(syscall.SIGKILL) {
		return -int(syscall.EPROTO)
	}
	if again++; again == 1 {
		return 0
	}
	return -int(syscall.ENOMEM)
}

// again is how often a child of this process was killed.
var again int

func takeByCall() int {
	if area == areaEnd && reserve() == 0 {
		return -int(syscall.ENOMEM)
	}
	area += page
	return fill(unsafe.Add(nil, area-page))
}

func takeStep(step uintptr) int {
	if area == areaEnd && reserve() == 0 {
		return -int(syscall.ENOMEM)
	}
	*(*byte)(unsafe.Add(nil, area)) = 1
	area += step
	return 0
}

// reserve makes an area of untouched memory, larger than the machine's. 0: it cannot.
func reserve() uintptr {
	const size = 64 << 30
	area = uintptr(bare.Map(nil, size, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE, -1))
	areaEnd = area
	if area != 0 {
		areaEnd += size
	}
	return area
}

// fillPipe writes until a pipe is full.
func fillPipe(w int) {
	bare.Call(syscall.SYS_FCNTL, uintptr(w), syscall.F_SETFL, syscall.O_NONBLOCK)
	for bare.Write(w, buffer[:]) > 0 {
	}
}

var buffer [64 << 10]byte

func takePipe() int {
	_, w, err := bare.Pipe()
	if err < 0 {
		return err
	}
	fillPipe(w)
	return 0
}

func takeBigPipe() int {
	_, w, err := bare.Pipe()
	if err < 0 {
		return err
	}
	const fSetPipeSize = 1031
	if r := bare.Call(syscall.SYS_FCNTL, uintptr(w), fSetPipeSize, 1<<20); r < 0 {
		return r
	}
	fillPipe(w)
	return 0
}

func takeSocketpair() int {
	var fd [2]int32
	r := bare.Call(syscall.SYS_SOCKETPAIR, syscall.AF_UNIX, syscall.SOCK_STREAM, 0, uintptr(unsafe.Pointer(&fd)))
	if r < 0 {
		return r
	}
	fillPipe(int(fd[0]))
	fillPipe(int(fd[1]))
	return 0
}

var flight struct{ a, b int }

// takeInFlight sends both ends of a full pipe with a datagram and closes them. They are
// then in flight, in a socket that no process reads.
func takeInFlight() int {
	r, w, err := bare.Pipe()
	if err < 0 {
		return err
	}
	fillPipe(w)
	for {
		if flight.a == 0 {
			var fd [2]int32
			if e := bare.Call(syscall.SYS_SOCKETPAIR, syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_NONBLOCK, 0, uintptr(unsafe.Pointer(&fd))); e < 0 {
				return e
			}
			flight.a, flight.b = int(fd[0]), int(fd[1])
		}
		var control struct {
			h   syscall.Cmsghdr
			fds [2]int32
		}
		control.h.Len = uint64(unsafe.Sizeof(control))
		control.h.Level, control.h.Type = syscall.SOL_SOCKET, syscall.SCM_RIGHTS
		control.fds = [2]int32{int32(r), int32(w)}
		iov := syscall.Iovec{Base: &buffer[0], Len: 1}
		m := syscall.Msghdr{Iov: &iov, Iovlen: 1, Control: (*byte)(unsafe.Pointer(&control)), Controllen: control.h.Len}
		e := bare.Call(syscall.SYS_SENDMSG, uintptr(flight.a), uintptr(unsafe.Pointer(&m)), 0)
		if e == -int(syscall.EAGAIN) { // it is full: use the next pair
			flight.a = 0
			continue
		}
		bare.Close(r)
		bare.Close(w)
		return e
	}
}

var listener int

// takeBacklog makes a connection that is never accepted, fills it with data, and closes its
// own end.
func takeBacklog() int {
	for {
		if listener == 0 {
			l := bare.Call(syscall.SYS_SOCKET, syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			if l < 0 {
				return l
			}
			family := uint16(syscall.AF_UNIX)
			if e := bare.Call(syscall.SYS_BIND, uintptr(l), uintptr(unsafe.Pointer(&family)), 2); e < 0 {
				return e
			}
			if e := bare.Call(syscall.SYS_LISTEN, uintptr(l), 4096); e < 0 {
				return e
			}
			listener = l
		}
		var name [110]byte
		length := uint32(len(name))
		if e := bare.Call(syscall.SYS_GETSOCKNAME, uintptr(listener), uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&length))); e < 0 {
			return e
		}
		c := bare.Call(syscall.SYS_SOCKET, syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
		if c < 0 {
			return c
		}
		e := bare.Call(syscall.SYS_CONNECT, uintptr(c), uintptr(unsafe.Pointer(&name)), uintptr(length))
		if e == 0 {
			fillPipe(c)
		}
		bare.Close(c)
		if e == -int(syscall.EAGAIN) {
			listener = 0
			continue
		}
		return e
	}
}

func takeEventfd() int { return bare.Call(syscall.SYS_EVENTFD2, 0, 0) }

func takeTimerfd() int {
	fd := bare.Call(syscall.SYS_TIMERFD_CREATE, 1, 0)
	if fd < 0 {
		return fd
	}
	when := [4]int64{3600, 0, 3600, 0}
	return bare.Call(syscall.SYS_TIMERFD_SETTIME, uintptr(fd), 0, uintptr(unsafe.Pointer(&when)), 0)
}

func takeMemfd() int {
	fd := bare.Call(sysMemfdCreate, uintptr(unsafe.Pointer(bare.CString("hog\x00"))), 0)
	if fd < 0 {
		return fd
	}
	return bare.Write(fd, buffer[:1])
}

func takePidfd() int {
	return bare.Call(sysPidfdOpen, uintptr(bare.Call(syscall.SYS_GETPID)), 0)
}

func takeEpoll() int { return bare.Call(syscall.SYS_EPOLL_CREATE1, 0) }

// epollState is the progress of takeEpollItem: every epoll instance watches the same
// eventfds.
var epollState struct{ ep, fds, next int }

func takeEpollItem() int {
	const watched = 400
	s := &epollState
	if s.fds == 0 {
		for s.fds = 0; s.fds < watched; s.fds++ {
			fd := bare.Call(syscall.SYS_EVENTFD2, 0, 0)
			if fd < 0 {
				return fd
			}
			s.next = fd // the highest number
		}
		s.ep = 0
	}
	first := s.next - watched + 1
	if s.ep == 0 || epollItem == watched {
		if s.ep = bare.Call(syscall.SYS_EPOLL_CREATE1, 0); s.ep < 0 {
			return s.ep
		}
		epollItem = 0
	}
	event := syscall.EpollEvent{Events: syscall.EPOLLIN}
	r := bare.Call(syscall.SYS_EPOLL_CTL, uintptr(s.ep), syscall.EPOLL_CTL_ADD, uintptr(first+epollItem), uintptr(unsafe.Pointer(&event)))
	epollItem++
	return r
}

var epollItem int

func takeOpen() int { return bare.Open("/dev/null\x00", syscall.O_RDONLY, 0) }

func takeLock() int {
	fd := bare.Open("/init\x00", syscall.O_RDONLY, 0)
	if fd < 0 {
		return fd
	}
	return bare.Call(syscall.SYS_FLOCK, uintptr(fd), syscall.LOCK_SH)
}

// takeTable makes a process with the largest descriptor table.
func takeTable() int {
	return takeChild(func() int { return bare.Call(syscall.SYS_DUP3, 0, 1<<16-1, 0) })
}

// takeChild makes a process that runs f and stays. It returns the pid, or -errno of
// fork or f.
func takeChild(f func() int) int {
	r, w, err := bare.Pipe()
	if err < 0 {
		return err
	}
	bare.Call(syscall.SYS_FCNTL, uintptr(w), syscall.F_SETFD, syscall.FD_CLOEXEC)
	pid := bare.Fork()
	if pid == 0 {
		var b [8]byte
		*(*int64)(unsafe.Pointer(&b)) = int64(f())
		bare.Write(w, b[:])
		forever()
	}
	bare.Close(w)
	if pid > 0 {
		var b [8]byte
		if bare.Read(r, b[:]) != 8 {
			// The child runs another program now.
		} else if e := *(*int64)(unsafe.Pointer(&b)); e < 0 {
			pid = int(e)
		}
	}
	bare.Close(r)
	return pid
}

// takeSignal queues a real-time signal, which is blocked, for this process.
func takeSignal() int {
	const rtmin, sigBlock = 34, 0
	blocked := uint64(1) << (rtmin - 1)
	bare.Call(syscall.SYS_RT_SIGPROCMASK, sigBlock, uintptr(unsafe.Pointer(&blocked)), 0, 8)
	var info [128]byte
	*(*int32)(unsafe.Pointer(&info[8])) = -1 // SI_QUEUE
	return bare.Call(syscall.SYS_RT_SIGQUEUEINFO, uintptr(bare.Call(syscall.SYS_GETPID)), rtmin, uintptr(unsafe.Pointer(&info)))
}

// takeArguments makes a process with arguments, which the kernel keeps for /proc.
func takeArguments() int {
	return takeChild(func() int {
		for i := range buffer[:page] {
			buffer[i] = 'x'
		}
		buffer[page-1] = 0
		argv := [3]*byte{bare.CString(hogPath), bare.CString("sleep\x00"), nil}
		envp := [2]*byte{&buffer[0], nil}
		return bare.Call(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(argv[0])), uintptr(unsafe.Pointer(&argv)), uintptr(unsafe.Pointer(&envp)))
	})
}

// takeGarbage keeps nothing. It starts programs with the longest possible environment,
// again and again, so that the kernel's heap fills with garbage. It is never refused; it
// ends after enough rounds.
func takeGarbage() int {
	const rounds, strings, length = 100, 14, 131000
	if garbage == rounds {
		return -int(syscall.ERANGE)
	}
	garbage++
	if garbage == 1 {
		p := bare.Anon(length + 1)
		if p == nil {
			return -int(syscall.ENOMEM)
		}
		for i := uintptr(0); i < length; i++ {
			*(*byte)(unsafe.Add(p, i)) = 'x'
		}
		for i := range strings {
			longest[i] = (*byte)(p)
		}
	}
	pid := bare.Fork()
	if pid < 0 {
		return pid
	}
	if pid == 0 {
		argv := [3]*byte{bare.CString(hogPath), bare.CString("neighbour\x00"), nil}
		bare.Exit(bare.Call(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(argv[0])), uintptr(unsafe.Pointer(&argv)), uintptr(unsafe.Pointer(&longest))))
	}
	_, status := bare.Wait(pid)
	if status != 0 {
		return -int(syscall.ENOMEM)
	}
	return 0
}

var (
	garbage int // rounds
	longest [15]*byte
)
