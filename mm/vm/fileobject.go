package vm

import (
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"grim/arch"
	"grim/mm/charge"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// FileObject holds the pages of a file.
//
// Without a Pager and a Store it is the page cache of an in-memory file, and the only place
// where the file's contents are: read(2), write(2) and every mapping see the same frames.
//
// With a Pager, only mapped pages have frames. ReadAt and WriteAt go to the pager, as on
// systems without a unified buffer cache. Data written through a mapping reaches
// read(2) when the page is handed back: by msync, munmap, or the purge of an exiting
// process.
//
// With a Store it is a cache of the store's contents: see stored.
type FileObject struct {
	Mappings
	sys     *System
	pager   Pager   // nil: none
	cache   *stored // [I] nil: none
	refs    atomic.Int32
	inode   atomic.Uint64
	name    string // [I]
	onWrite atomic.Pointer[func()]

	// ioMu allows one write, change of the size, or read by the pager at a time. It may be
	// held as long as the pager or the store sleeps, and while a truncation lets others
	// run. The package comment has the order of locks.
	ioMu sync.Mutex

	mu    sync.Mutex // under VMSpace.mu and Mappings.mu
	size  int64
	pages pageIndex

	namer Namer // nil: name is the file's name

	version uint64 // number of changes of the contents
	stored  bool   // a shared mapping may have changed the contents, or may at any time
	derived any    // of this version of the contents; see SetDerived
}

// Pager keeps a file's pages elsewhere. page is one page of memory that belongs to the
// caller. The methods may be slow and may sleep. They are called without locks that others
// need. A pager whose file may shrink and grow again also has a method Truncate(size
// int64), and then reads as zero after the old size.
type Pager interface {
	PageIn(index int64, page []byte) error
	PageOut(index int64, page []byte) error
}

// maxFileSize keeps sums of offsets and sizes inside an int64.
const maxFileSize = 1 << 62

// fileCost is what a FileObject is charged, without its page index.
const fileCost = int64(unsafe.Sizeof(FileObject{}))

// NewFileObject makes an empty file that belongs to the kernel, with one reference.
// Truncate gives it a size. pager may be nil.
func NewFileObject(s *System, name string, pager Pager) *FileObject {
	o, err := NewUserFile(s, name, pager, s.charges.Kernel())
	if err != nil {
		panic("vm: the kernel was refused a file object of its own")
	}
	return o
}

// NewUserFile is NewFileObject for a file that owner pays for. ENOMEM.
func NewUserFile(s *System, name string, pager Pager, owner *charge.User) (*FileObject, error) {
	if !owner.Take(charge.Object, fileCost) {
		return nil, syscall.ENOMEM
	}
	o := &FileObject{sys: s, pager: pager, name: name}
	o.pages.owner = owner
	o.refs.Store(1)
	s.objects.Add(1)
	return o, nil
}

// SetQuota makes q count the pages of the file. The file must have none yet.
func (o *FileObject) SetQuota(q *Quota) { o.pages.quota = q }

// Ref adds a reference: an inode, an open file, a mapping.
func (o *FileObject) Ref() { o.refs.Add(1) }

// TryRef adds a reference, unless the last one is gone. It is for lists that hold a file
// without a reference, and from which the file's end removes it.
func (o *FileObject) TryRef() bool {
	for {
		n := o.refs.Load()
		if n == 0 {
			return false
		}
		if o.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Unref drops a reference. The last one frees the frames.
func (o *FileObject) Unref() {
	if n := o.refs.Add(-1); n > 0 {
		return
	} else if n < 0 {
		panic("vm: file object " + o.name + " released more often than referenced")
	}
	if o.cache != nil {
		o.dropStored()
	}
	o.sys.freePages(&o.pages, 0, o.sys.yield)
	o.pages.owner.Give(charge.Object, fileCost)
	o.sys.objects.Add(-1)
}

// freePages drops the references that an index holds, from page first on. yield may be nil;
// otherwise it is called now and then.
func (s *System) freePages(x *pageIndex, first int64, yield func()) {
	b := phys.Batch{M: s.mem}
	x.cut(first, &b, yield)
	b.Flush()
}

// Size returns the length in bytes.
func (o *FileObject) Size() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size
}

// Pages returns the number of frames that hold data (st_blocks is 8 for each).
func (o *FileObject) Pages() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pages.n
}

// Namer returns the present path of a file.
type Namer interface{ Path() string }

// SetNamer sets the Namer of an object whose name can change (rename, unlink), or that has
// several names.
func (o *FileObject) SetNamer(n Namer) {
	o.mu.Lock()
	o.namer = n
	o.mu.Unlock()
}

// Name returns what /proc/self/maps shows. It calls the Namer, with no lock held.
func (o *FileObject) Name() string {
	o.mu.Lock()
	n := o.namer
	o.mu.Unlock()
	if n != nil {
		return n.Path()
	}
	return o.name
}

// Inode returns the inode number that /proc/self/maps shows; SetInode sets it.
func (o *FileObject) Inode() uint64       { return o.inode.Load() }
func (o *FileObject) SetInode(ino uint64) { o.inode.Store(ino) }

// OnWrite sets a function that is called, with no lock held, when pages written through a
// shared mapping come back. It is to set the file's modification time.
func (o *FileObject) OnWrite(f func()) { o.onWrite.Store(&f) }

// changed records that the contents are about to change. Preconditions: mu held.
func (o *FileObject) changed() {
	o.version++
	o.derived = nil
}

// Derived returns what SetDerived has stored for the present contents, or nil, and the
// version of the contents, which is the argument for SetDerived.
func (o *FileObject) Derived() (v any, version uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.derived, o.version
}

// SetDerived stores v, which was computed from the contents after Derived returned version.
// v is kept until the contents change. It is dropped at once if they have changed already,
// or if a shared mapping or a pager can change them unseen.
func (o *FileObject) SetDerived(v any, version uint64) {
	o.mu.Lock()
	if version == o.version && !o.stored && o.pager == nil {
		o.derived = v
	}
	o.mu.Unlock()
}

// CachedPage returns a page that is in the cache.
func (o *FileObject) CachedPage(index int64, write bool) (phys.Frame, bool) {
	o.mu.Lock()
	if write {
		if c := o.cache; c != nil {
			if c.dirty[index] == 0 { // GetPage has to prepare it
				o.mu.Unlock()
				return 0, false
			}
			c.dirty[index] |= fresh | mapped
		}
		if !o.stored {
			o.changed()
			o.stored = true
		}
	}
	f := o.pages.get(index)
	if f != 0 {
		o.sys.mem.Ref(f)
	}
	o.mu.Unlock()
	return f, f != 0
}

// CachedRun returns pages that are in the cache.
func (o *FileObject) CachedRun(first int64, want uint32, frames *[AroundPages]phys.Frame) {
	o.mu.Lock()
	o.pages.run(o.sys.mem, first, want, frames)
	o.mu.Unlock()
}

// GetPage returns a page, from the pager or the store if necessary. EIO past the end, or if
// pager or store fails; ENOMEM.
func (o *FileObject) GetPage(index int64, write bool) (phys.Frame, error) {
	if o.pager != nil {
		return o.pageIn(index)
	}
	if o.cache != nil {
		return o.getStored(index, write)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !inObject(index, pagesOf(o.size)) {
		return 0, syscall.EIO
	}
	if write && !o.stored {
		o.changed()
		o.stored = true
	}
	f, err := o.pageLocked(index)
	switch err {
	case nil:
		o.sys.mem.Ref(f)
	case syscall.ENOSPC:
		err = syscall.EIO // a user's store gets SIGBUS where write(2) gets ENOSPC
	}
	return f, err
}

// pageLocked returns the frame of a page. It fills a hole with a new frame. Preconditions:
// mu held.
func (o *FileObject) pageLocked(index int64) (phys.Frame, error) {
	if f := o.pages.get(index); f != 0 {
		return f, nil
	}
	f, err := o.sys.mem.AllocZero(phys.FileCache)
	if err != nil {
		return 0, err
	}
	if err := o.pages.set(index, f); err != nil {
		o.sys.mem.Unref(f)
		return 0, err
	}
	return f, nil
}

// PutDirtyRun takes back pages that were written through a mapping. Without a pager or a
// store the frames are the file's own, and there is nothing to do for each page: OnWrite's
// function is called once.
func (o *FileObject) PutDirtyRun(first int64, pages []pmap.DirtyPage) (refused int) {
	if o.pager != nil || o.cache != nil {
		for i := range pages {
			if o.PutDirty(first+int64((pages[i].VA-pages[0].VA)>>arch.PageShift), pages[i].Frame) != nil {
				refused++
			}
			o.sys.dirtyDone(i)
		}
		return refused
	}
	o.mu.Lock()
	mine := false
	for i := 0; i < len(pages) && !mine; i++ {
		// A page that truncation has removed meanwhile does not count.
		mine = o.pages.get(first+int64((pages[i].VA-pages[0].VA)>>arch.PageShift)) == pages[i].Frame
	}
	o.mu.Unlock()
	if fn := o.onWrite.Load(); fn != nil && mine {
		(*fn)()
	}
	return 0
}

// PutDirty takes back a page that was written through a mapping. A page that truncation has
// removed from the file meanwhile is ignored.
func (o *FileObject) PutDirty(index int64, f phys.Frame) error {
	o.mu.Lock()
	mine := o.pages.get(index) == f
	o.mu.Unlock()
	if !mine {
		return nil
	}
	var err error
	switch {
	case o.pager != nil:
		o.ioMu.Lock()
		err = o.pager.PageOut(index, o.sys.mem.Bytes(f))
		o.ioMu.Unlock()
	case o.cache != nil:
		err = o.putStored(index)
	}
	if fn := o.onWrite.Load(); fn != nil {
		(*fn)()
	}
	return err
}

// Truncate sets the length. Pages after it are unmapped in all address spaces and freed;
// from then on accesses to them fail (SIGBUS). What a later extension adds reads as zero.
// EINVAL, EFBIG.
func (o *FileObject) Truncate(size int64) error {
	if size < 0 {
		return syscall.EINVAL
	}
	if size > maxFileSize {
		return syscall.EFBIG
	}
	o.ioMu.Lock()
	defer o.ioMu.Unlock()
	if o.pager != nil {
		if p, ok := o.pager.(interface{ Truncate(size int64) }); ok {
			p.Truncate(size)
		}
	}
	if o.cache != nil {
		if err := o.truncateStored(size); err != nil {
			return err
		}
	}
	first := pagesOf(size)
	o.mu.Lock()
	o.changed()
	shrunk := size < o.size
	o.clearTail(min(size, o.size))
	o.size = size
	if shrunk {
		// Others may look pages up meanwhile. They cannot add a page after the new size:
		// that needs a larger size, and so ioMu.
		o.sys.freePages(&o.pages, first, func() {
			o.mu.Unlock()
			o.sys.yield()
			o.mu.Lock()
		})
	}
	o.mu.Unlock()
	if shrunk {
		o.Invalidate(first, math.MaxInt64)
	}
	return nil
}

// clearTail clears the file's last page from size on. A mapping may have written there, and
// that must not appear when the file grows. Preconditions: mu held.
func (o *FileObject) clearTail(size int64) {
	off := size & (arch.PageSize - 1)
	if off == 0 {
		return
	}
	if f := o.pages.get(size >> arch.PageShift); f != 0 {
		clear(o.sys.mem.Bytes(f)[off:])
	}
}
