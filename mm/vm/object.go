package vm

import (
	"sync"
	"sync/atomic"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// Object is what can be mapped: a file, or memory shared between processes.
// An implementation embeds Mappings, which supplies Mapped, CachedPage, CachedRun
// and Tracks.
type Object interface {
	// Ref adds a reference, Unref drops one; the last frees the pages. Neither
	// sleeps, as both are called with VMSpace.mu held, Ref also with the object's
	// own Mappings.mu; Unref may yield.
	Ref()
	Unref()
	// GetPage returns the frame of page index with a reference for the caller.
	// write: a shared mapping is about to write to it. It may sleep and is
	// called without locks. EIO past the end (SIGBUS), ENOMEM.
	GetPage(index int64, write bool) (phys.Frame, error)
	// CachedPage is GetPage for a page at hand: it never sleeps. ok is false
	// when GetPage must be asked.
	CachedPage(index int64, write bool) (f phys.Frame, ok bool)
	// CachedRun is CachedPage for reading many: for each bit k of want it stores
	// the frame of page first+k with a reference, if that is at hand.
	CachedRun(first int64, want uint32, frames *[AroundPages]phys.Frame)
	// PutDirty takes back a page that was written through a shared mapping
	// ("the pager takes the page back"). It may be slow and may sleep; it is
	// called without locks. The caller keeps its reference of f.
	PutDirty(index int64, f phys.Frame) error
	// Tracks reports whether the object wants PutDirty at all. If so, pages are
	// mapped read-only until they are written.
	Tracks() bool
	// Size is the length in bytes.
	Size() int64
	// Name is what /proc/self/maps shows. Called without locks.
	Name() string
	// Mapped is the record of who maps the object.
	Mapped() *Mappings
}

// inObject reports whether an object of so many pages has page index. Indexes below
// 0 are never of an object.
func inObject(index, pages int64) bool { return uint64(index) < uint64(pages) }

// AroundPages is how many pages of an object are looked at when one is read: the
// aligned 64 KB around it (Linux's fault_around_bytes).
const AroundPages = 16

// runObject is an Object that takes back many pages at the price of one call.
type runObject interface {
	// PutDirtyRun is PutDirty for pages of one mapping: page first is at
	// pages[0].VA, the others follow as their addresses do. It says how many
	// were refused.
	PutDirtyRun(first int64, pages []pmap.DirtyPage) (refused int)
}

// putDirty hands pages of e, in order of address, to its object.
func (e *entry) putDirty(pages []pmap.DirtyPage) (refused int) {
	if o, ok := e.obj.(runObject); ok {
		return o.PutDirtyRun(e.index(pages[0].VA), pages)
	}
	for _, p := range pages {
		if e.obj.PutDirty(e.index(p.VA), p.Frame) != nil {
			refused++
		}
	}
	return refused
}

// Mappings records which map entries map an object, so that truncation can
// unmap pages from outside the address spaces. Objects embed it; the zero value
// is ready.
type Mappings struct {
	mu   sync.Mutex // under VMSpace.mu, above pmap.mu
	head *entry     // [mu] list through mapNext
	// writable counts the shared mappings that can write, or can be made to by
	// mprotect(2), and those that Map is about to make. [mu]
	writable int
	sealed   bool // [mu] no more of them: F_SEAL_WRITE, F_SEAL_FUTURE_WRITE
	gen      atomic.Uint64
	id       atomic.Uint64 // futex identity; 0 until asked for
}

// Mapped makes a type that embeds Mappings satisfy that part of Object.
func (m *Mappings) Mapped() *Mappings { return m }

// CachedPage says that no page is at hand.
func (m *Mappings) CachedPage(int64, bool) (phys.Frame, bool) { return 0, false }

// CachedRun says the same.
func (m *Mappings) CachedRun(int64, uint32, *[AroundPages]phys.Frame) {}

// Tracks says that the object wants its dirty pages.
func (m *Mappings) Tracks() bool { return true }

// CountAt is how many entries map the object from the offset given on.
func (m *Mappings) CountAt(off int64) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for e := m.head; e != nil; e = e.mapNext {
		if e.off == off {
			n++
		}
	}
	return n
}

// Invalidate unmaps pages [first, last) of the object from every address space,
// private copies included, as truncation does: the next access asks the object
// again. The object must refuse those pages before it calls, and may free them
// afterwards: a fault that had fetched a page but not entered it yet sees the
// change and starts over. It does not sleep, but others run now and then.
func (m *Mappings) Invalidate(first, last int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gen.Add(1)
	invalidations.Add(1)
	var work pace
	for e := m.head; e != nil; e = e.mapNext {
		work.spend(e.space.sys, 4*costEntry)
		lo := e.off >> arch.PageShift
		hi := lo + int64(e.size()>>arch.PageShift)
		lo2, hi2 := max(lo, first), min(hi, last)
		if lo2 < hi2 {
			base := e.start - arch.VA(lo<<arch.PageShift)
			err := e.space.pm.Remove(base+arch.VA(lo2<<arch.PageShift), base+arch.VA(hi2<<arch.PageShift), nil)
			if err != nil { // it fails only where a block is cut
				panic("vm: a mapping of an object had a 2 MB block at an edge of a truncation")
			}
		}
	}
}

// Writable reports whether a shared mapping can write to the object.
func (m *Mappings) Writable() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writable > 0
}

// SealWrite makes that no shared mapping can write to the object from now on, and
// reports whether it could: not while there is one that can.
func (m *Mappings) SealWrite() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writable > 0 {
		return false
	}
	m.sealed = true
	return true
}

// SealFutureWrite is SealWrite for the mappings that are still to come.
func (m *Mappings) SealFutureWrite() {
	m.mu.Lock()
	m.sealed = true
	m.mu.Unlock()
}

// claim counts a shared mapping that can write and is about to be made, until
// unclaim. It reports whether the object allows it.
func (m *Mappings) claim() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sealed {
		return false
	}
	m.writable++
	return true
}

func (m *Mappings) unclaim() {
	m.mu.Lock()
	m.writable--
	m.mu.Unlock()
}

// add and remove keep the list. Preconditions: m.mu held.
func (m *Mappings) addLocked(e *entry) {
	if e.mayWriteObject() {
		m.writable++
	}
	e.mapPrev, e.mapNext = nil, m.head
	if m.head != nil {
		m.head.mapPrev = e
	}
	m.head = e
}

func (m *Mappings) removeLocked(e *entry) {
	if e.mayWriteObject() {
		m.writable--
	}
	if e.mapPrev != nil {
		e.mapPrev.mapNext = e.mapNext
	} else {
		m.head = e.mapNext
	}
	if e.mapNext != nil {
		e.mapNext.mapPrev = e.mapPrev
	}
	e.mapPrev, e.mapNext = nil, nil
}

// identity is a number that no other object or address space ever has.
func (m *Mappings) identity() uint64 {
	if id := m.id.Load(); id != 0 {
		return id
	}
	m.id.CompareAndSwap(0, nextID.Add(1))
	return m.id.Load()
}

// nextID numbers objects and address spaces; 64 bits do not wrap.
var nextID atomic.Uint64
