package vm

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"grim/arch"
	"grim/mm/charge"
	"grim/mm/pmap"
	"grim/mm/reserv"
)

// VMSpace is a user address space: map, page tables, limits.
type VMSpace struct {
	sys    *System    // [I]
	pm     *pmap.Pmap // [I] &tables
	id     uint64     // [I] futex identity
	tables pmap.Pmap
	refs   atomic.Int32 // users: threads' processes, vfork and CLONE_VM borrowers, readers

	mu    sync.Mutex // the outermost lock of this package; protects what follows
	tree  entryTree
	paid  int          // map entries that are charged, tree.n or more
	payer *charge.User // of the kernel memory that the space takes; see charge.go
	hint  *entry       // where the last fault was; nil or in the tree
	rs    reserv.Set
	sizes sizes
	pace  pace
	dirty dirtyCollector // of the operation that holds mu

	purging purgeVisitor // of Purge alone, which has no company

	limits   Limits
	brkStart arch.VA
	brkEnd   arch.VA
	mmapBase arch.VA
	marks    Marks
	// mlockall(MCL_FUTURE), and MCL_ONFAULT with it: pages are locked when they come.
	lockFuture, lockOnFault bool

	pooled *VMSpace // of System.unused
}

// sizes are running sums over the map, in bytes.
type sizes struct {
	total, data, stack, exec, locked uint64
	peakTotal                        uint64
	peakPages                        uint64 // resident pages, sampled before they shrink
}

// topGap is kept free between UserMax and the first address that Map picks, for
// the stack and its growth: 128 MB, Linux's MIN_GAP, plus the guard gap.
const topGap = 128<<20 + stackGuard

// New makes an empty address space with one reference, the caller's, that owner
// pays for. ENOMEM.
func New(s *System, l arch.Layout, owner *charge.User) (*VMSpace, error) {
	if !owner.Take(charge.Space, spaceCost) {
		return nil, syscall.ENOMEM
	}
	vs := s.newSpace()
	vs.payer, vs.paid = owner, entryStep
	vs.sys, vs.id, vs.limits, vs.mmapBase = s, nextID.Add(1), noLimits, arch.UserMax-topGap
	vs.pm = &vs.tables
	if err := s.pmaps.Init(vs.pm, l); err != nil {
		owner.Give(charge.Space, spaceCost)
		s.freeSpace(vs)
		return nil, err
	}
	vs.dirty.vs = vs
	vs.tree.yield = s.yield
	vs.rs.Init(s.pool)
	vs.refs.Store(1)
	s.spaces.Add(1)
	return vs, nil
}

// Ref adds a user of the space (CLONE_VM, vfork, a /proc reader).
func (vs *VMSpace) Ref() {
	if vs.refs.Add(1) <= 1 {
		panic(fmt.Sprintf("vm: reference to dead address space %d", vs.id))
	}
}

// Refs is the number of users.
func (vs *VMSpace) Refs() int { return int(vs.refs.Load()) }

// Release drops a reference (uvmspace_free) and reports whether it was the last.
// The last one asserts that map and pmap are empty (E8), then destroys the pmap:
// whoever is last calls Purge first. It does not sleep.
func (vs *VMSpace) Release() (last bool) {
	n := vs.refs.Add(-1)
	if n > 0 {
		return false
	}
	if n < 0 {
		panic(fmt.Sprintf("vm: address space %d released %d times too often", vs.id, -n))
	}
	if vs.tree.n != 0 || vs.paid != entryStep || !vs.pm.Empty() {
		st := vs.pm.Stats()
		panic(fmt.Sprintf("vm: address space %d at final free: %d map entries (%d paid for), %d resident pages, %d table pages, want 0",
			vs.id, vs.tree.n, vs.paid-entryStep, st.Resident, st.Tables))
	}
	vs.pm.Destroy()
	vs.payer.Give(charge.Space, spaceCost)
	s := vs.sys
	s.spaces.Add(-1)
	s.freeSpace(vs)
	return true
}

// ID is a number that no other address space or object has.
func (vs *VMSpace) ID() uint64 { return vs.id }

// System is the machine's part.
func (vs *VMSpace) System() *System { return vs.sys }

// Layout is the layout of the space's root.
func (vs *VMSpace) Layout() arch.Layout { return vs.pm.Layout() }

// Pmap is the space's page tables.
func (vs *VMSpace) Pmap() *pmap.Pmap { return vs.pm }

// Activate makes the space current on this CPU; cheap when it is already.
func (vs *VMSpace) Activate() { vs.pm.Activate() }

// SetMmapBase sets where the search for free addresses starts, downwards
// (program loader).
func (vs *VMSpace) SetMmapBase(va arch.VA) {
	vs.mu.Lock()
	vs.mmapBase = va.PageDown()
	vs.mu.Unlock()
}

// Marks are addresses that the program loader leaves with the space for others to
// find. Package vm does not use them.
type Marks struct {
	StackTop arch.VA // end of the main stack
	SigPage  arch.VA // where the system-call layer may have a page
	Auxv     arch.VA // the auxiliary vector on the stack
	AuxvSize int
}

// SetMarks and Marks store and fetch them. Fork copies them.
func (vs *VMSpace) SetMarks(m Marks) {
	vs.mu.Lock()
	vs.marks = m
	vs.mu.Unlock()
}

func (vs *VMSpace) Marks() Marks {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return vs.marks
}

// count adds an entry to the sums, or takes it out (sign -1).
func (vs *VMSpace) count(e *entry, sign int64) {
	n := uint64(sign * int64(e.size()))
	s := &vs.sizes
	s.total += n
	s.peakTotal = max(s.peakTotal, s.total)
	if e.data() {
		s.data += n
	}
	if e.flags&entGrowsDown != 0 {
		s.stack += n
	}
	if e.prot&arch.Exec != 0 {
		s.exec += n
	}
	if e.flags&entWired != 0 {
		s.locked += n
	}
}

// sampleRSS notes the resident pages before an operation that removes some.
func (vs *VMSpace) sampleRSS() {
	vs.sizes.peakPages = max(vs.sizes.peakPages, uint64(vs.pm.Stats().Resident))
}
