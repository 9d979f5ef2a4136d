package fs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Device numbers, as on Linux (Documentation/admin-guide/devices.txt). Major 1 is memory, 5
// terminals, 136 the slaves of pseudo-terminals.
var (
	devNull    = unix.Mkdev(1, 3)
	devZero    = unix.Mkdev(1, 5)
	devFull    = unix.Mkdev(1, 7)
	devRandom  = unix.Mkdev(1, 8)
	devURandom = unix.Mkdev(1, 9)
	devTTY     = unix.Mkdev(5, 0)
	devConsole = unix.Mkdev(5, 1)
	devPTMX    = unix.Mkdev(5, 2)
)

// mountDev makes /dev.
func (s *FS) mountDev() {
	d := sure(s.newDir(boot, 0o755))
	s.root.give("dev", d)
	for name, rdev := range map[string]uint64{
		"null": devNull, "zero": devZero, "full": devFull,
		"random": devRandom, "urandom": devURandom, "tty": devTTY, "ptmx": devPTMX,
	} {
		d.give(name, sure(s.newDevice(boot, syscall.S_IFCHR|0o666, rdev)))
	}
	d.give("console", sure(s.newDevice(boot, syscall.S_IFCHR|0o600, devConsole)))
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0",
		"stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		d.give(name, sure(s.newSymlink(boot, target)))
	}
	s.pts = sure(s.newDir(boot, 0o755))
	d.give("pts", s.pts)
	d.give("shm", sure(s.newDir(boot, 0o1777)))
}

// openDevice opens the character device with number rdev, whose node is from. ENXIO: there is
// none.
func (s *FS) openDevice(c call, rdev uint64, flags int, from *device) (handle, error) {
	switch rdev {
	case devNull:
		return nullDev{}, nil
	case devZero:
		return zeroDev{fs: s}, nil
	case devFull:
		return fullDev{}, nil
	case devRandom, devURandom:
		return randomDev{fs: s}, nil
	case devTTY: // the caller's terminal, if it has one
		y := s.terminal(c)
		if y == nil {
			return nil, syscall.ENXIO
		}
		return y.open(c, flags, false)
	case devConsole: // opening it does not make it the session's terminal
		return s.tty.open(c, flags, false)
	case devPTMX:
		return s.openMaster(c)
	}
	if unix.Major(rdev) == ptyMajor {
		if y := s.slaveOf(unix.Minor(rdev), from); y != nil {
			return y.open(c, flags, true)
		}
		return nil, syscall.EIO
	}
	return nil, syscall.ENXIO
}

// nullDev is /dev/null (null(4)). Its offset moves, so that seeking programs work.
type nullDev struct{ plain }

func (nullDev) read(call, []byte, int64) (int, error)          { return 0, nil }
func (nullDev) write(c call, p []byte, off int64) (int, error) { return len(p), nil }
func (nullDev) size() int64                                    { return 0 }

// zeroDev is /dev/zero (null(4)). A mapping of it is anonymous memory.
type zeroDev struct {
	plain
	fs *FS
}

func (zeroDev) read(c call, p []byte, off int64) (int, error) {
	clear(p)
	return len(p), nil
}
func (zeroDev) write(c call, p []byte, off int64) (int, error) { return len(p), nil }
func (zeroDev) size() int64                                    { return 0 }

// Zero reports whether f is /dev/zero: mmap(2) of it makes anonymous memory.
func (f *File) Zero() bool {
	_, ok := f.h.(zeroDev)
	return ok
}

// fullDev is /dev/full (full(4)).
type fullDev struct{ plain }

func (fullDev) read(c call, p []byte, off int64) (int, error) {
	clear(p)
	return len(p), nil
}
func (fullDev) write(c call, p []byte, off int64) (int, error) { return 0, syscall.ENOSPC }
func (fullDev) size() int64                                    { return 0 }

// randomDev is /dev/random and /dev/urandom (random(4)). Written data is thrown away: the
// generator would not count it as entropy.
type randomDev struct {
	plain
	fs *FS
}

func (d randomDev) read(c call, p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		turn := p[n:min(len(p), n+RandomTurn)]
		d.fs.cfg.Random(turn)
		n += len(turn)
		if err := c.pause(); err != nil {
			return n, nil
		}
	}
	return len(p), nil
}

// RandomTurn is the number of bytes that the generator makes between two pauses: some 10
// 000 instructions.
const RandomTurn = 1024

func (randomDev) write(c call, p []byte, off int64) (int, error) { return len(p), nil }
func (randomDev) size() int64                                    { return 0 }
