package main

import (
	"syscall"
	"unsafe"

	"grim/user/bare"
)

const (
	workerSize  = 200 * mb
	workers     = 5
	pause       = 50_000 // ns between an answer and the next request
	maxRequests = 60_000
)

// serverState is shared by the processes of the server workload.
type serverState struct {
	stop    uint32 // the client must end
	count   int    // requests done
	request [maxRequests]interval
	exit    [workers]interval // from a worker's exit to the end of its wait
}

// interval is two readings of the monotonic clock, in ns.
type interval struct{ from, to int64 }

// server is a service with a client, and workers of 200 MB that end while both are busy. It
// measures how long requests take during an exit, and at other times.
func server(name string) {
	s := (*serverState)(bare.SharedMemory(unsafe.Sizeof(serverState{})))
	if s == nil {
		bare.Fail("mmap of the server's memory", "")
	}
	bare.Touch(unsafe.Pointer(s), unsafe.Sizeof(*s), page)
	s.stop = 0 // Touch has written there
	askR, askW, err := bare.Pipe()
	must(err, "pipe2")
	ansR, ansW, err := bare.Pipe()
	must(err, "pipe2")
	service := must(bare.Fork(), "fork")
	if service == 0 {
		bare.Close(askW)
		answer(askR, ansW)
	}
	client := must(bare.Fork(), "fork")
	if client == 0 {
		ask(s, askW, ansR)
	}
	for _, fd := range [...]int{askR, askW, ansR, ansW} {
		bare.Close(fd)
	}
	for i := range workers {
		pid := must(bare.Fork(), "fork")
		if pid == 0 {
			p := bare.Anon(workerSize)
			if p == nil {
				bare.Exit(11)
			}
			bare.Touch(p, workerSize, page)
			sleep(2e6) // requests between the work and the exit
			s.exit[i].from = bare.Monotonic()
			bare.Exit(0)
		}
		if r, status := bare.Wait(pid); r != pid || status != 0 {
			bare.Fail("a worker did not end well", "")
		}
		s.exit[i].to = bare.Monotonic()
		sleep(2e6)
	}
	s.stop = 1
	bare.Wait(client)
	bare.Wait(service)
	s.figures(name)
	bare.Unmap(unsafe.Pointer(s), unsafe.Sizeof(*s))
}

// answer is the service: it sends a byte for each byte, until the client has closed.
func answer(r, w int) {
	var b [1]byte
	for bare.Read(r, b[:]) == 1 {
		bare.Write(w, b[:])
	}
	bare.Exit(0)
}

// ask is the client. At fixed times it sends a request and waits for the answer. Then it
// pauses, so that the workers can run. A request begins when it is due: if the client does
// not get the CPU, that is a part of its waiting time.
func ask(s *serverState, w, r int) {
	// Linux would lengthen a sleep by 50 us.
	const setTimerSlack = 29 // PR_SET_TIMERSLACK, linux/prctl.h
	bare.Call(syscall.SYS_PRCTL, setTimerSlack, 1)
	var b [1]byte
	// The first answer comes when the service has been started. It does not count.
	if bare.Write(w, b[:]) != 1 || bare.Read(r, b[:]) != 1 {
		bare.Exit(1)
	}
	due := bare.Monotonic()
	for s.stop == 0 && s.count < maxRequests {
		v := &s.request[s.count]
		v.from = due
		if bare.Write(w, b[:]) != 1 || bare.Read(r, b[:]) != 1 {
			bare.Exit(1)
		}
		v.to = bare.Monotonic()
		s.count++
		due = v.to + pause
		sleepUntil(due)
	}
	bare.Exit(0)
}

// sleepUntil sleeps until a time of the monotonic clock.
func sleepUntil(ns int64) {
	const monotonic, absolute = 1, 1 // CLOCK_MONOTONIC, TIMER_ABSTIME: linux/time.h
	ts := syscall.NsecToTimespec(ns)
	must(bare.Call(syscall.SYS_CLOCK_NANOSLEEP, monotonic, absolute, uintptr(unsafe.Pointer(&ts)), 0), "clock_nanosleep")
}

// figures prints the latencies of the requests that were in progress during an exit, then
// of all others.
func (s *serverState) figures(name string) {
	exits := [workers]int64{}
	for i, e := range s.exit {
		exits[i] = e.to - e.from
	}
	sortUp(exits[:])
	figure(name, "exit", int(exits[workers/2]), "ns")
	n := 0
	latency := (*[maxRequests]int64)(bare.Anon(maxRequests * 8))
	if latency == nil {
		bare.Fail("mmap of the latencies", "")
	}
	for during := 1; during >= 0; during-- {
		n = 0
		for i := range s.count {
			v := &s.request[i]
			meets := 0
			for _, e := range s.exit {
				if v.from < e.to && e.from < v.to {
					meets = 1
				}
			}
			if meets == during {
				latency[n] = v.to - v.from
				n++
			}
		}
		sortUp(latency[:n])
		kind := "other_"
		if during == 1 {
			kind = "exit_"
		}
		s.spread(name, kind, latency[:n])
	}
	bare.Unmap(unsafe.Pointer(latency), maxRequests*8)
}

// spread prints the number, median, 99th percentile and maximum of sorted values.
func (s *serverState) spread(name, kind string, sorted []int64) {
	n := len(sorted)
	putFigure(name, kind, "requests", n, "requests")
	if n == 0 {
		return
	}
	putFigure(name, kind, "median", int(sorted[n/2]), "ns")
	putFigure(name, kind, "p99", int(sorted[(n*99-1)/100]), "ns")
	putFigure(name, kind, "max", int(sorted[n-1]), "ns")
}

// putFigure is figure, for a name with two parts.
func putFigure(workload, kind, name string, value int, unit string) {
	bare.Put("figure=")
	bare.Put(workload)
	bare.Put(".")
	bare.Put(kind)
	bare.Put(name)
	bare.PutField("value", value)
	bare.Put(" unit=")
	bare.Put(unit)
	bare.Flush()
}

// sortUp sorts in place (Shell's method with the gaps of Knuth's series). The standard
// library's sort would need a heap.
func sortUp(v []int64) {
	gap := 1
	for gap < len(v) {
		gap = 3*gap + 1
	}
	for ; gap > 0; gap /= 3 {
		for i := gap; i < len(v); i++ {
			x, j := v[i], i
			for ; j >= gap && v[j-gap] > x; j -= gap {
				v[j] = v[j-gap]
			}
			v[j] = x
		}
	}
}
