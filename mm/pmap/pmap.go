// Package pmap keeps the page tables of user address spaces, in the format of either
// architecture (arch.Format) and in both layouts (DESIGN.md section 3). It owns table
// pages, roots and address-space identifiers, and it decides when translations are dropped.
// It knows no map entries: package vm decides what may be mapped where. For anonymous
// memory, the leaf entries are the only record of which frame a page has.
//
// Locks, outermost first:
//
//	Pmap.mu            the tables below one root; Copy locks source, then copy
//	    System.mu      identifiers, stocks of roots, and what the CPU runs if there is only one
//	    phys.Memory.mu
//
// No lock is held while a Visitor or a yield function runs. Apart from these nothing here
// sleeps. Reclaim functions (phys.AddReclaim) may run under Pmap.mu.
//
// # When translations are dropped
//
// A leaf that the CPU may have cached is first unlinked or changed, then flushed. Only then
// is its frame, or its table page, given back. The flushes for changed entries are in
// shoot.go, which also tells other CPUs. Table pages that a CPU may have walked are freed
// through retire, once no CPU can walk them.
//
//   - From empty to valid, and from no access (PROT_NONE) to valid: no flush, as neither
//     architecture caches an entry that is not present. (On arm64 a DSB before the return to
//     user mode makes the new entry visible to the table walker.)
//   - Other rights, same frame: the entry is written, then flushed.
//   - Other frame, block to table, table to block: break before make, on both architectures.
//     The entry is cleared, flushed, and then the new one is written. (Arm ARM section
//     D8.16, "Using break-before-make"; Intel SDM volume 3A, section 5.10.4, on mixed page
//     sizes.) Another CPU that faults in between waits for Pmap.mu, finds a valid mapping
//     and tries again.
//   - A table page is unlinked; the flush of any address below it then also drops the
//     walk-cache entries that point to it (arch.MMU.FlushPage).
//   - A pmap that no CPU has loaded, and that has no identifier of the current generation,
//     has no translations anywhere: every flush returns at once. This is the state in which
//     Purge works.
//
// Leaves are entered with Accessed set, writable ones with Dirty set, so the CPU
// never writes to an entry and plain stores are enough.
package pmap

import (
	"fmt"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"

	"grim/arch"
	"grim/mm/phys"
)

// Flags are the flags of a leaf, kept in its software bits.
type Flags uint8

const (
	// Shared: a page of an object that must know whether the page was written. A page
	// entered with Write counts as dirty from then on. A page entered without Write is
	// clean, and Protect never adds Write, because the write fault must be seen.
	Shared Flags = 1 << iota
	// Wired: locked in memory. Copy does not inherit it.
	Wired
	// COW: copy-on-write. The page is never writable, and Protect never adds Write.
	COW
	// Sole: the entry is the only reference to its frame, and phys keeps no count of it
	// (phys/sole.go). This is memory that was never shared. Only FillLocked takes the flag,
	// and a Mapping does not show it. A page loses it when it is copied or joins a block.
	Sole
)

// Mapping is what a page is mapped to. Prot is 0 for a resident page that allows no access
// (PROT_NONE). Otherwise it includes Read, which both formats imply.
type Mapping struct {
	Frame phys.Frame // of the page asked for, also inside a block
	Prot  arch.Prot
	Flags Flags
	Dirty bool
	Block bool
}

// DirtyPage is an address and a frame: a Shared page that was written through this pmap,
// or, inside this package, any unlinked page, block or table.
type DirtyPage struct {
	VA    arch.VA
	Frame phys.Frame
}

// Visitor is shown dirty Shared pages. Remove and Purge show them after they were unlinked
// and flushed, and before their reference is given up; Clean shows them after they were
// write-protected. Dirty is called with no lock of this package held, and may sleep. pages
// is valid during the call only. It may be a whole leaf table's, so a visitor that works for
// each page lets others run meanwhile.
type Visitor interface{ Dirty(pages []DirtyPage) }

type table = [arch.Entries]arch.PTE

// System is the machine's page-table state.
type System struct {
	mem   *phys.Memory // [I]
	f     arch.Format  // [I]
	mmu   arch.MMU     // [I]
	yield func()       // [I] after start-up; see SetYield

	// [I] Derived from f, for the loops. page and block are indexed by prot & 7 and flags &
	// 15.
	page, block [8][16]arch.PTE
	addr        arch.PTE
	softShift   uint
	sharedDirty arch.PTE // both bits: a dirty Shared leaf
	cow, wired  arch.PTE
	sole        arch.PTE

	gen     atomic.Uint64 // generation of identifiers; changed under mu
	rolling atomic.Bool   // a new generation begins; changed under mu

	asidLimit atomic.Int64 // identifiers in use at most; see LimitIdentifiers

	many  bool // [I] there are several CPUs
	local bool // [I] there are several CPUs, and flushes reach the calling CPU only: see shoot.go
	// With one CPU, its record is records[0]. With several CPUs their records are the
	// others, and records[0] has nothing loaded, so that Activate always calls activate.
	records [1 + maxCPU]cpu
	cpus    []cpu // [I] the part of records that is in use

	serials atomic.Uint64 // the last serial given to a pmap; used if local

	mu       sync.Mutex
	nextASID int
	freeASID []uint16        // free identifiers of this generation, flushed
	kept     map[uint16]bool // identifiers of earlier generations that are in use in this one
	roots    [2][]phys.Frame // recycled roots by layout: user half zero, kernel half valid
	work     []*teardown

	barrier func() // [I] after SetBarrier
}

// Pmap is the tables of one address space. Call New or Init to make it.
type Pmap struct {
	s      *System
	layout arch.Layout
	root   phys.Frame
	top    *table

	// id is generation<<16 | ASID; 0 if the pmap has no translations in any TLB. Changed
	// under System.mu.
	id atomic.Uint64
	// smp is nil if there is one CPU.
	smp *smp
	// leaving is true from when Purge takes the pmap off every CPU until it is done. No CPU
	// may load the pmap meanwhile. Set under System.mu.
	leaving atomic.Bool

	// domain is the domain of the code that runs on the pmap; see SetDomain.
	domain atomic.Uint64

	mu       sync.Mutex
	resident int // 4 KB pages with a leaf
	tables   int // table pages, root excluded
}

// frameBits are the bits of an entry, in either format, that hold its frame number.
const frameBits = arch.PTE(^phys.Frame(0)) << arch.PageShift

// NewSystem makes the page-table state of a machine with this memory, entry format and MMU.
// m must be ready to hand out frames.
func NewSystem(m *phys.Memory, f *arch.Format, mmu arch.MMU) *System {
	s := &System{mem: m, f: *f, mmu: mmu, addr: f.Addr, yield: func() {}}
	s.asidLimit.Store(math.MaxInt)
	s.softShift = uint(bits.TrailingZeros64(uint64(f.Soft[0])))
	for i, b := range f.Soft {
		if b != 1<<(s.softShift+uint(i)) {
			panic(fmt.Sprintf("pmap: format %s: software bit %d is %#x, want them adjacent from %#x", f.Name, i, uint64(b), uint64(f.Soft[0])))
		}
	}
	if f.DirtyMask != f.DirtyBits || bits.OnesCount64(uint64(f.DirtyBits)) != 1 {
		panic(fmt.Sprintf("pmap: format %s: dirty mask %#x, bits %#x: want one bit that is set when dirty", f.Name, uint64(f.DirtyMask), uint64(f.DirtyBits)))
	}
	if f.Addr&frameBits != frameBits {
		panic(fmt.Sprintf("pmap: format %s: address bits %#x do not have all of %#x", f.Name, uint64(f.Addr), uint64(frameBits)))
	}
	for prot := range s.page {
		for fl := range s.page[prot] {
			s.page[prot][fl] = s.leafBits(f.Page, arch.Prot(prot), Flags(fl))
			s.block[prot][fl] = s.leafBits(f.Block, arch.Prot(prot), Flags(fl))
		}
	}
	s.sharedDirty = f.DirtyBits | s.soft(Shared)
	s.cow, s.wired, s.sole = s.soft(COW), s.soft(Wired), s.soft(Sole)
	s.gen.Store(1)
	s.nextASID = 1
	s.kept = map[uint16]bool{}
	s.initCPUs(mmu.CPUs(), mmu.Broadcast())
	return s
}

// SetYield sets the function that lets others run. All work on a range of addresses calls
// it, with no lock held, at least every stepWork pages' worth of work.
func (s *System) SetYield(yield func()) { s.yield = yield }

// stepWork is how much work is done under a pmap's lock before others run. The unit is some
// 20 instructions, so a step is about 10 000. The costs of the single operations
// (protectWork and others) were measured on amd64.
const stepWork = 512

// Memory is the frame allocator that the tables come from.
func (s *System) Memory() *phys.Memory { return s.mem }

func (s *System) soft(fl Flags) arch.PTE { return arch.PTE(fl&15) << s.softShift }

// leafBits returns a leaf entry without its address.
func (s *System) leafBits(base arch.PTE, prot arch.Prot, fl Flags) arch.PTE {
	e := base | s.soft(fl)
	if prot&arch.Write != 0 && fl&COW == 0 {
		e |= s.f.WriteBits | s.f.DirtyBits
	} else {
		e |= s.f.ReadOnly
	}
	if prot&arch.Exec != 0 {
		e |= s.f.ExecBits
	} else {
		e |= s.f.NoExec
	}
	if prot == 0 {
		e &^= s.f.Present
	}
	return e
}

// frame returns the frame that e points to. FrameOf drops the bits above the address.
func (s *System) frame(e arch.PTE) phys.Frame { return phys.FrameOf(arch.PA(e)) }

func (s *System) flags(e arch.PTE) Flags { return Flags(e>>s.softShift) & 15 }

// prot returns the access that leaf e allows.
func (s *System) prot(e arch.PTE) (p arch.Prot) {
	if e&s.f.Present == 0 {
		return 0
	}
	p = arch.Read
	if e&s.f.WriteMask == s.f.WriteBits {
		p |= arch.Write
	}
	if e&s.f.ExecMask == s.f.ExecBits {
		p |= arch.Exec
	}
	return p
}

func (s *System) isBlock(e arch.PTE) bool { return e&s.f.LeafMask == s.f.LeafBits }

// mapping describes leaf e.
func (s *System) mapping(e arch.PTE, block bool) Mapping {
	return Mapping{
		Frame: s.frame(e), Prot: s.prot(e), Flags: s.flags(e) &^ Sole,
		Dirty: e&s.f.DirtyMask == s.f.DirtyBits, Block: block,
	}
}

// Layout returns the pmap's layout: how its root relates to the kernel half.
func (p *Pmap) Layout() arch.Layout { return p.layout }

// System returns the System that the pmap belongs to.
func (p *Pmap) System() *System { return p.s }

// Lock takes pmap.mu, for a sequence of ...Locked calls.
func (p *Pmap) Lock() { p.mu.Lock() }

// Unlock releases pmap.mu.
func (p *Pmap) Unlock() { p.mu.Unlock() }

// Stats are the sizes of a pmap in pages: Resident counts 4 KB pages, Tables table pages
// without the root.
type Stats struct{ Resident, Tables int }

// Stats returns the current sizes.
func (p *Pmap) Stats() Stats {
	p.mu.Lock()
	st := Stats{p.resident, p.tables}
	p.mu.Unlock()
	return st
}
