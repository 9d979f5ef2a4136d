package vm

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"grim/arch"
	"grim/mm/charge"
	"grim/mm/phys"
)

// Store is where a cached file's pages are kept for good: a file system on a disk.
//
// FileObject calls one method at a time for each file, but for Gone, with no lock held
// that others need: all but Release and Gone may sleep. A page is prepared before it
// becomes dirty, and then written or released.
type Store interface {
	// ReadPages fills p, whole pages, from page index on. What is nowhere is zeros.
	ReadPages(index int64, p []byte) error
	// Prepare makes sure that there is room for a page: ENOSPC, EFBIG, EROFS.
	Prepare(index int64) error
	// Release takes Prepare back for a page that is not to be written.
	Release(index int64)
	// WritePages stores whole pages that have been prepared. size is the file's.
	WritePages(index int64, p []byte, size int64) error
	// Truncate sets the size. What becomes of pages behind it is as for ReadPages.
	Truncate(size int64) error
	// Flush returns when what has been written, the size included, would survive a loss of
	// power.
	Flush() error
	// Dirtied is called when a page has become dirty, or has to be stored again.
	Dirtied()
	// Gone says that nobody uses the file any more. It does not sleep.
	Gone()
}

// stored is what a FileObject with a Store has besides.
//
// The frames are a cache: read(2), write(2) and all mappings see the same ones, and what
// is neither dirty nor mapped may go at any time. A page has a state while it is dirty:
//
//	fresh    it differs from the store
//	mapped   a shared mapping may have written to it since it was stored, or may any time
//
// PutDirty, at the end of a mapping or by msync, makes a mapped page a fresh one. As long
// as there is a shared mapping that can write, a page stays mapped, and Sync stores it
// each time.
type stored struct {
	store Store
	dirty map[int64]pageState // [FileObject.mu]
	err   error               // [FileObject.mu] of a write that nobody has been told of
	next  *FileObject         // [System.cachedMu] all files with a store
	prev  *FileObject
}

type pageState uint8

const (
	fresh pageState = 1 << iota
	mapped
)

// runPages is how many pages are read or written at a time: 64 KB, the pages that one
// fault looks at.
const runPages = AroundPages

// NewStoredFile makes the page cache of a file of a store, of the size given, with one
// reference. The kernel pays for the index: frames are given up when memory is needed.
func NewStoredFile(s *System, name string, store Store, size int64) (*FileObject, error) {
	o, err := NewUserFile(s, name, nil, s.charges.Kernel())
	if err != nil {
		return nil, err
	}
	o.size = size
	o.cache = &stored{store: store, dirty: map[int64]pageState{}}
	s.cachedMu.Lock()
	if o.cache.next = s.cached; s.cached != nil {
		s.cached.cache.prev = o
	}
	s.cached = o
	s.cachedMu.Unlock()
	return o, nil
}

// Shared reports whether the file is in use beside the reference of whoever made it.
func (o *FileObject) Shared() bool { return o.refs.Load() > 1 }

// Busy reports whether the file is in use so, or has dirty pages.
func (o *FileObject) Busy() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.refs.Load() > 1 || len(o.cache.dirty) > 0
}

// Dirty reports whether the file has dirty pages.
func (o *FileObject) Dirty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.cache.dirty) > 0
}

// Store is the file's store.
func (o *FileObject) Store() Store { return o.cache.store }

// SetDirtyLimit is how many pages of stored files may be dirty before those who make more
// must write some themselves.
func (s *System) SetDirtyLimit(pages int64) { s.dirtyLimit.Store(pages) }

// DirtyPages is how many pages of stored files are dirty.
func (s *System) DirtyPages() int64 { return s.dirtyPages.Load() }

// dropStored ends a stored file that nobody refers to any more: what is dirty is lost, as
// the file has no name.
func (o *FileObject) dropStored() {
	c, s := o.cache, o.sys
	s.cachedMu.Lock()
	if c.prev != nil {
		c.prev.cache.next = c.next
	} else {
		s.cached = c.next
	}
	if c.next != nil {
		c.next.cache.prev = c.prev
	}
	s.cachedMu.Unlock()
	for index := range c.dirty {
		c.store.Release(index)
	}
	s.dirtyPages.Add(-int64(len(c.dirty)))
	c.dirty = nil
	c.store.Gone()
}

// reclaimCached frees frames of stored files that are neither dirty nor in use. It runs
// where a frame is needed, with any locks held, so it waits for none.
func (s *System) reclaimCached(want int) (got int) {
	if !s.cachedMu.TryLock() {
		return 0
	}
	defer s.cachedMu.Unlock()
	b := phys.Batch{M: s.mem}
	want = max(want, 64)
	for o := s.cached; o != nil && got < want; o = o.cache.next {
		if !o.mu.TryLock() {
			continue
		}
		got += o.pages.evict(want-got, &b, func(index int64, f phys.Frame) bool {
			return o.cache.dirty[index] == 0 && s.mem.Refs(f) == 1
		})
		o.mu.Unlock()
	}
	b.Flush()
	return got
}

// evict takes out up to want frames that may go, with their references.
func (x *pageIndex) evict(want int, b *phys.Batch, may func(index int64, f phys.Frame) bool) (got int) {
	for k, c := range x.chunks {
		if c.table != nil {
			for in, f := range c.table {
				if f != 0 && got < want && may(k*chunkPages+int64(in), f) {
					b.UnrefAll(c.table[in : in+1])
					c.table[in] = 0
					c.n--
					got++
				}
			}
		} else {
			kept := int32(0)
			for i := range c.n {
				if f := c.few[i]; got < want && may(k*chunkPages+int64(c.at[i]), f) {
					b.UnrefAll(c.few[i : i+1])
					got++
				} else {
					c.at[kept], c.few[kept] = c.at[i], f
					kept++
				}
			}
			c.n = kept
		}
		if c.n == 0 {
			cost := chunkCost
			if c.table != nil {
				cost += tableCost
			}
			delete(x.chunks, k)
			x.owner.Give(charge.PageIndex, cost)
		}
		if got == want {
			break
		}
	}
	x.last = nil
	x.n -= int64(got)
	return got
}

// buffers hold runs of pages on their way.
var buffers = sync.Pool{New: func() any { return new([runPages * arch.PageSize]byte) }}

// load makes sure that a page is in the cache, with its neighbours behind it, and is its
// frame. Preconditions: ioMu held.
func (o *FileObject) load(index int64) (phys.Frame, error) {
	o.mu.Lock()
	f := o.pages.get(index)
	last := pagesOf(o.size)
	n := int64(1)
	for f == 0 && n < runPages && index+n < last && (index+n)%runPages != 0 && o.pages.get(index+n) == 0 {
		n++
	}
	o.mu.Unlock()
	if f != 0 {
		return f, nil
	}
	buf := buffers.Get().(*[runPages * arch.PageSize]byte)
	defer buffers.Put(buf)
	p := buf[:n*arch.PageSize]
	if o.cache.store.ReadPages(index, p) != nil {
		return 0, syscall.EIO
	}
	for i := range n {
		g, err := o.sys.mem.Alloc(phys.FileCache)
		if err == nil {
			copy(o.sys.mem.Bytes(g), p[i*arch.PageSize:])
			err = o.insertPage(index+i, g)
		}
		if err != nil && i == 0 {
			return 0, err
		}
		if i == 0 {
			f = g
		}
		if err != nil {
			break // what is read ahead need not be kept
		}
	}
	return f, nil
}

// insertPage puts a new frame into the cache, whose reference it takes over. Behind the end
// of the file it reads as zeros.
func (o *FileObject) insertPage(index int64, f phys.Frame) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.pages.set(index, f); err != nil {
		o.sys.mem.Unref(f)
		return err
	}
	if index == o.size>>arch.PageShift {
		o.clearTail(o.size)
	}
	return nil
}

// dirtyPage makes a page that is in the cache dirty, after Prepare. Preconditions: ioMu
// held.
func (o *FileObject) dirtyPage(index int64, how pageState) error {
	c := o.cache
	o.mu.Lock()
	was := c.dirty[index]
	if was != 0 {
		c.dirty[index] = was | how
		o.mu.Unlock()
		if was|how != was {
			c.store.Dirtied()
		}
		return nil
	}
	o.mu.Unlock()
	if err := c.store.Prepare(index); err != nil {
		return err
	}
	o.mu.Lock()
	c.dirty[index] = how
	o.mu.Unlock()
	o.sys.dirtyPages.Add(1)
	c.store.Dirtied()
	return nil
}

// readStored is ReadAt of a stored file.
func (o *FileObject) readStored(p []byte, off int64) (n int, err error) {
	o.mu.Lock()
	for n < len(p) && off < o.size {
		index, in := off>>arch.PageShift, int(off&(arch.PageSize-1))
		f := o.pages.get(index)
		if f == 0 {
			o.mu.Unlock()
			o.ioMu.Lock()
			if inObject(index, pagesOf(o.Size())) {
				_, err = o.load(index)
			}
			o.ioMu.Unlock()
			if err != nil {
				return n, err
			}
			o.mu.Lock()
			continue
		}
		k := int(min(int64(len(p)-n), int64(arch.PageSize-in), o.size-off))
		copy(p[n:n+k], o.sys.mem.Bytes(f)[in:])
		n, off = n+k, off+int64(k)
	}
	o.mu.Unlock()
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

// writeStored is WriteAt of a stored file.
func (o *FileObject) writeStored(p []byte, off int64) (n int, err error) {
	o.ioMu.Lock()
	if len(p) > 0 && off > o.Size() {
		err = o.extendTail()
	}
	for n < len(p) && err == nil {
		var k int
		if k, err = o.writePage(p[n:], off); err == nil {
			n, off = n+k, off+int64(k)
		}
	}
	o.ioMu.Unlock()
	o.throttle()
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// extendTail prepares for a size beyond the present one: what is in the last page behind
// the end is zero then. Preconditions: ioMu held.
func (o *FileObject) extendTail() error {
	size := o.Size()
	if size%arch.PageSize == 0 {
		return nil
	}
	index := size >> arch.PageShift
	if _, err := o.load(index); err != nil {
		return err
	}
	if err := o.dirtyPage(index, fresh); err != nil {
		return err
	}
	o.mu.Lock()
	o.clearTail(size)
	o.mu.Unlock()
	return nil
}

// writePage writes the part of p that belongs to the page of offset off. Preconditions:
// ioMu held.
func (o *FileObject) writePage(p []byte, off int64) (int, error) {
	index, in := off>>arch.PageShift, int(off&(arch.PageSize-1))
	k := min(len(p), arch.PageSize-in)
	o.mu.Lock()
	f, size := o.pages.get(index), o.size
	o.mu.Unlock()
	switch whole := k == arch.PageSize || in == 0 && off+int64(k) >= size; {
	case f != 0:
	case whole || index >= pagesOf(size):
		g, err := o.sys.mem.AllocZero(phys.FileCache)
		if err != nil {
			return 0, syscall.ENOSPC
		}
		if err := o.insertPage(index, g); err != nil {
			return 0, syscall.ENOSPC
		}
	default:
		if _, err := o.load(index); err != nil {
			return 0, err
		}
	}
	if err := o.dirtyPage(index, fresh); err != nil {
		if f == 0 { // it must not be taken for what the store has
			o.mu.Lock()
			b := phys.Batch{M: o.sys.mem}
			o.pages.evict(1, &b, func(i int64, g phys.Frame) bool { return i == index && o.sys.mem.Refs(g) == 1 })
			o.mu.Unlock()
			b.Flush()
		}
		return 0, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if f = o.pages.get(index); f == 0 {
		panic("vm: a dirty page of a file is not in its cache")
	}
	o.changed()
	k = o.fill(f, p[:k], off)
	o.size = max(o.size, off+int64(k))
	return k, nil
}

// getStored is GetPage of a stored file.
func (o *FileObject) getStored(index int64, write bool) (phys.Frame, error) {
	o.ioMu.Lock()
	f, err := o.fetchStored(index, write)
	o.ioMu.Unlock()
	if err == nil && write {
		o.throttle()
	}
	return f, err
}

func (o *FileObject) fetchStored(index int64, write bool) (phys.Frame, error) {
	for {
		if !inObject(index, pagesOf(o.Size())) {
			return 0, syscall.EIO
		}
		if _, err := o.load(index); err != nil {
			return 0, err
		}
		if write {
			if err := o.dirtyPage(index, fresh|mapped); err != nil {
				return 0, syscall.EIO // a store gets SIGBUS where a write gets ENOSPC
			}
		}
		o.mu.Lock()
		f := o.pages.get(index)
		if f == 0 { // it went again, where memory is that short
			o.mu.Unlock()
			continue
		}
		if write {
			o.changed()
			o.stored = true
		}
		o.sys.mem.Ref(f)
		o.mu.Unlock()
		return f, nil
	}
}

// putStored is PutDirty of a stored file, for a page that is still the file's.
func (o *FileObject) putStored(index int64) error {
	o.ioMu.Lock()
	err := o.dirtyPage(index, fresh)
	o.ioMu.Unlock()
	if err != nil {
		o.mu.Lock()
		o.cache.err = err
		o.mu.Unlock()
		return err
	}
	return o.throttle()
}

// throttle makes who has dirtied pages of a file write them, if there are too many.
func (o *FileObject) throttle() error {
	if o.sys.dirtyPages.Load() <= o.sys.dirtyLimit.Load() {
		return nil
	}
	return o.writeBack(fresh)
}

// WriteBack stores what is dirty, but for pages that only a mapping may have changed: those
// come when the mapping hands them back. It is what a writeback task calls.
func (o *FileObject) WriteBack() { o.writeBack(fresh) }

// Sync stores all that is dirty, for good, and says whether anything could not be stored
// since it was called last: EIO, ENOSPC. It does nothing to a file in memory.
func (o *FileObject) Sync() error {
	if o.cache == nil {
		return nil
	}
	o.writeBack(fresh | mapped)
	flushErr := o.cache.store.Flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	err := o.cache.err
	o.cache.err = nil
	if err == nil {
		err = flushErr
	}
	return err
}

// writeBack stores the pages that have one of the states. A page that the store refuses is
// clean afterwards, as it would be refused again and again; Sync tells.
func (o *FileObject) writeBack(which pageState) (err error) {
	c := o.cache
	o.ioMu.Lock()
	defer o.ioMu.Unlock()
	o.mu.Lock()
	pages := make([]int64, 0, len(c.dirty))
	for index, st := range c.dirty {
		if st&which != 0 {
			pages = append(pages, index)
		}
	}
	o.mu.Unlock()
	slices.Sort(pages)
	buf := buffers.Get().(*[runPages * arch.PageSize]byte)
	defer buffers.Put(buf)
	for len(pages) > 0 {
		n := 1
		for n < len(pages) && n < runPages && pages[n] == pages[0]+int64(n) {
			n++
		}
		if e := o.writeRun(pages[0], buf[:n*arch.PageSize]); e != nil {
			err = e
		}
		pages = pages[n:]
	}
	return err
}

// writeRun stores the pages that fit into p, which are dirty. Preconditions: ioMu held, so
// that they stay so.
func (o *FileObject) writeRun(first int64, p []byte) error {
	c := o.cache
	n := int64(len(p) / arch.PageSize)
	writable := o.Writable()
	o.mu.Lock()
	size := o.size
	for i := range n {
		f := o.pages.get(first + i)
		if f == 0 {
			panic("vm: a dirty page of a file is not in its cache")
		}
		copy(p[i*arch.PageSize:], o.sys.mem.Bytes(f))
		// What a mapping changes from here on makes the page dirty again, or leaves it so.
		c.dirty[first+i] &^= fresh
		if !writable {
			c.dirty[first+i] &^= mapped
		}
	}
	o.mu.Unlock()
	if end := size - first<<arch.PageShift; end < int64(len(p)) {
		clear(p[max(end, 0):]) // what a mapping has stored there is not the file's
	}
	err := c.store.WritePages(first, p, size)
	o.mu.Lock()
	if err != nil {
		c.err = err
	}
	clean := int64(0)
	for i := range n {
		if c.dirty[first+i] == 0 {
			delete(c.dirty, first+i)
			clean++
		}
	}
	o.mu.Unlock()
	o.sys.dirtyPages.Add(-clean)
	return err
}

// truncateStored is Truncate of a stored file, without the mappings. Preconditions: ioMu
// held.
func (o *FileObject) truncateStored(size int64) error {
	c := o.cache
	old := o.Size()
	if size > old {
		if err := o.extendTail(); err != nil {
			return err
		}
	} else if size%arch.PageSize != 0 && size < old {
		// The rest of the last page is zero from now on, on disk too.
		index := size >> arch.PageShift
		if _, err := o.load(index); err != nil {
			return err
		}
		if err := o.dirtyPage(index, fresh); err != nil {
			return err
		}
	}
	if err := c.store.Truncate(size); err != nil {
		return err
	}
	first := pagesOf(size)
	o.mu.Lock()
	gone := int64(0)
	for index := range c.dirty {
		if index >= first {
			delete(c.dirty, index)
			c.store.Release(index)
			gone++
		}
	}
	o.mu.Unlock()
	o.sys.dirtyPages.Add(-gone)
	return nil
}

// storedSystem is what a System has of stored files.
type storedSystem struct {
	cachedMu   sync.Mutex  // inside every lock but FileObject.mu, which is only tried under it
	cached     *FileObject // [cachedMu] list through cache.next
	dirtyPages atomic.Int64
	dirtyLimit atomic.Int64
}
