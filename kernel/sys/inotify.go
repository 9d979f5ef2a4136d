package sys

import (
	"syscall"

	"golang.org/x/sys/unix"

	"grim/kernel/fs"
)

func sysInotifyInit1(c ctx) (uint64, error) {
	flags := c.int(0)
	if err := onlyFlags(flags, unix.IN_CLOEXEC|unix.IN_NONBLOCK); err != nil {
		return 0, err
	}
	return c.installNew(flags&unix.IN_CLOEXEC != 0)(c.s.fs.Inotify(c.task(), flags))
}

func sysInotifyInit(c ctx) (uint64, error) {
	return c.installNew(false)(c.s.fs.Inotify(c.task(), 0))
}

func sysInotifyAddWatch(c ctx) (uint64, error) {
	wd := 0
	_, err := c.onFile(func(f *fs.File) error {
		path, err := c.path(1)
		if err != nil {
			return err
		}
		wd, err = f.Watch(c.cwd(), path, c.uint32(2))
		return err
	})
	return uint64(wd), err
}

func sysInotifyRmWatch(c ctx) (uint64, error) {
	return c.onFile(func(f *fs.File) error {
		if f.Flags()&unix.O_PATH != 0 {
			return syscall.EBADF
		}
		return f.Unwatch(c.int(1))
	})
}
