package main

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

var epollTests = []test{
	{name: "epoll-stale", run: epollStale},
	{name: "epoll-rules", run: epollRules},
}

func newEpoll() int {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	check("epoll_create1", err)
	return ep
}

func epollCtl(ep, op, fd int, events uint32) error {
	return unix.EpollCtl(ep, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// epollStale: an item that was reported and then drained still reports its next event, to a
// thread in poll and to one in epoll_wait of an outer instance.
func epollStale() {
	var p [2]int
	check("pipe", unix.Pipe(p[:]))
	inner, outer := newEpoll(), newEpoll()
	check("add", epollCtl(inner, unix.EPOLL_CTL_ADD, p[0], unix.EPOLLIN))
	check("add", epollCtl(outer, unix.EPOLL_CTL_ADD, inner, unix.EPOLLIN))
	evs, b := make([]unix.EpollEvent, 2), make([]byte, 1)
	stale := func() {
		_, err := unix.Write(p[1], b)
		check("write", err)
		n, err := unix.EpollWait(inner, evs, 0)
		if n != 1 || err != nil {
			fail("epoll_wait: %d %v", n, err)
		}
		_, err = unix.Read(p[0], b)
		check("read", err)
		go func() {
			time.Sleep(20 * time.Millisecond)
			unix.Write(p[1], b)
		}()
	}
	stale()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(inner), Events: unix.POLLIN}}, 10000)
	if n != 1 || err != nil {
		fail("poll of an epoll descriptor: %d %v", n, err)
	}
	_, err = unix.Read(p[0], b)
	check("read", err)
	stale()
	n, err = unix.EpollWait(outer, evs, 10000)
	if n != 1 || err != nil {
		fail("epoll_wait of the outer instance: %d %v", n, err)
	}
}

// epollRules: cycles, depth, EPOLLEXCLUSIVE, files that cannot be waited for.
func epollRules() {
	f, err := os.CreateTemp("", "epoll")
	check("create", err)
	defer os.Remove(f.Name())
	var p [2]int
	check("pipe", unix.Pipe(p[:]))
	ep := newEpoll()
	ctl := func(what string, want error, ep, op, fd int, events uint32) {
		if err := epollCtl(ep, op, fd, events); err != want {
			fail("%s: %v, want %v", what, err, want)
		}
	}
	ctl("a regular file", unix.EPERM, ep, unix.EPOLL_CTL_ADD, int(f.Fd()), unix.EPOLLIN)
	ctl("itself", unix.EINVAL, ep, unix.EPOLL_CTL_ADD, ep, unix.EPOLLIN)
	ctl("no epoll", unix.EINVAL, p[0], unix.EPOLL_CTL_ADD, p[1], unix.EPOLLIN)
	ctl("exclusive", nil, ep, unix.EPOLL_CTL_ADD, p[0], unix.EPOLLIN|unix.EPOLLEXCLUSIVE)
	ctl("MOD of an exclusive item", unix.EINVAL, ep, unix.EPOLL_CTL_MOD, p[0], unix.EPOLLIN)
	ctl("MOD to exclusive", unix.EINVAL, ep, unix.EPOLL_CTL_MOD, p[0], unix.EPOLLIN|unix.EPOLLEXCLUSIVE)
	ctl("exclusive and one-shot", unix.EINVAL, ep, unix.EPOLL_CTL_ADD, p[1], unix.EPOLLOUT|unix.EPOLLEXCLUSIVE|unix.EPOLLONESHOT)
	ctl("DEL of an exclusive item", nil, ep, unix.EPOLL_CTL_DEL, p[0], 0)
	ctl("an exclusive instance", unix.EINVAL, ep, unix.EPOLL_CTL_ADD, newEpoll(), unix.EPOLLIN|unix.EPOLLEXCLUSIVE)
	// A chain of five works, from either end. Whether more do depends on the release.
	eps := []int{ep}
	for range 4 {
		outer := newEpoll()
		ctl("a chain", nil, outer, unix.EPOLL_CTL_ADD, eps[len(eps)-1], unix.EPOLLIN)
		eps = append(eps, outer)
	}
	ctl("a cycle", unix.ELOOP, eps[0], unix.EPOLL_CTL_ADD, eps[4], unix.EPOLLIN)
	ctl("a cycle of two", unix.ELOOP, eps[0], unix.EPOLL_CTL_ADD, eps[1], unix.EPOLLIN)
	for range 6 {
		outer := newEpoll()
		err := epollCtl(outer, unix.EPOLL_CTL_ADD, eps[len(eps)-1], unix.EPOLLIN)
		if err == unix.ELOOP {
			return
		}
		check("a longer chain", err)
		eps = append(eps, outer)
	}
	fail("a chain of %d instances", len(eps))
}
