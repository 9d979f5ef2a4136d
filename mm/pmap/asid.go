package pmap

import (
	"fmt"
	"math"
	"sync/atomic"

	"grim/arch"
)

// maxCPU is how many CPUs System has room for. Only CPU 0 runs so far.
const maxCPU = 1

// cpu is what one CPU has loaded for the user half: nil is the bare kernel root.
// Changed under System.mu by that CPU.
type cpu struct {
	current atomic.Pointer[Pmap]
	domain  uint64 // of the code that ran here last; System.mu
}

// thisCPU is the one place that must learn the CPU's number when there are more.
func (s *System) thisCPU() *cpu { return &s.cpus[0] }

// Root is what the CPU needs to walk p's tables. The identifier is 0 while p has
// none of the current generation: Activate gives it one.
func (p *Pmap) Root() arch.Root {
	r := arch.Root{Table: p.root.PA(), Layout: p.layout}
	if id := p.id.Load(); id>>16 == p.s.gen.Load() {
		r.ASID = uint16(id)
	}
	return r
}

// Activate makes p the user half of this CPU; a few instructions when it is
// already. The caller stays on this CPU, and lets nothing else run on it, until
// it has entered user mode.
func (p *Pmap) Activate() {
	// A new generation of identifiers takes every pmap off its CPU.
	if p.s.thisCPU().current.Load() != p {
		p.activate() // apart, so that the rest is inlined in the system-call path
	}
}

func (p *Pmap) activate() {
	s := p.s
	s.mu.Lock()
	if p.leaving.Load() || p.root == 0 {
		s.mu.Unlock()
		panic(fmt.Sprintf("pmap: activate of root %#x while it is purged (%v) or after it was destroyed", p.root.PA(), p.leaving.Load()))
	}
	s.identify(p)
	s.load(p)
	s.mu.Unlock()
}

// Deactivate moves this CPU to the bare kernel root.
func (s *System) Deactivate() {
	if s.thisCPU().current.Load() == nil {
		return
	}
	s.mu.Lock()
	s.load(nil)
	s.mu.Unlock()
}

// Current is what this CPU has loaded; nil on the bare kernel root.
func (s *System) Current() *Pmap { return s.thisCPU().current.Load() }

// load makes p (nil: the bare kernel root) current on this CPU. Preconditions:
// s.mu held.
func (s *System) load(p *Pmap) {
	c := s.thisCPU()
	old := c.current.Load()
	if p == nil {
		s.mmu.Deactivate()
	} else {
		s.mmu.Activate(p.Root())
	}
	if s.barrier != nil {
		s.crossDomains(c, old, p)
	}
	c.current.Store(p)
	if old != nil && old != p && uint16(old.id.Load()) == 0 {
		// Without identifiers nothing of old outlives the switch: the next
		// Activate flushes before user code runs.
		old.id.Store(0)
	}
}

// identify gives p an identifier of the current generation. When they run out, a
// new generation begins and every TLB entry of the old one is flushed.
// (More CPUs: what they run now keeps its identifier, and each flushes before its
// next switch.) Preconditions: s.mu held.
func (s *System) identify(p *Pmap) {
	gen := s.gen.Load()
	if p.id.Load()>>16 == gen {
		return
	}
	n := min(s.mmu.ASIDs(), s.asidLimit)
	var asid uint16
	switch {
	case n == 0:
	case len(s.freeASID) > 0:
		asid = s.freeASID[len(s.freeASID)-1]
		s.freeASID = s.freeASID[:len(s.freeASID)-1]
	default:
		if s.nextASID > n {
			gen = s.newGeneration()
		}
		asid = uint16(s.nextASID)
		s.nextASID++
	}
	p.id.Store(gen<<16 | uint64(asid))
}

// newGeneration makes every identifier free. The CPU leaves its root first: what
// it walked between the flush and the switch would be cached under an identifier
// that is about to be another's. Preconditions: s.mu held.
func (s *System) newGeneration() uint64 {
	s.load(nil)
	gen := s.gen.Add(1)
	s.nextASID = 1
	s.freeASID = s.freeASID[:0]
	s.mmu.FlushAll()
	return gen
}

// LimitIdentifiers makes do with n identifiers, 0 for none, and begins a new
// generation; a machine has so many that tests would hardly see them run out.
// Negative: all that there are.
func (s *System) LimitIdentifiers(n int) {
	if n < 0 {
		n = math.MaxInt
	}
	s.mu.Lock()
	s.asidLimit = n
	s.newGeneration()
	s.mu.Unlock()
}

// leaveLocked takes p off every CPU, drops all its translations at once, and gives
// its identifier back. Nobody can load it again until leaving is false.
// Preconditions: s.mu held.
func (s *System) leaveLocked(p *Pmap) {
	p.leaving.Store(true)
	// Shoot-down point: a CPU other than this one that has p loaded is told to
	// move to the bare kernel root, and waited for.
	for i := range s.cpus {
		if s.cpus[i].current.Load() == p {
			s.mmu.Deactivate()
			if s.barrier != nil {
				s.crossDomains(&s.cpus[i], p, nil)
			}
			s.cpus[i].current.Store(nil)
		}
	}
	if id := p.id.Load(); id != 0 && id>>16 == s.gen.Load() {
		s.mmu.FlushASID(p.Root())
		p.id.Store(0)
		if asid := uint16(id); asid != 0 {
			s.freeASID = append(s.freeASID, asid)
		}
	}
}

// live tells whether a TLB may hold translations of p.
func (p *Pmap) live() bool {
	id := p.id.Load()
	return id != 0 && id>>16 == p.s.gen.Load()
}

// flushPage drops the translation of one page or block and the walk-cache
// entries above it, on every CPU (shoot-down point). Preconditions: p.mu held.
func (p *Pmap) flushPage(va arch.VA) {
	if p.live() {
		p.s.mmu.FlushPage(p.Root(), va)
	}
}

// flushAll drops all translations of p and its walk caches, on every CPU
// (shoot-down point). Preconditions: p.mu held.
func (p *Pmap) flushAll() {
	if p.live() {
		p.s.mmu.FlushASID(p.Root())
	}
}
