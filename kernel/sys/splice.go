package sys

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"grim/kernel/fs"
)

// spliceFlags are the flags of splice(2), tee(2) and vmsplice(2). Only NONBLOCK has an
// effect, as data is always copied.
const spliceFlags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK | unix.SPLICE_F_MORE | unix.SPLICE_F_GIFT

func sysSplice(c ctx) (uint64, error) {
	n, flags := c.arg(4), c.uint32(5)
	if flags&^spliceFlags != 0 {
		return 0, syscall.EINVAL
	}
	if n == 0 {
		return 0, nil
	}
	in, out, err := c.twoFiles(0, 2)
	if err != nil {
		return 0, err
	}
	defer in.Release()
	defer out.Release()
	for _, f := range []*fs.File{in, out} {
		if f.Flags()&unix.O_PATH != 0 {
			return 0, syscall.EBADF
		}
	}
	if in.Flags()&unix.O_ACCMODE == unix.O_WRONLY || out.Flags()&unix.O_ACCMODE == unix.O_RDONLY {
		return 0, syscall.EBADF
	}
	switch {
	case in.IsPipe() && c.va(1) != 0, out.IsPipe() && c.va(3) != 0:
		return 0, syscall.ESPIPE
	case !in.IsPipe() && !out.IsPipe(), in.IsPipe() && out.IsPipe() && in.SameFile(out),
		!out.IsPipe() && out.Flags()&unix.O_APPEND != 0:
		return 0, syscall.EINVAL
	}
	from, seeksIn, err := c.spliceOffset(in, 1)
	if err != nil {
		return 0, err
	}
	to, seeksOut, err := c.spliceOffset(out, 3)
	if err != nil {
		return 0, err
	}
	k, err := fs.Splice(c.task(), in, from.off, out, to.off, int(min(n, maxRW)), flags&unix.SPLICE_F_NONBLOCK != 0)
	if k > 0 {
		if seeksIn {
			if e := from.advance(c, in, uint64(k)); e != nil {
				return 0, e
			}
		}
		if seeksOut {
			if e := to.advance(c, out, uint64(k)); e != nil {
				return 0, e
			}
		}
	}
	return c.moved(k, err)
}

// spliceOffset returns the start of a transfer in a file. A pipe, or another file without
// an offset, has none.
func (c ctx) spliceOffset(f *fs.File, i int) (o fileOffset, seeks bool, err error) {
	if f.IsPipe() {
		return o, false, nil
	}
	o, err = c.fileOffset(f, c.va(i))
	if err == syscall.ESPIPE && c.va(i) == 0 {
		return o, false, nil
	}
	return o, true, err
}

func sysTee(c ctx) (uint64, error) {
	n, flags := c.arg(2), c.uint32(3)
	if flags&^spliceFlags != 0 {
		return 0, syscall.EINVAL
	}
	if n == 0 {
		return 0, nil
	}
	in, out, err := c.twoFiles(0, 1)
	if err != nil {
		return 0, err
	}
	defer in.Release()
	defer out.Release()
	k, err := fs.Tee(c.task(), in, out, int(min(n, maxRW)), flags&unix.SPLICE_F_NONBLOCK != 0)
	return c.moved(k, err)
}

// sysVmsplice copies to the writing end of a pipe, or from its reading end.
func sysVmsplice(c ctx) (uint64, error) {
	if c.uint32(3)&^spliceFlags != 0 {
		return 0, syscall.EINVAL
	}
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	pipe, out := f.IsPipe(), f.Flags()&unix.O_ACCMODE != unix.O_RDONLY
	nonblock := c.uint32(3)&unix.SPLICE_F_NONBLOCK != 0 && f.Flags()&unix.O_NONBLOCK == 0
	ready := f.Readiness()
	f.Release()
	if !pipe {
		return 0, syscall.EBADF
	}
	if c.arg(2) == 0 {
		return 0, nil
	}
	if nonblock && (out && ready&fs.EPOLLOUT == 0 || !out && ready&(fs.EPOLLIN|fs.EPOLLHUP) == 0) {
		return 0, syscall.EAGAIN
	}
	return c.transfer(out, true, false)
}

// Flags of preadv2(2) and pwritev2(2) that x/sys/unix lacks.
const (
	rwfHighPriority = 1
	rwfDSync        = 2
	rwfSync         = 4
	rwfAppend       = 16
)

// vector2 implements preadv2(2) and pwritev2(2). Offset -1 is the file's own offset.
func (c ctx) vector2(out bool) (uint64, error) {
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	f.Release()
	if c.uint32(5)&^(rwfHighPriority|rwfDSync|rwfSync) != 0 {
		return 0, syscall.EOPNOTSUPP
	}
	return c.transfer(out, true, int64(c.arg(3)) != -1)
}

func sysPreadv2(c ctx) (uint64, error)  { return c.vector2(false) }
func sysPwritev2(c ctx) (uint64, error) { return c.vector2(true) }

// sysSyncFileRange writes the dirty pages of a range to the disk. It returns when they have
// been written, whichever flags there are, but does not make the disk flush its cache, nor
// write what belongs to the file besides its pages (sync_file_range(2)).
func sysSyncFileRange(c ctx) (uint64, error) {
	off, n, flags := int64(c.arg(1)), int64(c.arg(2)), c.uint32(3)
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	switch {
	case f.Flags()&unix.O_PATH != 0:
		return 0, syscall.EBADF
	case flags&^(unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER) != 0,
		off < 0, n < 0, off+n < 0:
		return 0, syscall.EINVAL
	}
	switch f.Stat().Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFBLK, unix.S_IFLNK:
	default:
		return 0, syscall.ESPIPE
	}
	if flags&unix.SYNC_FILE_RANGE_WRITE == 0 {
		return 0, nil // a write ends before the call that began it
	}
	if n == 0 {
		n = math.MaxInt64 - off
	}
	return 0, f.SyncRange(off, n)
}

// sysSignalfd4 makes a descriptor that reads signals, or changes its set of signals.
func sysSignalfd4(c ctx) (uint64, error) { return c.signalfd(c.int(3)) }
func sysSignalfd(c ctx) (uint64, error)  { return c.signalfd(0) }

func (c ctx) signalfd(flags int) (uint64, error) {
	if c.arg(2) != 8 || flags&^(unix.SFD_CLOEXEC|unix.SFD_NONBLOCK) != 0 {
		return 0, syscall.EINVAL
	}
	set, err := get[uint64](c, c.va(1))
	if err != nil {
		return 0, err
	}
	set &^= 1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1)
	if c.int(0) == -1 {
		return c.installNew(flags&unix.SFD_CLOEXEC != 0)(c.s.fs.Signalfd(c.task(), signals{c.t}, set, flags))
	}
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	return uint64(c.int(0)), f.SetSignals(set)
}
