package vm

import (
	"sync"
	"sync/atomic"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// Object is something that can be mapped: a file, or memory shared between processes. An
// implementation embeds Mappings, which has Mapped and default versions of CachedPage,
// CachedRun and Tracks.
type Object interface {
	// Ref adds a reference, Unref drops one; the last Unref frees the pages. Neither
	// sleeps, because both are called with VMSpace.mu held, Ref also with the object's own
	// Mappings.mu. Unref may yield.
	Ref()
	Unref()
	// GetPage returns the frame of page index, with a reference for the caller. write means
	// that a shared mapping is about to write to the page. It may sleep and is called
	// without locks. EIO past the end (SIGBUS), ENOMEM.
	GetPage(index int64, write bool) (phys.Frame, error)
	// CachedPage is GetPage for a page that is in memory. It never sleeps. ok is false if
	// GetPage must be called instead.
	CachedPage(index int64, write bool) (f phys.Frame, ok bool)
	// CachedRun is CachedPage for several pages, for reading. For each bit k of want it
	// stores the frame of page first+k in frames[k], with a reference, if the page is in
	// memory.
	CachedRun(first int64, want uint32, frames *[AroundPages]phys.Frame)
	// PutDirty takes back a page that was written through a shared mapping ("the pager
	// takes the page back"). It may be slow and may sleep; it is called without locks. The
	// caller keeps its reference to f.
	PutDirty(index int64, f phys.Frame) error
	// Tracks reports whether the object wants its dirty pages back. If so, its pages are
	// mapped read-only until they are written.
	Tracks() bool
	// Size is the length in bytes.
	Size() int64
	// Name returns what /proc/self/maps shows. It is called without locks.
	Name() string
	// Mapped returns the record of the entries that map the object.
	Mapped() *Mappings
}

// inObject reports whether an object with so many pages has page index. No object has an
// index below 0.
func inObject(index, pages int64) bool { return uint64(index) < uint64(pages) }

// AroundPages is how many pages of an object are looked at when one of them is read: the
// aligned 64 KB around it (Linux's fault_around_bytes).
const AroundPages = 16

// runObject is an Object that takes back many pages with one call.
type runObject interface {
	// PutDirtyRun is PutDirty for pages of one mapping. Page first is at pages[0].VA; the
	// numbers of the others follow from their addresses. It returns how many pages were
	// refused.
	PutDirtyRun(first int64, pages []pmap.DirtyPage) (refused int)
}

// putDirty hands pages of e, in order of address, to the entry's object.
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

// Mappings records which map entries map an object, so that truncation can unmap pages
// without knowing the address spaces. Objects embed it; the zero value is ready.
type Mappings struct {
	mu   sync.Mutex // under VMSpace.mu, above pmap.mu
	head *entry     // [mu] list through mapNext
	// writable counts the shared mappings that can write, or that mprotect(2) can make
	// writable, and those that Map is about to make. [mu]
	writable int
	sealed   bool // [mu] no more writable mappings: F_SEAL_WRITE, F_SEAL_FUTURE_WRITE
	gen      atomic.Uint64
	id       atomic.Uint64 // futex identity; 0 until it is needed
}

// Mapped implements that part of Object for types that embed Mappings.
func (m *Mappings) Mapped() *Mappings { return m }

// CachedPage reports that the page is not in memory.
func (m *Mappings) CachedPage(int64, bool) (phys.Frame, bool) { return 0, false }

// CachedRun reports that no page is in memory.
func (m *Mappings) CachedRun(int64, uint32, *[AroundPages]phys.Frame) {}

// Tracks reports that the object wants its dirty pages.
func (m *Mappings) Tracks() bool { return true }

// CountAt returns how many entries map the object with their start at offset off.
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

// Invalidate unmaps pages [first, last) of the object in every address space, private
// copies included, as truncation does. The next access asks the object again. The object
// must refuse these pages before it calls, and may free them afterwards: a fault that has
// fetched such a page and not entered it yet sees the change of gen and starts over. It
// does not sleep, but lets others run now and then.
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
			if err != nil { // it can only fail to cut a block
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

// SealWrite forbids all shared mappings that can write to the object, and returns true. If
// there is one already it changes nothing and returns false.
func (m *Mappings) SealWrite() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writable > 0 {
		return false
	}
	m.sealed = true
	return true
}

// SealFutureWrite is SealWrite for future mappings only.
func (m *Mappings) SealFutureWrite() {
	m.mu.Lock()
	m.sealed = true
	m.mu.Unlock()
}

// claim counts a shared mapping that can write and is about to be made, until unclaim. It
// returns false if the object is sealed.
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

// addLocked and removeLocked keep the list of entries. Preconditions: m.mu held.
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

// identity returns a number that no other object or address space ever has.
func (m *Mappings) identity() uint64 {
	if id := m.id.Load(); id != 0 {
		return id
	}
	m.id.CompareAndSwap(0, nextID.Add(1))
	return m.id.Load()
}

// nextID numbers objects and address spaces; 64 bits do not wrap.
var nextID atomic.Uint64
