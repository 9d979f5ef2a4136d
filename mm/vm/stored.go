package vm

import (
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"grim/arch"
	"grim/mm/charge"
	"grim/mm/phys"
)

// Store keeps the pages of a cached file permanently: it is a file of a file system on a
// disk.
//
// For each file, FileObject calls one method at a time, except Gone, with no lock held that
// others need. All methods but Release and Gone may sleep. Each page is prepared before it
// becomes dirty; after that it is either written or released.
type Store interface {
	// ReadPages fills p, whole pages, from page index on. Pages that are not stored read as
	// zeros.
	ReadPages(index int64, p []byte) error
	// Prepare makes sure that there is room for a page. ENOSPC, EFBIG, EROFS.
	Prepare(index int64) error
	// Release undoes Prepare for a page that will not be written.
	Release(index int64)
	// WritePages stores whole pages that have been prepared. size is the size of the file.
	WritePages(index int64, p []byte, size int64) error
	// Truncate sets the size. Pages after it are no longer stored.
	Truncate(size int64) error
	// Flush returns when everything that was written, including the size, would survive a
	// loss of power.
	Flush() error
	// Dirtied is called when a page has become dirty, or has to be stored again.
	Dirtied()
	// Gone is called when the file is no longer used. It does not sleep.
	Gone()
}

// stored is the additional state of a FileObject with a Store.
//
// The frames are a cache: read(2), write(2) and all mappings see the same frames. A frame
// that is neither dirty nor mapped may be evicted at any time. A dirty page has a state,
// which is one or both of these:
//
//	fresh    it differs from the store
//	mapped   a shared mapping may have written to it since it was stored, or may any time
//
// PutDirty, which is called at the end of a mapping or by msync, makes a mapped page fresh
// too. As long as a shared mapping can write, a mapped page stays mapped, and Sync stores
// it each time.
type stored struct {
	store Store
	dirty map[int64]pageState // [FileObject.mu]
	err   error               // [FileObject.mu] error of a write that Sync has not returned yet
	next  *FileObject         // [System.cachedMu] all files with a store
	prev  *FileObject
}

type pageState uint8

const (
	fresh pageState = 1 << iota
	mapped
)

// runPages is how many pages are read or written at a time: 64 KB, as many as one fault
// looks at.
const runPages = AroundPages

// NewStoredFile makes the page cache of a file that store keeps and that has the given
// size. It has one reference. The kernel pays for the index, because frames are evicted
// when memory is needed.
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

// Shared reports whether the file has references beside its maker's.
func (o *FileObject) Shared() bool { return o.refs.Load() > 1 }

// Busy reports whether the file is Shared or has dirty pages.
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

// Store returns the file's store.
func (o *FileObject) Store() Store { return o.cache.store }

// SetDirtyLimit sets how many pages of stored files may be dirty. Above that, threads that
// make more pages dirty must write some themselves.
func (s *System) SetDirtyLimit(pages int64) { s.dirtyLimit.Store(pages) }

// DirtyPages returns how many pages of stored files are dirty.
func (s *System) DirtyPages() int64 { return s.dirtyPages.Load() }

// dropStored ends a stored file that has no references any more. Dirty pages are discarded,
// as the file has no name.
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
// where a frame is needed, with any locks held, so it waits for no lock.
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

// evict removes up to want frames for which may returns true, with their references. It
// returns how many.
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

// buffers hold runs of pages while they are read or written.
var buffers = sync.Pool{New: func() any { return new([runPages * arch.PageSize]byte) }}

// load makes sure that a page is in the cache, and returns its frame. It also reads pages
// that follow. Preconditions: ioMu held.
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
			break // pages read ahead need not be kept
		}
	}
	return f, nil
}

// insertPage puts a new frame into the cache, and takes over its reference. The part after
// the end of the file is cleared.
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

// dirtyPage makes a page of the cache dirty, after Prepare if it was clean. Preconditions:
// ioMu held.
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

// readStored is ReadAt for a stored file.
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

// writeStored is WriteAt for a stored file.
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

// extendTail clears the last page from the end of the file on, before the file grows.
// Preconditions: ioMu held.
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

// writePage writes the part of p that belongs to the page at offset off. Preconditions:
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
		if f == 0 { // the new page must not be taken for the store's
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

// getStored is GetPage for a stored file.
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
				return 0, syscall.EIO // a user's store gets SIGBUS where write(2) gets ENOSPC
			}
		}
		o.mu.Lock()
		f := o.pages.get(index)
		if f == 0 { // it was evicted again, because memory is very short
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

// putStored is PutDirty for a page that still belongs to a stored file.
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

// throttle writes dirty pages of the file if there are too many in all. It is called by the
// thread that has made pages dirty.
func (o *FileObject) throttle() error {
	if o.sys.dirtyPages.Load() <= o.sys.dirtyLimit.Load() {
		return nil
	}
	return o.writeBack(fresh, 0, math.MaxInt64)
}

// WriteBack stores dirty pages, except those that only a mapping may have changed: these
// are stored after the mapping has handed them back. The writeback task calls it.
func (o *FileObject) WriteBack() { o.writeBack(fresh, 0, math.MaxInt64) }

// Sync stores all dirty pages permanently. It returns an error if anything could not be
// stored since its last call: EIO, ENOSPC. For a file in memory it does nothing.
func (o *FileObject) Sync() error {
	if o.cache == nil {
		return nil
	}
	o.writeBack(fresh|mapped, 0, math.MaxInt64)
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

// SyncRange stores the dirty pages of n bytes from off on, without the size and the other
// data that Sync makes permanent. It returns an error if one of them could not be stored;
// Sync returns it too.
func (o *FileObject) SyncRange(off, n int64) error {
	if n <= 0 {
		return nil
	}
	return o.writeBack(fresh|mapped, off>>arch.PageShift, (off+n-1)>>arch.PageShift)
}

// writeBack stores the pages from first to last that have one of the states. A page that the
// store refuses is clean afterwards, because it would be refused again and again; Sync
// returns the error.
func (o *FileObject) writeBack(which pageState, first, last int64) (err error) {
	c := o.cache
	o.ioMu.Lock()
	defer o.ioMu.Unlock()
	o.mu.Lock()
	pages := make([]int64, 0, len(c.dirty))
	for index, st := range c.dirty {
		if st&which != 0 && first <= index && index <= last {
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

// writeRun stores the dirty pages from first on that fit into p. Preconditions: ioMu held,
// so that the pages stay in the cache and dirty.
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
		// If a mapping changes the page from here on, the page becomes dirty again or stays
		// dirty.
		c.dirty[first+i] &^= fresh
		if !writable {
			c.dirty[first+i] &^= mapped
		}
	}
	o.mu.Unlock()
	if end := size - first<<arch.PageShift; end < int64(len(p)) {
		clear(p[max(end, 0):]) // bytes that a mapping has stored after the end do not belong to the file
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

// truncateStored is the store's part of Truncate. Preconditions: ioMu held.
func (o *FileObject) truncateStored(size int64) error {
	c := o.cache
	old := o.Size()
	if size > old {
		if err := o.extendTail(); err != nil {
			return err
		}
	} else if size%arch.PageSize != 0 && size < old {
		// The rest of the last page becomes zero, on disk too.
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

// storedSystem is the part of a System that is about stored files.
type storedSystem struct {
	cachedMu   sync.Mutex  // innermost; FileObject.mu is only tried under it
	cached     *FileObject // [cachedMu] list through cache.next
	dirtyPages atomic.Int64
	dirtyLimit atomic.Int64
}
