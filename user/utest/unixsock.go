package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var unixTests = []test{
	{name: "unix-stream", run: unixStream},
	{name: "unix-datagram", run: unixDatagram},
	{name: "unix-seqpacket", run: unixSeqpacket},
	{name: "unix-names", run: unixNames},
	{name: "unix-backlog", run: unixBacklog},
	{name: "unix-rights", run: unixRights},
	{name: "unix-credentials", run: unixCredentials},
	{name: "unix-flags", run: unixFlags},
	{name: "unix-poll", run: unixPoll},
	{name: "unix-options", run: unixOptions},
	{name: "unix-garbage", run: unixGarbage},
	{name: "unix-exit", run: unixExit},
	{name: "unix-many", run: unixMany},
	{name: "unix-errors", run: unixErrors},
	{name: "unix-big", run: unixBig, slow: true},
}

func errorIs(what string, got, want error) {
	if got != want {
		fail("%s: %v, want %v", what, got, want)
	}
}

func unixSocket(typ int) int {
	fd, err := unix.Socket(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	check("socket", err)
	return fd
}

func unixPair(typ int) (a, b int) {
	p, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	check("socketpair", err)
	return p[0], p[1]
}

func sockSend(fd int, text string) {
	n, err := unix.Write(fd, []byte(text))
	if n != len(text) || err != nil {
		fail("write: %d of %d bytes, %v", n, len(text), err)
	}
}

// recvd returns the result of one read.
func recvd(fd int, room int) string {
	b := make([]byte, room)
	n, err := unix.Read(fd, b)
	check("read", err)
	return string(b[:n])
}

// unixServer returns a listening socket with an abstract name, or with path if that is set.
func unixServer(typ int, path string) (int, *unix.SockaddrUnix) {
	if path == "" {
		path = fmt.Sprintf("@utest-%d-%d", os.Getpid(), time.Now().UnixNano())
	}
	fd := unixSocket(typ)
	at := &unix.SockaddrUnix{Name: path}
	check("bind", unix.Bind(fd, at))
	if typ != unix.SOCK_DGRAM {
		check("listen", unix.Listen(fd, 5))
	}
	return fd, at
}

// unixStream: connections by a path and by an abstract name; bounds between writes are not
// visible; ends and resets.
func unixStream() {
	dir := tempDir()
	for _, path := range []string{filepath.Join(dir, "s"), ""} {
		l, at := unixServer(unix.SOCK_STREAM, path)
		c := unixSocket(unix.SOCK_STREAM)
		check("connect", unix.Connect(c, at))
		sockSend(c, "be")
		sockSend(c, "fore") // the connection is not accepted yet
		s, from, err := unix.Accept(l)
		check("accept", err)
		if u, ok := from.(*unix.SockaddrUnix); !ok || strings.Trim(u.Name, "@") != "" {
			fail("accept's address: %v", from)
		}
		name, err := unix.Getpeername(c)
		check("getpeername", err)
		equal("the server's name", name.(*unix.SockaddrUnix).Name, at.Name)
		name, err = unix.Getsockname(s)
		check("getsockname", err)
		equal("the connection's name", name.(*unix.SockaddrUnix).Name, at.Name)
		equal("two writes", recvd(s, 100), "before")
		sockSend(s, "abcdef")
		equal("a part", recvd(c, 2), "ab")
		equal("the rest", recvd(c, 100), "cdef")
		check("shutdown", unix.Shutdown(c, unix.SHUT_WR))
		equal("the end", recvd(s, 10), "")
		_, err = unix.Write(c, []byte("x"))
		errorIs("write after SHUT_WR", err, unix.EPIPE)
		sockSend(s, "still")
		equal("the other direction", recvd(c, 10), "still")
		unix.Close(c)
		_, err = unix.Write(s, []byte("x"))
		errorIs("write without a peer", err, unix.EPIPE)
		unix.Close(s)
		unix.Close(l)
		c = unixSocket(unix.SOCK_STREAM)
		errorIs("connect to nobody", unix.Connect(c, at), unix.ECONNREFUSED)
		unix.Close(c)
	}
	// A peer that is closed with unread bytes resets the connection.
	a, b := unixPair(unix.SOCK_STREAM)
	sockSend(a, "unread")
	unix.Close(b)
	_, err := unix.Read(a, make([]byte, 1))
	errorIs("read of a reset connection", err, unix.ECONNRESET)
	equal("then the end", recvd(a, 1), "")
	os.RemoveAll(dir)
}

func tempDir() string {
	dir, err := os.MkdirTemp("", "utest")
	check("mkdtemp", err)
	return dir
}

// unixDatagram: messages keep their bounds and their sender. If the receiver is full,
// senders wait.
func unixDatagram() {
	s, at := unixServer(unix.SOCK_DGRAM, "")
	c, cat := unixServer(unix.SOCK_DGRAM, "")
	check("sendto", unix.Sendto(c, []byte("one"), 0, at))
	check("sendto", unix.Sendto(c, nil, 0, at))
	check("sendto", unix.Sendto(c, []byte("three"), 0, at))
	b := make([]byte, 100)
	for _, want := range []string{"one", "", "three"} {
		n, from, err := unix.Recvfrom(s, b, 0)
		check("recvfrom", err)
		equal("datagram", string(b[:n]), want)
		equal("its sender", from.(*unix.SockaddrUnix).Name, cat.Name)
	}
	check("sendto", unix.Sendto(c, []byte("truncated"), 0, at))
	n, _, flags, _, err := unix.Recvmsg(s, b[:5], nil, 0)
	check("recvmsg", err)
	if string(b[:n]) != "trunc" || flags&unix.MSG_TRUNC == 0 {
		fail("recvmsg: %q, flags %#x", b[:n], flags)
	}
	check("sendto", unix.Sendto(c, []byte("truncated"), 0, at))
	n, _, err = unix.Recvfrom(s, b[:5], unix.MSG_TRUNC)
	check("recvfrom", err)
	equal("the real length", n, 9)
	// Full: as many as net.unix.max_dgram_qlen, and one.
	var sent int
	for sent = 0; sent < 1000; sent++ {
		if err := unix.Sendto(c, []byte{byte(sent)}, unix.MSG_DONTWAIT, at); err != nil {
			errorIs("sendto to a full socket", err, unix.EAGAIN)
			break
		}
	}
	if sent < 2 || sent == 1000 {
		fail("%d datagrams went to a socket that reads none", sent)
	}
	go func() {
		time.Sleep(20 * time.Millisecond)
		unix.Read(s, make([]byte, 1))
	}()
	check("a sendto that waits", unix.Sendto(c, []byte{byte(sent)}, 0, at))
	for i := 1; i <= sent; i++ {
		equal("in order", recvd(s, 10)[0], byte(i))
	}
	// A connected socket receives only from its peer.
	check("connect", unix.Connect(s, cat))
	d := unixSocket(unix.SOCK_DGRAM)
	errorIs("a stranger", unix.Sendto(d, []byte("x"), 0, at), unix.EPERM)
	sockSend(s, "hi")
	equal("from the peer", recvd(c, 10), "hi")
	unix.Close(c)
	_, err = unix.Write(s, []byte("x"))
	errorIs("a peer that is gone", err, unix.ECONNREFUSED)
	_, err = unix.Write(s, []byte("x"))
	errorIs("no peer any more", err, unix.ENOTCONN)
	errorIs("an unbound name", unix.Sendto(d, nil, 0, cat), unix.ECONNREFUSED)
	big := make([]byte, 1<<20)
	errorIs("a datagram of 1 MB", unix.Sendto(d, big, 0, at), unix.EMSGSIZE)
}

// unixSeqpacket: records of a connection.
func unixSeqpacket() {
	l, at := unixServer(unix.SOCK_SEQPACKET, "")
	c := unixSocket(unix.SOCK_SEQPACKET)
	_, err := unix.Read(c, make([]byte, 1))
	errorIs("read of an unconnected one", err, unix.ENOTCONN)
	_, err = unix.Write(c, make([]byte, 1))
	errorIs("write to an unconnected one", err, unix.ENOTCONN)
	check("connect", unix.Connect(c, at))
	s, _, err := unix.Accept(l)
	check("accept", err)
	sockSend(c, "first")
	sockSend(c, "second")
	b := make([]byte, 3)
	n, _, flags, _, err := unix.Recvmsg(s, b, nil, 0)
	check("recvmsg", err)
	if string(b[:n]) != "fir" || flags&unix.MSG_TRUNC == 0 {
		fail("a record: %q, flags %#x", b[:n], flags)
	}
	equal("the next", recvd(s, 100), "second")
	unix.Close(c)
	equal("the end", recvd(s, 100), "")
	dir := tempDir()
	_, at = unixServer(unix.SOCK_STREAM, dir+"/s")
	c = unixSocket(unix.SOCK_SEQPACKET)
	errorIs("connect to a stream", unix.Connect(c, at), unix.EPROTOTYPE)
	os.RemoveAll(dir)
	// Abstract names of different types do not conflict.
	_, at = unixServer(unix.SOCK_STREAM, "")
	errorIs("connect to a stream's abstract name", unix.Connect(c, at), unix.ECONNREFUSED)
	check("bind to it", unix.Bind(c, at))
}

// unixNames: paths are files, with their permissions; abstract names are not.
func unixNames() {
	dir := tempDir()
	path := filepath.Join(dir, "s")
	l, at := unixServer(unix.SOCK_STREAM, path)
	var st unix.Stat_t
	check("stat", unix.Stat(path, &st))
	equal("its type", st.Mode&unix.S_IFMT, unix.S_IFSOCK)
	_, err := unix.Open(path, unix.O_RDWR, 0)
	errorIs("open", err, unix.ENXIO)
	errorIs("a second bind", unix.Bind(l, &unix.SockaddrUnix{Name: path + "2"}), unix.EINVAL)
	d := unixSocket(unix.SOCK_STREAM)
	errorIs("bind to a name in use", unix.Bind(d, at), unix.EADDRINUSE)
	errorIs("bind in no directory", unix.Bind(d, &unix.SockaddrUnix{Name: dir + "/no/s"}), unix.ENOENT)
	errorIs("connect to no file", unix.Connect(d, &unix.SockaddrUnix{Name: dir + "/no"}), unix.ENOENT)
	check("create", os.WriteFile(dir+"/f", nil, 0o666))
	errorIs("connect to another file", unix.Connect(d, &unix.SockaddrUnix{Name: dir + "/f"}), unix.ECONNREFUSED)
	check("symlink", os.Symlink("s", dir+"/link"))
	check("connect by a link", unix.Connect(d, &unix.SockaddrUnix{Name: dir + "/link"}))
	errorIs("connect again", unix.Connect(d, at), unix.EISCONN)
	check("rename", os.Rename(path, dir+"/t"))
	d = unixSocket(unix.SOCK_STREAM)
	check("connect by the new name", unix.Connect(d, &unix.SockaddrUnix{Name: dir + "/t"}))
	check("unlink", os.Remove(dir+"/t"))
	d = unixSocket(unix.SOCK_STREAM)
	errorIs("connect after unlink", unix.Connect(d, at), unix.ENOENT)
	// The kernel chooses a name.
	a, b := unixSocket(unix.SOCK_DGRAM), unixSocket(unix.SOCK_DGRAM)
	for _, fd := range []int{a, b} {
		_, _, e := unix.Syscall(unix.SYS_BIND, uintptr(fd), sliceAddr([]byte{unix.AF_UNIX, 0}), 2)
		if e != 0 {
			fail("autobind: %v", e)
		}
	}
	x, _ := unix.Getsockname(a)
	y, _ := unix.Getsockname(b)
	if x, y := x.(*unix.SockaddrUnix).Name, y.(*unix.SockaddrUnix).Name; len(x) != 6 || x[0] != '@' || x == y {
		fail("autobind made %q and %q", x, y)
	}
	text, err := os.ReadFile("/proc/net/unix")
	check("/proc/net/unix", err)
	if !strings.Contains(string(text), " "+x.(*unix.SockaddrUnix).Name+"\n") {
		fail("/proc/net/unix lacks %q:\n%s", x.(*unix.SockaddrUnix).Name, text)
	}
	unix.Close(l)
	os.RemoveAll(dir)
}

// unixBacklog: connect(2) waits while the backlog is full, or returns EAGAIN.
func unixBacklog() {
	l, at := unixServer(unix.SOCK_STREAM, "")
	check("listen", unix.Listen(l, 1))
	n := 0
	for ; n < 100; n++ {
		c := unixSocket(unix.SOCK_STREAM | unix.SOCK_NONBLOCK)
		if err := unix.Connect(c, at); err != nil {
			errorIs("connect to a full backlog", err, unix.EAGAIN)
			break
		}
	}
	equal("connections for a backlog of 1", n, 2)
	go func() {
		time.Sleep(20 * time.Millisecond)
		unix.Accept(l)
	}()
	check("a connect that waits", unix.Connect(unixSocket(unix.SOCK_STREAM), at))
	// Connections that are not accepted are reset.
	c := unixSocket(unix.SOCK_STREAM)
	go func() {
		time.Sleep(20 * time.Millisecond)
		unix.Close(l)
	}()
	errorIs("connect while the listener is closed", unix.Connect(c, at), unix.ECONNREFUSED)
	l, at = unixServer(unix.SOCK_STREAM, "")
	check("connect", unix.Connect(c, at))
	unix.Close(l)
	_, err := unix.Read(c, make([]byte, 1))
	errorIs("read of a connection that was never accepted", err, unix.ECONNRESET)
}

func sendRights(fd int, text string, fds ...int) error {
	return unix.Sendmsg(fd, []byte(text), unix.UnixRights(fds...), nil, 0)
}

// recvRights receives a message and the descriptors that come with it.
func recvRights(fd, room, flags int) (text string, fds []int, result int) {
	b, oob := make([]byte, 100), make([]byte, unix.CmsgSpace(4*room))
	n, on, result, _, err := unix.Recvmsg(fd, b, oob, flags)
	check("recvmsg", err)
	msgs, err := unix.ParseSocketControlMessage(oob[:on])
	check("control messages", err)
	for i := range msgs {
		f, err := unix.ParseUnixRights(&msgs[i])
		check("rights", err)
		fds = append(fds, f...)
	}
	return string(b[:n]), fds, result
}

// unixRights: descriptors that are sent stay open, arrive with new numbers, and split a
// stream into pieces.
func unixRights() {
	for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET} {
		a, b := unixPair(typ)
		var p [2]int
		check("pipe", unix.Pipe2(p[:], unix.O_CLOEXEC))
		check("sendmsg", sendRights(a, "x", p[0], p[1]))
		unix.Close(p[0])
		unix.Close(p[1])
		text, fds, flags := recvRights(b, 4, unix.MSG_CMSG_CLOEXEC)
		if text != "x" || len(fds) != 2 || flags&unix.MSG_CTRUNC != 0 {
			fail("received %q %v %#x", text, fds, flags)
		}
		sockSend(fds[1], "through")
		equal("through the pipe", recvd(fds[0], 100), "through")
		fl, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFD, 0)
		check("F_GETFD", err)
		equal("close on exec", fl, unix.FD_CLOEXEC)

		// There is room for fewer than have come: the others are closed.
		check("sendmsg", sendRights(a, "y", fds[0], fds[1], fds[1]))
		unix.Close(fds[1])
		_, got, flags := recvRights(b, 1, 0)
		if len(got) < 1 || len(got) > 2 || flags&unix.MSG_CTRUNC == 0 {
			fail("received %v %#x", got, flags)
		}
		if len(got) == 1 {
			equal("the end of a pipe that nobody writes to", recvd(fds[0], 10), "")
		}
		for _, fd := range got {
			unix.Close(fd)
		}
		// read(2) discards them.
		check("pipe", unix.Pipe2(p[:], unix.O_CLOEXEC))
		check("sendmsg", sendRights(a, "z", p[1]))
		unix.Close(p[1])
		equal("read", recvd(b, 10), "z")
		equal("the end", recvd(p[0], 10), "")
		// Bad descriptors are refused, and nothing is sent.
		errorIs("a bad descriptor", sendRights(a, "z", 999), unix.EBADF)
		many := make([]int, 254)
		for i := range many {
			many[i] = a
		}
		errorIs("254 descriptors", sendRights(a, "z", many...), unix.EINVAL)
		check("253 descriptors", sendRights(a, "z", many[:253]...))
		_, got, _ = recvRights(b, 253, 0)
		equal("descriptors", len(got), 253)
		for _, fd := range got {
			unix.Close(fd)
		}
		unix.Read(b, nil)
		unix.SetNonblock(b, true)
		_, err = unix.Read(b, make([]byte, 1))
		errorIs("nothing was sent", err, unix.EAGAIN)
		// MSG_PEEK installs other descriptors of the same file.
		unix.SetNonblock(b, false)
		check("sendmsg", sendRights(a, "peek", p[0]))
		_, one, _ := recvRights(b, 1, unix.MSG_PEEK)
		_, two, _ := recvRights(b, 1, 0)
		if len(one) != 1 || len(two) != 1 || one[0] == two[0] {
			fail("peeked %v, received %v", one, two)
		}
		for _, fd := range []int{a, b, fds[0], p[0], one[0], two[0]} {
			check("close", unix.Close(fd))
		}
	}
	// Pieces of a stream.
	a, b := unixPair(unix.SOCK_STREAM)
	sockSend(a, "one")
	check("sendmsg", sendRights(a, "two", a))
	sockSend(a, "three")
	equal("before", recvd(b, 3), "one")
	text, fds, _ := recvRights(b, 1, 0)
	if text != "two" || len(fds) != 1 {
		fail("received %q %v", text, fds)
	}
	equal("after", recvd(b, 100), "three")
	// The table is full.
	var old unix.Rlimit
	check("getrlimit", unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	check("sendmsg", sendRights(a, "x", a, a, a))
	free, err := unix.Dup(a)
	check("dup", err)
	unix.Close(free)
	check("setrlimit", unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(free) + 1, Max: old.Max}))
	_, fds, flags := recvRights(b, 3, 0)
	if len(fds) != 1 || flags&unix.MSG_CTRUNC == 0 {
		fail("with room for one descriptor: %v, flags %#x", fds, flags)
	}
	check("setrlimit", unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
}

// unixCredentials: SO_PEERCRED, SO_PASSCRED, SCM_CREDENTIALS.
func unixCredentials() {
	a, b := unixPair(unix.SOCK_STREAM)
	me := unix.Ucred{Pid: int32(os.Getpid()), Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}
	c, err := unix.GetsockoptUcred(a, unix.SOL_SOCKET, unix.SO_PEERCRED)
	check("SO_PEERCRED", err)
	equal("SO_PEERCRED", *c, me)
	c, err = unix.GetsockoptUcred(unixSocket(unix.SOCK_STREAM), unix.SOL_SOCKET, unix.SO_PEERCRED)
	check("SO_PEERCRED", err)
	equal("SO_PEERCRED of an unconnected one", *c, unix.Ucred{Pid: 0, Uid: ^uint32(0), Gid: ^uint32(0)})
	check("SO_PASSCRED", unix.SetsockoptInt(b, unix.SOL_SOCKET, unix.SO_PASSCRED, 1))
	receive := func() (string, *unix.Ucred) {
		buf, oob := make([]byte, 100), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
		n, on, _, _, err := unix.Recvmsg(b, buf, oob, 0)
		check("recvmsg", err)
		msgs, err := unix.ParseSocketControlMessage(oob[:on])
		check("control messages", err)
		if len(msgs) != 1 {
			fail("%d control messages", len(msgs))
		}
		u, err := unix.ParseUnixCredentials(&msgs[0])
		check("credentials", err)
		return string(buf[:n]), u
	}
	sockSend(a, "x")
	_, u := receive()
	equal("credentials that the kernel adds", *u, me)
	check("sendmsg", unix.Sendmsg(a, []byte("y"), unix.UnixCredentials(&me), nil, 0))
	_, u = receive()
	equal("credentials that were sent", *u, me)
	if os.Geteuid() == 0 {
		other := unix.Ucred{Pid: me.Pid, Uid: 1234, Gid: 5678}
		check("sendmsg", unix.Sendmsg(a, []byte("z"), unix.UnixCredentials(&other), nil, 0))
		sockSend(a, "mine")
		text, u := receive() // from another sender, so it is not joined
		if text != "z" || *u != other {
			fail("credentials of another: %q %v", text, *u)
		}
		text, u = receive()
		if text != "mine" || *u != me {
			fail("then mine: %q %v", text, *u)
		}
	}
	// Children have other credentials.
	quiet()
	msg := []byte("child")
	pid := fork(func() int {
		n, _, _ := syscall.RawSyscall(unix.SYS_WRITE, uintptr(a), sliceAddr(msg), uintptr(len(msg)))
		return int(n) - len(msg)
	})
	text, u := receive()
	if text != "child" || int(u.Pid) != pid {
		fail("a child's: %q %v, its pid is %d", text, *u, pid)
	}
	equal("child", wait(pid), 0)
}

// unixFlags: MSG_PEEK, MSG_DONTWAIT, MSG_WAITALL, MSG_NOSIGNAL, time limits.
func unixFlags() {
	a, b := unixPair(unix.SOCK_STREAM)
	buf := make([]byte, 100)
	_, _, err := unix.Recvfrom(b, buf, unix.MSG_DONTWAIT)
	errorIs("MSG_DONTWAIT", err, unix.EAGAIN)
	sockSend(a, "hello")
	n, _, err := unix.Recvfrom(b, buf[:3], unix.MSG_PEEK)
	check("MSG_PEEK", err)
	equal("MSG_PEEK", string(buf[:n]), "hel")
	n, err = unix.IoctlGetInt(b, unix.TIOCINQ)
	check("FIONREAD", err)
	equal("FIONREAD", n, 5)
	go func() {
		time.Sleep(20 * time.Millisecond)
		unix.Write(a, []byte(" world"))
	}()
	n, _, err = unix.Recvfrom(b, buf[:11], unix.MSG_WAITALL)
	check("MSG_WAITALL", err)
	equal("MSG_WAITALL", string(buf[:n]), "hello world")
	tv := unix.Timeval{Usec: 20000}
	check("SO_RCVTIMEO", unix.SetsockoptTimeval(b, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	begin := time.Now()
	_, err = unix.Read(b, buf)
	errorIs("read with a time limit", err, unix.EAGAIN)
	if d := time.Since(begin); d < 15*time.Millisecond {
		fail("a time limit of 20 ms ended after %v", d)
	}
	unix.Close(b)
	err = unix.Sendmsg(a, []byte("x"), nil, nil, unix.MSG_NOSIGNAL)
	errorIs("MSG_NOSIGNAL", err, unix.EPIPE)
	_, err = unix.Write(1000, nil)
	errorIs("no descriptor", err, unix.EBADF)
	var p [2]int
	check("pipe", unix.Pipe(p[:]))
	_, _, err = unix.Recvfrom(p[0], buf, 0)
	errorIs("recvfrom of a pipe", err, unix.ENOTSOCK)
}

func pollEvents(fd int) int16 {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT | unix.POLLRDHUP}}
	_, err := unix.Poll(p, 0)
	check("poll", err)
	return p[0].Revents
}

// unixPoll: the results of poll(2) for sockets in every state, and epoll's edges.
func unixPoll() {
	const in, out, hup, rdhup, perr = unix.POLLIN, unix.POLLOUT, unix.POLLHUP, unix.POLLRDHUP, unix.POLLERR
	equal("a new stream", pollEvents(unixSocket(unix.SOCK_STREAM)), int16(out|hup))
	equal("a new datagram socket", pollEvents(unixSocket(unix.SOCK_DGRAM)), int16(out))
	l, at := unixServer(unix.SOCK_STREAM, "")
	equal("a listener", pollEvents(l), int16(0))
	c := unixSocket(unix.SOCK_STREAM)
	check("connect", unix.Connect(c, at))
	equal("a listener with a connection", pollEvents(l), int16(in))
	s, _, err := unix.Accept(l)
	check("accept", err)
	equal("a connection", pollEvents(s), int16(out))
	sockSend(c, "x")
	equal("a connection with bytes", pollEvents(s), int16(in|out))
	equal("bytes", recvd(s, 10), "x")
	check("shutdown", unix.Shutdown(c, unix.SHUT_WR))
	equal("half closed", pollEvents(s), int16(in|out|rdhup))
	sockSend(s, "unread")
	unix.Close(c)
	equal("reset", pollEvents(s), int16(in|out|rdhup|hup|perr))
	// A full stream.
	a, b := unixPair(unix.SOCK_STREAM)
	unix.SetNonblock(a, true)
	total := 0
	for {
		n, err := unix.Write(a, make([]byte, 8192))
		if err != nil {
			errorIs("a full stream", err, unix.EAGAIN)
			break
		}
		total += n
	}
	equal("a full stream", pollEvents(a), int16(0))
	ep := newEpoll()
	check("epoll_ctl", epollCtl(ep, unix.EPOLL_CTL_ADD, a, unix.EPOLLOUT|unix.EPOLLET))
	ev := make([]unix.EpollEvent, 1)
	n, err := unix.EpollWait(ep, ev, 0)
	if n != 0 || err != nil {
		fail("epoll_wait: %d %v", n, err)
	}
	go func() {
		time.Sleep(10 * time.Millisecond)
		buf := make([]byte, 65536)
		for left := total; left > 0; {
			n, err := unix.Read(b, buf)
			if err != nil {
				return
			}
			left -= n
		}
	}()
	n, err = unix.EpollWait(ep, ev, 10000)
	if n != 1 || err != nil {
		fail("epoll_wait: %d %v", n, err)
	}
	// A full datagram receiver is full for the socket that is connected to it.
	d, dat := unixServer(unix.SOCK_DGRAM, "")
	e := unixSocket(unix.SOCK_DGRAM | unix.SOCK_NONBLOCK)
	check("connect", unix.Connect(e, dat))
	for {
		if _, err := unix.Write(e, []byte("x")); err != nil {
			break
		}
	}
	equal("a full receiver", pollEvents(e), int16(0))
	go func() {
		time.Sleep(10 * time.Millisecond)
		unix.Read(d, make([]byte, 1))
	}()
	p := []unix.PollFd{{Fd: int32(e), Events: unix.POLLOUT}}
	n, err = unix.Poll(p, 10000)
	if n != 1 || err != nil {
		fail("poll of a sender: %d %v", n, err)
	}
}

// unixOptions: getsockopt(2) and setsockopt(2).
func unixOptions() {
	l, _ := unixServer(unix.SOCK_STREAM, "")
	a, b := unixPair(unix.SOCK_SEQPACKET)
	get := func(fd, name int) int {
		v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, name)
		check(fmt.Sprint("getsockopt ", name), err)
		return v
	}
	equal("SO_TYPE", get(a, unix.SO_TYPE), unix.SOCK_SEQPACKET)
	equal("SO_DOMAIN", get(a, unix.SO_DOMAIN), unix.AF_UNIX)
	equal("SO_PROTOCOL", get(a, unix.SO_PROTOCOL), 0)
	equal("SO_ACCEPTCONN", get(l, unix.SO_ACCEPTCONN), 1)
	equal("SO_ACCEPTCONN", get(a, unix.SO_ACCEPTCONN), 0)
	equal("SO_ERROR", get(a, unix.SO_ERROR), 0)
	check("SO_SNDBUF", unix.SetsockoptInt(a, unix.SOL_SOCKET, unix.SO_SNDBUF, 10000))
	equal("SO_SNDBUF", get(a, unix.SO_SNDBUF), 20000)
	errorIs("a record larger than the buffer", func() error { _, err := unix.Write(a, make([]byte, 20000)); return err }(), unix.EMSGSIZE)
	check("SO_REUSEADDR", unix.SetsockoptInt(a, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	equal("SO_REUSEADDR", get(a, unix.SO_REUSEADDR), 1)
	errorIs("no option", unix.SetsockoptInt(a, unix.SOL_SOCKET, 9999, 1), unix.ENOPROTOOPT)
	_, err := unix.GetsockoptInt(a, unix.SOL_SOCKET, 9999)
	errorIs("no option", err, unix.ENOPROTOOPT)
	errorIs("another level", unix.SetsockoptInt(a, unix.IPPROTO_TCP, 1, 1), unix.EOPNOTSUPP)
	// What ioctl(2) sets fcntl(2) shows.
	for _, x := range []struct{ req, flag int }{{0x5421, unix.O_NONBLOCK}, {0x5452, unix.O_ASYNC}} { // FIONBIO, FIOASYNC
		for _, on := range []int{1, 0} {
			check("ioctl", unix.IoctlSetPointerInt(a, uint(x.req), on))
			flags, err := unix.FcntlInt(uintptr(a), unix.F_GETFL, 0)
			check("F_GETFL", err)
			equal("the flag", flags&x.flag, on*x.flag)
		}
	}
	sockSend(b, "unread")
	c, d := unixPair(unix.SOCK_STREAM)
	sockSend(c, "unread")
	unix.Close(d)
	equal("SO_ERROR of a reset one", get(c, unix.SO_ERROR), int(unix.ECONNRESET))
	equal("and then", get(c, unix.SO_ERROR), 0)
}

// unixGarbage: sockets to which only messages in each other refer are closed. That is
// visible by an object that they hold: the last writer of a pipe.
func unixGarbage() {
	for round := range 3 {
		var p [2]int
		check("pipe", unix.Pipe2(p[:], unix.O_CLOEXEC))
		a, b := unixPair(unix.SOCK_STREAM)
		c, d := unixPair(unix.SOCK_DGRAM)
		check("a to b", sendRights(a, "x", b, p[1]))
		if round > 0 { // a longer cycle
			check("a to d", sendRights(c, "x", a, b))
			check("c to b", sendRights(a, "x", c, d))
		} else {
			check("itself", sendRights(a, "x", a))
		}
		if round == 2 { // a connection that is not accepted
			l, at := unixServer(unix.SOCK_STREAM, "")
			e := unixSocket(unix.SOCK_STREAM)
			check("connect", unix.Connect(e, at))
			check("sendmsg", sendRights(e, "x", l, e))
			check("sendmsg", sendRights(c, "x", l))
			unix.Close(l)
			unix.Close(e)
		}
		for _, fd := range []int{p[1], a, b, c, d} {
			check("close", unix.Close(fd))
		}
		// Linux collects when the next socket is closed, in the background.
		x, y := unixPair(unix.SOCK_STREAM)
		unix.Close(x)
		unix.Close(y)
		fds := []unix.PollFd{{Fd: int32(p[0]), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 10000)
		if n != 1 || err != nil || fds[0].Revents != unix.POLLHUP {
			fail("round %d: poll: %d %v %#x: the pipe's other end is still open", round, n, err, fds[0].Revents)
		}
		unix.Close(p[0])
	}
	// A socket in a socket in a socket ...
	var p [2]int
	check("pipe", unix.Pipe2(p[:], unix.O_CLOEXEC))
	in := p[1]
	for range 200 {
		a, b := unixPair(unix.SOCK_STREAM)
		check("sendmsg", sendRights(a, "x", in))
		unix.Close(in)
		unix.Close(a)
		in = b
	}
	unix.Close(in)
	fds := []unix.PollFd{{Fd: int32(p[0]), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 10000)
	if n != 1 || err != nil || fds[0].Revents != unix.POLLHUP {
		fail("a chain: poll: %d %v %#x", n, err, fds[0].Revents)
	}
}

// unixExit: before wait returns, the data of an exiting process has arrived, its peer sees
// the end, and the descriptors that it had in flight to no receiver are closed.
func unixExit() {
	quiet()
	var p [2]int
	check("pipe", unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	a, b := unixPair(unix.SOCK_STREAM)
	c, d := unixPair(unix.SOCK_STREAM)
	oob := unix.UnixRights(p[1])
	text := []byte("last words")
	iov := unix.Iovec{Base: &text[0], Len: uint64(len(text))}
	h := unix.Msghdr{Iov: &iov, Iovlen: 1, Control: &oob[0], Controllen: uint64(len(oob))}
	hp := ptrAddr(&h)
	pid := fork(func() int {
		n, _, _ := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(c), hp, 0)
		if int(n) != len(text) {
			return 1
		}
		syscall.RawSyscall(unix.SYS_CLOSE, uintptr(b), 0, 0)
		n, _, _ = syscall.RawSyscall(unix.SYS_WRITE, uintptr(a), sliceAddr(text), uintptr(len(text)))
		if int(n) != len(text) {
			return 2
		}
		return 0
	})
	for _, fd := range []int{a, c, d, p[1]} {
		unix.Close(fd)
	}
	equal("child", wait(pid), 0)
	equal("its last words", recvd(b, 100), "last words")
	equal("then the end", recvd(b, 100), "")
	n, err := unix.Read(p[0], make([]byte, 1))
	if n != 0 || err != nil {
		fail("the pipe whose other end was in flight: %d %v", n, err)
	}
}

// unixMany: sendmmsg(2) and recvmmsg(2).
func unixMany() {
	a, b := unixPair(unix.SOCK_DGRAM)
	type mmsghdr struct {
		h   unix.Msghdr
		n   uint32
		pad uint32
	}
	const count = 5
	out, in := make([]mmsghdr, count), make([]mmsghdr, count+1)
	iov, room := make([]unix.Iovec, count), make([]unix.Iovec, count+1)
	bufs := make([][]byte, count+1)
	for i := range in {
		if i < count {
			text := []byte(strings.Repeat("x", i+1))
			iov[i] = unix.Iovec{Base: &text[0], Len: uint64(len(text))}
			out[i].h = unix.Msghdr{Iov: &iov[i], Iovlen: 1}
		}
		bufs[i] = make([]byte, 100)
		room[i] = unix.Iovec{Base: &bufs[i][0], Len: 100}
		in[i].h = unix.Msghdr{Iov: &room[i], Iovlen: 1}
	}
	n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(a), ptrAddr(&out[0]), count, 0, 0, 0)
	if n != count || e != 0 {
		fail("sendmmsg: %d %v", n, e)
	}
	n, _, e = unix.Syscall6(unix.SYS_RECVMMSG, uintptr(b), ptrAddr(&in[0]), count+1, unix.MSG_WAITFORONE, 0, 0)
	if n != count || e != 0 {
		fail("recvmmsg: %d %v", n, e)
	}
	for i := range count {
		equal("sent", out[i].n, uint32(i+1))
		equal("received", in[i].n, uint32(i+1))
	}
	n, _, e = unix.Syscall6(unix.SYS_RECVMMSG, uintptr(b), ptrAddr(&in[0]), 1, unix.MSG_DONTWAIT, 0, 0)
	if e != unix.EAGAIN {
		fail("recvmmsg of nothing: %d %v", n, e)
	}
}

// unixErrors: invalid calls.
func unixErrors() {
	_, err := unix.Socket(unix.AF_UNIX, 77, 0)
	errorIs("a type that there is not", err, unix.EINVAL)
	_, err = unix.Socket(unix.AF_UNIX, unix.SOCK_RDM, 0)
	errorIs("SOCK_RDM", err, unix.ESOCKTNOSUPPORT)
	_, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 77)
	errorIs("a protocol that there is not", err, unix.EPROTONOSUPPORT)
	_, err = unix.Socket(200, unix.SOCK_STREAM, 0)
	errorIs("a family that there is not", err, unix.EAFNOSUPPORT)
	s, d := unixSocket(unix.SOCK_STREAM), unixSocket(unix.SOCK_DGRAM)
	errorIs("listen without a name", unix.Listen(s, 1), unix.EINVAL)
	errorIs("listen for datagrams", unix.Listen(d, 1), unix.EOPNOTSUPP)
	_, _, err = unix.Accept(s)
	errorIs("accept without listen", err, unix.EINVAL)
	_, _, err = unix.Accept(d)
	errorIs("accept of datagrams", err, unix.EOPNOTSUPP)
	_, err = unix.Getpeername(s)
	errorIs("getpeername", err, unix.ENOTCONN)
	_, err = unix.Read(s, make([]byte, 1))
	errorIs("read of an unconnected stream", err, unix.EINVAL)
	_, err = unix.Write(s, make([]byte, 1))
	errorIs("write to an unconnected stream", err, unix.ENOTCONN)
	errorIs("shutdown how", unix.Shutdown(s, 5), unix.EINVAL)
	_, err = unix.Seek(s, 0, 0)
	errorIs("lseek", err, unix.ESPIPE)
	a, _ := unixPair(unix.SOCK_STREAM)
	_, _, err = unix.Recvfrom(a, make([]byte, 1), unix.MSG_OOB|unix.MSG_DONTWAIT)
	if err != unix.EOPNOTSUPP && err != unix.EINVAL { // Linux 5.15 has it for streams
		fail("MSG_OOB: %v", err)
	}
	errorIs("an address of a connected stream", unix.Sendto(a, []byte("x"), 0, &unix.SockaddrUnix{Name: "@no"}), unix.EISCONN)
	l, at := unixServer(unix.SOCK_STREAM, "")
	errorIs("connect of a listener", unix.Connect(l, at), unix.EINVAL)
	for _, bad := range [][]byte{{}, {1}, {2, 0, 'x'}, bytes.Repeat([]byte{1, 0}, 60)} {
		_, _, e := unix.Syscall(unix.SYS_BIND, uintptr(s), sliceAddr(append(bad, 0)), uintptr(len(bad)))
		if e != unix.EINVAL {
			fail("bind to %v: %v", bad, e)
		}
	}
	_, _, e := unix.Syscall(unix.SYS_BIND, uintptr(s), 8, 10)
	errorIs("bind to a bad address", e, unix.EFAULT)
	_, _, e = unix.Syscall(unix.SYS_SENDMSG, uintptr(a), 8, 0)
	errorIs("sendmsg of a bad address", e, unix.EFAULT)
}

// unixBig: much more data than the buffers hold goes through a stream, in order, and
// through records.
func unixBig() {
	for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET} {
		a, b := unixPair(typ)
		const size = 4 << 20
		go func() {
			buf := make([]byte, 50000)
			for at := 0; at < size; {
				n := min(len(buf), size-at, 1+at%50000)
				for i := range n {
					buf[i] = byte((at + i) * 7 >> 3)
				}
				k, err := unix.Write(a, buf[:n])
				if err != nil {
					fail("write: %v", err)
				}
				at += k
			}
			unix.Close(a)
		}()
		buf := make([]byte, 70000)
		at := 0
		for {
			n, err := unix.Read(b, buf)
			check("read", err)
			if n == 0 {
				break
			}
			for i, c := range buf[:n] {
				if c != byte((at+i)*7>>3) {
					fail("byte %d is %d", at+i, c)
				}
			}
			at += n
		}
		equal("bytes", at, size)
	}
}

// sliceAddr and ptrAddr return addresses for raw system calls. Their arguments stay alive
// because the caller uses them later, or has them in a package variable.
func sliceAddr(b []byte) uintptr { return uintptr(unsafe.Pointer(&b[0])) }

func ptrAddr[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }
