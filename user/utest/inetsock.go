package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Everything here stays on the loopback interface.
var inetTests = []test{
	{name: "inet-tcp", run: inetTCP},
	{name: "inet-tcp-states", run: inetTCPStates},
	{name: "inet-udp", run: inetUDP},
	{name: "inet-v6", run: inetV6},
	{name: "inet-options", run: inetOptions},
	{name: "inet-poll", run: inetPoll},
	{name: "inet-interfaces", run: inetInterfaces},
	{name: "inet-proc", run: inetProc},
	{name: "inet-go", run: inetGo},
	{name: "inet-big", run: inetBig, slow: true},
	{name: "inet-errors", run: inetErrors},
	{name: "inet-exit", run: inetExit},
}

var local4 = [4]byte{127, 0, 0, 1}

func inetSocket(domain, typ int) int {
	fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, 0)
	check("socket", err)
	return fd
}

// inetServer is a socket with a port of the kernel's choice.
func inetServer(typ int) (int, *unix.SockaddrInet4) {
	fd := inetSocket(unix.AF_INET, typ)
	check("bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: local4}))
	if typ == unix.SOCK_STREAM {
		check("listen", unix.Listen(fd, 10))
	}
	sa, err := unix.Getsockname(fd)
	check("getsockname", err)
	at := sa.(*unix.SockaddrInet4)
	if at.Port == 0 || at.Addr != local4 {
		fail("bound to %v", at)
	}
	return fd, at
}

// inetPair is a connection.
func inetPair() (client, server int) {
	l, at := inetServer(unix.SOCK_STREAM)
	client = inetSocket(unix.AF_INET, unix.SOCK_STREAM)
	check("connect", unix.Connect(client, at))
	server, from, err := unix.Accept(l)
	check("accept", err)
	sa, err := unix.Getsockname(client)
	check("getsockname", err)
	if a, b := from.(*unix.SockaddrInet4), sa.(*unix.SockaddrInet4); a.Port != b.Port || a.Addr != b.Addr {
		fail("the client is %v, accept says %v", b, a)
	}
	unix.Close(l)
	return client, server
}

func inetTCP() {
	c, s := inetPair()
	sockSend(c, "hello")
	equal("received", recvd(s, 100), "hello")
	sockSend(s, "world")
	b := make([]byte, 100)
	n, _, err := unix.Recvfrom(c, b[:3], unix.MSG_PEEK)
	check("MSG_PEEK", err)
	equal("MSG_PEEK", string(b[:n]), "wor")
	n, _, err = unix.Recvfrom(c, b[:5], unix.MSG_WAITALL)
	check("MSG_WAITALL", err)
	equal("MSG_WAITALL", string(b[:n]), "world")
	_, _, err = unix.Recvfrom(c, b, unix.MSG_DONTWAIT)
	errorIs("MSG_DONTWAIT", err, unix.EAGAIN)
	sa, err := unix.Getpeername(c)
	check("getpeername", err)
	mine, err := unix.Getsockname(s)
	check("getsockname", err)
	equal("the peer", sa.(*unix.SockaddrInet4).Port, mine.(*unix.SockaddrInet4).Port)
	check("shutdown", unix.Shutdown(c, unix.SHUT_WR))
	equal("the end", recvd(s, 10), "")
	sockSend(s, "still")
	equal("half closed", recvd(c, 10), "still")
	unix.Close(s)
	equal("closed", recvd(c, 10), "")
	unix.Close(c)
	// Gathered and scattered.
	c, s = inetPair()
	_, err = unix.Writev(c, [][]byte{[]byte("one"), []byte("two"), []byte("three")})
	check("writev", err)
	p, q := make([]byte, 4), make([]byte, 10)
	for got := 0; got < 11; {
		n, err := unix.Readv(s, [][]byte{p, q})
		check("readv", err)
		got += n
		if got == 11 && n == 11 && string(p)+string(q[:7]) != "onetwothree" {
			fail("readv: %q %q", p, q)
		}
	}
}

// inetTCPStates: refused, reset, connecting without waiting.
func inetTCPStates() {
	l, at := inetServer(unix.SOCK_STREAM)
	unix.Close(l)
	c := inetSocket(unix.AF_INET, unix.SOCK_STREAM)
	errorIs("connect to nobody", unix.Connect(c, at), unix.ECONNREFUSED)
	unix.Close(c)
	c = inetSocket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK)
	if err := unix.Connect(c, at); err != unix.EINPROGRESS && err != unix.ECONNREFUSED {
		fail("connect: %v", err)
	} else if err == unix.EINPROGRESS {
		fds := []unix.PollFd{{Fd: int32(c), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, 10000)
		if n != 1 || err != nil || fds[0].Revents&unix.POLLERR == 0 {
			fail("poll: %d %v %#x", n, err, fds[0].Revents)
		}
		v, err := unix.GetsockoptInt(c, unix.SOL_SOCKET, unix.SO_ERROR)
		check("SO_ERROR", err)
		equal("SO_ERROR", syscall.Errno(v), unix.ECONNREFUSED)
	}
	unix.Close(c)
	l, at = inetServer(unix.SOCK_STREAM)
	c = inetSocket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK)
	if err := unix.Connect(c, at); err != nil && err != unix.EINPROGRESS {
		fail("connect: %v", err)
	}
	fds := []unix.PollFd{{Fd: int32(c), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, 10000)
	if n != 1 || err != nil || fds[0].Revents != unix.POLLOUT {
		fail("poll: %d %v %#x", n, err, fds[0].Revents)
	}
	v, err := unix.GetsockoptInt(c, unix.SOL_SOCKET, unix.SO_ERROR)
	check("SO_ERROR", err)
	equal("SO_ERROR", v, 0)
	errorIs("connect again", func() error {
		if err := unix.Connect(c, at); err != nil {
			return err
		}
		return unix.Connect(c, at)
	}(), unix.EISCONN)
	s, _, err := unix.Accept(l)
	check("accept", err)
	// A reset: linger for no time.
	check("SO_LINGER", unix.SetsockoptLinger(s, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	unix.Close(s)
	unix.SetNonblock(c, false)
	_, err = unix.Read(c, make([]byte, 1))
	errorIs("read of a reset connection", err, unix.ECONNRESET)
	_, err = unix.Write(c, make([]byte, 1))
	errorIs("write to a reset connection", err, unix.EPIPE)
}

func inetUDP() {
	s, at := inetServer(unix.SOCK_DGRAM)
	c, cat := inetServer(unix.SOCK_DGRAM)
	check("sendto", unix.Sendto(c, []byte("one"), 0, at))
	check("sendto", unix.Sendto(c, nil, 0, at))
	check("sendto", unix.Sendto(c, []byte("truncated"), 0, at))
	b := make([]byte, 5)
	n, from, err := unix.Recvfrom(s, b, 0)
	check("recvfrom", err)
	equal("datagram", string(b[:n]), "one")
	equal("its sender", from.(*unix.SockaddrInet4).Port, cat.Port)
	n, _, err = unix.Recvfrom(s, b, 0)
	check("recvfrom", err)
	equal("an empty one", n, 0)
	n, _, flags, _, err := unix.Recvmsg(s, b, nil, 0)
	check("recvmsg", err)
	if string(b[:n]) != "trunc" || flags&unix.MSG_TRUNC == 0 {
		fail("recvmsg: %q, flags %#x", b[:n], flags)
	}
	check("connect", unix.Connect(c, at))
	sockSend(c, "connected")
	equal("received", recvd(s, 100), "connected")
	_, _, err = unix.Recvfrom(s, b, unix.MSG_DONTWAIT)
	errorIs("nothing more", err, unix.EAGAIN)
	big := bytes.Repeat([]byte{7}, 20000)
	check("a large datagram", unix.Sendto(inetSocket(unix.AF_INET, unix.SOCK_DGRAM), big, 0, at))
	equal("a large datagram", recvd(s, 30000), string(big))
	errorIs("too large a datagram", unix.Sendto(c, make([]byte, 70000), 0, nil), unix.EMSGSIZE)
	d := inetSocket(unix.AF_INET, unix.SOCK_DGRAM)
	_, err = unix.Write(d, []byte("x"))
	errorIs("no destination", err, unix.EDESTADDRREQ)
	unix.Close(s)
	// The answer that nobody listens comes as an error of the next call.
	unix.Write(c, []byte("x"))
	fds := []unix.PollFd{{Fd: int32(c), Events: unix.POLLIN}}
	unix.Poll(fds, 1000)
	_, err = unix.Write(c, []byte("x"))
	if err != unix.ECONNREFUSED && err != nil {
		fail("a port that nobody has: %v", err)
	}
}

func inetV6() {
	l := inetSocket(unix.AF_INET6, unix.SOCK_STREAM)
	check("bind", unix.Bind(l, &unix.SockaddrInet6{}))
	check("listen", unix.Listen(l, 5))
	sa, err := unix.Getsockname(l)
	check("getsockname", err)
	port := sa.(*unix.SockaddrInet6).Port
	loop := [16]byte{15: 1}
	c := inetSocket(unix.AF_INET6, unix.SOCK_STREAM)
	check("connect to ::1", unix.Connect(c, &unix.SockaddrInet6{Port: port, Addr: loop}))
	_, from, err := unix.Accept(l)
	check("accept", err)
	equal("from", from.(*unix.SockaddrInet6).Addr, loop)
	// Both families reach it.
	c = inetSocket(unix.AF_INET, unix.SOCK_STREAM)
	check("connect to 127.0.0.1", unix.Connect(c, &unix.SockaddrInet4{Port: port, Addr: local4}))
	s, from, err := unix.Accept(l)
	check("accept", err)
	equal("from", from.(*unix.SockaddrInet6).Addr, [16]byte{10: 0xff, 0xff, 127, 0, 0, 1})
	sockSend(c, "mapped")
	equal("received", recvd(s, 10), "mapped")
	only := inetSocket(unix.AF_INET6, unix.SOCK_STREAM)
	check("IPV6_V6ONLY", unix.SetsockoptInt(only, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
	check("bind", unix.Bind(only, &unix.SockaddrInet6{}))
	check("listen", unix.Listen(only, 5))
	sa, _ = unix.Getsockname(only)
	c = inetSocket(unix.AF_INET, unix.SOCK_STREAM)
	errorIs("IPv4 to an IPv6-only one", unix.Connect(c, &unix.SockaddrInet4{Port: sa.(*unix.SockaddrInet6).Port, Addr: local4}), unix.ECONNREFUSED)
	u := inetSocket(unix.AF_INET6, unix.SOCK_DGRAM)
	check("bind", unix.Bind(u, &unix.SockaddrInet6{Addr: loop}))
	sa, _ = unix.Getsockname(u)
	check("sendto", unix.Sendto(inetSocket(unix.AF_INET6, unix.SOCK_DGRAM), []byte("six"), 0, sa))
	equal("received", recvd(u, 10), "six")
}

func inetOptions() {
	c, s := inetPair()
	get := func(fd, level, name int) int {
		v, err := unix.GetsockoptInt(fd, level, name)
		check(fmt.Sprintf("getsockopt %d %d", level, name), err)
		return v
	}
	set := func(fd, level, name, v int) {
		check(fmt.Sprintf("setsockopt %d %d", level, name), unix.SetsockoptInt(fd, level, name, v))
	}
	for _, o := range [][3]int{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.IPPROTO_TCP, unix.TCP_NODELAY, 0}, {unix.IPPROTO_TCP, unix.TCP_CORK, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 77}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 7}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 5},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}, {unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
		{unix.SOL_SOCKET, unix.SO_RCVLOWAT, 3}, {unix.IPPROTO_IP, unix.IP_TOS, 0x10}, {unix.IPPROTO_IP, unix.IP_TTL, 33},
		{unix.SOL_SOCKET, unix.SO_SNDBUF, 10000}, {unix.SOL_SOCKET, unix.SO_RCVBUF, 10000},
	} {
		set(c, o[0], o[1], o[2])
		want := o[2]
		if o[0] == unix.SOL_SOCKET && (o[1] == unix.SO_SNDBUF || o[1] == unix.SO_RCVBUF) {
			want *= 2
		}
		equal(fmt.Sprintf("option %d %d", o[0], o[1]), get(c, o[0], o[1]), want)
	}
	equal("SO_TYPE", get(s, unix.SOL_SOCKET, unix.SO_TYPE), unix.SOCK_STREAM)
	equal("SO_PROTOCOL", get(s, unix.SOL_SOCKET, unix.SO_PROTOCOL), unix.IPPROTO_TCP)
	equal("SO_DOMAIN", get(s, unix.SOL_SOCKET, unix.SO_DOMAIN), unix.AF_INET)
	if get(s, unix.IPPROTO_TCP, unix.TCP_MAXSEG) <= 0 {
		fail("TCP_MAXSEG")
	}
	errorIs("no option", unix.SetsockoptInt(c, unix.IPPROTO_TCP, 9999, 1), unix.ENOPROTOOPT)
	errorIs("no level", unix.SetsockoptInt(c, 9999, 1, 1), unix.ENOPROTOOPT)
	l, at := inetServer(unix.SOCK_STREAM)
	equal("SO_ACCEPTCONN", get(l, unix.SOL_SOCKET, unix.SO_ACCEPTCONN), 1)
	errorIs("a port in use", unix.Bind(inetSocket(unix.AF_INET, unix.SOCK_STREAM), at), unix.EADDRINUSE)
	sockSend(c, "12345")
	set(c, unix.IPPROTO_TCP, unix.TCP_CORK, 0)
	fds := []unix.PollFd{{Fd: int32(s), Events: unix.POLLIN}}
	unix.Poll(fds, 5000)
	n, err := unix.IoctlGetInt(s, unix.TIOCINQ)
	check("FIONREAD", err)
	equal("FIONREAD", n, 5)
	tv := unix.Timeval{Usec: 20000}
	check("SO_RCVTIMEO", unix.SetsockoptTimeval(c, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	_, err = unix.Read(c, make([]byte, 1))
	errorIs("read with a time limit", err, unix.EAGAIN)
}

func inetPoll() {
	const in, out, hup, rdhup = unix.POLLIN, unix.POLLOUT, unix.POLLHUP, unix.POLLRDHUP
	equal("a new TCP socket", pollEvents(inetSocket(unix.AF_INET, unix.SOCK_STREAM)), int16(out|hup))
	equal("a new UDP socket", pollEvents(inetSocket(unix.AF_INET, unix.SOCK_DGRAM)), int16(out))
	l, at := inetServer(unix.SOCK_STREAM)
	equal("a listener", pollEvents(l), int16(0))
	ep := newEpoll()
	check("epoll_ctl", epollCtl(ep, unix.EPOLL_CTL_ADD, l, unix.EPOLLIN))
	ev := make([]unix.EpollEvent, 2)
	c := inetSocket(unix.AF_INET, unix.SOCK_STREAM)
	go func() {
		time.Sleep(10 * time.Millisecond)
		unix.Connect(c, at)
	}()
	n, err := unix.EpollWait(ep, ev, 10000)
	if n != 1 || err != nil || ev[0].Events != unix.EPOLLIN {
		fail("epoll_wait of a listener: %d %v %#x", n, err, ev[0].Events)
	}
	s, _, err := unix.Accept(l)
	check("accept", err)
	equal("a connection", pollEvents(s), int16(out))
	check("epoll_ctl", epollCtl(ep, unix.EPOLL_CTL_ADD, s, unix.EPOLLIN|unix.EPOLLET|unix.EPOLLRDHUP))
	sockSend(c, "x")
	n, err = unix.EpollWait(ep, ev, 10000)
	if n != 1 || err != nil || ev[0].Events != unix.EPOLLIN {
		fail("epoll_wait of a connection: %d %v %#x", n, err, ev[0].Events)
	}
	check("shutdown", unix.Shutdown(c, unix.SHUT_WR))
	n, err = unix.EpollWait(ep, ev, 10000)
	if n != 1 || err != nil || ev[0].Events != unix.EPOLLIN|unix.EPOLLRDHUP {
		fail("epoll_wait of a half-closed one: %d %v %#x", n, err, ev[0].Events)
	}
	equal("half closed", pollEvents(s), int16(in|out|rdhup))
	// Full.
	unix.SetNonblock(s, true)
	for full := 0; ; full++ {
		if _, err := unix.Write(s, make([]byte, 65536)); err != nil {
			errorIs("a full stream", err, unix.EAGAIN)
			break
		}
		if full == 1000 {
			fail("65 MB went to a socket that reads nothing")
		}
	}
	go func() {
		b := make([]byte, 65536)
		for {
			if n, err := unix.Read(c, b); n <= 0 || err != nil {
				return
			}
		}
	}()
	fds := []unix.PollFd{{Fd: int32(s), Events: unix.POLLOUT}}
	n, err = unix.Poll(fds, 10000)
	if n != 1 || err != nil {
		fail("poll of a full one: %d %v", n, err)
	}
}

// inetInterfaces: what Go's package net asks by netlink, and the older ioctl requests.
func inetInterfaces() {
	list, err := net.Interfaces()
	check("net.Interfaces", err)
	found := false
	for _, i := range list {
		if i.Name != "lo" {
			continue
		}
		found = true
		if i.Flags&(net.FlagUp|net.FlagLoopback) != net.FlagUp|net.FlagLoopback || i.MTU < 16384 {
			fail("lo is %+v", i)
		}
		addrs, err := i.Addrs()
		check("addresses", err)
		if !strings.Contains(fmt.Sprint(addrs), "127.0.0.1/8") {
			fail("addresses of lo: %v", addrs)
		}
	}
	if !found {
		fail("no lo among %v", list)
	}
	fd := inetSocket(unix.AF_INET, unix.SOCK_DGRAM)
	r, err := unix.NewIfreq("lo")
	check("ifreq", err)
	check("SIOCGIFADDR", unix.IoctlIfreq(fd, unix.SIOCGIFADDR, r))
	a, err := r.Inet4Addr()
	check("address", err)
	equal("SIOCGIFADDR", string(a), string(local4[:]))
	check("SIOCGIFFLAGS", unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r))
	if r.Uint16()&unix.IFF_LOOPBACK == 0 {
		fail("flags of lo: %#x", r.Uint16())
	}
	r, _ = unix.NewIfreq("no0")
	errorIs("no interface", unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r), unix.ENODEV)
	r, _ = unix.NewIfreq("lo")
	other := unixSocket(unix.SOCK_DGRAM)
	check("SIOCGIFINDEX of AF_UNIX", unix.IoctlIfreq(other, unix.SIOCGIFINDEX, r))
	errorIs("SIOCGIFADDR of AF_UNIX", unix.IoctlIfreq(other, unix.SIOCGIFADDR, r), unix.ENOTTY)
	nl, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	check("netlink", err)
	check("bind", unix.Bind(nl, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	sa, err := unix.Getsockname(nl)
	check("getsockname", err)
	if sa.(*unix.SockaddrNetlink).Pid == 0 {
		fail("netlink's address: %+v", sa)
	}
}

func inetProc() {
	l, at := inetServer(unix.SOCK_STREAM)
	u, uat := inetServer(unix.SOCK_DGRAM)
	for _, x := range []struct {
		file string
		fd   int
		port int
	}{{"tcp", l, at.Port}, {"udp", u, uat.Port}} {
		var st unix.Stat_t
		check("fstat", unix.Fstat(x.fd, &st))
		text, err := os.ReadFile("/proc/net/" + x.file)
		check(x.file, err)
		want, inode := fmt.Sprintf(" 0100007F:%04X ", x.port), fmt.Sprintf(" %d ", st.Ino)
		found := false
		for line := range strings.Lines(string(text)) {
			found = found || strings.Contains(line, want) && strings.Contains(line, inode)
		}
		if !found {
			fail("/proc/net/%s has no line with %q and %q:\n%s", x.file, want, inode, text)
		}
	}
	text, err := os.ReadFile("/proc/net/dev")
	check("dev", err)
	if !strings.Contains(string(text), "lo:") {
		fail("/proc/net/dev: %s", text)
	}
}

// inetGo: Go's own package net, with its poller.
func inetGo() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check("listen", err)
	go func() {
		for {
			c, err := l.Accept()
			check("accept", err)
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	done := make(chan bool)
	for i := range 20 {
		go func() {
			c, err := net.Dial("tcp", l.Addr().String())
			check("dial", err)
			text := bytes.Repeat([]byte{byte(i)}, 1+i*5000)
			go func() {
				c.Write(text)
				c.(*net.TCPConn).CloseWrite()
			}()
			got, err := io.ReadAll(c)
			check("read", err)
			if !bytes.Equal(got, text) {
				fail("%d bytes came back of %d", len(got), len(text))
			}
			c.Close()
			done <- true
		}()
	}
	for range 20 {
		<-done
	}
	c, err := net.Dial("tcp", l.Addr().String())
	check("dial", err)
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, err = c.Read(make([]byte, 1))
	if e, ok := err.(net.Error); !ok || !e.Timeout() {
		fail("a deadline: %v", err)
	}
}

// inetBig: much more than the buffers hold, both ways at once.
func inetBig() {
	c, s := inetPair()
	const size = 3 << 20
	done := make(chan bool)
	for _, x := range [][2]int{{c, s}, {s, c}} {
		go func() {
			b := make([]byte, 40000)
			for at := 0; at < size; {
				n := min(len(b), size-at)
				for i := range n {
					b[i] = byte((at + i) * 7 >> 3)
				}
				k, err := unix.Write(x[0], b[:n])
				check("write", err)
				at += k
			}
			check("shutdown", unix.Shutdown(x[0], unix.SHUT_WR))
		}()
		go func() {
			b := make([]byte, 50000)
			at := 0
			for {
				n, err := unix.Read(x[1], b)
				check("read", err)
				if n == 0 {
					break
				}
				for i, v := range b[:n] {
					if v != byte((at+i)*7>>3) {
						fail("byte %d is %d", at+i, v)
					}
				}
				at += n
			}
			equal("bytes", at, size)
			done <- true
		}()
	}
	<-done
	<-done
}

func inetErrors() {
	_, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_UDP)
	errorIs("a stream of UDP", err, unix.EPROTONOSUPPORT)
	_, err = unix.Socket(unix.AF_INET, unix.SOCK_SEQPACKET, 0)
	errorIs("SOCK_SEQPACKET", err, unix.ESOCKTNOSUPPORT)
	t, u := inetSocket(unix.AF_INET, unix.SOCK_STREAM), inetSocket(unix.AF_INET, unix.SOCK_DGRAM)
	_, err = unix.Read(t, make([]byte, 1))
	errorIs("read", err, unix.ENOTCONN)
	_, err = unix.Write(t, make([]byte, 1))
	errorIs("write", err, unix.EPIPE)
	_, err = unix.Getpeername(t)
	errorIs("getpeername", err, unix.ENOTCONN)
	errorIs("shutdown", unix.Shutdown(t, unix.SHUT_RDWR), unix.ENOTCONN)
	errorIs("listen of UDP", unix.Listen(u, 1), unix.EOPNOTSUPP)
	_, _, err = unix.Accept(t)
	errorIs("accept without listen", err, unix.EINVAL)
	errorIs("another machine's address", unix.Bind(t, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}}), unix.EADDRNOTAVAIL)
	errorIs("another family", unix.Bind(t, &unix.SockaddrInet6{}), unix.EAFNOSUPPORT)
	_, err = unix.Socketpair(unix.AF_INET, unix.SOCK_STREAM, 0)
	errorIs("socketpair", err, unix.EOPNOTSUPP)
	_, _, e := unix.Syscall(unix.SYS_CONNECT, uintptr(t), sliceAddr([]byte{2, 0, 1}), 3)
	errorIs("a short address", e, unix.EINVAL)
	_, err = unix.Seek(t, 0, 0)
	errorIs("lseek", err, unix.ESPIPE)
	b := make([]byte, 10)
	c, s := inetPair()
	sockSend(c, "x")
	_, _, e = unix.Syscall(unix.SYS_READ, uintptr(s), 8, 10)
	errorIs("read to a bad address", e, unix.EFAULT)
	unix.Close(c)
	if n, err := unix.Read(s, b); err != nil || n > 1 {
		fail("read: %d %v", n, err)
	}
}

// inetExit: what an exiting process has sent arrives, and then the end.
func inetExit() {
	quiet()
	c, s := inetPair()
	text := bytes.Repeat([]byte("last words "), 500)
	pid := fork(func() int {
		syscall.RawSyscall(unix.SYS_CLOSE, uintptr(s), 0, 0)
		n, _, _ := syscall.RawSyscall(unix.SYS_WRITE, uintptr(c), sliceAddr(text), uintptr(len(text)))
		return int(n) - len(text)
	})
	unix.Close(c)
	equal("child", wait(pid), 0)
	var got []byte
	b := make([]byte, 1000)
	for {
		n, err := unix.Read(s, b)
		check("read", err)
		if n == 0 {
			break
		}
		got = append(got, b[:n]...)
	}
	if !bytes.Equal(got, text) {
		fail("received %d bytes of %d", len(got), len(text))
	}
}
