// Package pmaptest is the view that CPUs have of page tables, for host tests: an arch.MMU
// with a TLB and walk caches that never forget anything by themselves, so that a missing
// flush shows. The walk caches hold the tables of all levels below the root. A CPU may walk
// at any time, also for addresses that no instruction accesses. The model does what a
// speculating CPU does: after each flush it walks again to every address that was accessed
// before, so that a flush that comes too early shows as well.
//
// Whenever something is dropped from it, and in Verify, it checks that what was
// cached was still in use: a frame or table page that is freed before its flush
// is a panic.
//
// With several CPUs (NewCPUs) each has a TLB, walk caches and a root of its own, and a
// goroutine of the test is one of them (On). CPUs share no lock but where flushes are
// broadcast, so that the race detector sees whether the code under test orders what CPUs
// do.
package pmaptest

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// MMU implements arch.MMU. Safe for concurrent use.
type MMU struct {
	mem       *phys.Memory
	f         arch.Format
	asids     int
	broadcast bool
	half      [2]phys.Frame

	// OnFlush, if set, is called by FlushPage before it drops anything, and OnSync
	// by SyncInstructions.
	OnFlush func(r arch.Root, va arch.VA)
	OnSync  func(pa arch.PA, n int)

	cpus []*cpu
	who  sync.Map // goroutine's number -> its CPU's; the others are CPU 0
}

// cpu is what the hardware of one CPU holds.
type cpu struct {
	irq        atomic.Bool
	interrupts atomic.Int64

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

// New makes the MMU of one CPU with asids identifiers (0: none) whose kernel halves, one
// per layout, are recognisable entries.
func New(m *phys.Memory, f *arch.Format, asids int) *MMU { return NewCPUs(m, f, asids, 1, true) }

// NewCPUs is New for several CPUs; broadcast: a flush reaches all of them.
func NewCPUs(m *phys.Memory, f *arch.Format, asids, cpus int, broadcast bool) *MMU {
	u := &MMU{mem: m, f: *f, asids: asids, broadcast: broadcast}
	for range cpus {
		u.cpus = append(u.cpus, &cpu{tlb: map[key]leaf{}, walks: map[walkKey]phys.Frame{}, hot: map[hotKey]struct{}{}})
	}
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

// CPUs is the number given to NewCPUs.
func (u *MMU) CPUs() int { return len(u.cpus) }

// Broadcast is what was given to NewCPUs.
func (u *MMU) Broadcast() bool { return u.broadcast }

// On makes the calling goroutine CPU n while fn runs. No other goroutine is that CPU.
func (u *MMU) On(n int, fn func()) {
	g := goroutine()
	u.who.Store(g, n)
	defer u.who.Delete(g)
	fn()
}

// CPU is the number of the calling CPU.
func (u *MMU) CPU() int {
	if len(u.cpus) > 1 {
		if n, ok := u.who.Load(goroutine()); ok {
			return n.(int)
		}
	}
	return 0
}

func (u *MMU) this() *cpu { return u.cpus[u.CPU()] }

// goroutine is the number of the calling goroutine: the second word of its traceback.
func goroutine() string {
	var buf [40]byte
	text := string(buf[:runtime.Stack(buf[:], false)])
	number, _, _ := strings.Cut(strings.TrimPrefix(text, "goroutine "), " ")
	return number
}

// Interrupt makes Interrupted true on CPU n.
func (u *MMU) Interrupt(n int) {
	u.cpus[n].interrupts.Add(1)
	u.cpus[n].irq.Store(true)
}

// Interrupted tells the calling CPU, in user mode, that an interrupt waits, and takes it.
func (u *MMU) Interrupted() bool {
	c := u.this()
	return c.irq.Load() && c.irq.Swap(false)
}

// Interrupts is how many CPU n was sent.
func (u *MMU) Interrupts(n int) int64 { return u.cpus[n].interrupts.Load() }

// Pause gives way.
func (u *MMU) Pause() { runtime.Gosched() }

// Activate loads r.
func (u *MMU) Activate(r arch.Root) {
	c := u.this()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count.Activate++
	if f := phys.FrameOf(r.Table); !u.mem.InUse(f) || u.mem.Owner(f) != phys.Root {
		panic(fmt.Sprintf("mmu: root %#x is not in use as a root", r.Table))
	}
	if int(r.ASID) > u.asids {
		panic(fmt.Sprintf("mmu: identifier %d of %d", r.ASID, u.asids))
	}
	if r.ASID == 0 {
		u.dropAll(c)
	}
	c.active, c.on = r, true
}

// Deactivate moves to the bare kernel root.
func (u *MMU) Deactivate() {
	c := u.this()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count.Deactivate++
	if u.asids == 0 {
		u.dropAll(c)
	}
	c.on = false
}

// flush calls fn, with its lock held, for each CPU that a flush of the caller reaches.
func (u *MMU) flush(fn func(c *cpu)) {
	this := u.this()
	for _, c := range u.cpus {
		if c == this || u.broadcast {
			c.mu.Lock()
			fn(c)
			c.mu.Unlock()
		}
	}
}

// FlushPage drops one page or block and the walk caches above it.
func (u *MMU) FlushPage(r arch.Root, va arch.VA) {
	if u.OnFlush != nil {
		u.OnFlush(r, va)
	}
	u.flush(func(c *cpu) {
		c.count.FlushPage++
		u.drop(c, func(k key) bool {
			return k.asid == r.ASID && (!k.big && k.page == uint64(va)>>arch.PageShift || k.big && k.page == uint64(va)>>arch.BlockShift)
		}, func(k walkKey) bool { return k == walkOf(r.ASID, va, k.level) })
		u.speculate(c, r)
	})
}

// FlushASID drops everything of r's address space.
func (u *MMU) FlushASID(r arch.Root) {
	u.flush(func(c *cpu) {
		c.count.FlushASID++
		u.drop(c, func(k key) bool { return r.ASID == 0 || k.asid == r.ASID },
			func(k walkKey) bool { return r.ASID == 0 || k.asid == r.ASID })
		u.speculate(c, r)
	})
}

// speculate walks to what was accessed before in the address space of r, if its root is
// loaded.
func (u *MMU) speculate(c *cpu, r arch.Root) {
	if !c.on || c.active.Table != r.Table {
		return
	}
	for h := range c.hot {
		if h.root == c.active.Table && h.asid == c.active.ASID {
			u.walk(c, h.va)
		}
	}
}

// Speculate makes the calling CPU walk its tables as if it executed ahead, as CPUs may at
// any time, in kernel mode too.
func (u *MMU) Speculate() {
	c := u.this()
	c.mu.Lock()
	u.speculate(c, c.active)
	c.mu.Unlock()
}

// FlushAll drops everything. A root that the caller has loaded meanwhile could be walked
// again at once, under an identifier that is free from now on.
func (u *MMU) FlushAll() {
	this := u.this()
	u.flush(func(c *cpu) {
		if c == this && c.on {
			panic(fmt.Sprintf("mmu: everything flushed while root %#x is loaded with identifier %d", c.active.Table, c.active.ASID))
		}
		c.count.FlushAll++
		u.dropAll(c)
		u.speculate(c, c.active)
	})
}

// SyncInstructions only counts.
func (u *MMU) SyncInstructions(pa arch.PA, n int) {
	if u.OnSync != nil {
		u.OnSync(pa, n)
	}
	c := u.this()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count.Sync++
}

// Counts returns the counts so far of the calling CPU.
func (u *MMU) Counts() Counts {
	c := u.this()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// Active is the root that the calling CPU has loaded, if one is.
func (u *MMU) Active() (arch.Root, bool) {
	c := u.this()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active, c.on
}

func (u *MMU) dropAll(c *cpu) {
	u.drop(c, func(key) bool { return true }, func(walkKey) bool { return true })
}

// drop forgets what the functions tell, after checking that it was still in use.
func (u *MMU) drop(c *cpu, leaves func(key) bool, tables func(walkKey) bool) {
	for k, e := range c.tlb {
		if leaves(k) {
			if u.broadcast {
				u.check(k, e.frame)
			}
			delete(c.tlb, k)
		}
	}
	for k, f := range c.walks {
		if tables(k) {
			if u.mustBeUsed(c, k.asid) {
				u.checkTable(k, f)
			}
			delete(c.walks, k)
		}
	}
}

// mustBeUsed tells whether what is cached under an identifier must still be in use. If
// flushes reach one CPU only, others may hold what is free as long as they have not loaded
// its root. And kernel code does not use what its TLB holds of users' pages: there Access
// checks alone.
func (u *MMU) mustBeUsed(c *cpu, asid uint16) bool {
	return u.broadcast || c.on && c.active.ASID == asid
}

func (u *MMU) check(k key, f phys.Frame) {
	if used, _ := u.mem.Peek(f); !used {
		panic(fmt.Sprintf("mmu: cached leaf %#x (identifier %d, page %#x, block %v) was freed before it was flushed", uint32(f), k.asid, k.page, k.big))
	}
}

func (u *MMU) checkTable(k walkKey, f phys.Frame) {
	if used, o := u.mem.Peek(f); !used || o != phys.Table {
		panic(fmt.Sprintf("mmu: cached table %#x (%+v) was freed before it was flushed", uint32(f), k))
	}
}

// Access does what the CPU does for a user access: it translates va through what
// is cached, else walks the active root and caches what it finds. False is a
// page fault.
func (u *MMU) Access(va arch.VA, want arch.Prot) (arch.PA, bool) {
	c := u.this()
	c.mu.Lock()
	defer c.mu.Unlock()
	return u.access(c, va, want)
}

// Use is Access that calls use with the address, if there is one: the instruction that
// uses it. A broadcast flush waits for instructions that are under way (arm64: its DSB).
func (u *MMU) Use(va arch.VA, want arch.Prot, use func(arch.PA)) bool {
	c := u.this()
	c.mu.Lock()
	defer c.mu.Unlock()
	pa, ok := u.access(c, va, want)
	if ok {
		use(pa)
	}
	return ok
}

func (u *MMU) access(c *cpu, va arch.VA, want arch.Prot) (arch.PA, bool) {
	if !c.on || va >= arch.UserMax {
		return 0, false
	}
	small := key{c.active.ASID, uint64(va) >> arch.PageShift, false}
	big := key{c.active.ASID, uint64(va) >> arch.BlockShift, true}
	for _, k := range [2]key{small, big} {
		if e, ok := c.tlb[k]; ok {
			u.check(k, e.frame)
			if want&^e.prot != 0 {
				// Both architectures take the fault; the retry walks again.
				delete(c.tlb, k)
				return 0, false
			}
			return u.at(k, e, va), true
		}
	}
	if len(c.hot) < maxHot {
		c.hot[hotKey{c.active.Table, c.active.ASID, va.BlockDown()}] = struct{}{}
	}
	e, block, ok := u.walk(c, va)
	if !ok || want&^e.prot != 0 {
		return 0, false
	}
	k := small
	if block {
		k = big
	}
	c.tlb[k] = e
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
func (u *MMU) walk(cpu *cpu, va arch.VA) (l leaf, block, ok bool) {
	frame := func(e arch.PTE) phys.Frame { return phys.FrameOf(arch.PA(e & u.f.Addr)) }
	f, level := phys.FrameOf(cpu.active.Table), 3
	for low := range 3 {
		k := walkOf(cpu.active.ASID, va, low)
		if c, ok := cpu.walks[k]; ok {
			u.checkTable(k, c)
			f, level = c, low
			break
		}
	}
	for ; ; level-- {
		e := entry(u.mem.Table(f), va.Index(level))
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
		cpu.walks[walkOf(cpu.active.ASID, va, level-1)] = f
	}
}

// entry is what a walk reads. A walk does not wait for who changes the tables.
//
//go:norace
//go:noinline
func entry(t *[arch.Entries]arch.PTE, i int) arch.PTE { return t[i] }

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
//
// It looks at the calling CPU.
func (u *MMU) Verify(p *pmap.Pmap) error {
	c := u.this()
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, f := range c.walks {
		if !u.mem.InUse(f) || u.mem.Owner(f) != phys.Table {
			return fmt.Errorf("walk cache %+v holds table %#x, which is free", k, uint32(f))
		}
	}
	r := p.Root()
	for k, f := range c.walks {
		if k.asid != r.ASID || r.ASID == 0 && c.active.Table != r.Table {
			continue
		}
		va := arch.VA(k.reach << (arch.BlockShift + 9*uint(k.level)))
		if now := u.tableOf(r, va, k.level); now != f {
			return fmt.Errorf("walk cache %+v holds table %#x, the tables have %#x", k, uint32(f), uint32(now))
		}
	}
	for k, e := range c.tlb {
		if !u.mem.InUse(e.frame) {
			return fmt.Errorf("TLB entry %+v holds frame %#x, which is free", k, uint32(e.frame))
		}
		if k.asid != r.ASID || r.ASID == 0 && c.active.Table != r.Table {
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
