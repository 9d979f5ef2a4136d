package fs

import (
	"syscall"

	"golang.org/x/sys/unix"
	"grim/proc/cred"
)

// TimeNow and TimeOmit are UTIME_NOW and UTIME_OMIT of utimensat(2).
const (
	TimeNow  int64 = -1 << 63
	TimeOmit int64 = -1<<63 + 1
)

// Stat implements newfstatat(2). Flags: AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH.
func (s *FS) Stat(at At, path string, flags int) (Stat, error) {
	t, err := s.node(at, path, flags)
	if err != nil {
		return Stat{}, err
	}
	defer t.done()
	return statOf(t.node), nil
}

// Statfs implements statfs(2).
func (s *FS) Statfs(at At, path string) (Statfs, error) {
	t, err := s.node(at, path, 0)
	if err != nil {
		return Statfs{}, err
	}
	defer t.done()
	return s.statfsOf(t.node), nil
}

// StatfsDev implements ustat(2): it describes the file system that has the device number
// dev. It returns EINVAL if there is none.
func (s *FS) StatfsDev(dev uint64) (Statfs, error) {
	switch dev {
	case devRoot:
		return s.statfsOf(s.root), nil
	case devProc, devSys:
		return Statfs{}, nil
	}
	return Statfs{}, syscall.EINVAL
}

// Access implements faccessat2(2). The credentials at.As are the ones checked.
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
	return t.node.base().allows(at.cred(), mode)
}

// Chdir implements chdir(2), and fchdir(2) if the path is empty and at.Dir is set.
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
	if err := d.base().allows(at.cred(), mayExec); err != nil {
		return err
	}
	at.Place.mu.Lock()
	at.Place.cwd = d
	at.Place.mu.Unlock()
	return nil
}

// change changes attributes of an inode. It returns EPERM or EACCES if the credentials c do
// not allow the change.
type change func(c *cred.Cred, i *inode) error

// change resolves the path and applies fn to the file.
func (s *FS) change(at At, path string, flags int, fn change) error {
	t, err := s.node(at, path, flags)
	if err != nil {
		return err
	}
	defer t.done()
	err = changeNode(at.cred(), t.node, fn)
	if err == nil {
		s.tell(t.node, t.place, unix.IN_ATTRIB)
	}
	return err
}

// changeNode applies fn to n. The attributes of /proc and /sys cannot be changed: EPERM.
func changeNode(c *cred.Cred, n node, fn change) error {
	i := n.base()
	if i.dev == devProc || i.dev == devSys {
		return syscall.EPERM
	}
	v := i.stored()
	if v != nil {
		if v.store.ReadOnly() != "" {
			return syscall.EROFS
		}
		if !hold(n) { // its inode number may become another file's
			return syscall.ENOENT
		}
		defer unhold(n)
	}
	i.attrMu.Lock()
	defer i.attrMu.Unlock()
	if err := fn(c, i); err != nil {
		return err
	}
	i.ctime.Store(i.fs.cfg.Now())
	if v != nil {
		return v.setAttr(i)
	}
	return nil
}

// setMode sets the mode. It clears the set-group-ID bit if the caller is not in the file's
// group.
func setMode(mode uint32) change {
	return func(c *cred.Cred, i *inode) error {
		if !i.owns(c) {
			return syscall.EPERM
		}
		mode := mode & 0o7777
		if c != nil && i.typ != syscall.S_IFDIR && !c.InGroup(i.gid.Load()) && !c.Has(cred.FSetID) {
			mode &^= syscall.S_ISGID
		}
		i.perm.Store(mode)
		return nil
	}
}

// setOwner sets the owner and the group. An id of -1 leaves the present one. The set-id
// bits of files are cleared (chown(2)). Without CAP_CHOWN, the owner may only change the
// group, to one that it is in.
func setOwner(uid, gid int) change {
	return func(c *cred.Cred, i *inode) error {
		if c != nil && !c.Has(cred.Chown) {
			mine := c.FSUID == i.uid.Load()
			if uid != -1 && !(mine && uint32(uid) == i.uid.Load()) ||
				gid != -1 && !(mine && (c.InGroup(uint32(gid)) || uint32(gid) == i.gid.Load())) {
				return syscall.EPERM
			}
		}
		if uid != -1 {
			i.uid.Store(uint32(uid))
		}
		if gid != -1 {
			i.gid.Store(uint32(gid))
		}
		if i.typ != syscall.S_IFDIR {
			i.dropIDs()
		}
		return nil
	}
}

// setTimes sets the times. Every caller with write permission may set both to the present
// time; other changes are the owner's.
func setTimes(atime, mtime int64) change {
	return func(c *cred.Cred, i *inode) error {
		if !i.owns(c) && !(atime == TimeOmit && mtime == TimeOmit) {
			if atime != TimeNow || mtime != TimeNow {
				return syscall.EPERM
			}
			if err := i.allows(c, mayWrite); err != nil {
				return err
			}
		}
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
		return nil
	}
}

// Chmod implements fchmodat2(2). A symbolic link has no mode that can be changed:
// EOPNOTSUPP.
func (s *FS) Chmod(at At, path string, mode uint32, flags int) error {
	t, err := s.node(at, path, flags)
	if err != nil {
		return err
	}
	defer t.done()
	if t.node.base().typ == syscall.S_IFLNK {
		return syscall.EOPNOTSUPP
	}
	err = changeNode(at.cred(), t.node, setMode(mode))
	if err == nil {
		s.tell(t.node, t.place, unix.IN_ATTRIB)
	}
	return err
}

// Chown implements fchownat(2).
func (s *FS) Chown(at At, path string, uid, gid int, flags int) error {
	return s.change(at, path, flags, setOwner(uid, gid))
}

// Utimes implements utimensat(2). Times are nanoseconds since 1970, TimeNow or TimeOmit.
func (s *FS) Utimes(at At, path string, atime, mtime int64, flags int) error {
	return s.change(at, path, flags, setTimes(atime, mtime))
}

// Truncate implements truncate(2). It returns ETXTBSY if a program runs from the file.
func (s *FS) Truncate(at At, path string, size int64) error {
	t, err := s.reach(at, path, follow, func(t found) error {
		if _, ok := t.node.(directory); ok {
			return syscall.EISDIR
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer unhold(t.node)
	if n, ok := t.node.(*regular); ok {
		if err := n.allows(at.cred(), mayWrite); err != nil {
			return err
		}
		if err := n.truncatePath(at.Task, size); err != nil {
			return err
		}
		s.tell(n, t.place, unix.IN_MODIFY)
		return nil
	}
	return syscall.EINVAL
}

// ProgramIDs returns the mode, the owner and the group that execve(2) goes by. They belong
// together: a file whose owner is just being changed is not taken for one that the new owner
// has made set-user-ID.
func (f *File) ProgramIDs() (mode, uid, gid uint32) {
	i := f.node.base()
	i.attrMu.Lock()
	defer i.attrMu.Unlock()
	return i.typ | i.perm.Load(), i.uid.Load(), i.gid.Load()
}

// Chmod implements fchmod(2).
func (f *File) Chmod(t Task, mode uint32) error { return f.change(t, setMode(mode)) }

// Chown implements fchown(2).
func (f *File) Chown(t Task, uid, gid int) error { return f.change(t, setOwner(uid, gid)) }

// Utimes is futimens(3).
func (f *File) Utimes(t Task, atime, mtime int64) error { return f.change(t, setTimes(atime, mtime)) }

func (f *File) change(t Task, fn change) error {
	if f.Flags()&unix.O_PATH != 0 {
		return syscall.EBADF
	}
	err := changeNode(credOf(t), f.node, fn)
	if err == nil {
		f.fs.tell(f.node, f.from, unix.IN_ATTRIB)
	}
	return err
}
