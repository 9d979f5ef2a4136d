package fs

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/mm/charge"
	"grim/mm/vm"
)

// Pages is the data of a regular file: its page cache. For a file in memory, the frames are
// the only copy of the data. Mappings hold references of their own. *vm.FileObject
// implements Pages. File.Object requires that it is a vm.Object too.
type Pages interface {
	// ReadAt returns n < len(p), with io.EOF, only at Size. Holes read as zeros.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt writes and extends the file. It returns ENOMEM or ENOSPC with n < len(p) if
	// there are no more frames.
	WriteAt(p []byte, off int64) (int, error)
	// Truncate sets the size. Pages beyond it are unmapped everywhere and freed.
	Truncate(size int64) error
	Size() int64
	Ref()
	Unref()
}

// regular is a regular file of the in-memory tree, or of memfd_create.
type regular struct {
	inode
	pages Pages
	// writeMu serializes writes and changes of size. So O_APPEND writes do not overlap, and
	// a failed write knows how far it has extended the file.
	writeMu sync.Mutex
	seals   int // F_SEAL_*; under writeMu
	// writers counts the open descriptions that can write. Below zero it counts those from
	// which a program runs: the two kinds exclude each other (ETXTBSY; i_writecount of
	// Linux). A memfd's first description does not count, as on Linux.
	writers atomic.Int32
	unnamed atomic.Bool // O_TMPFILE made it, and linkat(2) may give it a name
}

// getWrite allows the caller to write, or to open for writing, until putWrite. ETXTBSY: a
// program runs from the file.
func (r *regular) getWrite() error {
	for {
		n := r.writers.Load()
		if n < 0 {
			return syscall.ETXTBSY
		}
		if r.writers.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (r *regular) putWrite() { r.writers.Add(-1) }

// denyWrite forbids all writing until allowWrite. ETXTBSY: the file is open for writing, or
// a description that is closed already has left a writable mapping.
func (r *regular) denyWrite() error {
	for {
		n := r.writers.Load()
		if n > 0 {
			return syscall.ETXTBSY
		}
		if r.writers.CompareAndSwap(n, n-1) {
			break
		}
	}
	// A new writable mapping needs a description that can write, and there is none now.
	if m, ok := r.pages.(mapped); ok && r.dev != devAnon && m.Mapped().Writable() {
		r.allowWrite()
		return syscall.ETXTBSY
	}
	return nil
}

func (r *regular) allowWrite() { r.writers.Add(1) }

// mapped is implemented by pages that know their mappings.
type mapped interface{ Mapped() *vm.Mappings }

// newRegular makes an empty file, which is not reachable yet and has no references.
func (s *FS) newRegular(t Task, name string, dev uint64, perm uint32) (*regular, error) {
	return s.newRegularOf(t, dev, perm, func(payer *charge.User) (Pages, error) { return s.cfg.NewPages(name, payer) })
}

// newRegularOf is newRegular with the function that makes the file's page cache.
func (s *FS) newRegularOf(t Task, dev uint64, perm uint32, pages func(*charge.User) (Pages, error)) (*regular, error) {
	r := new(regular)
	if err := r.pay(s.payer(t), 0); err != nil {
		return nil, err
	}
	var err error
	if r.pages, err = pages(r.payer); err != nil {
		r.payer.Give(charge.Inode, r.cost)
		return nil, err
	}
	r.init(s, dev, syscall.S_IFREG|perm)
	if m, ok := r.pages.(*vm.FileObject); ok {
		s.CountPages(m)
		m.SetInode(r.ino)
		m.OnWrite(r.changed)
	}
	return r, nil
}

// CountPages makes the limit on the tree's data hold for the pages of o, which has none yet.
// Besides the tree's files these are memfds and segments of System V: memory that a program
// can keep without a mapping. So it belongs to no process that could be killed for it.
func (s *FS) CountPages(o *vm.FileObject) { o.SetQuota(&s.size) }

// drop releases the data, when there is no name and no open file. Mappings may still hold
// it.
func (r *regular) drop() { r.pages.Unref() }

func (r *regular) size() int64 { return r.pages.Size() }

// resident is a page cache that knows how many pages it holds.
type resident interface{ Pages() int64 }

// blocks returns the number of 512-byte blocks: those of the frames held, or those of the
// size if the page cache does not know its frames.
func (r *regular) blocks(size int64) int64 {
	if p, ok := r.pages.(resident); ok {
		return p.Pages() * (4096 / 512)
	}
	return (size + 511) / 512
}

// open makes the handle. The caller does O_TRUNC. Error: ETXTBSY.
func (r *regular) open(_ call, flags int) (handle, error) {
	h := &regHandle{file: r}
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		if err := r.getWrite(); err != nil {
			return nil, err
		}
		h.access = writes
	}
	return h, nil
}

// truncatePath is truncate for a caller that has no description that can write. ETXTBSY.
func (r *regular) truncatePath(t Task, size int64) error {
	if err := r.getWrite(); err != nil {
		return err
	}
	defer r.putWrite()
	return r.truncate(t, size)
}

// truncate sets the size. Errors: EFBIG, ENOSPC, EPERM (sealed).
func (r *regular) truncate(t Task, size int64) error {
	if size < 0 {
		return syscall.EINVAL
	}
	r.writeMu.Lock()
	defer r.writeMu.Unlock()
	if size > r.size() {
		if err := mayGrow(t, size); err != nil {
			return err
		}
	}
	return r.truncateLocked(t, size)
}

// mayGrow returns EFBIG, and sends SIGXFSZ, if size is above t's limit for the size of
// files.
func mayGrow(t Task, size int64) error {
	if t == nil || size <= t.FileLimit() {
		return nil
	}
	t.TooLarge()
	return syscall.EFBIG
}

func (r *regular) truncateLocked(t Task, size int64) error {
	old := r.size()
	if size < old && r.seals&unix.F_SEAL_SHRINK != 0 || size > old && r.seals&unix.F_SEAL_GROW != 0 {
		return syscall.EPERM
	}
	if err := r.pages.Truncate(size); err != nil {
		return full(err)
	}
	r.written(t)
	r.changed()
	return nil
}

// writeLocked writes at off. Precondition: writeMu held.
func (r *regular) writeLocked(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	end := addOffsets(off, int64(len(p)))
	if end < 0 {
		return 0, syscall.EFBIG
	}
	if r.seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 ||
		r.seals&unix.F_SEAL_GROW != 0 && end > r.size() {
		return 0, syscall.EPERM
	}
	n, err := r.pages.WriteAt(p, off)
	if n > 0 {
		r.changed()
		return n, nil
	}
	return 0, full(err)
}

// full replaces ENOMEM, from running out of frames, by ENOSPC.
func full(err error) error {
	if errors.Is(err, syscall.ENOMEM) {
		return syscall.ENOSPC
	}
	return err
}

// regHandle is an open regular file.
type regHandle struct {
	plain
	file   *regular
	desc   File // see newFile
	access access
}

// access is what a description counts as in regular.writers.
type access uint8

const (
	neither access = iota
	writes         // it can write
	denies         // a program runs from it
)

func (h *regHandle) close() {
	switch h.access {
	case writes:
		h.file.putWrite()
	case denies:
		h.file.allowWrite()
	}
}

func (h *regHandle) size() int64 { return h.file.size() }

func (h *regHandle) read(c call, p []byte, off int64) (int, error) {
	if off >= h.file.size() {
		return 0, nil
	}
	n, err := h.file.pages.ReadAt(p, off)
	if n > 0 || err == io.EOF {
		return n, nil
	}
	return 0, err
}

func (h *regHandle) beginWrite(c call, off int64) int64 {
	h.file.writeMu.Lock()
	if c.append {
		return h.file.size()
	}
	return off
}

func (h *regHandle) endWrite() { h.file.writeMu.Unlock() }

// write is called between beginWrite and endWrite.
func (h *regHandle) write(c call, p []byte, off int64) (int, error) {
	if c.task != nil && len(p) > 0 {
		limit := c.task.FileLimit()
		if off >= limit {
			c.task.TooLarge()
			return 0, syscall.EFBIG
		}
		p = p[:min(int64(len(p)), limit-off)]
	}
	n, err := h.file.writeLocked(p, off)
	if n > 0 {
		// Not earlier: the owner could make the file set-user-ID between the two. No program
		// runs from the file before this description is closed (writers).
		h.file.written(c.task)
	}
	return n, err
}

// Object returns the object that mmap(2) maps, with a reference, which the caller must
// Unref. ENODEV: the file has no pages. EACCES: f is not open for reading.
func (f *File) Object() (vm.Object, error) {
	m, ok := f.h.(mappable)
	if !ok {
		return nil, syscall.ENODEV
	}
	if f.may(unix.O_RDONLY) != nil {
		return nil, syscall.EACCES
	}
	o, err := m.object()
	if v, ok := o.(*vm.FileObject); ok {
		v.SetNamer(f) // for /proc/PID/maps: the present name of the description that was mapped last
	}
	return o, err
}

// mappable is a handle with pages. object returns them with a reference.
type mappable interface{ object() (vm.Object, error) }

func (h *regHandle) object() (vm.Object, error) {
	o, ok := h.file.pages.(vm.Object)
	if !ok {
		return nil, syscall.ENODEV
	}
	o.Ref()
	return o, nil
}

// Truncate implements ftruncate(2).
func (f *File) Truncate(t Task, size int64) error {
	r, ok := f.node.(*regular)
	if !ok || f.may(unix.O_WRONLY) != nil {
		return syscall.EINVAL
	}
	if err := r.truncate(t, size); err != nil {
		return err
	}
	f.fs.tell(f.node, f.from, unix.IN_MODIFY)
	return nil
}

// Allocate implements fallocate(2) with mode 0 or FALLOC_FL_KEEP_SIZE. The size grows to
// cover the range. Frames are allocated only when they are written.
func (f *File) Allocate(t Task, mode uint32, off, n int64) error {
	if err := f.may(unix.O_WRONLY); err != nil {
		return err
	}
	if off < 0 || n <= 0 {
		return syscall.EINVAL
	}
	r, ok := f.node.(*regular)
	switch {
	case !ok:
		return syscall.ENODEV
	case mode&^unix.FALLOC_FL_KEEP_SIZE != 0:
		return syscall.EOPNOTSUPP
	}
	end := addOffsets(off, n)
	if end < 0 {
		return syscall.EFBIG
	}
	r.writeMu.Lock()
	defer r.writeMu.Unlock()
	if mode != 0 || end <= r.size() {
		return nil
	}
	if err := mayGrow(t, end); err != nil {
		return err
	}
	return r.truncateLocked(t, end)
}

// Seals implements F_GET_SEALS. EINVAL: f is no memfd.
func (f *File) Seals() (int, error) {
	r, ok := f.node.(*regular)
	if !ok || r.dev != devAnon {
		return 0, syscall.EINVAL
	}
	r.writeMu.Lock()
	defer r.writeMu.Unlock()
	return r.seals, nil
}

// AddSeals implements F_ADD_SEALS. EPERM: not open for writing, or sealed against more
// seals. EINVAL: no memfd, or an unknown seal. EBUSY: F_SEAL_WRITE while a shared mapping
// can write. Mappings made before F_SEAL_FUTURE_WRITE stay writable.
func (f *File) AddSeals(seals int) error {
	const known = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_FUTURE_WRITE
	if f.may(unix.O_WRONLY) != nil {
		return syscall.EPERM
	}
	r, ok := f.node.(*regular)
	if !ok || r.dev != devAnon || seals&^known != 0 {
		return syscall.EINVAL
	}
	r.writeMu.Lock()
	defer r.writeMu.Unlock()
	if r.seals&unix.F_SEAL_SEAL != 0 {
		return syscall.EPERM
	}
	if m, ok := r.pages.(mapped); ok {
		switch {
		case seals&^r.seals&unix.F_SEAL_WRITE != 0:
			if !m.Mapped().SealWrite() {
				return syscall.EBUSY
			}
		case seals&unix.F_SEAL_FUTURE_WRITE != 0:
			m.Mapped().SealFutureWrite()
		}
	}
	r.seals |= seals
	return nil
}

// Memfd implements memfd_create(2).
func (s *FS) Memfd(t Task, name string, flags int) (*File, error) {
	const known = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING | unix.MFD_NOEXEC_SEAL | unix.MFD_EXEC
	if flags&^known != 0 || len(name) > nameMax-len("memfd:") {
		return nil, syscall.EINVAL
	}
	name = "memfd:" + name
	r, err := s.newRegular(t, name, devAnon, 0o777)
	if err == syscall.ENOSPC {
		err = syscall.ENFILE
	}
	if err != nil {
		return nil, err
	}
	newborn(r)
	r.adopt(credOf(t), nil)
	if flags&unix.MFD_ALLOW_SEALING == 0 {
		r.seals = unix.F_SEAL_SEAL
	}
	return s.newFile(t, r, &regHandle{file: r}, place{nil, "/" + name}, unix.O_RDWR)
}
