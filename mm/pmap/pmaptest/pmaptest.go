// Package pmaptest is a CPU's view of page tables for host tests: an arch.MMU
// with a TLB and walk caches that never forget anything by themselves, so that a
// missing flush shows.
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

	// OnFlush, if set, is called by FlushPage before it drops anything.
	OnFlush func(r arch.Root, va arch.VA)

	mu     sync.Mutex
	on     bool
	active arch.Root
	tlb    map[key]leaf
	walks  map[key]phys.Frame // leaf table of a 2 MB block of addresses
	count  Counts
}

// Counts of what the kernel asked for.
type Counts struct{ Activate, Deactivate, FlushPage, FlushASID, FlushAll, Sync int }

type key struct {
	asid uint16
	page uint64 // va >> 12; in walks and for blocks va >> 21
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
	u := &MMU{mem: m, f: *f, asids: asids, tlb: map[key]leaf{}, walks: map[key]phys.Frame{}}
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
		u.drop(func(key) bool { return true })
	}
	u.active, u.on = r, true
}

// Deactivate moves to the bare kernel root.
func (u *MMU) Deactivate() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count.Deactivate++
	if u.asids == 0 {
		u.drop(func(key) bool { return true })
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
	})
}

// FlushASID drops everything of r's address space.
func (u *MMU) FlushASID(r arch.Root) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count.FlushASID++
	u.drop(func(k key) bool { return r.ASID == 0 || k.asid == r.ASID })
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
	u.drop(func(key) bool { return true })
}

// SyncInstructions only counts.
func (u *MMU) SyncInstructions(pa arch.PA, n int) {
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

// drop forgets what match tells, after checking that it was still in use.
func (u *MMU) drop(match func(key) bool) {
	for k, e := range u.tlb {
		if match(k) {
			u.check(k, e.frame, "leaf")
			delete(u.tlb, k)
		}
	}
	for k, f := range u.walks {
		if match(k) {
			u.check(k, f, "table")
			delete(u.walks, k)
		}
	}
}

func (u *MMU) check(k key, f phys.Frame, what string) {
	if !u.mem.InUse(f) || what == "table" && u.mem.Owner(f) != phys.Table {
		panic(fmt.Sprintf("mmu: cached %s %#x (identifier %d, page %#x, block %v) was freed before it was flushed", what, uint32(f), k.asid, k.page, k.big))
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
			u.check(k, e.frame, "leaf")
			if want&^e.prot != 0 {
				// Both architectures take the fault; the retry walks again.
				delete(u.tlb, k)
				return 0, false
			}
			return u.at(k, e, va), true
		}
	}
	k, e, ok := u.walk(va, small, big)
	if !ok || want&^e.prot != 0 {
		return 0, false
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

func (u *MMU) walk(va arch.VA, small, big key) (key, leaf, bool) {
	frame := func(e arch.PTE) phys.Frame { return phys.FrameOf(arch.PA(e & u.f.Addr)) }
	f, level := phys.FrameOf(u.active.Table), 3
	if c, ok := u.walks[big]; ok {
		u.check(big, c, "table")
		f, level = c, 0
	}
	for ; ; level-- {
		e := u.mem.Table(f)[va.Index(level)]
		if e&u.f.Present == 0 {
			return key{}, leaf{}, false
		}
		if level == 0 || level == 1 && e&u.f.LeafMask == u.f.LeafBits {
			l := leaf{frame: frame(e), prot: arch.Read, va: va}
			if e&u.f.WriteMask == u.f.WriteBits {
				l.prot |= arch.Write
			}
			if e&u.f.ExecMask == u.f.ExecBits {
				l.prot |= arch.Exec
			}
			if level == 1 {
				return big, l, true
			}
			return small, l, true
		}
		f = frame(e)
		if level == 1 {
			u.walks[big] = f
		}
	}
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
