package vm

import (
	"runtime"
	"sync"
	"sync/atomic"

	"grim/arch"
	"grim/mm/charge"
	"grim/mm/phys"
	"grim/mm/pmap"
	"grim/mm/reserv"
)

// System is what all address spaces of a machine share.
type System struct {
	mem   *phys.Memory
	pmaps *pmap.System
	pool  *reserv.Pool
	yield func()

	// noMemory is the argument of SetNoMemory. [I] after start-up
	noMemory func(vs *VMSpace, since uint64) bool

	charges *charge.System // [I]
	ram     uint64         // [I] Config.RAM, in bytes

	spaces, entries, objects atomic.Int64 // existing ones, for leak tests

	storedSystem

	free   entryPool
	unused spacePool
}

// Config is the argument of NewSystem. Mem and Pmaps are required.
type Config struct {
	Mem      *phys.Memory
	Pmaps    *pmap.System
	NoBlocks bool           // hugepages=off: 4 KB pages only
	Yield    func()         // lets other tasks run in the middle of long work; nil: runtime.Gosched
	RAM      uint64         // bytes of memory of the machine; 0: the size of Mem
	Charges  *charge.System // account for kernel memory; nil: no limits
}

// NewSystem makes the machine's System.
func NewSystem(c Config) *System {
	s := &System{mem: c.Mem, pmaps: c.Pmaps, yield: c.Yield, charges: c.Charges, ram: c.RAM}
	if s.yield == nil {
		s.yield = runtime.Gosched
	}
	s.noMemory = func(*VMSpace, uint64) bool { return false }
	s.pmaps.SetYield(s.yield)
	if s.ram == 0 {
		s.ram = uint64(c.Mem.Total()) << arch.PageShift
	}
	if s.charges == nil {
		s.charges = charge.Unlimited()
	}
	s.dirtyLimit.Store(int64(c.Mem.Total() / 10))
	c.Mem.AddReclaim(s.reclaimCached)
	s.pool = reserv.NewPool(c.Mem, !c.NoBlocks)
	return s
}

// SetNoMemory sets the function that is called when a copy to or from a space cannot get a
// page. since is the value of phys.Memory.Shortages before the page was requested. f may
// sleep. If it returns true there may be memory now, and the copy tries again. It may be
// called at start-up only.
func (s *System) SetNoMemory(f func(vs *VMSpace, since uint64) bool) { s.noMemory = f }

// Mem returns the frame allocator.
func (s *System) Mem() *phys.Memory { return s.mem }

// Pmaps returns the page-table system.
func (s *System) Pmaps() *pmap.System { return s.pmaps }

// Reservations returns the pool of 2 MB reservations.
func (s *System) Reservations() *reserv.Pool { return s.pool }

// Charges returns the machine's account of kernel memory.
func (s *System) Charges() *charge.System { return s.charges }

// SystemStats counts the existing kernel objects of a System (E4).
type SystemStats struct{ Spaces, Entries, Objects int64 }

// Stats returns the current counts.
func (s *System) Stats() SystemStats {
	return SystemStats{s.spaces.Load(), s.entries.Load(), s.objects.Load()}
}

// entryPool keeps entries for reuse. The exit of a process gives back a whole list at once,
// and the next fork takes entries without work for the garbage collector.
type entryPool struct {
	mu   sync.Mutex
	head *entry // through next
	n    int
}

// poolEntries bounds the number of entries kept: about 600 KB.
const poolEntries = 4096

func (s *System) newEntry() *entry {
	s.entries.Add(1)
	p := &s.free
	p.mu.Lock()
	e := p.head
	if e != nil {
		p.head = e.next
		p.n--
	}
	p.mu.Unlock()
	if e == nil {
		return new(entry)
	}
	*e = entry{}
	return e
}

// newEntries is newEntry for n entries, linked through next. Their other fields are not
// cleared.
func (s *System) newEntries(n int) (first *entry) {
	s.entries.Add(int64(n))
	p := &s.free
	p.mu.Lock()
	end := &p.head
	for n > 0 && *end != nil {
		end = &(*end).next
		n--
		p.n--
	}
	first, p.head, *end = p.head, *end, nil
	p.mu.Unlock()
	var work pace
	for ; n > 0; n-- {
		first = &entry{next: first}
		work.spend(s, 400) // the heap's allocator
	}
	return first
}

// freeEntries takes back a list of n entries linked through next; last is its end. Their
// space is nil, for code that may still follow them.
func (s *System) freeEntries(first, last *entry, n int) {
	if n == 0 {
		return
	}
	s.entries.Add(-int64(n))
	p := &s.free
	p.mu.Lock()
	if p.n+n <= poolEntries { // else they are garbage
		last.next = p.head
		p.head = first
		p.n += n
	}
	p.mu.Unlock()
}

// spacePool keeps address spaces for reuse, as entryPool keeps entries. They are empty, and
// their pmaps are destroyed.
type spacePool struct {
	mu   sync.Mutex
	head *VMSpace // through pooled
	n    int
}

// poolSpaces bounds the number of spaces kept: about 40 KB.
const poolSpaces = 64

// newSpace returns a zeroed VMSpace.
func (s *System) newSpace() *VMSpace {
	p := &s.unused
	p.mu.Lock()
	vs := p.head
	if vs != nil {
		p.head = vs.pooled
		p.n--
	}
	p.mu.Unlock()
	if vs == nil {
		return new(VMSpace)
	}
	*vs = VMSpace{}
	return vs
}

// freeSpace takes back a space that is no longer used.
func (s *System) freeSpace(vs *VMSpace) {
	p := &s.unused
	p.mu.Lock()
	if p.n < poolSpaces { // else it is garbage
		vs.pooled = p.head
		p.head = vs
		p.n++
	}
	p.mu.Unlock()
}
