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

// File is an open file description: what descriptors made by dup and fork share.
type File struct {
	fs   *FS
	node node
	h    handle
	from place // where it was opened, for Path

	payer *charge.User // [I] of the description and its handle

	refs  atomic.Int32
	flags atomic.Int32 // access mode and status flags, as F_GETFL shows them

	flying atomic.Int32 // references in flight (package uipc)

	posMu sync.Mutex // held across reads and writes of seekable files
	pos   int64

	watchMu sync.Mutex // epoll items on this file
	watch   map[*epollItem]struct{}

	lock flockState // see flock.go

	async atomic.Pointer[async] // see async.go; nil: never asked for
}

// place is a name as a walk found it.
type place struct {
	dir  directory // nil: no name
	name string    // "": the directory itself
}

// Flags that stay with the open file description (fcntl(2), F_GETFL). O_LARGEFILE
// is what a 64-bit kernel always shows.
const (
	statusFlags = unix.O_APPEND | unix.O_NONBLOCK | unix.O_DIRECT | unix.O_ASYNC | unix.O_NOATIME
	keptFlags   = unix.O_ACCMODE | statusFlags | unix.O_SYNC | unix.O_DSYNC | unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW
)

// newFile makes a description with one reference. It takes over h, and the caller's
// reference on n, on error too. ENFILE: the user has too many.
func (s *FS) newFile(t Task, n node, h handle, from place, flags int) (*File, error) {
	payer := s.payer(t)
	if !payer.Take(charge.OpenFile, fileCost) {
		h.close()
		unhold(n)
		return nil, syscall.ENFILE
	}
	var f *File
	switch h := h.(type) { // what is opened all the time has it in the handle
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

// Release gives a reference back. The last one closes the file; that never
// blocks, but may free memory.
func (f *File) Release() {
	switch r := f.refs.Add(-1); {
	case r < 0:
		panic("fs: file reference count below zero: " + f.from.name)
	case r > 0:
		if n := f.flying.Load(); n != 0 && n >= r {
			f.fs.unix.Collect() // perhaps nobody can reach it any more
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

// tellClosed is the event of the last Release.
func (f *File) tellClosed() {
	mask := uint32(unix.IN_CLOSE_NOWRITE)
	if f.Flags()&unix.O_ACCMODE != unix.O_RDONLY {
		mask = unix.IN_CLOSE_WRITE
	}
	f.fs.tell(f.node, f.from, mask)
}

// Flags are the access mode and status flags (fcntl F_GETFL).
func (f *File) Flags() int { return int(f.flags.Load()) }

// ShownFlags are Flags as fcntl F_GETFL has them: with the O_LARGEFILE of a 64-bit
// machine, O_PATH aside.
func (f *File) ShownFlags() int {
	flags := f.Flags()
	if f.from.dir != nil && flags&unix.O_PATH == 0 { // opened by name
		flags |= largeFile
	}
	return flags
}

// ChangeFlags is fcntl F_SETFL. EPERM: O_NOATIME is the owner's.
func (f *File) ChangeFlags(t Task, flags int) error {
	if flags&^f.Flags()&unix.O_NOATIME != 0 && !f.node.base().owns(credOf(t)) {
		return syscall.EPERM
	}
	f.SetFlags(flags)
	return nil
}

// SetFlags changes the status flags (fcntl F_SETFL); the rest stays.
func (f *File) SetFlags(flags int) {
	const settable = unix.O_APPEND | unix.O_NONBLOCK | unix.O_DIRECT | unix.O_ASYNC | unix.O_NOATIME
	if (f.Flags()^flags)&unix.O_ASYNC != 0 {
		f.setAsync(flags&unix.O_ASYNC != 0)
	}
	f.flags.Store(f.flags.Load()&^settable | int32(flags&settable))
}

// Path is the file's present path, with " (deleted)" after it if the name is
// gone, or a label such as "pipe:[7]".
func (f *File) Path() string { return f.fs.pathOf(f.node, f.from) }

func (f *File) call(t Task) call {
	fl := f.flags.Load()
	return call{t, fl&unix.O_NONBLOCK != 0, fl&unix.O_APPEND != 0}
}

// may checks that the access mode allows mode, one of O_RDONLY and O_WRONLY.
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

// Read reads at the offset and moves it. 0 without error is the end of file.
// It may block; EINTR and EAGAIN only if nothing was read.
func (f *File) Read(t Task, p []byte) (int, error) { return f.ReadTo(t, (*flat)(&p)) }

// Write writes at the offset (O_APPEND: at the end) and moves it. It may block;
// an error only if nothing was written, but for EPIPE: the caller sends SIGPIPE.
func (f *File) Write(t Task, p []byte) (int, error) { return f.WriteFrom(t, (*flat)(&p)) }

// Pread reads at off and leaves the offset alone. ESPIPE for streams.
func (f *File) Pread(t Task, p []byte, off int64) (int, error) {
	return f.PreadTo(t, (*flat)(&p), off)
}

// Pwrite writes at off and leaves the offset alone; with O_APPEND it appends
// (pwrite(2), BUGS). ESPIPE for streams.
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

// Seek is lseek(2). SEEK_DATA and SEEK_HOLE take a file for one run of data.
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

// addOffsets is base+off for base >= 0, or -1 when that overflows.
func addOffsets(base, off int64) int64 {
	if off > 0 && base > Never-off {
		return -1
	}
	return base + off
}

// Getdents is getdents64(2): it fills buf, kernel memory, with linux_dirent64
// records and gives them to deliver, which says how many bytes arrived. The offset
// moves over the whole records among those, which are the result; 0 at the end, and
// deliver's error only if there are none.
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
	sizes := slices.Clone(buf[:n]) // deliver may change the records, not their sizes
	k, err := deliver(buf[:n])
	n, f.pos = arrived(sizes, k, f.pos)
	return partial(n, err)
}

// SameFile says whether two descriptions are of one file.
func (f *File) SameFile(g *File) bool { return f.node == g.node }

// Stat is fstat(2).
func (f *File) Stat() Stat { return statOf(f.node) }

// Statfs is fstatfs(2).
func (f *File) Statfs() Statfs { return f.fs.statfsOf(f.node) }

// Sync is fsync(2). A file in memory has nothing to sync.
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

// SyncVolume is syncfs(2).
func (f *File) SyncVolume() error {
	if f.Flags()&unix.O_PATH != 0 {
		return syscall.EBADF
	}
	if v := f.node.base().stored(); v != nil {
		return v.sync()
	}
	return nil
}

// written is the end of a write of n bytes: with O_SYNC or O_DSYNC they are on disk then.
func (f *File) written(n int, err error) (int, error) {
	if n > 0 && f.Flags()&(unix.O_SYNC|unix.O_DSYNC) != 0 && f.node.base().stored() != nil {
		if e := f.Sync(); e != nil {
			return 0, e
		}
	}
	return n, err
}

// Readiness is the EPOLL* bits that hold now.
func (f *File) Readiness() uint32 { return f.h.ready() }

// Ioctl requests that x/sys/unix lacks (asm-generic/ioctls.h).
const (
	fionread = 0x541b
	fionbio  = 0x5421
)

// Ioctl is ioctl(2): req's argument is arg, a number or an address in mem.
func (f *File) Ioctl(t Task, mem UserMemory, req uint32, arg uint64) (uint64, error) {
	if req == fionbio && f.Flags()&unix.O_PATH == 0 {
		var on [4]byte
		if err := mem.CopyIn(on[:], arch.VA(arg)); err != nil {
			return 0, err
		}
		flags := f.Flags() &^ unix.O_NONBLOCK
		if binary.LittleEndian.Uint32(on[:]) != 0 {
			flags |= unix.O_NONBLOCK
		}
		f.SetFlags(flags)
		return 0, nil
	}
	return f.h.ioctl(f.call(t), mem, req, arg)
}

// putInt stores an int for an ioctl that returns one through a pointer.
func putInt(mem UserMemory, arg uint64, v int) (uint64, error) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(v))
	return 0, mem.CopyOut(arch.VA(arg), b[:])
}
