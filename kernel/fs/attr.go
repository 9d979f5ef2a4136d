package fs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// TimeNow and TimeOmit are UTIME_NOW and UTIME_OMIT of utimensat(2).
const (
	TimeNow  int64 = -1 << 63
	TimeOmit int64 = -1<<63 + 1
)

// Stat is newfstatat(2); flags: AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH.
func (s *FS) Stat(at At, path string, flags int) (Stat, error) {
	t, err := s.node(at, path, flags)
	if err != nil {
		return Stat{}, err
	}
	defer t.done()
	return statOf(t.node), nil
}

// Statfs is statfs(2).
func (s *FS) Statfs(at At, path string) (Statfs, error) {
	t, err := s.node(at, path, 0)
	if err != nil {
		return Statfs{}, err
	}
	defer t.done()
	return s.statfsOf(t.node), nil
}

// Access is faccessat2(2) for root: everything may be read and written, and
// executed if it is a directory or has an execute bit.
func (s *FS) Access(at At, path string, mode uint32, flags int) error {
	if mode&^(unix.R_OK|unix.W_OK|unix.X_OK) != 0 ||
		flags&^(unix.AT_EACCESS|unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return syscall.EINVAL
	}
	t, err := s.node(at, path, flags)
	if err != nil {
		return err
	}
	defer t.done()
	b := t.node.base()
	if mode&unix.X_OK != 0 && b.typ != syscall.S_IFDIR && b.perm.Load()&0o111 == 0 {
		return syscall.EACCES
	}
	return nil
}

// Chdir is chdir(2); with an empty path and at.Dir set, fchdir(2).
func (s *FS) Chdir(at At, path string) error {
	flags := 0
	if at.Dir != nil {
		flags = unix.AT_EMPTY_PATH
	}
	t, err := s.node(at, path, flags)
	if err != nil {
		return err
	}
	defer t.done()
	d, ok := t.node.(directory)
	if !ok {
		return syscall.ENOTDIR
	}
	at.Place.mu.Lock()
	at.Place.cwd = d
	at.Place.mu.Unlock()
	return nil
}

// change resolves path and applies fn to the inode. /proc keeps its attributes:
// EPERM.
func (s *FS) change(at At, path string, flags int, fn func(i *inode)) error {
	t, err := s.node(at, path, flags)
	if err != nil {
		return err
	}
	defer t.done()
	return changeNode(t.node, fn)
}

func changeNode(n node, fn func(i *inode)) error {
	i := n.base()
	if i.dev == devProc || i.dev == devSys {
		return syscall.EPERM
	}
	fn(i)
	i.ctime.Store(i.fs.cfg.Now())
	return nil
}

func setMode(mode uint32) func(*inode) {
	return func(i *inode) { i.perm.Store(mode & 0o7777) }
}

// setOwner leaves an id of -1 alone, and takes set-id bits off files (chown(2)).
func setOwner(uid, gid int) func(*inode) {
	return func(i *inode) {
		if uid != -1 {
			i.uid.Store(uint32(uid))
		}
		if gid != -1 {
			i.gid.Store(uint32(gid))
		}
		if i.typ == syscall.S_IFREG {
			i.perm.And(^uint32(syscall.S_ISUID | syscall.S_ISGID))
		}
	}
}

func setTimes(atime, mtime int64) func(*inode) {
	return func(i *inode) {
		now := i.fs.cfg.Now()
		switch atime {
		case TimeOmit:
		case TimeNow:
			i.atime.Store(now)
		default:
			i.atime.Store(atime)
		}
		switch mtime {
		case TimeOmit:
		case TimeNow:
			i.mtime.Store(now)
		default:
			i.mtime.Store(mtime)
		}
	}
}

// Chmod is fchmodat2(2). A symbolic link has no mode to change: EOPNOTSUPP.
func (s *FS) Chmod(at At, path string, mode uint32, flags int) error {
	t, err := s.node(at, path, flags)
	if err != nil {
		return err
	}
	defer t.done()
	if t.node.base().typ == syscall.S_IFLNK {
		return syscall.EOPNOTSUPP
	}
	return changeNode(t.node, setMode(mode))
}

// Chown is fchownat(2).
func (s *FS) Chown(at At, path string, uid, gid int, flags int) error {
	return s.change(at, path, flags, setOwner(uid, gid))
}

// Utimes is utimensat(2), in nanoseconds since 1970, or TimeNow, or TimeOmit.
func (s *FS) Utimes(at At, path string, atime, mtime int64, flags int) error {
	return s.change(at, path, flags, setTimes(atime, mtime))
}

// Truncate is truncate(2). ETXTBSY: a program runs from the file.
func (s *FS) Truncate(at At, path string, size int64) error {
	t, err := s.node(at, path, 0)
	if err != nil {
		return err
	}
	defer t.done()
	switch n := t.node.(type) {
	case directory:
		return syscall.EISDIR
	case *regular:
		if !hold(n) {
			return syscall.ENOENT
		}
		defer unhold(n)
		return n.truncatePath(at.Task, size)
	}
	return syscall.EINVAL
}

// Chmod is fchmod(2).
func (f *File) Chmod(mode uint32) error { return f.change(setMode(mode)) }

// Chown is fchown(2).
func (f *File) Chown(uid, gid int) error { return f.change(setOwner(uid, gid)) }

// Utimes is futimens(3).
func (f *File) Utimes(atime, mtime int64) error { return f.change(setTimes(atime, mtime)) }

func (f *File) change(fn func(*inode)) error {
	if f.Flags()&unix.O_PATH != 0 {
		return syscall.EBADF
	}
	return changeNode(f.node, fn)
}
