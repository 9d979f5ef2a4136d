// Package pmaptest is a CPU's view of page tables for host tests: an arch.MMU
// with a TLB and walk caches that never forget anything by themselves, so that a
// missing flush shows. The walk caches hold the tables of all levels below the
// root. A CPU may walk at any time, for addresses that nobody asked for: after each
// flush the model walks again to every address that was accessed before, as a CPU
// does that speculates, so that a flush that comes too early shows as well.
//
// Whenever something is dropped from it, and in Verify, it checks that what was
// cached was still in use: a frame or table page that is freed before its flush
// is a panic.
package pmaptest

import (
	"fmt"
	"sync"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// MMU implements arch.MMU for one CPU. Safe for concurrent use.
type MMU struct {
	mem   *phys.Memory
	f     arch.Format
	asids int
	half  [2]phys.Frame

	// OnFlush, if set, is called by FlushPage before it drops anything, and OnSync
	// by SyncInstructions.
	OnFlush func(r arch.Root, va arch.VA)
	OnSync  func(pa arch.PA, n int)

	mu     sync.Mutex
	on     bool
	active arch.Root
	tlb    map[key]leaf
	walks  map[walkKey]phys.Frame // tables below the root
	hot    map[hotKey]struct{}    // 2 MB that were accessed: walked again after a flush
	count  Counts
}

// walkKey names the table that a walk of level, in the reach of the table, went
// through: level 0 is a leaf table.
type walkKey struct {
	asid  uint16
	level int
	reach uint64 // va >> (21 + 9*level)
}

func walkOf(asid uint16, va arch.VA, level int) walkKey {
	return walkKey{asid, level, uint64(va) >> (arch.BlockShift + 9*uint(level))}
}

type hotKey struct {
	root arch.PA
	asid uint16
	va   arch.VA
}

// maxHot bounds what a flush walks again.
const maxHot = 64

// Counts of what the kernel asked for.
type Counts struct{ Activate, Deactivate, FlushPage, FlushASID, FlushAll, Sync int }

type key struct {
	asid uint16
	page uint64 // va >> 12; for blocks va >> 21
	big  bool
}

type leaf struct {
	frame phys.Frame
	prot  arch.Prot
	va    arch.VA
}

// New makes an MMU with asids identifiers (0: none) whose kernel halves, one per
// layout, are recognisable entries.
func New(m *phys.Memory, f *arch.Format, asids int) *MMU {
	u := &MMU{mem: m, f: *f, asids: asids, tlb: map[key]leaf{}, walks: map[walkKey]phys.Frame{}, hot: map[hotKey]struct{}{}}
	for l := range u.half {
		frame, err := m.AllocZero(phys.Kernel)
		if err != nil {
			panic(err)
		}
		t := m.Table(frame)
		for i := arch.KernelHalf; i < arch.Entries; i++ {
			t[i] = f.Table | arch.PTE(l+1)<<40 | arch.PTE(i)<<arch.PageShift
		}
		u.half[l] = frame
	}
	return u
}

// KernelHalf: see arch.MMU, as for the methods below.
func (u *MMU) KernelHalf(l arch.Layout) arch.PA { return u.half[l].PA() }

// ASIDs is the number given to New.
func (u *MMU) ASIDs() int { return u.asids }

// Activate loads r.
func (u *MMU) Activate(r arch.Root) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count.Activate++
	if f := phys.FrameOf(r.Table); !u.mem.InUse(f) || u.mem.Owner(f) != phys.Root {
		panic(fmt.Sprintf("mmu: root %#x is not in use as a root", r.Table))
	}
	if int(r.ASID) > u.asids {
		panic(fmt.Sprintf("mmu: identifier %d of %d", r.ASID, u.asids))
	}
	if r.ASID == 0 {
		u.dropAll()
	}
	u.active, u.on = r, true
}

// Deactivate moves to the bare kernel root.
func (u *MMU) Deactivate() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count.Deactivate++
	if u.asids == 0 {
		u.dropAll()
	}
	u.on = false
}

// FlushPage drops one page or block and the walk caches above it.
func (u *MMU) FlushPage(r arch.Root, va arch.VA) {
	if u.OnFlush != nil {
		u.OnFlush(r, va)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count.FlushPage++
	u.drop(func(k key) bool {
		return k.asid == r.ASID && (!k.big && k.page == uint64(va)>>arch.PageShift || k.big && k.page == uint64(va)>>arch.BlockShift)
	}, func(k walkKey) bool { return k == walkOf(r.ASID, va, k.level) })
	u.speculate(r)
}

// FlushASID drops everything of r's address space.
func (u *MMU) FlushASID(r arch.Root) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count.FlushASID++
	u.drop(func(k key) bool { return r.ASID == 0 || k.asid == r.ASID },
		func(k walkKey) bool { return r.ASID == 0 || k.asid == r.ASID })
	u.speculate(r)
}

// speculate walks to what was accessed before in the address space of r, if its
// root is loaded: the flush of r comes with its tables locked.
func (u *MMU) speculate(r arch.Root) {
	if !u.on || u.active.Table != r.Table {
		return
	}
	for h := range u.hot {
		if h.root == u.active.Table && h.asid == u.active.ASID {
			u.walk(h.va)
		}
	}
}

// FlushAll drops everything. A root that is loaded meanwhile could be walked again
// at once, under an identifier that is free from now on.
func (u *MMU) FlushAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.on {
		panic(fmt.Sprintf("mmu: everything flushed while root %#x is loaded with identifier %d", u.active.Table, u.active.ASID))
	}
	u.count.FlushAll++
	u.dropAll()
}

// SyncInstructions only counts.
func (u *MMU) SyncInstructions(pa arch.PA, n int) {
	if u.OnSync != nil {
		u.OnSync(pa, n)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count.Sync++
}

// Counts returns the counts so far.
func (u *MMU) Counts() Counts {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.count
}

// Active is the root loaded, if one is.
func (u *MMU) Active() (arch.Root, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.active, u.on
}

func (u *MMU) dropAll() {
	u.drop(func(key) bool { return true }, func(walkKey) bool { return true })
}

// drop forgets what the functions tell, after checking that it was still in use.
func (u *MMU) drop(leaves func(key) bool, tables func(walkKey) bool) {
	for k, e := range u.tlb {
		if leaves(k) {
			u.check(k, e.frame)
			delete(u.tlb, k)
		}
	}
	for k, f := range u.walks {
		if tables(k) {
			u.checkTable(k, f)
			delete(u.walks, k)
		}
	}
}

func (u *MMU) check(k key, f phys.Frame) {
	if !u.mem.InUse(f) {
		panic(fmt.Sprintf("mmu: cached leaf %#x (identifier %d, page %#x, block %v) was freed before it was flushed", uint32(f), k.asid, k.page, k.big))
	}
}

func (u *MMU) checkTable(k walkKey, f phys.Frame) {
	if !u.mem.InUse(f) || u.mem.Owner(f) != phys.Table {
		panic(fmt.Sprintf("mmu: cached table %#x (%+v) was freed before it was flushed", uint32(f), k))
	}
}

// Access does what the CPU does for a user access: it translates va through what
// is cached, else walks the active root and caches what it finds. False is a
// page fault.
func (u *MMU) Access(va arch.VA, want arch.Prot) (arch.PA, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.on || va >= arch.UserMax {
		return 0, false
	}
	small := key{u.active.ASID, uint64(va) >> arch.PageShift, false}
	big := key{u.active.ASID, uint64(va) >> arch.BlockShift, true}
	for _, k := range [2]key{small, big} {
		if e, ok := u.tlb[k]; ok {
			u.check(k, e.frame)
			if want&^e.prot != 0 {
				// Both architectures take the fault; the retry walks again.
				delete(u.tlb, k)
				return 0, false
			}
			return u.at(k, e, va), true
		}
	}
	if len(u.hot) < maxHot {
		u.hot[hotKey{u.active.Table, u.active.ASID, va.BlockDown()}] = struct{}{}
	}
	e, block, ok := u.walk(va)
	if !ok || want&^e.prot != 0 {
		return 0, false
	}
	k := small
	if block {
		k = big
	}
	u.tlb[k] = e
	return u.at(k, e, va), true
}

func (u *MMU) at(k key, e leaf, va arch.VA) arch.PA {
	if k.big {
		return e.frame.PA() + arch.PA(va&(arch.BlockSize-1))
	}
	return e.frame.PA() + arch.PA(va&(arch.PageSize-1))
}

// walk translates va from the lowest table that is cached down, and caches the
// tables on its way.
func (u *MMU) walk(va arch.VA) (l leaf, block, ok bool) {
	frame := func(e arch.PTE) phys.Frame { return phys.FrameOf(arch.PA(e & u.f.Addr)) }
	f, level := phys.FrameOf(u.active.Table), 3
	for low := range 3 {
		k := walkOf(u.active.ASID, va, low)
		if c, ok := u.walks[k]; ok {
			u.checkTable(k, c)
			f, level = c, low
			break
		}
	}
	for ; ; level-- {
		e := u.mem.Table(f)[va.Index(level)]
		if e&u.f.Present == 0 {
			return leaf{}, false, false
		}
		if level == 0 || level == 1 && e&u.f.LeafMask == u.f.LeafBits {
			l := leaf{frame: frame(e), prot: arch.Read, va: va}
			if e&u.f.WriteMask == u.f.WriteBits {
				l.prot |= arch.Write
			}
			if e&u.f.ExecMask == u.f.ExecBits {
				l.prot |= arch.Exec
			}
			return l, level == 1, true
		}
		f = frame(e)
		u.walks[walkOf(u.active.ASID, va, level-1)] = f
	}
}

// tableOf is the table of a level that p's tables have for va; 0 if there is none.
func (u *MMU) tableOf(r arch.Root, va arch.VA, level int) phys.Frame {
	f := phys.FrameOf(r.Table)
	for l := 3; l > level; l-- {
		e := u.mem.Table(f)[va.Index(l)]
		if e&u.f.Present == 0 || l == 1 && e&u.f.LeafMask == u.f.LeafBits {
			return 0
		}
		f = phys.FrameOf(arch.PA(e & u.f.Addr))
	}
	return f
}

// Verify checks that everything cached for p agrees with its tables, in the
// sense that the tables allow at least as much, and that everything cached for
// anyone is in use.
func (u *MMU) Verify(p *pmap.Pmap) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	for k, f := range u.walks {
		if !u.mem.InUse(f) || u.mem.Owner(f) != phys.Table {
			return fmt.Errorf("walk cache %+v holds table %#x, which is free", k, uint32(f))
		}
	}
	r := p.Root()
	for k, f := range u.walks {
		if k.asid != r.ASID || r.ASID == 0 && u.active.Table != r.Table {
			continue
		}
		va := arch.VA(k.reach << (arch.BlockShift + 9*uint(k.level)))
		if now := u.tableOf(r, va, k.level); now != f {
			return fmt.Errorf("walk cache %+v holds table %#x, the tables have %#x", k, uint32(f), uint32(now))
		}
	}
	for k, e := range u.tlb {
		if !u.mem.InUse(e.frame) {
			return fmt.Errorf("TLB entry %+v holds frame %#x, which is free", k, uint32(e.frame))
		}
		if k.asid != r.ASID || r.ASID == 0 && u.active.Table != r.Table {
			continue
		}
		m, ok := p.Lookup(e.va)
		want := e.frame
		if k.big {
			want += phys.Frame(e.va.Index(0))
		}
		if !ok || m.Frame != want || e.prot&^m.Prot != 0 || m.Block != k.big {
			return fmt.Errorf("stale TLB entry for %#x: frame %#x %v block %v, tables say %+v, %v", uint64(e.va), uint32(want), e.prot, k.big, m, ok)
		}
	}
	return nil
}
