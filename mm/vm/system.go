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

	// noMemory is what SetNoMemory was given. [I] after start-up
	noMemory func(vs *VMSpace, since uint64) bool

	charges *charge.System // [I]
	ram     uint64         // [I] bytes: Config.RAM

	spaces, entries, objects atomic.Int64 // alive, for leak tests

	storedSystem

	free   entryPool
	unused spacePool
}

// Config tells NewSystem what to build on. Mem and Pmaps are required.
type Config struct {
	Mem      *phys.Memory
	Pmaps    *pmap.System
	NoBlocks bool           // hugepages=off: 4 KB pages only
	Yield    func()         // lets other tasks run in the middle of long work; nil: runtime.Gosched
	RAM      uint64         // bytes of memory that the machine has; 0: what Mem has
	Charges  *charge.System // who pays for kernel memory; nil: no limits
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

// SetNoMemory makes f answer for pages that a copy to or from a space cannot have; since is
// what phys.Memory.Shortages was before the page was asked for. f may sleep. If it reports
// true, there may be memory now. Only at start-up.
func (s *System) SetNoMemory(f func(vs *VMSpace, since uint64) bool) { s.noMemory = f }

// Mem is the frame allocator.
func (s *System) Mem() *phys.Memory { return s.mem }

// Pmaps is the page-table system.
func (s *System) Pmaps() *pmap.System { return s.pmaps }

// Reservations is the pool of 2 MB reservations.
func (s *System) Reservations() *reserv.Pool { return s.pool }

// Charges is the machine's account of kernel memory.
func (s *System) Charges() *charge.System { return s.charges }

// SystemStats counts the kernel objects alive in a System (E4).
type SystemStats struct{ Spaces, Entries, Objects int64 }

// Stats counts what is alive.
func (s *System) Stats() SystemStats {
	return SystemStats{s.spaces.Load(), s.entries.Load(), s.objects.Load()}
}

// entryPool keeps entries for reuse: a process's exit gives back a whole list at
// once, and the next fork takes them without troubling the garbage collector.
type entryPool struct {
	mu   sync.Mutex
	head *entry // through next
	n    int
}

// poolEntries bounds the entries kept: about 600 KB.
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

// newEntries is newEntry for n entries, linked through next; the rest of them is
// what it was.
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

// freeEntries takes back a list of n entries linked through next, last the end
// of it. Whoever still follows one finds no space in it.
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

// spacePool keeps address spaces for reuse, as entryPool does entries: they are
// empty and destroyed.
type spacePool struct {
	mu   sync.Mutex
	head *VMSpace // through pooled
	n    int
}

// poolSpaces bounds the spaces kept: about 40 KB.
const poolSpaces = 64

// newSpace is a VMSpace that is zero.
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

// freeSpace takes back a space that nobody uses any more.
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
