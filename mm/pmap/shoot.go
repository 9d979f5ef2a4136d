package pmap

import (
	"fmt"
	"sync"
	"sync/atomic"

	"grim/arch"
	"grim/mm/phys"
)

// Several CPUs (DESIGN.md section 9; the model is model/shootdown.pml).
//
// Kernel code never uses a user translation, so a CPU in kernel mode owes nobody an
// answer: it looks whether others have changed entries when it enters user mode again.
// Where flushes reach the calling CPU only (amd64), whoever changes an entry
//
//	changes the entry
//	raises smp.changes               an atomic add: a full barrier
//	flushes its own TLB
//	interrupts each CPU that is in user mode on the pmap, and waits until that has
//	left user mode, or flushed
//
// while a CPU that enters user mode
//
//	stores cpu.user                  a full barrier, too
//	reads smp.changes; if that is not cpu.seen, takes cpu.user back, flushes, and tries
//	again
//
// Of two CPUs of which each stores first and reads then, at least one sees the other's
// store (Dekker). So either the first finds the second in user mode and interrupts it, or
// the second finds that entries have changed, and flushes. Go's atomic operations are
// sequentially consistent among each other, which is all that this needs: an entry is
// written before the atomic add, and read by a walk after the atomic load.
//
// A CPU in kernel mode may still walk the tables: CPUs translate ahead of what they
// execute. It may have cached the way to a table page that has been unlinked. Such pages
// are retired, and free when each CPU that had the pmap loaded has flushed or changed its
// root. Frames of pages are free at once, as no kernel code goes through the translation.
//
// A new entry needs no flush, but an order: see arch.PTE.Publish.
//
// Where flushes are broadcast (arm64) they end translations and walks on all CPUs, and
// nothing of this is needed.

// maxCPU is how many CPUs there is room for.
const maxCPU = 16

// cpuSlots is how many identifiers a CPU has for itself where flushes are not
// broadcast: of the pmaps that it has run most recently.
const cpuSlots = 6

// smp is what a pmap has for several CPUs.
type smp struct {
	changes atomic.Uint64 // what other CPUs must flush for, counted
	serial  atomic.Uint64 // the name under which the identifiers of CPUs know the pmap

	retiredMu sync.Mutex
	retired   []retired // unlinked table pages that another CPU may walk
}

// cpu is what one CPU has loaded for the user half, and what others must know of it: a
// cache line of its own, and a second for what only that CPU uses.
type cpu struct {
	// current is loaded; nil is the bare kernel root. coming is about to be: from before
	// the CPU can walk its tables until it is current. Written by this CPU.
	current, coming atomic.Pointer[Pmap]
	user            atomic.Uint32 // 1: user code runs on current, or is about to
	// seen is the value of changes of current up to which this CPU has flushed.
	seen atomic.Uint64
	_    [32]byte

	domain uint64 // of the code that ran here last
	slots  [cpuSlots]slot
	slot   int // of current
	hand   int // the slot to be taken next
	_      [24]byte
}

// slot is an identifier of one CPU: number i has i+1.
type slot struct {
	serial uint64 // of the pmap whose translations may be cached; 0: nobody's
	seen   uint64 // cpu.seen when the CPU left it
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

// thisCPU is the record of the calling CPU. The caller stays on it: it is pinned, or on
// the scheduler's stack.
func (s *System) thisCPU() *cpu {
	if !s.many {
		return &s.records[0]
	}
	return &s.cpus[s.mmu.CPU()]
}

// has tells whether the CPU may walk p's tables. In this order: between the two, what
// is coming may become current. What becomes coming between them has not read changes yet.
func (c *cpu) has(p *Pmap) bool { return c.coming.Load() == p || c.current.Load() == p }

// asidOf is the identifier that p has on this CPU, 0 if none.
func (c *cpu) asidOf(p *Pmap) uint16 {
	serial := p.smp.serial.Load()
	for i := range c.slots {
		if c.slots[i].serial == serial {
			return uint16(i + 1)
		}
	}
	return 0
}

// loaded publishes that the hardware of this CPU has p's root. Until now the CPU may have
// walked the tables of what was current before. With one CPU, load does it.
func (s *System) loaded(c *cpu, p *Pmap) {
	if s.local && p == nil && c.current.Load() != nil {
		c.slots[c.slot].seen = c.seen.Load()
	}
	c.current.Store(p)
	c.coming.Store(nil)
}

// loadLocal loads p's root under an identifier of this CPU. Translations cached under that
// identifier are flushed first, unless they are p's and nothing has changed since. Preconditions: s.mu
// held.
func (s *System) loadLocal(c *cpu, p *Pmap) {
	if c.current.Load() != nil {
		c.slots[c.slot].seen = c.seen.Load()
	}
	n := min(s.mmu.ASIDs(), s.asidLimit, cpuSlots)
	root := arch.Root{Table: p.root.PA(), Layout: p.layout}
	// Published before changes is read, and before the CPU can walk: whoever raises
	// changes from here on finds that this CPU has p.
	c.coming.Store(p)
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
			if i == c.slot { // with one identifier it may be the current one
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

// enterUser makes this CPU one that runs user code on p, with a TLB that knows of all
// changes. p is loaded.
func (p *Pmap) enterUser(c *cpu) {
	for {
		c.user.Store(1)
		changes := p.smp.changes.Load()
		if changes == c.seen.Load() || !p.s.local {
			return
		}
		c.user.Store(0)
		p.flushOwn(c, changes)
	}
}

// LeaveUser tells that user code runs no more on this CPU: for the machine, right after
// a trap, if there are several CPUs.
func (s *System) LeaveUser() { s.thisCPU().user.Store(0) }

// flushOwn drops all translations of p, which this CPU has loaded, from its TLB. changes
// was read before: what changes during the flush is not seen.
func (p *Pmap) flushOwn(c *cpu, changes uint64) {
	p.s.mmu.FlushASID(p.Root())
	c.seen.Store(changes)
}

// flushPage drops the translation of one page or block and the walk-cache entries above
// it, on every CPU. Preconditions: p.mu held.
func (p *Pmap) flushPage(va arch.VA) {
	if p.s.many {
		p.flushPages([]arch.VA{va})
	} else if p.live() {
		p.s.mmu.FlushPage(p.globalRoot(), va)
	}
}

// flushPages is flushPage for a few pages, at the price of one interrupt for each CPU in
// user mode. Preconditions: p.mu held.
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
	if p.live() {
		root := p.globalRoot()
		for _, va := range vas {
			s.mmu.FlushPage(root, va)
		}
	}
}

// flushAll drops all translations of p and its walk caches, on every CPU. Preconditions:
// p.mu held.
func (p *Pmap) flushAll() {
	s := p.s
	if s.many {
		// Where flushes are broadcast, this is the barrier between the entries and the
		// look at p.id: a CPU that has loaded p since finds the new entries.
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
	if p.live() {
		s.mmu.FlushASID(p.globalRoot())
	}
}

// shoot waits until no other CPU runs user code with translations of p from before
// changes. It waits for user code only, which an interrupt ends.
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

// mustWait tells whether CPU c runs user code on p that does not know of changes.
func (p *Pmap) mustWait(c *cpu, changes uint64) bool {
	return c.current.Load() == p && c.user.Load() != 0 && c.seen.Load() < changes
}

// retired is an unlinked table page that a CPU may walk which has not seen changes.
type retired struct {
	frame   phys.Frame
	changes uint64
}

// retire frees a table page, all zero, that has been unlinked and flushed, once no CPU can
// walk it.
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

// freeRetired frees those retired table pages that no CPU can walk any more.
// Preconditions: smp.retiredMu held.
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

// walkable tells whether a CPU may walk p's tables as they were before changes.
func (p *Pmap) walkable(changes uint64) bool {
	for i := range p.s.cpus {
		c := &p.s.cpus[i]
		// What is coming may have read changes before they were raised. What becomes
		// coming behind this look has not read them yet. seen is about p if current is;
		// if the CPU leaves p in between, it reads changes anew before it comes back.
		if c.coming.Load() == p || c.current.Load() == p && c.seen.Load() < changes {
			return true
		}
	}
	return false
}
