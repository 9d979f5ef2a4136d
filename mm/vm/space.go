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
	refs   atomic.Int32 // users: processes, vfork and CLONE_VM borrowers, readers

	mu    sync.Mutex // the outermost lock of this package; protects what follows
	tree  entryTree
	paid  int          // map entries that are charged, tree.n or more
	payer *charge.User // pays for the kernel memory of the space; see charge.go
	hint  *entry       // entry of the last fault; nil, or in the tree
	rs    reserv.Set
	sizes sizes
	pace  pace
	dirty dirtyCollector // used by the operation that holds mu

	purging purgeVisitor // used by Purge only, which never runs twice at a time

	limits   Limits
	brkStart arch.VA
	brkEnd   arch.VA
	mmapBase arch.VA
	marks    Marks
	// Set by mlockall(MCL_FUTURE), and by MCL_ONFAULT with it: new pages are locked.
	lockFuture, lockOnFault bool

	pooled *VMSpace // next in System.unused
}

// sizes are running sums over the map, in bytes.
type sizes struct {
	total, data, stack, exec, locked uint64
	peakTotal                        uint64
	peakPages                        uint64 // resident pages, sampled before they become fewer
}

// topGap is how much is kept free below UserMax for the stack and its growth; Map chooses
// addresses below it. It is 128 MB, Linux's MIN_GAP, plus the guard gap.
const topGap = 128<<20 + stackGuard

// New makes an empty address space. It has one reference, which is the caller's, and owner
// pays for it. ENOMEM.
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

// Refs returns the number of users.
func (vs *VMSpace) Refs() int { return int(vs.refs.Load()) }

// Release drops a reference (uvmspace_free) and reports whether it was the last. The last
// reference destroys the pmap. Map and pmap must be empty then, or Release panics (E8): the
// last user must call Purge first. It does not sleep.
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

// ID returns a number that no other address space or object has.
func (vs *VMSpace) ID() uint64 { return vs.id }

// System returns the System that the space belongs to.
func (vs *VMSpace) System() *System { return vs.sys }

// Layout returns the layout of the space's root.
func (vs *VMSpace) Layout() arch.Layout { return vs.pm.Layout() }

// Pmap returns the space's page tables.
func (vs *VMSpace) Pmap() *pmap.Pmap { return vs.pm }

// Activate makes the space current on this CPU. It is cheap if it is current already.
func (vs *VMSpace) Activate() { vs.pm.Activate() }

// SetMmapBase sets the address below which the search for free addresses begins. The
// program loader calls it.
func (vs *VMSpace) SetMmapBase(va arch.VA) {
	vs.mu.Lock()
	vs.mmapBase = va.PageDown()
	vs.mu.Unlock()
}

// Marks are addresses that the program loader records for others to find. Package vm does
// not use them.
type Marks struct {
	StackTop arch.VA // end of the main stack
	SigPage  arch.VA // the page, if any, of the system-call layer
	Auxv     arch.VA // the auxiliary vector on the stack
	AuxvSize int
}

// SetMarks stores the marks, Marks returns them. Fork copies them.
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

// count adds an entry to the sums, or removes it (sign -1).
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

// sampleRSS updates the peak of resident pages. It is called before an operation that
// removes some.
func (vs *VMSpace) sampleRSS() {
	vs.sizes.peakPages = max(vs.sizes.peakPages, uint64(vs.pm.Stats().Resident))
}
