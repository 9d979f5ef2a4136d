package main

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var shortTests = []test{
	{name: "short-counts", run: shortCounts},
	{name: "copy-range", run: copyRange},
}

// iov is one struct iovec.
type iov struct{ base, n uintptr }

// shortCounts: a transfer that meets a bad page returns the number of bytes moved before
// it, and the offset of the file moves by that number.
func shortCounts() {
	f, err := os.CreateTemp("", "short")
	check("create", err)
	defer os.Remove(f.Name())
	text := make([]byte, 40000)
	for i := range text {
		text[i] = byte(i*7 + i>>8)
	}
	_, err = f.Write(text)
	check("write", err)
	fd := f.Fd()
	m := anon(6 * 4096) // five pages, followed by none
	check("mprotect", unix.Mprotect(m[5*4096:], unix.PROT_NONE))
	end := addr(m) + 5*4096
	seek := func(off int64) {
		_, err := f.Seek(off, 0)
		check("seek", err)
	}
	where := func() int64 {
		off, err := f.Seek(0, 1)
		check("seek", err)
		return off
	}
	moves := func(what string, want uintptr, nr uintptr, args ...uintptr) {
		var a [6]uintptr
		copy(a[:], args)
		n, _, errno := syscall.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		if errno != 0 || n != want {
			fail("%s: %d %v, want %d", what, n, errno, want)
		}
	}
	same := func(what string, got, want []byte) {
		if string(got) != string(want) {
			fail("%s: wrong bytes", what)
		}
	}

	moves("pread of 8 with 1 byte there", 1, unix.SYS_PREAD64, fd, end-1, 8, 0)
	moves("pread of 30000 with 20480 there", 20480, unix.SYS_PREAD64, fd, end-20480, 30000, 100)
	same("pread", m[:20480], text[100:100+20480])
	seek(50)
	moves("read of 30000 with 20000 there", 20000, unix.SYS_READ, fd, end-20000, 30000)
	equal("offset after a short read", where(), 20050)
	wantErr("read into nothing", unix.EFAULT, unix.SYS_READ, fd, end, 8)
	equal("offset after EFAULT", where(), 20050)
	v := []iov{{end - 5000, 5000}, {end - 3, 10}, {end - 100, 10}}
	seek(0)
	moves("readv, second piece half there", 5003, unix.SYS_READV, fd, uintptr(unsafe.Pointer(&v[0])), 3)
	equal("offset after a short readv", where(), 5003)
	moves("preadv", 5003, unix.SYS_PREADV, fd, uintptr(unsafe.Pointer(&v[0])), 3, 0)

	seek(0)
	moves("write of 30000 with 20480 there", 20480, unix.SYS_WRITE, fd, end-20480, 30000)
	equal("offset after a short write", where(), 20480)
	moves("pwrite of 8 with 3 there", 3, unix.SYS_PWRITE64, fd, end-3, 8, 39999)
	fi, err := f.Stat()
	check("stat", err)
	equal("size after a short pwrite", fi.Size(), 40002)
	v = []iov{{end - 20000, 20000}, {end - 4096, 4096}, {end - 7, 10}, {end - 100, 10}}
	moves("pwritev, third piece half there", 24103, unix.SYS_PWRITEV, fd, uintptr(unsafe.Pointer(&v[0])), 4, 0)
	wantErr("pwrite from nothing", unix.EFAULT, unix.SYS_PWRITE64, fd, end, 8, 0)

	n, _, errno := syscall.Syscall(unix.SYS_GETRANDOM, end-100, 300, 0)
	if errno != 0 || n != 100 {
		fail("getrandom of 300 with 100 there: %d %v", n, errno)
	}
	zero, err := os.Open("/dev/zero")
	check("open", err)
	moves("read of /dev/zero, 20480 there", 20480, unix.SYS_READ, zero.Fd(), end-20480, 30000)

	dir, err := os.MkdirTemp("", "short")
	check("mkdir", err)
	defer os.RemoveAll(dir)
	for _, name := range []string{"aaaa", "bbbb", "cccc"} {
		check("create", os.WriteFile(dir+"/"+name, nil, 0o600))
	}
	d, err := os.Open(dir)
	check("open", err)
	// Records of 24 bytes: there is room for two and a half.
	moves("getdents, 60 bytes there", 48, unix.SYS_GETDENTS64, d.Fd(), end-60, 200)
	wantErr("getdents into nothing", unix.EFAULT, unix.SYS_GETDENTS64, d.Fd(), end-10, 200)
	got := 2
	for {
		b := make([]byte, 30)
		n, err := unix.Getdents(int(d.Fd()), b)
		check("getdents", err)
		if n == 0 {
			break
		}
		got++
	}
	equal("entries in all", got, 5)

	var p [2]int
	p, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	check("socketpair", err)
	_, err = unix.Write(p[0], text[:5000])
	check("write", err)
	b := make([]byte, 5000)
	k := uintptr(0)
	n, _, errno = syscall.Syscall(unix.SYS_READ, uintptr(p[1]), end-4096, 5000)
	if errno == 0 {
		k = n
		copy(b, m[4*4096:5*4096])
	} else if errno != unix.EFAULT {
		fail("read of a socket: %v", errno)
	}
	for int(k) < len(b) {
		n, err := unix.Read(p[1], b[k:])
		check("read", err)
		k += uintptr(n)
	}
	same("socket", b, text[:5000])
}

// copyRange: copy_file_range and sendfile within one file, and their errors.
func copyRange() {
	f, err := os.CreateTemp("", "range")
	check("create", err)
	defer os.Remove(f.Name())
	_, err = f.WriteString("0123456789")
	check("write", err)
	fd := int(f.Fd())
	from, to := int64(0), int64(5)
	_, err = unix.CopyFileRange(fd, &from, fd, &to, 6, 0)
	equal("overlapping ranges", err, error(unix.EINVAL))
	n, err := unix.CopyFileRange(fd, &from, fd, &to, 5, 0)
	if n != 5 || err != nil || from != 5 || to != 10 {
		fail("copy_file_range: %d %v, offsets %d %d", n, err, from, to)
	}
	var p [2]int
	check("pipe", unix.Pipe2(p[:], unix.O_NONBLOCK))
	_, err = unix.CopyFileRange(fd, nil, p[1], nil, 5, 0)
	equal("into a pipe", err, error(unix.EINVAL))
	from = 2
	n, err = unix.Sendfile(p[1], fd, &from, 3)
	if n != 3 || err != nil || from != 5 {
		fail("sendfile: %d %v, offset %d", n, err, from)
	}
	b := make([]byte, 10)
	n, err = unix.Read(p[0], b)
	check("read", err)
	equal("sent", string(b[:n]), "234")
	_, err = unix.Sendfile(fd, p[0], nil, 3)
	equal("sendfile out of a pipe", err, error(unix.EINVAL))
}
