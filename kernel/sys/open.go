package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"grim/kernel/fs"
)

// openFlags are the flags that open(2) knows. open(2) ignores other flags, openat2(2) does
// not.
const openFlags = unix.O_ACCMODE | unix.O_APPEND | unix.O_CLOEXEC | unix.O_CREAT | unix.O_DIRECT |
	unix.O_DIRECTORY | unix.O_DSYNC | unix.O_EXCL | unix.O_LARGEFILE | unix.O_NOATIME | unix.O_NOCTTY |
	unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_PATH | unix.O_SYNC | unix.O_TMPFILE | unix.O_TRUNC | unix.O_ASYNC

// install gives f a descriptor. It takes over the caller's reference.
func (c ctx) install(f *fs.File, cloexec bool) (uint64, error) {
	fd, err := c.files().fds.Install(f, 0, cloexec)
	return uint64(fd), err
}

// installNew installs the result of a constructor of package fs.
func (c ctx) installNew(cloexec bool) func(*fs.File, error) (uint64, error) {
	return func(f *fs.File, err error) (uint64, error) {
		if err != nil {
			return 0, err
		}
		return c.install(f, cloexec)
	}
}

func (c ctx) open(at fs.At, path string, flags int, mode uint32) (uint64, error) {
	f, err := c.s.fs.Open(at, path, flags, mode&0o7777)
	if err != nil {
		return 0, err
	}
	return c.install(f, flags&unix.O_CLOEXEC != 0)
}

func sysOpen(c ctx) (uint64, error) {
	path, err := c.path(0)
	if err != nil {
		return 0, err
	}
	return c.open(c.cwd(), path, c.int(1)&openFlags, c.uint32(2))
}

func sysCreat(c ctx) (uint64, error) {
	path, err := c.path(0)
	if err != nil {
		return 0, err
	}
	return c.open(c.cwd(), path, unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, c.uint32(1))
}

func sysOpenat(c ctx) (uint64, error) {
	at, path, err := c.pathAt(0, 1)
	if err != nil {
		return 0, err
	}
	defer releaseAt(at)
	return c.open(at, path, c.int(2)&openFlags, c.uint32(3))
}

// resolveCached is RESOLVE_CACHED, which x/sys/unix lacks. It has no effect here.
const resolveCached = 0x20

func sysOpenat2(c ctx) (uint64, error) {
	var how unix.OpenHow
	size := c.arg(3)
	if size < uint64(unsafe.Sizeof(how)) {
		return 0, syscall.EINVAL
	}
	if size > uint64(unsafe.Sizeof(how)) {
		return 0, syscall.E2BIG
	}
	how, err := get[unix.OpenHow](c, c.va(2))
	if err != nil {
		return 0, err
	}
	if how.Flags&^openFlags != 0 || how.Mode&^0o7777 != 0 ||
		(how.Mode != 0 && how.Flags&(unix.O_CREAT|unix.O_TMPFILE&^unix.O_DIRECTORY) == 0) {
		return 0, syscall.EINVAL
	}
	const known = unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH |
		unix.RESOLVE_IN_ROOT | resolveCached
	const both = unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT
	if how.Resolve&^known != 0 || how.Resolve&both == both {
		return 0, syscall.EINVAL
	}
	if how.Resolve&resolveCached != 0 && how.Flags&(unix.O_TRUNC|unix.O_CREAT) != 0 {
		return 0, syscall.EAGAIN
	}
	path, err := c.path(1)
	if err != nil {
		return 0, err
	}
	start := path
	if how.Resolve&unix.RESOLVE_IN_ROOT != 0 {
		start = "" // an absolute path begins at the descriptor too
	}
	at, err := c.at(0, start)
	if err != nil {
		return 0, err
	}
	defer releaseAt(at)
	at.Resolve = uint8(how.Resolve)
	return c.open(at, path, int(how.Flags), uint32(how.Mode))
}

func sysClose(c ctx) (uint64, error) { return 0, c.files().fds.Close(c.int(0)) }

func sysCloseRange(c ctx) (uint64, error) {
	first, last, flags := c.uint32(0), c.uint32(1), c.uint32(2)
	if first > last || flags&^(unix.CLOSE_RANGE_CLOEXEC|unix.CLOSE_RANGE_UNSHARE) != 0 {
		return 0, syscall.EINVAL
	}
	if flags&unix.CLOSE_RANGE_UNSHARE != 0 {
		if err := c.t.UnshareFiles(); err != nil {
			return 0, err
		}
	}
	c.files().fds.CloseRange(uint(first), uint(last), flags&unix.CLOSE_RANGE_CLOEXEC != 0)
	return 0, nil
}

func sysDup(c ctx) (uint64, error) {
	fd, err := c.files().fds.Dup(c.int(0), 0, false)
	return uint64(fd), err
}

func sysDup2(c ctx) (uint64, error) {
	from, to := c.int(0), c.int(1)
	if from == to {
		f, err := c.files().fds.Get(from)
		if err != nil {
			return 0, err
		}
		f.Release()
		return uint64(to), nil
	}
	return uint64(to), c.files().fds.DupTo(from, to, false)
}

func sysDup3(c ctx) (uint64, error) {
	from, to, flags := c.int(0), c.int(1), c.int(2)
	if from == to || flags&^unix.O_CLOEXEC != 0 {
		return 0, syscall.EINVAL
	}
	return uint64(to), c.files().fds.DupTo(from, to, flags != 0)
}

// pair makes a pair of descriptors and stores their numbers. If that fails it removes both.
func (c ctx) pair(a, b *fs.File, cloexec bool, i int) (uint64, error) {
	fds := c.files().fds
	x, err := fds.Install(a, 0, cloexec)
	if err != nil {
		b.Release()
		return 0, err
	}
	y, err := fds.Install(b, 0, cloexec)
	if err != nil {
		fds.Remove(x, a)
		return 0, err
	}
	if err := put(c, c.va(i), &[2]int32{int32(x), int32(y)}); err != nil {
		fds.Remove(x, a)
		fds.Remove(y, b)
		return 0, err
	}
	return 0, nil
}

func (c ctx) pipe(flags int) (uint64, error) {
	if flags&^(unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_DIRECT) != 0 {
		return 0, syscall.EINVAL
	}
	r, w, err := c.s.fs.Pipe(c.task(), flags)
	if err != nil {
		return 0, err
	}
	return c.pair(r, w, flags&unix.O_CLOEXEC != 0, 0)
}

func sysPipe(c ctx) (uint64, error)  { return c.pipe(0) }
func sysPipe2(c ctx) (uint64, error) { return c.pipe(c.int(1)) }

func sysEventfd2(c ctx) (uint64, error) {
	flags := c.int(1)
	if flags&^(unix.EFD_CLOEXEC|unix.EFD_NONBLOCK|unix.EFD_SEMAPHORE) != 0 {
		return 0, syscall.EINVAL
	}
	f, err := c.s.fs.Eventfd(c.task(), uint64(c.uint32(0)), flags)
	if err != nil {
		return 0, err
	}
	return c.install(f, flags&unix.EFD_CLOEXEC != 0)
}

func sysEventfd(c ctx) (uint64, error) {
	f, err := c.s.fs.Eventfd(c.task(), uint64(c.uint32(0)), 0)
	if err != nil {
		return 0, err
	}
	return c.install(f, false)
}

// maxMemfdName is NAME_MAX minus the length of "memfd:", which is put before the name.
const maxMemfdName = 249

func sysMemfdCreate(c ctx) (uint64, error) {
	flags := c.int(1)
	if flags&^(unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL|unix.MFD_EXEC) != 0 {
		return 0, syscall.EINVAL
	}
	name, err := c.mem().CopyInString(c.va(0), maxMemfdName)
	if err == syscall.ENAMETOOLONG {
		err = syscall.EINVAL
	}
	if err != nil {
		return 0, err
	}
	f, err := c.s.fs.Memfd(c.task(), name, flags)
	if err != nil {
		return 0, err
	}
	return c.install(f, flags&unix.MFD_CLOEXEC != 0)
}

func sysFlock(c ctx) (uint64, error) {
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	return 0, f.Flock(c.task(), c.int(1))
}

// Requests about the descriptor, not the file (asm-generic/ioctls.h). golang.org/x/sys/unix
// lacks them.
const (
	fionclex = 0x5450
	fioclex  = 0x5451
)

func sysIoctl(c ctx) (uint64, error) {
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	switch c.uint32(1) {
	case fioclex:
		return 0, c.files().fds.SetCloexec(c.int(0), true)
	case fionclex:
		return 0, c.files().fds.SetCloexec(c.int(0), false)
	case unix.TIOCGPTPEER:
		peer, err := f.Peer(c.task(), c.int(2))
		if err != nil {
			return 0, err
		}
		return c.install(peer, c.int(2)&unix.O_CLOEXEC != 0)
	}
	return f.Ioctl(c.task(), c.mem(), c.uint32(1), c.arg(2))
}
