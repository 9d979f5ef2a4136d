package vm

import (
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"grim/arch"
	"grim/mm/charge"
	"grim/mm/phys"
)

// anonObject is shared anonymous memory (MAP_SHARED|MAP_ANONYMOUS). It lives as long as a
// process maps it. Its frames are its only store, so it need not be told which are dirty.
type anonObject struct {
	Mappings
	sys  *System
	refs atomic.Int32
	size int64 // [I]

	mu    sync.Mutex // under VMSpace.mu and Mappings.mu
	pages pageIndex
}

// anonCost is what an anonObject is charged, without its page index.
const anonCost = int64(unsafe.Sizeof(anonObject{}))

// NewAnonObject makes shared anonymous memory of size bytes, all zero, with one reference.
// owner pays for what the kernel keeps of it. Frames are allocated when pages are touched.
// ENOMEM.
func NewAnonObject(s *System, size int64, owner *charge.User) (Object, error) {
	if !owner.Take(charge.Object, anonCost) {
		return nil, syscall.ENOMEM
	}
	o := &anonObject{sys: s, size: size}
	o.pages.owner = owner
	o.refs.Store(1)
	s.objects.Add(1)
	return o, nil
}

func (o *anonObject) Ref() { o.refs.Add(1) }

func (o *anonObject) Unref() {
	if n := o.refs.Add(-1); n > 0 {
		return
	} else if n < 0 {
		panic("vm: shared memory object released more often than referenced")
	}
	o.sys.freePages(&o.pages, 0, o.sys.yield)
	o.pages.owner.Give(charge.Object, anonCost)
	o.sys.objects.Add(-1)
}

func (o *anonObject) GetPage(index int64, _ bool) (phys.Frame, error) {
	if !inObject(index, pagesOf(o.size)) {
		return 0, syscall.EIO
	}
	o.mu.Lock()
	f := o.pages.get(index)
	if f == 0 {
		var err error
		if f, err = o.sys.mem.AllocZero(phys.Anon); err != nil {
			o.mu.Unlock()
			return 0, err
		}
		if err := o.pages.set(index, f); err != nil {
			o.mu.Unlock()
			o.sys.mem.Unref(f)
			return 0, err
		}
	}
	o.sys.mem.Ref(f)
	o.mu.Unlock()
	return f, nil
}

// CachedPage may allocate, which does not sleep. If that fails it returns false, and
// GetPage reports the error.
func (o *anonObject) CachedPage(index int64, write bool) (phys.Frame, bool) {
	f, err := o.GetPage(index, write)
	return f, err == nil
}

// CachedRun returns only pages that were touched before: fault-around does not allocate.
func (o *anonObject) CachedRun(first int64, want uint32, frames *[AroundPages]phys.Frame) {
	o.mu.Lock()
	o.pages.run(o.sys.mem, first, want, frames)
	o.mu.Unlock()
}

func (o *anonObject) PutDirty(int64, phys.Frame) error { return nil }
func (o *anonObject) Tracks() bool                     { return false }
func (o *anonObject) Size() int64                      { return o.size }
func (o *anonObject) Name() string                     { return "/dev/zero (deleted)" }

// pagesOf returns the number of pages that hold size bytes.
func pagesOf(size int64) int64 { return (size + arch.PageSize - 1) >> arch.PageShift }
