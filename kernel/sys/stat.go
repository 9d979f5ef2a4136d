package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
)

// putStat writes struct stat in the layout of the architecture.
func (c ctx) putStat(va arch.VA, st *fs.Stat) error {
	var b [statSizeAMD64]byte
	n := c.s.tab.putStat(&b, st)
	return c.mem().CopyOut(va, b[:n])
}

// statPath is the common part of stat, lstat, newfstatat and statx.
func (c ctx) statPath(at fs.At, path string, flags int) (fs.Stat, error) {
	if path == "" && flags&unix.AT_EMPTY_PATH != 0 && at.Dir != nil {
		return at.Dir.Stat(), nil
	}
	return c.s.fs.Stat(at, path, flags&(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH))
}

func (c ctx) statOld(flags int) (uint64, error) {
	path, err := c.path(0)
	if err != nil {
		return 0, err
	}
	st, err := c.statPath(c.cwd(), path, flags)
	if err != nil {
		return 0, err
	}
	return 0, c.putStat(c.va(1), &st)
}

func sysStat(c ctx) (uint64, error)  { return c.statOld(0) }
func sysLstat(c ctx) (uint64, error) { return c.statOld(unix.AT_SYMLINK_NOFOLLOW) }

func sysFstat(c ctx) (uint64, error) {
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	st := f.Stat()
	f.Release()
	return 0, c.putStat(c.va(1), &st)
}

// statxSyncType is AT_STATX_SYNC_TYPE: AT_STATX_FORCE_SYNC and AT_STATX_DONT_SYNC.
const statxSyncType = unix.AT_STATX_FORCE_SYNC | unix.AT_STATX_DONT_SYNC

const statFlags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_EMPTY_PATH | unix.AT_NO_AUTOMOUNT

func sysNewfstatat(c ctx) (uint64, error) {
	if err := onlyFlags(c.int(3), statFlags); err != nil {
		return 0, err
	}
	st, err := c.statAt(1, c.int(3))
	if err != nil {
		return 0, err
	}
	return 0, c.putStat(c.va(2), &st)
}

// statAt looks up the path of argument i, relative to descriptor argument 0.
func (c ctx) statAt(i, flags int) (fs.Stat, error) {
	path, err := c.path(i)
	if err != nil {
		return fs.Stat{}, err
	}
	at, err := c.at(0, path)
	if err != nil {
		return fs.Stat{}, err
	}
	defer releaseAt(at)
	return c.statPath(at, path, flags)
}

func sysStatx(c ctx) (uint64, error) {
	flags, mask := c.int(2), c.uint32(3)
	if flags&^(statFlags|statxSyncType) != 0 || flags&statxSyncType == statxSyncType ||
		mask&unix.STATX__RESERVED != 0 {
		return 0, syscall.EINVAL
	}
	st, err := c.statAt(1, flags)
	if err != nil {
		return 0, err
	}
	x := statxOf(&st)
	return 0, put(c, c.va(4), &x)
}

func statxOf(st *fs.Stat) statx {
	stamp := func(ns int64) statxTime {
		ts := timespecOf(ns)
		return statxTime{Sec: ts.Sec, Nsec: uint32(ts.Nsec)}
	}
	return statx{
		Mask:      unix.STATX_BASIC_STATS | unix.STATX_BTIME,
		Blksize:   uint32(st.Blksize),
		Nlink:     st.Nlink,
		UID:       st.UID,
		GID:       st.GID,
		Mode:      uint16(st.Mode),
		Ino:       st.Ino,
		Size:      uint64(st.Size),
		Blocks:    uint64(st.Blocks),
		Atime:     stamp(st.Atime),
		Btime:     stamp(st.Btime),
		Ctime:     stamp(st.Ctime),
		Mtime:     stamp(st.Mtime),
		RdevMajor: unix.Major(st.Rdev),
		RdevMinor: unix.Minor(st.Rdev),
		DevMajor:  unix.Major(st.Dev),
		DevMinor:  unix.Minor(st.Dev),
	}
}

func (c ctx) putStatfs(va arch.VA, st fs.Statfs) error {
	x := unix.Statfs_t{
		Type: st.Type, Bsize: st.Bsize, Frsize: st.Bsize, Namelen: st.Namelen,
		Blocks: st.Blocks, Bfree: st.Bfree, Bavail: st.Bavail, Files: st.Files, Ffree: st.Ffree,
	}
	return put(c, va, &x)
}

func sysStatfs(c ctx) (uint64, error) {
	path, err := c.path(0)
	if err != nil {
		return 0, err
	}
	st, err := c.s.fs.Statfs(c.cwd(), path)
	if err != nil {
		return 0, err
	}
	return 0, c.putStatfs(c.va(1), st)
}

func sysFstatfs(c ctx) (uint64, error) {
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	st := f.Statfs()
	f.Release()
	return 0, c.putStatfs(c.va(1), st)
}

func (c ctx) access(at fs.At, path string, mode uint32, flags int) (uint64, error) {
	if mode&^(unix.R_OK|unix.W_OK|unix.X_OK) != 0 {
		return 0, syscall.EINVAL
	}
	if flags&unix.AT_EACCESS == 0 {
		at.As = c.t.Cred().Real()
	}
	return 0, c.s.fs.Access(at, path, mode, flags)
}

func sysAccess(c ctx) (uint64, error) {
	path, err := c.path(0)
	if err != nil {
		return 0, err
	}
	return c.access(c.cwd(), path, c.uint32(1), 0)
}

func (c ctx) accessAt(flags int) (uint64, error) {
	if err := onlyFlags(flags, unix.AT_EACCESS|unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH); err != nil {
		return 0, err
	}
	at, path, err := c.pathAt(0, 1)
	if err != nil {
		return 0, err
	}
	defer releaseAt(at)
	return c.access(at, path, c.uint32(2), flags)
}

func sysFaccessat(c ctx) (uint64, error)  { return c.accessAt(0) }
func sysFaccessat2(c ctx) (uint64, error) { return c.accessAt(c.int(3)) }

// sysGetdents64 fills the buffer with whole records.
func sysGetdents64(c ctx) (uint64, error) { return c.getdents(func([]byte) {}) }

// getdents implements both calls. edit converts whole records to the form that the caller
// gets; their length must not change.
func (c ctx) getdents(edit func(p []byte)) (uint64, error) {
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	n := uint64(c.uint32(2))
	if err := userRange(c.va(1), n); err != nil {
		return 0, err
	}
	// A call returns at most one page: the records are built in kernel memory. The offset
	// of the directory moves over the records that arrived.
	buf := fs.NewBuffer(min(n, arch.PageSize))
	defer buf.Put()
	va := c.va(1)
	k, err := f.Getdents(c.task(), buf.B[:min(n, uint64(len(buf.B)))], func(p []byte) (int, error) {
		edit(p)
		return c.copyOut(va, p)
	})
	return uint64(k), err
}

// The structures that are copied directly have the same size on both architectures. A wrong
// structure would not compile here.
const (
	_ = uint(unsafe.Sizeof(statx{}) - 256)
	_ = uint(256 - unsafe.Sizeof(statx{}))
	_ = uint(unsafe.Sizeof(unix.Statfs_t{}) - 120)
	_ = uint(120 - unsafe.Sizeof(unix.Statfs_t{}))
)
