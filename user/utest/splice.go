package main

import (
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

var spliceTests = []test{
	{name: "splice", run: spliceMoves},
	{name: "splice-arguments", run: spliceArguments},
	{name: "tee", run: teeCopies},
	{name: "vmsplice", run: vmsplices},
	{name: "preadv2", run: preadv2Offsets},
	{name: "signalfd", run: signalfdReads},
	{name: "signalfd-poll", run: signalfdPolls},
}

func pipe() (r, w int) {
	var p [2]int
	check("pipe", unix.Pipe(p[:]))
	return p[0], p[1]
}

func readFD(fd, n int) string {
	b := make([]byte, n)
	n, err := unix.Read(fd, b)
	check("read", err)
	return string(b[:n])
}

func fileWith(text string) *os.File {
	f := tmpfile()
	f.WriteString(text)
	f.Seek(0, 0)
	return f
}

// spliceMoves: file to pipe, pipe to pipe, pipe to file, with and without offsets.
func spliceMoves() {
	f := fileWith("0123456789")
	r, w := pipe()
	r2, w2 := pipe()
	n, err := unix.Splice(int(f.Fd()), nil, w, nil, 4, 0)
	check("file to pipe", err)
	equal("moved", n, 4)
	off := int64(6)
	n, err = unix.Splice(int(f.Fd()), &off, w, nil, 100, 0)
	check("file to pipe at an offset", err)
	equal("moved", n, 4)
	equal("offset", off, 10)
	pos, _ := f.Seek(0, 1)
	equal("the file's own offset", pos, 4)
	n, err = unix.Splice(r, nil, w2, nil, 6, 0)
	check("pipe to pipe", err)
	equal("moved", n, 6)
	g := tmpfile()
	off = 3
	n, err = unix.Splice(r2, nil, int(g.Fd()), &off, 100, 0)
	check("pipe to file", err)
	equal("moved", n, 6)
	b, _ := os.ReadFile("/proc/self/fd/" + itoa(int(g.Fd())))
	equal("written", string(b), "\x00\x00\x00012367")
	equal("rest", readFD(r, 10), "89")
	_, err = unix.Splice(r, nil, w2, nil, 1, unix.SPLICE_F_NONBLOCK)
	equal("empty", err, error(unix.EAGAIN))
	unix.Close(w)
	n, err = unix.Splice(r, nil, w2, nil, 1, 0)
	check("at the end", err)
	equal("moved", n, 0)
}

func spliceArguments() {
	f := fileWith("0123456789")
	r, w := pipe()
	off := int64(0)
	_, err := unix.Splice(int(f.Fd()), nil, int(f.Fd()), nil, 1, 0)
	equal("no pipe", err, error(unix.EINVAL))
	_, err = unix.Splice(r, nil, w, nil, 1, 0)
	equal("one pipe", err, error(unix.EINVAL))
	_, err = unix.Splice(r, &off, int(f.Fd()), nil, 1, 0)
	equal("offset of a pipe", err, error(unix.ESPIPE))
	_, err = unix.Splice(int(f.Fd()), nil, r, nil, 1, 0)
	equal("to the wrong end", err, error(unix.EBADF))
	_, err = unix.Splice(r, nil, int(f.Fd()), nil, 1, 0x100)
	equal("flags", err, error(unix.EINVAL))
	a, err := os.OpenFile("/proc/self/fd/"+itoa(int(f.Fd())), os.O_WRONLY|os.O_APPEND, 0)
	check("open", err)
	_, err = unix.Splice(r, nil, int(a.Fd()), nil, 1, 0)
	equal("to a file that appends", err, error(unix.EINVAL))
	unix.Close(r)
}

// teeCopies: tee leaves the data that it copies.
func teeCopies() {
	r, w := pipe()
	r2, w2 := pipe()
	unix.Write(w, []byte("hello"))
	n, err := unix.Tee(r, w2, 3, 0)
	check("tee", err)
	equal("copied", n, 3)
	equal("copy", readFD(r2, 10), "hel")
	equal("original", readFD(r, 10), "hello")
	_, err = unix.Tee(r, w, 1, 0)
	equal("one pipe", err, error(unix.EINVAL))
	_, err = unix.Tee(r, w2, 1, unix.SPLICE_F_NONBLOCK)
	equal("empty", err, error(unix.EAGAIN))
}

func vmsplices() {
	r, w := pipe()
	b := []byte("from memory")
	iov := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	n, err := unix.Vmsplice(w, iov, 0)
	check("vmsplice", err)
	equal("moved", n, len(b))
	equal("read", readFD(r, 100), "from memory")
	f := tmpfile()
	_, err = unix.Vmsplice(int(f.Fd()), iov, 0)
	equal("no pipe", err, error(unix.EBADF))
}

func preadv2Offsets() {
	f := fileWith("0123456789")
	b := make([]byte, 3)
	n, err := unix.Preadv2(int(f.Fd()), [][]byte{b}, 5, 0)
	check("preadv2", err)
	equal("read", string(b[:n]), "567")
	n, err = unix.Preadv2(int(f.Fd()), [][]byte{b}, -1, 0)
	check("preadv2", err)
	equal("at the file's offset", string(b[:n]), "012")
	_, err = unix.Preadv2(int(f.Fd()), [][]byte{b}, 0, 1<<20)
	equal("flags", err, error(unix.EOPNOTSUPP))
	_, err = unix.Pwritev2(int(f.Fd()), [][]byte{[]byte("xy")}, 8, 0)
	check("pwritev2", err)
	pos, _ := f.Seek(0, 1)
	equal("offset", pos, 3)
	_, err = unix.Preadv2(9999, [][]byte{b}, 0, 0)
	equal("no descriptor", err, error(unix.EBADF))
}

func sigfd(set *unix.Sigset_t, flags int) int {
	fd, err := unix.Signalfd(-1, set, flags)
	check("signalfd", err)
	return fd
}

// signalfdReads: blocked signals are read, with the sender and the value.
func signalfdReads() {
	b := block(40)
	fd := sigfd(&b.set, unix.SFD_NONBLOCK)
	var info [128]byte
	_, err := unix.Read(fd, info[:])
	equal("none", err, error(unix.EAGAIN))
	_, err = unix.Read(fd, info[:100])
	equal("too short", err, error(unix.EINVAL))
	sysMust(unix.SYS_TGKILL, uintptr(unix.Getpid()), uintptr(unix.Gettid()), 40)
	n, err := unix.Read(fd, info[:])
	check("read", err)
	equal("bytes", n, 128)
	equal("signal", word32(info[:], 0), 40)
	equal("sender", int(word32(info[:], 12)), os.Getpid())
	_, err = unix.Signalfd(0, &b.set, 0)
	equal("no signalfd", err, error(unix.EINVAL))
	equal("size", sysErr(unix.SYS_SIGNALFD4, ^uintptr(0), ptr(&b.set), 4, 0), unix.EINVAL)
	equal("flags", sysErr(unix.SYS_SIGNALFD4, ^uintptr(0), ptr(&b.set), 8, 1), unix.EINVAL)
}

// signalfdPolls: a signal wakes poll(2).
func signalfdPolls() {
	b := block(40)
	fd := sigfd(&b.set, 0)
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	check("poll", err)
	equal("ready", n, 0)
	pid, tid := uintptr(unix.Getpid()), uintptr(unix.Gettid())
	go func() {
		runtime.LockOSThread()
		time.Sleep(5 * time.Millisecond)
		sysMust(unix.SYS_TGKILL, pid, tid, 40)
	}()
	for {
		n, err = unix.Poll(p, 5000)
		if err != unix.EINTR {
			break
		}
	}
	check("poll", err)
	equal("ready", n, 1)
	var info [128]byte
	_, err = unix.Read(fd, info[:])
	check("read", err)
	equal("signal", word32(info[:], 0), 40)
}
