package pmap

import (
	"fmt"
	"sync"
	"sync/atomic"

	"grim/arch"
	"grim/mm/phys"
)

// Translations and several CPUs (DESIGN.md section 9; the model is model/shootdown.pml).
//
// Kernel code never uses a user translation, so nothing has to wait for a CPU in kernel
// mode: when that CPU enters user mode again it looks whether others have changed entries.
// Where flushes reach the calling CPU only (amd64), a CPU that changes an entry does this:
//
//	changes the entry
//	raises smp.changes               an atomic add: a full barrier
//	flushes its own TLB
//	interrupts each CPU that is in user mode on the pmap, and waits until that CPU has
//	left user mode, or flushed
//
// Meanwhile a CPU that enters user mode does this:
//
//	stores cpu.user                  a full barrier, too
//	reads smp.changes; if that is not cpu.seen, takes cpu.user back, flushes, and tries
//	again
//
// Each of the two CPUs stores first and reads afterwards, so at least one of them sees the
// other's store (Dekker). Either the first CPU finds the second in user mode and interrupts
// it, or the second finds that entries have changed, and flushes. Go's atomic operations
// are sequentially consistent among each other, and nothing more is needed: an entry is
// written before the atomic add, and a walk reads it after the atomic load.
//
// A CPU in kernel mode may still walk the tables, because CPUs translate ahead of what they
// execute. It may have cached the address of a table page that has been unlinked since.
// Such pages are retired: each is freed when every CPU that had the pmap loaded has flushed
// or changed its root. The frames of pages are freed at once, as no kernel code uses the
// translation.
//
// A new entry needs no flush, but its store must be ordered: see arch.PTE.Publish.
//
// Where flushes are broadcast (arm64) they end translations and walks on all CPUs, and
// nothing of this is needed.

// maxCPU is the largest number of CPUs.
const maxCPU = 16

// cpuSlots is how many identifiers each CPU has of its own, where flushes are not
// broadcast. They belong to the pmaps that it has run most recently.
const cpuSlots = 6

// smp is the part of a pmap that is needed with several CPUs.
type smp struct {
	changes atomic.Uint64 // number of changes that CPUs must flush for
	serial  atomic.Uint64 // identifies the pmap in the slots of CPUs

	retiredMu sync.Mutex
	retired   []retired // unlinked table pages that another CPU may walk
}

// cpu records what one CPU has loaded for the user half. The first cache line is what other
// CPUs read; only the CPU itself uses the second.
type cpu struct {
	// current is the loaded pmap, nil on the bare kernel root. coming is a pmap that the
	// CPU is about to load: it is set before the CPU can walk the tables, until the pmap is
	// current. Only this CPU writes them.
	current, coming atomic.Pointer[Pmap]
	user            atomic.Uint32 // 1: user code runs on current, or is about to
	// seen is the value of changes of current up to which this CPU has flushed.
	seen atomic.Uint64
	_    [32]byte

	domain uint64 // of the code that ran here last
	slots  [cpuSlots]slot
	slot   int // of current
	hand   int // number of the slot to be reused next, modulo the number of identifiers
	_      [24]byte
}

// slot is the state of one identifier of one CPU. Slot i is for identifier i+1.
type slot struct {
	serial uint64 // of the pmap whose translations may be cached under it; 0: none
	seen   uint64 // the value of cpu.seen when the CPU left that pmap
}

func (s *System) initCPUs(n int, broadcast bool) {
	if n < 1 || n > maxCPU {
		panic(fmt.Sprintf("pmap: %d CPUs, want 1 to %d", n, maxCPU))
	}
	s.cpus = s.records[:1]
	if s.many = n > 1; s.many {
		s.cpus = s.records[1 : 1+n]
	}
	s.local = s.many && !broadcast
}

// thisCPU returns the record of the calling CPU. The caller must stay on this CPU: it is
// pinned, or on the scheduler's stack.
func (s *System) thisCPU() *cpu {
	if !s.many {
		return &s.records[0]
	}
	return &s.cpus[s.mmu.CPU()]
}

// has reports whether the CPU may walk p's tables. coming is read first, because a pmap
// that is coming may become current between the two reads. A pmap that becomes coming after
// the first read is no problem: its changes are read later, and so are the newest.
func (c *cpu) has(p *Pmap) bool { return c.coming.Load() == p || c.current.Load() == p }

// asidOf returns the identifier that p has on this CPU, 0 if it has none.
func (c *cpu) asidOf(p *Pmap) uint16 {
	serial := p.smp.serial.Load()
	for i := range c.slots {
		if c.slots[i].serial == serial {
			return uint16(i + 1)
		}
	}
	return 0
}

// loaded records that the hardware of this CPU has p's root. Until this call the CPU may
// have walked the tables of the pmap that was current before. With one CPU, load does this.
func (s *System) loaded(c *cpu, p *Pmap) {
	if s.local && p == nil && c.current.Load() != nil {
		c.slots[c.slot].seen = c.seen.Load()
	}
	c.current.Store(p)
	c.coming.Store(nil)
}

// loadLocal loads p's root under an identifier of this CPU. It first flushes the
// translations cached under that identifier, unless they are p's and p has not changed
// since. The caller is pinned, and has stored c.coming.
func (s *System) loadLocal(c *cpu, p *Pmap) {
	if c.current.Load() != nil {
		c.slots[c.slot].seen = c.seen.Load()
	}
	n := min(s.mmu.ASIDs(), int(s.asidLimit.Load()), cpuSlots)
	clear(c.slots[n:])
	root := arch.Root{Table: p.root.PA(), Layout: p.layout}
	// coming was stored before changes is read, and before the CPU can walk. So a CPU that
	// raises changes after this read finds that this CPU has p.
	changes := p.smp.changes.Load()
	if n > 0 {
		i := int(c.asidOf(p)) - 1
		if i < 0 {
			if i = c.hand % n; i == c.slot && c.current.Load() != nil {
				i = (i + 1) % n
			}
			c.hand = i + 1
		}
		root.ASID = uint16(i + 1)
		if sl := &c.slots[i]; sl.serial != p.smp.serial.Load() || sl.seen != changes {
			if i == c.slot { // with a single identifier, the pmap to be flushed may be loaded
				s.mmu.Deactivate()
			}
			s.mmu.FlushASID(root)
			sl.serial = p.smp.serial.Load()
		}
		c.slot = i
	}
	s.mmu.Activate(root)
	c.seen.Store(changes)
}

// enterUser records that this CPU runs user code on p, and makes sure that its TLB has no
// translation from before a change. p is loaded.
func (p *Pmap) enterUser(c *cpu) {
	for {
		c.user.Store(1)
		changes := p.smp.changes.Load()
		if changes == c.seen.Load() {
			return
		}
		if !p.s.local { // flushed already; Barrier checks it
			c.seen.Store(changes)
			return
		}
		c.user.Store(0)
		p.flushOwn(c, changes)
	}
}

// LeaveUser records that this CPU no longer runs user code. With several CPUs, the machine
// calls it right after a trap.
func (s *System) LeaveUser() { s.thisCPU().user.Store(0) }

// flushOwn drops all translations of p, which this CPU has loaded, from its TLB. The caller
// has read changes before, so that a change during the flush does not count as seen.
func (p *Pmap) flushOwn(c *cpu, changes uint64) {
	p.s.mmu.FlushASID(p.Root())
	c.seen.Store(changes)
}

// flushPage drops, on every CPU, the translation of one page or block and the walk-cache
// entries above it. Preconditions: p.mu held.
func (p *Pmap) flushPage(va arch.VA) {
	if p.s.many {
		p.flushPages([]arch.VA{va})
	} else if root, live := p.liveRoot(); live {
		p.s.mmu.FlushPage(root, va)
	}
}

// flushPages is flushPage for a few pages. It interrupts each CPU in user mode only once.
// Preconditions: p.mu held.
func (p *Pmap) flushPages(vas []arch.VA) {
	s := p.s
	if s.many && len(vas) > 0 {
		changes := p.smp.changes.Add(1)
		if s.local {
			pin()
			defer unpin()
			c := s.thisCPU()
			if c.current.Load() == p {
				if c.seen.Load() == changes-1 {
					root := p.Root()
					for _, va := range vas {
						s.mmu.FlushPage(root, va)
					}
					c.seen.Store(changes)
				} else {
					p.flushOwn(c, changes)
				}
			}
			p.shoot(c, changes)
			return
		}
	}
	if root, live := p.liveRoot(); live {
		for _, va := range vas {
			s.mmu.FlushPage(root, va)
		}
	}
}

// flushAll drops all translations of p and its walk-cache entries, on every CPU.
// Preconditions: p.mu held.
func (p *Pmap) flushAll() {
	s := p.s
	if s.many {
		// Where flushes are broadcast, this atomic add is the barrier between the stores to
		// the entries and the load of p.id: a CPU that loads p after it finds the new
		// entries.
		changes := p.smp.changes.Add(1)
		if s.local {
			pin()
			defer unpin()
			c := s.thisCPU()
			if c.current.Load() == p {
				p.flushOwn(c, changes)
			}
			p.shoot(c, changes)
			return
		}
	}
	if root, live := p.liveRoot(); live {
		s.mmu.FlushASID(root)
	}
}

// shoot waits until no other CPU runs user code with translations of p from before changes.
// It waits for user code only, which the interrupt ends.
func (p *Pmap) shoot(this *cpu, changes uint64) {
	s := p.s
	for i := range s.cpus {
		if c := &s.cpus[i]; c != this && p.mustWait(c, changes) {
			s.mmu.Interrupt(i)
		}
	}
	for i := range s.cpus {
		if c := &s.cpus[i]; c != this {
			for p.mustWait(c, changes) {
				s.mmu.Pause()
			}
		}
	}
}

// Barrier returns when every other CPU that runs user code on p has left it since the call,
// and so has passed a full memory barrier (membarrier(2)). A CPU in kernel mode passes one
// when it enters user mode: it stores user and reads changes then. The call counts as a
// change of entries. If flushes reach only one CPU, that costs each of these CPUs a flush.
func (p *Pmap) Barrier() {
	s := p.s
	if !s.many {
		return
	}
	changes := p.smp.changes.Add(1)
	pin()
	p.shoot(s.thisCPU(), changes)
	unpin()
}

// Barrier is Pmap.Barrier for all address spaces that the CPUs run.
func (s *System) Barrier() {
	for i := range s.cpus {
		if p := s.cpus[i].current.Load(); p != nil {
			p.Barrier()
		}
	}
}

// mustWait reports whether CPU c runs user code on p and has not flushed up to changes.
func (p *Pmap) mustWait(c *cpu, changes uint64) bool {
	return c.current.Load() == p && c.user.Load() != 0 && c.seen.Load() < changes
}

// retired is an unlinked table page. A CPU that has not flushed up to changes may walk it.
type retired struct {
	frame   phys.Frame
	changes uint64
}

// retire frees table page f, which is all zero and has been unlinked and flushed, as soon
// as no CPU can walk it. That may be in a later call.
func (p *Pmap) retire(f phys.Frame) {
	s := p.s
	if !s.local {
		s.mem.FreeZeroed(f)
		return
	}
	p.smp.retiredMu.Lock()
	p.freeRetired()
	if r := (retired{f, p.smp.changes.Load()}); p.walkable(r.changes) {
		p.smp.retired = append(p.smp.retired, r)
	} else {
		s.mem.FreeZeroed(f)
	}
	p.smp.retiredMu.Unlock()
}

// freeRetired frees the retired table pages that no CPU can walk any more. Preconditions:
// smp.retiredMu held.
func (p *Pmap) freeRetired() {
	kept := p.smp.retired[:0]
	for _, r := range p.smp.retired {
		if p.walkable(r.changes) {
			kept = append(kept, r)
		} else {
			p.s.mem.FreeZeroed(r.frame)
		}
	}
	p.smp.retired = kept
}

// walkable reports whether a CPU may walk p's tables as they were before changes.
func (p *Pmap) walkable(changes uint64) bool {
	for i := range p.s.cpus {
		c := &p.s.cpus[i]
		// A CPU that is about to load p may have read changes before they were raised. A
		// CPU that sets coming after this check reads them later. seen belongs to p if
		// current is p; if the CPU leaves p in between, it reads changes anew before it
		// loads p again.
		if c.coming.Load() == p || c.current.Load() == p && c.seen.Load() < changes {
			return true
		}
	}
	return false
}
