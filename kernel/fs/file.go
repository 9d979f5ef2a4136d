package fs

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/arch"
	"grim/mm/charge"
	"grim/mm/vm"
)

// File is an open file description. Descriptors made by dup and fork share it.
type File struct {
	fs   *FS
	node node
	h    handle
	from place // name by which it was opened, for Path

	payer *charge.User // [I] pays for the description and its handle

	refs  atomic.Int32
	flags atomic.Int32 // access mode and status flags, as F_GETFL returns them

	flying atomic.Int32 // references in flight (package uipc)

	posMu sync.Mutex // held across reads and writes of seekable files
	pos   int64

	watchMu sync.Mutex // epoll items on this file, and changes of flags
	watch   *epollItem // list of the items that watch the file

	lock flockState // see flock.go

	async atomic.Pointer[async] // see async.go; nil: never needed
}

// place is a name as a walk found it.
type place struct {
	dir  directory // nil: no name
	name string    // "": the directory itself
}

// statusFlags and keptFlags are the flags that stay with the open file description
// (fcntl(2), F_GETFL). A 64-bit kernel always shows O_LARGEFILE as well.
const (
	statusFlags = unix.O_APPEND | unix.O_NONBLOCK | unix.O_DIRECT | unix.O_ASYNC | unix.O_NOATIME
	keptFlags   = unix.O_ACCMODE | statusFlags | unix.O_SYNC | unix.O_DSYNC | unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW
)

// newFile makes a description with one reference. It takes over h, and the caller's
// reference on n, also if it fails. It returns ENFILE if the user has too many open files.
func (s *FS) newFile(t Task, n node, h handle, from place, flags int) (*File, error) {
	payer := s.payer(t)
	if !payer.Take(charge.OpenFile, fileCost) {
		h.close()
		unhold(n)
		return nil, syscall.ENFILE
	}
	var f *File
	switch h := h.(type) { // frequently opened kinds have the File inside the handle: one allocation
	case *regHandle:
		f = &h.desc
	case *pipeEnd:
		f = &h.desc
	default:
		f = new(File)
	}
	f.fs, f.node, f.h, f.from, f.payer = s, n, h, from, payer
	f.refs.Store(1)
	f.flags.Store(int32(flags & keptFlags))
	s.files.Add(1)
	return f, nil
}

// Ref takes another reference and returns f.
func (f *File) Ref() *File {
	if f.refs.Add(1) <= 1 {
		panic("fs: reference to a closed file")
	}
	return f
}

// Release drops a reference. The last Release closes the file. That never blocks, but it
// may free memory.
func (f *File) Release() {
	switch r := f.refs.Add(-1); {
	case r < 0:
		panic("fs: file reference count below zero: " + f.from.name)
	case r > 0:
		if n := f.flying.Load(); n != 0 && n >= r {
			f.fs.unix.Collect() // the file may be unreachable now
		}
		return
	}
	if f.fs.watched() && f.Flags()&unix.O_PATH == 0 {
		f.tellClosed()
	}
	f.unwatch()
	f.unlock()
	if a := f.async.Load(); a != nil {
		a.w.remove()
	}
	f.h.close()
	unhold(f.node)
	f.fs.files.Add(-1)
	f.payer.Give(charge.OpenFile, fileCost)
}

// tellClosed tells inotify watches of the last Release.
func (f *File) tellClosed() {
	mask := uint32(unix.IN_CLOSE_NOWRITE)
	if f.Flags()&unix.O_ACCMODE != unix.O_RDONLY {
		mask = unix.IN_CLOSE_WRITE
	}
	f.fs.tell(f.node, f.from, mask)
}

// Flags returns the access mode and the status flags (fcntl F_GETFL).
func (f *File) Flags() int { return int(f.flags.Load()) }

// ShownFlags returns Flags as fcntl F_GETFL shows them: with the O_LARGEFILE of a 64-bit
// machine, except for O_PATH.
func (f *File) ShownFlags() int {
	flags := f.Flags()
	if f.from.dir != nil && flags&unix.O_PATH == 0 { // opened by name
		flags |= largeFile
	}
	return flags
}

// ChangeFlags implements F_SETFL. It returns EPERM if the caller sets O_NOATIME but does
// not own the file.
func (f *File) ChangeFlags(t Task, flags int) error {
	if flags&^f.Flags()&unix.O_NOATIME != 0 && !f.node.base().owns(credOf(t)) {
		return syscall.EPERM
	}
	f.SetFlags(flags)
	return nil
}

// SetFlags changes the status flags (fcntl F_SETFL). The other flags stay.
func (f *File) SetFlags(flags int) {
	f.changeFlags(unix.O_APPEND|unix.O_NONBLOCK|unix.O_DIRECT|unix.O_ASYNC|unix.O_NOATIME, flags)
}

// changeFlags sets those flags that mask has to their values in flags.
func (f *File) changeFlags(mask, flags int) {
	f.watchMu.Lock()
	defer f.watchMu.Unlock()
	old := f.Flags()
	now := old&^mask | flags&mask
	if (old^now)&unix.O_ASYNC != 0 {
		f.setAsync(now&unix.O_ASYNC != 0)
	}
	f.flags.Store(int32(now))
}

// Path returns the file's present path, with " (deleted)" after it if the name is gone. For
// a file without a name it returns a label such as "pipe:[7]".
func (f *File) Path() string { return f.fs.pathOf(f.node, f.from) }

func (f *File) call(t Task) call {
	fl := f.flags.Load()
	return call{t, fl&unix.O_NONBLOCK != 0, fl&unix.O_APPEND != 0}
}

// may checks that the access mode allows mode, which is O_RDONLY or O_WRONLY.
func (f *File) may(mode int) error {
	fl := f.Flags()
	if fl&unix.O_PATH != 0 {
		return syscall.EBADF
	}
	if acc := fl & unix.O_ACCMODE; acc != mode && acc != unix.O_RDWR {
		return syscall.EBADF
	}
	return nil
}

// Read reads at the offset and moves it. It returns 0 without an error at the end of file.
// It may block. It returns EINTR and EAGAIN only if nothing was read.
func (f *File) Read(t Task, p []byte) (int, error) { return f.ReadTo(t, (*flat)(&p)) }

// Write writes at the offset (with O_APPEND: at the end) and moves it. It may block. It
// returns an error only if nothing was written, except for EPIPE: the caller sends SIGPIPE
// then.
func (f *File) Write(t Task, p []byte) (int, error) { return f.WriteFrom(t, (*flat)(&p)) }

// Pread reads at off and leaves the offset alone. Streams return ESPIPE.
func (f *File) Pread(t Task, p []byte, off int64) (int, error) {
	return f.PreadTo(t, (*flat)(&p), off)
}

// Pwrite writes at off and leaves the offset alone. With O_APPEND it appends (pwrite(2),
// BUGS). Streams return ESPIPE.
func (f *File) Pwrite(t Task, p []byte, off int64) (int, error) {
	return f.PwriteFrom(t, (*flat)(&p), off)
}

func (f *File) positional(mode int, off int64) error {
	if err := f.may(mode); err != nil {
		return err
	}
	if _, ok := f.h.(seekable); !ok {
		return syscall.ESPIPE
	}
	if off < 0 {
		return syscall.EINVAL
	}
	return nil
}

// Seek implements lseek(2). For SEEK_DATA and SEEK_HOLE, a file is one run of data.
func (f *File) Seek(off int64, whence int) (int64, error) {
	if f.Flags()&unix.O_PATH != 0 {
		return 0, syscall.EBADF
	}
	z, ok := f.h.(seekable)
	if !ok {
		return 0, syscall.ESPIPE
	}
	f.posMu.Lock()
	defer f.posMu.Unlock()
	size := z.size()
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		off = addOffsets(f.pos, off)
	case unix.SEEK_END:
		off = addOffsets(size, off)
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		if off < 0 || off >= size {
			return 0, syscall.ENXIO
		}
		if whence == unix.SEEK_HOLE {
			off = size
		}
	default:
		return 0, syscall.EINVAL
	}
	if off < 0 {
		return 0, syscall.EINVAL
	}
	f.pos = off
	return off, nil
}

// addOffsets returns base+off for base >= 0, or -1 if that overflows.
func addOffsets(base, off int64) int64 {
	if off > 0 && base > Never-off {
		return -1
	}
	return base + off
}

// Getdents implements getdents64(2). It fills buf, kernel memory, with linux_dirent64
// records and gives them to deliver, which returns how many bytes arrived. The result is
// the size of the whole records among these bytes, and the offset moves over them; it is 0
// at the end of the directory. deliver's error is returned only if no record arrived.
func (f *File) Getdents(t Task, buf []byte, deliver func(p []byte) (int, error)) (int, error) {
	if f.Flags()&unix.O_PATH != 0 {
		return 0, syscall.EBADF
	}
	h, ok := f.h.(*dirHandle)
	if !ok {
		return 0, syscall.ENOTDIR
	}
	f.posMu.Lock()
	defer f.posMu.Unlock()
	n, err := h.getdents(t, buf, f.pos)
	if err != nil || n == 0 {
		return 0, err
	}
	sizes := slices.Clone(buf[:n]) // deliver may change the records, but their sizes must not change
	k, err := deliver(buf[:n])
	n, f.pos = arrived(sizes, k, f.pos)
	return partial(n, err)
}

// SameFile reports whether the two descriptions are of one file.
func (f *File) SameFile(g *File) bool { return f.node == g.node }

// Stat implements fstat(2).
func (f *File) Stat() Stat { return statOf(f.node) }

// Statfs implements fstatfs(2).
func (f *File) Statfs() Statfs { return f.fs.statfsOf(f.node) }

// Sync implements fsync(2). It does nothing for a file in memory.
func (f *File) Sync() error {
	if f.Flags()&unix.O_PATH != 0 {
		return syscall.EBADF
	}
	i := f.node.base()
	v := i.stored()
	switch i.typ {
	case syscall.S_IFREG:
		if v != nil {
			return f.node.(*regular).pages.(*vm.FileObject).Sync()
		}
		return nil
	case syscall.S_IFDIR:
		if v != nil {
			v.flushAttrs()
			return v.store.Sync()
		}
		return nil
	}
	return syscall.EINVAL
}

// SyncRange writes the dirty pages of n bytes from off on to the disk (sync_file_range(2)).
// It does nothing for a file in memory. EIO, ENOSPC.
func (f *File) SyncRange(off, n int64) error {
	i := f.node.base()
	if i.typ != syscall.S_IFREG || i.stored() == nil {
		return nil
	}
	return f.node.(*regular).pages.(*vm.FileObject).SyncRange(off, n)
}

// SyncVolume implements syncfs(2).
func (f *File) SyncVolume() error {
	if f.Flags()&unix.O_PATH != 0 {
		return syscall.EBADF
	}
	if v := f.node.base().stored(); v != nil {
		return v.sync()
	}
	return nil
}

// written ends a write of n bytes. With O_SYNC or O_DSYNC it returns once they are on disk.
func (f *File) written(n int, err error) (int, error) {
	if n > 0 && f.Flags()&(unix.O_SYNC|unix.O_DSYNC) != 0 && f.node.base().stored() != nil {
		if e := f.Sync(); e != nil {
			return 0, e
		}
	}
	return n, err
}

// Readiness returns the EPOLL* bits that hold now.
func (f *File) Readiness() uint32 { return f.h.ready() }

// Ioctl requests that x/sys/unix lacks (asm-generic/ioctls.h).
const (
	fionread = 0x541b
	fionbio  = 0x5421
	fioasync = 0x5452
)

// Ioctl implements ioctl(2). arg is the argument of the request req: a number, or an
// address in mem.
func (f *File) Ioctl(t Task, mem UserMemory, req uint32, arg uint64) (uint64, error) {
	flag := 0
	switch {
	case f.Flags()&unix.O_PATH != 0:
	case req == fionbio:
		flag = unix.O_NONBLOCK
	case req == fioasync && f.h.queue() != nil:
		flag = unix.O_ASYNC
	}
	if flag != 0 {
		var on [4]byte
		if err := mem.CopyIn(on[:], arch.VA(arg)); err != nil {
			return 0, err
		}
		to := 0
		if binary.LittleEndian.Uint32(on[:]) != 0 {
			to = flag
		}
		f.changeFlags(flag, to)
		return 0, nil
	}
	return f.h.ioctl(f.call(t), mem, req, arg)
}

// putInt stores an int at the address arg, for an ioctl that returns one.
func putInt(mem UserMemory, arg uint64, v int) (uint64, error) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(v))
	return 0, mem.CopyOut(arch.VA(arg), b[:])
}
