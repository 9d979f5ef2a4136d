package sys

import (
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/proc/cred"
)

// Calls that take names. The calls without a dirfd exist only on amd64. Both kinds use the
// same functions, which get the start of the path and the path.

// onPath calls fn with path argument 0 and the working directory.
func (c ctx) onPath(fn func(at fs.At, path string) error) (uint64, error) {
	path, err := c.path(0)
	if err != nil {
		return 0, err
	}
	return 0, fn(c.cwd(), path)
}

// onPathAt calls fn with descriptor argument i and path argument i+1.
func (c ctx) onPathAt(i int, fn func(at fs.At, path string) error) (uint64, error) {
	path, err := c.path(i + 1)
	if err != nil {
		return 0, err
	}
	at, err := c.at(i, path)
	if err != nil {
		return 0, err
	}
	defer releaseAt(at)
	return 0, fn(at, path)
}

// onFile calls fn with the file of descriptor argument 0.
func (c ctx) onFile(fn func(f *fs.File) error) (uint64, error) {
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	return 0, fn(f)
}

func sysMkdir(c ctx) (uint64, error) {
	return c.onPath(func(at fs.At, path string) error { return c.s.fs.Mkdir(at, path, c.uint32(1)&0o1777) })
}

func sysMkdirat(c ctx) (uint64, error) {
	return c.onPathAt(0, func(at fs.At, path string) error { return c.s.fs.Mkdir(at, path, c.uint32(2)&0o1777) })
}

func sysMknod(c ctx) (uint64, error) {
	return c.onPath(func(at fs.At, path string) error { return c.s.fs.Mknod(at, path, c.uint32(1), uint64(c.uint32(2))) })
}

func sysMknodat(c ctx) (uint64, error) {
	return c.onPathAt(0, func(at fs.At, path string) error {
		return c.s.fs.Mknod(at, path, c.uint32(2), uint64(c.uint32(3)))
	})
}

func sysRmdir(c ctx) (uint64, error) {
	return c.onPath(func(at fs.At, path string) error { return c.s.fs.Unlink(at, path, unix.AT_REMOVEDIR) })
}

func sysUnlink(c ctx) (uint64, error) {
	return c.onPath(func(at fs.At, path string) error { return c.s.fs.Unlink(at, path, 0) })
}

func sysUnlinkat(c ctx) (uint64, error) {
	if err := onlyFlags(c.int(2), unix.AT_REMOVEDIR); err != nil {
		return 0, err
	}
	return c.onPathAt(0, func(at fs.At, path string) error { return c.s.fs.Unlink(at, path, c.int(2)) })
}

func sysSymlink(c ctx) (uint64, error) {
	target, err := c.path(0)
	if err != nil {
		return 0, err
	}
	path, err := c.path(1)
	if err != nil {
		return 0, err
	}
	return 0, c.s.fs.Symlink(target, c.cwd(), path)
}

func sysSymlinkat(c ctx) (uint64, error) {
	target, err := c.path(0)
	if err != nil {
		return 0, err
	}
	return c.onPathAt(1, func(at fs.At, path string) error { return c.s.fs.Symlink(target, at, path) })
}

func sysLink(c ctx) (uint64, error) {
	return c.onPath(func(at fs.At, old string) error {
		path, err := c.path(1)
		if err != nil {
			return err
		}
		return c.s.fs.Link(at, old, at, path, 0)
	})
}

func sysLinkat(c ctx) (uint64, error) {
	if err := onlyFlags(c.int(4), unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH); err != nil {
		return 0, err
	}
	return c.onPathAt(0, func(from fs.At, old string) error {
		_, err := c.onPathAt(2, func(to fs.At, path string) error {
			return c.s.fs.Link(from, old, to, path, c.int(4))
		})
		return err
	})
}

func sysRename(c ctx) (uint64, error) {
	return c.onPath(func(at fs.At, old string) error {
		path, err := c.path(1)
		if err != nil {
			return err
		}
		return c.s.fs.Rename(at, old, at, path, 0)
	})
}

func (c ctx) renameAt(flags uint) (uint64, error) {
	return c.onPathAt(0, func(from fs.At, old string) error {
		_, err := c.onPathAt(2, func(to fs.At, path string) error {
			return c.s.fs.Rename(from, old, to, path, flags)
		})
		return err
	})
}

func sysRenameat(c ctx) (uint64, error) { return c.renameAt(0) }

func sysRenameat2(c ctx) (uint64, error) {
	const exclusive = unix.RENAME_NOREPLACE | unix.RENAME_EXCHANGE
	flags := c.uint32(4)
	if flags&^exclusive != 0 || flags == exclusive {
		return 0, syscall.EINVAL
	}
	return c.renameAt(uint(flags))
}

// readlink stores the target at buf, cut to n bytes, without a NUL.
func (c ctx) readlink(at fs.At, path string, buf arch.VA, n int) (uint64, error) {
	if n <= 0 {
		return 0, syscall.EINVAL
	}
	s, err := c.s.fs.Readlink(at, path)
	if err != nil {
		return 0, err
	}
	k := min(n, len(s))
	return uint64(k), c.mem().CopyOut(buf, []byte(s[:k]))
}

func sysReadlink(c ctx) (uint64, error) {
	path, err := c.path(0)
	if err != nil {
		return 0, err
	}
	return c.readlink(c.cwd(), path, c.va(1), c.int(2))
}

func sysReadlinkat(c ctx) (uint64, error) {
	at, path, err := c.pathAt(0, 1)
	if err != nil {
		return 0, err
	}
	defer releaseAt(at)
	return c.readlink(at, path, c.va(2), c.int(3))
}

func sysChmod(c ctx) (uint64, error) {
	return c.onPath(func(at fs.At, path string) error { return c.s.fs.Chmod(at, path, c.uint32(1)&0o7777, 0) })
}

func sysFchmod(c ctx) (uint64, error) {
	return c.onFile(func(f *fs.File) error { return f.Chmod(c.task(), c.uint32(1)&0o7777) })
}

func sysFchmodat(c ctx) (uint64, error) {
	return c.onPathAt(0, func(at fs.At, path string) error { return c.s.fs.Chmod(at, path, c.uint32(2)&0o7777, 0) })
}

func sysFchmodat2(c ctx) (uint64, error) {
	if err := onlyFlags(c.int(3), unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH); err != nil {
		return 0, err
	}
	return c.onPathAt(0, func(at fs.At, path string) error {
		return c.s.fs.Chmod(at, path, c.uint32(2)&0o7777, c.int(3))
	})
}

func sysChown(c ctx) (uint64, error) {
	return c.onPath(func(at fs.At, path string) error { return c.s.fs.Chown(at, path, c.int(1), c.int(2), 0) })
}

func sysLchown(c ctx) (uint64, error) {
	return c.onPath(func(at fs.At, path string) error {
		return c.s.fs.Chown(at, path, c.int(1), c.int(2), unix.AT_SYMLINK_NOFOLLOW)
	})
}

func sysFchown(c ctx) (uint64, error) {
	return c.onFile(func(f *fs.File) error { return f.Chown(c.task(), c.int(1), c.int(2)) })
}

func sysFchownat(c ctx) (uint64, error) {
	if err := onlyFlags(c.int(4), unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH); err != nil {
		return 0, err
	}
	return c.onPathAt(0, func(at fs.At, path string) error {
		return c.s.fs.Chown(at, path, c.int(2), c.int(3), c.int(4))
	})
}

// fileTimes reads the pair of timespecs of utimensat(2). A null pointer means the present
// time.
func (c ctx) fileTimes(va arch.VA) (ns [2]int64, err error) {
	if va == 0 {
		return [2]int64{fs.TimeNow, fs.TimeNow}, nil
	}
	ts, err := get[[2]unix.Timespec](c, va)
	if err != nil {
		return ns, err
	}
	for i, t := range ts {
		switch {
		case t.Nsec == unix.UTIME_NOW:
			ns[i] = fs.TimeNow
		case t.Nsec == unix.UTIME_OMIT:
			ns[i] = fs.TimeOmit
		case t.Nsec < 0 || t.Nsec >= second:
			return ns, syscall.EINVAL
		default:
			ns[i] = t.Sec*second + t.Nsec
		}
	}
	return ns, nil
}

func sysUtimensat(c ctx) (uint64, error) {
	if err := onlyFlags(c.int(3), unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH); err != nil {
		return 0, err
	}
	ns, err := c.fileTimes(c.va(2))
	if err != nil {
		return 0, err
	}
	if c.va(1) == 0 { // futimens(3)
		return c.onFile(func(f *fs.File) error { return f.Utimes(c.task(), ns[0], ns[1]) })
	}
	return c.onPathAt(0, func(at fs.At, path string) error {
		return c.s.fs.Utimes(at, path, ns[0], ns[1], c.int(3))
	})
}

func sysTruncate(c ctx) (uint64, error) {
	if int64(c.arg(1)) < 0 {
		return 0, syscall.EINVAL
	}
	return c.onPath(func(at fs.At, path string) error { return c.s.fs.Truncate(at, path, int64(c.arg(1))) })
}

func sysFtruncate(c ctx) (uint64, error) {
	if int64(c.arg(1)) < 0 {
		return 0, syscall.EINVAL
	}
	return c.onFile(func(f *fs.File) error { return f.Truncate(c.task(), int64(c.arg(1))) })
}

func sysFallocate(c ctx) (uint64, error) {
	off, n := int64(c.arg(2)), int64(c.arg(3))
	if off < 0 || n <= 0 {
		return 0, syscall.EINVAL
	}
	if off+n < 0 {
		return 0, syscall.EFBIG
	}
	return c.onFile(func(f *fs.File) error { return f.Allocate(c.task(), c.uint32(1), off, n) })
}

func sysFsync(c ctx) (uint64, error) { return c.onFile((*fs.File).Sync) }

func sysSyncfs(c ctx) (uint64, error) { return c.onFile((*fs.File).SyncVolume) }

// sysSync writes all volumes to their disks. Files in memory need no sync.
func sysSync(c ctx) (uint64, error) {
	c.s.fs.Sync()
	return 0, nil
}

// mountFlags are the flags of mount(2) that are accepted. Except for MS_RDONLY they have no
// effect, as there are no times of access.
const mountFlags = unix.MS_RDONLY | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME | unix.MS_STRICTATIME | unix.MS_SILENT | unix.MS_LAZYTIME

// sysMount mounts the file system of a disk. Errors: EPERM, ENODEV for an unknown type,
// ENOTBLK, and those of the disk.
func sysMount(c ctx) (uint64, error) {
	if !c.t.Cred().Has(cred.SysAdmin) {
		return 0, syscall.EPERM
	}
	source, err := c.path(0)
	if err != nil {
		return 0, err
	}
	target, err := c.path(1)
	if err != nil {
		return 0, err
	}
	kind, err := c.path(2)
	if err != nil {
		return 0, err
	}
	flags := c.arg(3)
	switch {
	case flags&^mountFlags != 0:
		return 0, syscall.EINVAL
	case kind != "ext2" && kind != "ext3" && kind != "ext4" || c.s.cfg.OpenDisk == nil:
		return 0, syscall.ENODEV
	}
	st, err := c.s.fs.Stat(c.cwd(), source, 0)
	if err != nil {
		return 0, err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFBLK {
		return 0, syscall.ENOTBLK
	}
	store, err := c.s.cfg.OpenDisk(st.Rdev, flags&unix.MS_RDONLY != 0)
	if err != nil {
		return 0, err
	}
	if err := c.s.fs.Mount(c.cwd(), target, source, kind, store); err != nil {
		store.Close()
		return 0, err
	}
	return 0, nil
}

func sysUmount2(c ctx) (uint64, error) {
	if !c.t.Cred().Has(cred.SysAdmin) {
		return 0, syscall.EPERM
	}
	path, err := c.path(0)
	if err != nil {
		return 0, err
	}
	if c.arg(1)&^uint64(unix.UMOUNT_NOFOLLOW) != 0 {
		return 0, syscall.EINVAL
	}
	return 0, c.s.fs.Unmount(c.cwd(), path)
}

// sysFadvise64 checks its arguments as posix_fadvise(2) does. The advice has no effect.
func sysFadvise64(c ctx) (uint64, error) {
	if c.int(3) < unix.FADV_NORMAL || c.int(3) > unix.FADV_NOREUSE || int64(c.arg(2)) < 0 {
		return 0, syscall.EINVAL
	}
	return c.onFile(func(*fs.File) error { return nil })
}

func sysChdir(c ctx) (uint64, error) {
	return c.onPath(func(at fs.At, path string) error { return c.s.fs.Chdir(at, path) })
}

func sysChroot(c ctx) (uint64, error) {
	var may error
	if !c.t.Cred().Has(cred.SysChroot) {
		may = syscall.EPERM
	}
	return c.onPath(func(at fs.At, path string) error { return c.s.fs.Chroot(at, path, may) })
}

func sysFchdir(c ctx) (uint64, error) {
	return c.onFile(func(f *fs.File) error {
		at := c.cwd()
		at.Dir = f
		return c.s.fs.Chdir(at, "")
	})
}

// sysGetcwd stores the path with a NUL, and returns its length including the NUL.
func sysGetcwd(c ctx) (uint64, error) {
	path, err := c.files().place.Getcwd()
	if err != nil {
		return 0, err
	}
	if uint64(len(path)+1) > c.arg(1) {
		return 0, syscall.ERANGE
	}
	return uint64(len(path) + 1), c.mem().CopyOut(c.va(0), append([]byte(path), 0))
}

func sysUmask(c ctx) (uint64, error) {
	return uint64(c.files().place.Umask(c.uint32(0) & 0o777)), nil
}
