package pmap

import (
	"fmt"
	"math"

	"grim/arch"
)

// Root is what the CPU needs to walk p's tables. The identifier is 0 while p has
// none of the current generation, or none on this CPU: Activate gives it one.
func (p *Pmap) Root() arch.Root {
	if p.s.local {
		return arch.Root{Table: p.root.PA(), ASID: p.s.thisCPU().asidOf(p), Layout: p.layout}
	}
	return p.globalRoot()
}

// globalRoot is Root where CPUs have no identifiers of their own.
func (p *Pmap) globalRoot() arch.Root {
	r := arch.Root{Table: p.root.PA(), Layout: p.layout}
	if id := p.id.Load(); id>>16 == p.s.gen.Load() {
		r.ASID = uint16(id)
	}
	return r
}

// Activate makes p the user half of this CPU; a few instructions when it is
// already. The caller stays on this CPU, and lets nothing else run on it, until
// it has entered user mode. With several CPUs it has pinned itself to this one
// (runtime.Pin), is pinned on return, possibly to another CPU, and user code counts as
// running from here to LeaveUser.
func (p *Pmap) Activate() {
	// A new generation of identifiers takes this CPU off its pmap.
	if p.s.records[0].current.Load() != p {
		p.activate() // apart, so that the rest is inlined in the system-call path
	}
}

func (p *Pmap) activate() {
	s := p.s
	c := s.thisCPU()
	if c.current.Load() != p {
		if s.many {
			unpin() // the lock may be another CPU's
		}
		s.mu.Lock()
		if s.many {
			pin()
			c = s.thisCPU()
		}
		if p.leaving.Load() || p.root == 0 {
			s.mu.Unlock()
			panic(fmt.Sprintf("pmap: activate of root %#x while it is purged (%v) or after it was destroyed", p.root.PA(), p.leaving.Load()))
		}
		s.load(p)
		s.mu.Unlock()
	}
	if s.many {
		p.enterUser(c)
	}
}

// Deactivate moves this CPU to the bare kernel root.
func (s *System) Deactivate() {
	if s.many {
		pin()
		s.Leave()
		unpin()
		return
	}
	if s.thisCPU().current.Load() == nil {
		return
	}
	s.mu.Lock()
	s.load(nil)
	s.mu.Unlock()
}

// Leave is Deactivate where there are several CPUs, without a lock: for the scheduler,
// which calls it when the goroutine that has run on this CPU blocks, gives way or ends
// (goos.Leave). So a CPU has a root loaded only while a thread runs on it that uses the
// pmap, and when the last such thread has come to purge it no other CPU has.
//
// Only this CPU writes what it has loaded. Another that reads it under mu may still see
// the pmap for a moment: newGeneration then keeps an identifier that is no longer in use.
func (s *System) Leave() {
	c := s.thisCPU()
	old := c.current.Load()
	if old == nil {
		return
	}
	s.mmu.Deactivate()
	if s.barrier != nil {
		s.crossDomains(c, old, nil)
	}
	s.loaded(c, nil)
}

// Current is what this CPU has loaded; nil on the bare kernel root.
func (s *System) Current() *Pmap { return s.thisCPU().current.Load() }

// load makes p (nil: the bare kernel root) current on this CPU. Preconditions:
// s.mu held.
func (s *System) load(p *Pmap) {
	c := s.thisCPU()
	old := c.current.Load()
	switch {
	case p == nil:
		s.mmu.Deactivate()
	case s.local:
		s.loadLocal(c, p)
	default:
		s.identify(p)
		if s.many {
			c.coming.Store(p)
		}
		s.mmu.Activate(p.globalRoot())
	}
	if s.barrier != nil {
		s.crossDomains(c, old, p)
	}
	if s.many {
		s.loaded(c, p)
		return
	}
	c.current.Store(p)
	if old != nil && old != p && uint16(old.id.Load()) == 0 {
		// Without identifiers nothing of old outlives the switch: the next
		// Activate flushes before user code runs.
		old.id.Store(0)
	}
}

// identify gives p an identifier of the current generation. When they run out, a
// new generation begins and every TLB entry of the old one is flushed, on all CPUs.
// Preconditions: s.mu held.
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
		s.skipKept()
		if s.nextASID > n {
			if gen = s.newGeneration(); p.id.Load()>>16 == gen {
				return // another CPU runs it
			}
			if s.skipKept(); s.nextASID > n {
				panic(fmt.Sprintf("pmap: %d identifiers for %d CPUs", n, len(s.cpus)))
			}
		}
		asid = uint16(s.nextASID)
		s.nextASID++
	}
	p.id.Store(gen<<16 | uint64(asid))
}

// skipKept goes on to the next identifier that is not in use from an earlier generation.
func (s *System) skipKept() {
	for len(s.kept) > 0 && s.kept[uint16(s.nextASID)] {
		s.nextASID++
	}
}

// newGeneration makes every identifier free that no CPU uses. This CPU leaves its root
// first: what it walked between the flush and the switch would be cached under an
// identifier that is about to be another's. What the others have loaded keeps its
// identifier, so that they need not be told: the flush costs them time and nothing else.
// Preconditions: s.mu held.
func (s *System) newGeneration() uint64 {
	s.load(nil)
	gen := s.gen.Add(1)
	s.nextASID = 1
	s.freeASID = s.freeASID[:0]
	clear(s.kept)
	for i := range s.cpus {
		if q := s.cpus[i].current.Load(); q != nil {
			asid := uint16(q.id.Load())
			s.kept[asid] = true
			q.id.Store(gen<<16 | uint64(asid))
		}
	}
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
	if s.local {
		s.load(nil)
		for i := range s.cpus {
			clear(s.cpus[i].slots[:])
		}
	} else {
		s.newGeneration()
	}
	s.mu.Unlock()
}

// leaveLocked takes p off this CPU, drops all its translations at once, and gives its
// identifier back. No other CPU has it loaded: a thread leaves its root where it blocks or
// ends. Nobody can load it again until leaving is false. Preconditions: s.mu held.
func (s *System) leaveLocked(p *Pmap) {
	p.leaving.Store(true)
	id := p.id.Load()
	if s.thisCPU().current.Load() == p {
		s.load(nil)
	}
	if s.many {
		s.mustNotHave(p, "purge")
	}
	if s.local {
		// No CPU will take what it may have cached for p's any more.
		p.smp.serial.Store(s.serials.Add(1))
	} else if id != 0 && id>>16 == s.gen.Load() {
		asid := uint16(id)
		s.mmu.FlushASID(arch.Root{Table: p.root.PA(), ASID: asid, Layout: p.layout})
		p.id.Store(0)
		switch {
		case int(asid) >= s.nextASID: // kept from an earlier generation: it has its turn yet
			delete(s.kept, asid)
		case asid != 0:
			s.freeASID = append(s.freeASID, asid)
		}
	}
}

// mustNotHave panics if a CPU has p loaded. Preconditions: s.mu held; not if it panics.
func (s *System) mustNotHave(p *Pmap, what string) {
	for i := range s.cpus {
		if s.cpus[i].has(p) {
			s.mu.Unlock()
			panic(fmt.Sprintf("pmap: %s of root %#x: it is active on CPU %d", what, p.root.PA(), i))
		}
	}
}

// live tells whether a TLB may hold translations of p, where flushes are broadcast.
func (p *Pmap) live() bool {
	id := p.id.Load()
	return id != 0 && id>>16 == p.s.gen.Load()
}
