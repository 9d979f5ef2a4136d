package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// copyTree copies everything below from to to, which may exist. It keeps hard links.
func copyTree(from, to string) error {
	links := map[uint64]string{}
	type stamp struct {
		path string
		info os.FileInfo
	}
	var dirs []stamp
	err := filepath.Walk(from, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		st := info.Sys().(*syscall.Stat_t)
		switch info.Mode() & os.ModeType {
		case os.ModeDir:
			if err := os.Mkdir(dst, 0o700); err != nil && !os.IsExist(err) {
				return err
			}
			dirs = append(dirs, stamp{dst, info})
			return nil
		case 0:
			if first := links[st.Ino]; first != "" {
				return os.Link(first, dst)
			}
			if st.Nlink > 1 {
				links[st.Ino] = dst
			}
			if err := copyFile(path, dst); err != nil {
				return err
			}
		case os.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			if err := os.Symlink(target, dst); err != nil {
				return err
			}
		case os.ModeNamedPipe, os.ModeDevice, os.ModeDevice | os.ModeCharDevice, os.ModeSocket:
			if err := unix.Mknod(dst, st.Mode, int(st.Rdev)); err != nil {
				return fmt.Errorf("mknod %s: %w", dst, err)
			}
		}
		return stampFile(dst, info)
	})
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- {
		err = stampFile(dirs[i].path, dirs[i].info)
	}
	return err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return fmt.Errorf("%s: %w", to, err)
	}
	return out.Close()
}

// stampFile gives a copy the owner, mode and time of its original.
func stampFile(path string, info os.FileInfo) error {
	st := info.Sys().(*syscall.Stat_t)
	if err := os.Lchown(path, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if info.Mode()&os.ModeSymlink == 0 {
		if err := unix.Chmod(path, st.Mode&0o7777); err != nil {
			return err
		}
	}
	t := time.Unix(0, info.ModTime().UnixNano())
	ts := []unix.Timespec{unix.NsecToTimespec(t.UnixNano()), unix.NsecToTimespec(t.UnixNano())}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW)
}
