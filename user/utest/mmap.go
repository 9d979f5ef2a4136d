package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

var mapTests = []test{
	{name: "map-seals", run: mapSeals},
	{name: "map-errors", run: mapErrors},
	{name: "map-grows-down", run: mapGrowsDown},
	{name: "map-protect-hole", run: mapProtectHole},
	{name: "map-remap-keep", run: mapRemapKeep},
	{name: "file-half-mapped-buffer", run: fileHalfMapped},
	{name: "file-copy-range", run: fileCopyRange},
}

// mapAt is mmap(2) itself. It returns an address or an errno.
func mapAt(va, n uintptr, prot, flags int, fd int, off uint64) (uintptr, syscall.Errno) {
	p, _, e := syscall.Syscall6(unix.SYS_MMAP, va, n, uintptr(prot), uintptr(flags), uintptr(fd), uintptr(off))
	return p, e
}

// memfd returns an empty file in memory of n bytes that can be sealed.
func memfd(n int64) int {
	fd, err := unix.MemfdCreate("test", unix.MFD_ALLOW_SEALING)
	check("memfd_create", err)
	check("ftruncate", unix.Ftruncate(fd, n))
	return fd
}

func seal(fd, seals int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	return err
}

// mapSeals: F_SEAL_WRITE is refused as long as any shared mapping can write, in whatever
// process and however it was made. After it, no mapping can. Seen to fail without the count
// of such mappings, which the tests of package vm recount.
func mapSeals() {
	quiet()
	fd := memfd(4 * 4096)
	m, err := unix.Mmap(fd, 0, 4*4096, rw, unix.MAP_SHARED)
	check("mmap", err)
	busy := func(when string) {
		if err := seal(fd, unix.F_SEAL_WRITE); err != unix.EBUSY {
			fail("seal %s: %v, want EBUSY", when, err)
		}
	}
	busy("with a writable mapping")
	check("mprotect", unix.Mprotect(m, unix.PROT_READ))
	busy("with a mapping that can be made writable")
	check("munmap", munmap(m[4096:8192]))
	check("munmap", munmap(m[:4096]))
	busy("with a part of the mapping left")
	var hold [2]int
	check("pipe", unix.Pipe(hold[:]))
	pid := fork(func() int { // keeps the mapping until it is told to end
		syscall.RawSyscall(unix.SYS_CLOSE, uintptr(hold[1]), 0, 0)
		var b [1]byte
		syscall.RawSyscall(unix.SYS_READ, uintptr(hold[0]), ptr(&b), 1)
		return 0
	})
	check("munmap", munmap(m[8192:]))
	busy("with the mapping of a child")
	unix.Close(hold[1])
	equal("status", wait(pid), 0)
	p, err := unix.Mmap(fd, 0, 4096, rw, unix.MAP_PRIVATE) // does not count
	check("private mmap", err)
	check("seal", seal(fd, unix.F_SEAL_WRITE))
	p[0] = 1
	if _, e := mapAt(0, 4096, rw, unix.MAP_SHARED, fd, 0); e != unix.EPERM {
		fail("writable shared mmap of a sealed file: %v, want EPERM", e)
	}
	if _, err := unix.Pwrite(fd, []byte{1}, 0); err != unix.EPERM {
		fail("write to a sealed file: %v, want EPERM", err)
	}
	_, err = unix.Mmap(fd, 0, 4096, rw, unix.MAP_PRIVATE)
	check("private mmap of a sealed file", err)

	fd = memfd(4096)
	old, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	check("mmap", err)
	check("seal future writes", seal(fd, unix.F_SEAL_FUTURE_WRITE))
	check("mprotect of a mapping made before", unix.Mprotect(old, rw))
	old[0] = 1
	if _, e := mapAt(0, 4096, rw, unix.MAP_SHARED, fd, 0); e != unix.EPERM {
		fail("writable shared mmap: %v, want EPERM", e)
	}
	read, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	check("shared mmap for reading", err)
	equal("byte", read[0], byte(1))
	if err := unix.Mprotect(read, rw); err != unix.EACCES {
		fail("mprotect of a mapping made after: %v, want EACCES", err)
	}
	if err := seal(fd, unix.F_SEAL_WRITE); err != unix.EBUSY {
		fail("seal with the old mapping: %v, want EBUSY", err)
	}
	check("munmap", munmap(old))
	check("seal", seal(fd, unix.F_SEAL_WRITE))

	f, err := os.CreateTemp("", "seal")
	check("create", err)
	defer os.Remove(f.Name())
	if err := seal(int(f.Fd()), unix.F_SEAL_WRITE); err != unix.EINVAL {
		fail("seal of an ordinary file: %v, want EINVAL", err)
	}
}

// mapErrors: which error mmap(2) returns if several are possible.
func mapErrors() {
	f, err := os.CreateTemp("", "map")
	check("create", err)
	defer os.Remove(f.Name())
	check("truncate", f.Truncate(8192))
	fd := int(f.Fd())
	wronly, err := unix.Open(f.Name(), unix.O_WRONLY, 0)
	check("open", err)
	path, err := unix.Open(f.Name(), unix.O_PATH, 0)
	check("open", err)
	dir, err := unix.Open(os.TempDir(), unix.O_RDONLY, 0)
	check("open", err)
	zero, err := unix.Open("/dev/zero", unix.O_RDWR, 0)
	check("open", err)
	const (
		private, shared, validate, anon = unix.MAP_PRIVATE, unix.MAP_SHARED, unix.MAP_SHARED_VALIDATE, unix.MAP_ANON
		read                            = unix.PROT_READ
		top                             = uint64(1) << 63
	)
	for _, c := range []struct {
		name  string
		n     uintptr
		prot  int
		flags int
		fd    int
		off   uint64
		want  syscall.Errno
	}{
		{"length 0, bad descriptor", 0, read, private, 99, 0, unix.EBADF},
		{"odd offset, bad descriptor", 0, read, private, 99, 1, unix.EINVAL},
		{"no type, bad descriptor", 4096, read, 0, 99, 0, unix.EBADF},
		{"O_PATH", 4096, read, private, path, 0, unix.EBADF},
		{"length 0", 0, read, private, fd, 0, unix.EINVAL},
		{"everything", ^uintptr(0), read, private, fd, 0, unix.ENOMEM},
		{"no type", 4096, read, 0, fd, 0, unix.EINVAL},
		{"validate", 4096, read, validate, fd, 0, 0},
		{"validate, an unknown flag", 4096, read, validate | 0x8000000, fd, 0, 0}, // part of MAP_HUGE_*
		{"validate, MAP_SYNC", 4096, read, validate | unix.MAP_SYNC, fd, 0, unix.EOPNOTSUPP},
		{"validate, MAP_FIXED_NOREPLACE", 4096, read, validate | unix.MAP_FIXED_NOREPLACE, fd, 0, unix.EOPNOTSUPP},
		{"validate, anonymous", 4096, read, validate | anon, -1, 0, unix.EINVAL},
		{"offset at the end of all", 4096, read, shared, fd, top - 4096, unix.EOVERFLOW},
		{"offset beyond", 4096, read, shared, fd, top, unix.EOVERFLOW},
		{"offset at the end of 64 bits", 4096, read, private, fd, ^uint64(4095), unix.EOVERFLOW},
		{"anonymous, offset", 4096, read, private | anon, -1, top, 0},
		{"anonymous, odd offset", 4096, read, private | anon, -1, 1, unix.EINVAL},
		{"/dev/zero, offset", 4096, read, private, zero, top, 0},
		{"growing, file", 4096, rw, private | unix.MAP_GROWSDOWN, fd, 0, unix.EINVAL},
		{"growing, /dev/zero", 4096, rw, private | unix.MAP_GROWSDOWN, zero, 0, unix.EINVAL},
		{"growing, shared", 4096, rw, shared | anon | unix.MAP_GROWSDOWN, -1, 0, unix.EINVAL},
		{"growing, file not open for reading", 4096, rw, private | unix.MAP_GROWSDOWN, wronly, 0, unix.EACCES},
		{"directory", 4096, read, private, dir, 0, unix.ENODEV},
	} {
		va, e := mapAt(0, c.n, c.prot, c.flags, c.fd, c.off)
		if e != c.want {
			fail("mmap: %s: %v, want %v", c.name, e, c.want)
		}
		if e == 0 {
			check("munmap", munmap(at(va, int(c.n))))
		}
	}
	b := anon2(4096)
	for _, c := range []struct {
		name       string
		va, n      uintptr
		prot, want uintptr
	}{
		{"odd address, length 0", b + 1, 0, 7, uintptr(unix.EINVAL)},
		{"length 0, bad protection", b, 0, 0xffff, 0},
		{"bad protection", b, 1, 0xffff, uintptr(unix.EINVAL)},
		{"everything", b, ^uintptr(0), 1, uintptr(unix.ENOMEM)},
		{"to the end", b, -b, 1, uintptr(unix.ENOMEM)},
	} {
		if _, _, e := syscall.Syscall(unix.SYS_MPROTECT, c.va, c.n, c.prot); uintptr(e) != c.want {
			fail("mprotect: %s: %v, want %v", c.name, e, syscall.Errno(c.want))
		}
	}
}

// anon2 returns the address of new memory.
func anon2(n int) uintptr { return addr(anon(n)) }

// mapGrowsDown: a growing mapping of anonymous memory grows to the page below it. No other
// mapping does.
func mapGrowsDown() {
	quiet()
	f, err := os.CreateTemp("", "map")
	check("create", err)
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 8192))
	check("write", err)
	area := anon2(4 << 20) // the gap below a growing mapping must be empty
	check("munmap", munmap(at(area, 4<<20)))
	va := area + 3<<20
	if _, e := mapAt(va, 4096, rw, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_GROWSDOWN, int(f.Fd()), 0); e != unix.EINVAL {
		fail("growing mapping of a file: %v, want EINVAL", e)
	}
	if _, e := mapAt(va, 4096, rw, unix.MAP_PRIVATE|unix.MAP_FIXED, int(f.Fd()), 0); e != 0 {
		fail("mmap: %v", e)
	}
	killedBy("store below a file", touch(at(va-4096, 4096), 0, true), unix.SIGSEGV)
	if _, e := mapAt(va, 4096, rw, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_ANON|unix.MAP_GROWSDOWN, -1, 0); e != 0 {
		fail("mmap: %v", e)
	}
	equal("store below a stack", touch(at(va-4096, 4096), 0, true), 0)
}

// mapProtectHole: mprotect(2) changes the pages before a hole, then returns ENOMEM.
func mapProtectHole() {
	quiet()
	b := anon(4 * 4096)
	check("mprotect", unix.Mprotect(b, unix.PROT_READ))
	check("munmap", munmap(b[8192:12288]))
	if err := unix.Mprotect(b[4096:], rw); err != unix.ENOMEM {
		fail("mprotect over a hole: %v, want ENOMEM", err)
	}
	killedBy("store before the range", touch(b, 0, true), unix.SIGSEGV)
	equal("store before the hole", touch(b, 4096, true), 0)
	killedBy("store after the hole", touch(b, 12288, true), unix.SIGSEGV)
	if err := unix.Mprotect(b[8192:], rw); err != unix.ENOMEM {
		fail("mprotect that starts in a hole: %v, want ENOMEM", err)
	}
	killedBy("store after the hole", touch(b, 12288, true), unix.SIGSEGV)
	// A mapping that may not become writable stops it as well.
	f, err := os.CreateTemp("", "map")
	check("create", err)
	defer os.Remove(f.Name())
	check("truncate", f.Truncate(4096))
	ro, err := unix.Open(f.Name(), unix.O_RDONLY, 0)
	check("open", err)
	c := anon(3 * 4096)
	check("mprotect", unix.Mprotect(c, unix.PROT_READ))
	if _, e := mapAt(addr(c)+4096, 4096, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_FIXED, ro, 0); e != 0 {
		fail("mmap: %v", e)
	}
	if err := unix.Mprotect(c, rw); err != unix.EACCES {
		fail("mprotect of a file open for reading: %v, want EACCES", err)
	}
	equal("store before it", touch(c, 0, true), 0)
	killedBy("store after it", touch(c, 8192, true), unix.SIGSEGV)
}

// mapRemapKeep: MREMAP_DONTUNMAP moves the pages and keeps the mapping, for memory and for
// files. Both lengths must be equal.
func mapRemapKeep() {
	const keep = unix.MREMAP_MAYMOVE | unix.MREMAP_DONTUNMAP
	remap := func(va, old, n uintptr) (uintptr, syscall.Errno) {
		p, _, e := syscall.Syscall6(unix.SYS_MREMAP, va, old, n, keep, 0, 0)
		return p, e
	}
	b := anon(4 * 4096)
	b[0], b[4096] = 1, 2
	for _, c := range [][2]uintptr{{4096, 8192}, {8192, 4096}, {0, 4096}, {4096, 0}} {
		if _, e := remap(addr(b), c[0], c[1]); e != unix.EINVAL {
			fail("mremap of %d to %d bytes: %v, want EINVAL", c[0], c[1], e)
		}
	}
	p, e := remap(addr(b), 8192, 8192)
	if e != 0 {
		fail("mremap: %v", e)
	}
	n := at(p, 8192)
	equal("bytes moved", [2]byte{n[0], n[4096]}, [2]byte{1, 2})
	equal("bytes left", [2]byte{b[0], b[4096]}, [2]byte{0, 0})
	fd := memfd(8192)
	m, err := unix.Mmap(fd, 0, 8192, rw, unix.MAP_SHARED)
	check("mmap", err)
	m[4096] = 7
	if p, e = remap(addr(m), 8192, 8192); e != 0 {
		fail("mremap of a file: %v", e)
	}
	n = at(p, 8192)
	equal("bytes of the file", [2]byte{n[4096], m[4096]}, [2]byte{7, 7})
	n[0] = 9
	equal("byte of the file", m[0], byte(9))
}

// fileHalfMapped: a write from a buffer that ends in a hole writes the part before the
// hole.
func fileHalfMapped() {
	f, err := os.CreateTemp("", "half")
	check("create", err)
	defer os.Remove(f.Name())
	b := anon(3 * 4096)
	for i := range b {
		b[i] = byte(i)
	}
	check("munmap", munmap(b[8192:]))
	edge := addr(b) + 8192
	pwrite := func(p, n uintptr) (int, syscall.Errno) {
		got, _, e := syscall.Syscall6(unix.SYS_PWRITE64, f.Fd(), p, n, 0, 0, 0)
		return int(got), e
	}
	for _, c := range []struct{ before, n, want int }{{4, 16, 4}, {4096, 4097, 4096}, {5000, 9000, 5000}, {16, 16, 16}} {
		if n, e := pwrite(edge-uintptr(c.before), uintptr(c.n)); n != c.want || e != 0 {
			fail("pwrite of %d bytes, %d of them there: %d, %v", c.n, c.before, n, e)
		}
		got := make([]byte, c.want)
		_, err := f.ReadAt(got, 0)
		check("read", err)
		equal("bytes", string(got), string(b[8192-c.before:][:c.want]))
	}
	if _, e := pwrite(edge, 1); e != unix.EFAULT {
		fail("pwrite from a hole: %v, want EFAULT", e)
	}
	iov := [3][2]uintptr{{edge - 100, 50}, {edge - 30, 60}, {addr(b), 10}}
	n, _, e := syscall.Syscall(unix.SYS_WRITEV, f.Fd(), ptr(&iov), 3)
	if int(n) != 80 || e != 0 {
		fail("writev with a half mapped piece: %d, %v, want 80", int(n), e)
	}
	iov[0][0] = edge
	if _, _, e = syscall.Syscall(unix.SYS_WRITEV, f.Fd(), ptr(&iov), 3); e != unix.EFAULT {
		fail("writev whose first piece is not mapped: %v, want EFAULT", e)
	}
}

// fileCopyRange: the calls that copy_file_range(2) refuses.
func fileCopyRange() {
	f, err := os.CreateTemp("", "range")
	check("create", err)
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 8192))
	check("write", err)
	fd := int(f.Fd())
	app, err := unix.Open(f.Name(), unix.O_WRONLY|unix.O_APPEND, 0)
	check("open", err)
	wronly, err := unix.Open(f.Name(), unix.O_WRONLY, 0)
	check("open", err)
	dir, err := unix.Open(os.TempDir(), unix.O_RDONLY, 0)
	check("open", err)
	var p [2]int
	check("pipe", unix.Pipe(p[:]))
	for _, c := range []struct {
		name   string
		in     int
		inOff  int64
		out    int
		outOff int64
		n      int
		flags  int
		want   int
		err    error
	}{
		{"the same range", fd, 0, fd, 0, 10, 0, -1, unix.EINVAL},
		{"overlapping", fd, 0, fd, 5, 10, 0, -1, unix.EINVAL},
		{"overlapping before", fd, 5, fd, 0, 10, 0, -1, unix.EINVAL},
		{"overlapping by another description", fd, 0, wronly, 5, 10, 0, -1, unix.EINVAL},
		{"side by side", fd, 0, fd, 10, 10, 0, 10, nil},
		{"far apart", fd, 0, fd, 4096, 10, 0, 10, nil},
		{"overlapping beyond the end", fd, 8000, fd, 8100, 1 << 20, 0, -1, unix.EINVAL},
		{"past the end", fd, 9000, fd, 9001, 10, 0, 0, nil},
		{"to append", fd, 0, app, 0, 10, 0, -1, unix.EBADF},
		{"from write-only", wronly, 0, fd, 100, 10, 0, -1, unix.EBADF},
		{"from a directory", dir, 0, fd, 0, 10, 0, -1, unix.EISDIR},
		{"flags", fd, 0, fd, 100, 10, 1, -1, unix.EINVAL},
	} {
		n, err := unix.CopyFileRange(c.in, &c.inOff, c.out, &c.outOff, c.n, c.flags)
		if n != c.want || err != c.err {
			fail("copy_file_range: %s: %d, %v; want %d, %v", c.name, n, err, c.want, c.err)
		}
	}
	off := int64(0)
	if _, err := unix.CopyFileRange(p[0], nil, fd, &off, 10, 0); err != unix.EINVAL {
		fail("copy_file_range from a pipe: %v, want EINVAL", err)
	}
}
