package pmap

import (
	"fmt"
	"math"

	"grim/arch"
)

// Root returns what the CPU needs to walk p's tables. Its ASID is 0 if p has no identifier
// of the current generation, or none on this CPU. Activate gives it one.
func (p *Pmap) Root() arch.Root {
	if p.s.local {
		return arch.Root{Table: p.root.PA(), ASID: p.s.thisCPU().asidOf(p), Layout: p.layout}
	}
	return p.globalRoot()
}

// globalRoot is Root on machines where all CPUs share one set of identifiers.
func (p *Pmap) globalRoot() arch.Root {
	r := arch.Root{Table: p.root.PA(), Layout: p.layout}
	if id := p.id.Load(); id>>16 == p.s.gen.Load() {
		r.ASID = uint16(id)
	}
	return r
}

// Activate loads p as the user half of this CPU. It costs a few instructions if p is loaded
// already. The caller must stay on this CPU, and let nothing else run on it, until it has
// entered user mode. With several CPUs, the caller has pinned itself to its CPU
// (runtime.Pin). On return it is pinned again, possibly to another CPU, and user code
// counts as running on that CPU until LeaveUser.
func (p *Pmap) Activate() {
	// When a new generation of identifiers begins, this CPU leaves its pmap, so that this
	// comparison also notices that p has lost its identifier.
	if p.s.records[0].current.Load() != p {
		p.activate() // apart, so that the comparison is inlined in the system-call path
	}
}

func (p *Pmap) activate() {
	s := p.s
	c := s.thisCPU()
	if !s.many {
		p.mustBeAlive()
		s.mu.Lock()
		s.load(p)
		s.mu.Unlock()
		return
	}
	for c.current.Load() != p && !p.loadAtOnce(c) {
		s.Leave() // or a new generation would keep what was loaded
		unpin()   // another CPU may hold the lock
		s.mu.Lock()
		s.identify(p)
		s.mu.Unlock()
		pin()
		c = s.thisCPU()
	}
	p.enterUser(c)
}

// loadAtOnce makes p current on this CPU. It fails if p must get an identifier first, which
// needs a lock. It takes none itself: threads that change their address space at every turn
// would form a queue for it, and their slices would be over when they leave the queue.
//
// Where the CPUs share the identifiers, a new generation may begin on another CPU meanwhile.
// This CPU stores coming and then reads rolling; newGeneration stores rolling and then reads
// coming (Dekker). Either newGeneration finds that p is coming and lets it keep its
// identifier, or this CPU finds that a generation begins, and waits for the lock. If the
// generation has begun before, p's identifier is not of it.
func (p *Pmap) loadAtOnce(c *cpu) bool {
	s := p.s
	old := c.current.Load()
	c.coming.Store(p) // leaveLocked stores leaving and then reads coming
	p.mustBeAlive()
	if s.local {
		s.loadLocal(c, p)
	} else {
		rolling, gen, id := s.rolling.Load(), s.gen.Load(), p.id.Load()
		if rolling || id>>16 != gen {
			c.coming.Store(nil)
			return false
		}
		s.mmu.Activate(arch.Root{Table: p.root.PA(), ASID: uint16(id), Layout: p.layout})
	}
	if s.barrier != nil {
		s.crossDomains(c, old, p)
	}
	s.loaded(c, p)
	return true
}

// mustBeAlive panics if p may not be loaded.
func (p *Pmap) mustBeAlive() {
	if p.leaving.Load() || p.root == 0 {
		panic(fmt.Sprintf("pmap: activate of root %#x while it is purged (%v) or after it was destroyed", p.root.PA(), p.leaving.Load()))
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

// Leave is Deactivate without a lock, for machines with several CPUs. The scheduler calls
// it (goos.Leave) when the goroutine that has run on this CPU blocks, yields or ends. So a
// CPU has a root loaded only while it runs a thread of that pmap, and when the last thread
// purges the pmap, no other CPU has it loaded.
//
// Only this CPU writes its record of what it has loaded. Another CPU that reads the record
// under mu may still see the pmap for a moment. The only effect is that newGeneration keeps
// an identifier that is no longer in use.
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

// Current returns the pmap that this CPU has loaded, or nil on the bare kernel root.
func (s *System) Current() *Pmap { return s.thisCPU().current.Load() }

// Loaded returns the pmap that CPU n has loaded, as Current does for the calling CPU. The
// result may be outdated on return.
func (s *System) Loaded(n int) *Pmap { return s.cpus[n].current.Load() }

// load makes p current on the only CPU; nil means the bare kernel root. Preconditions: s.mu
// held.
func (s *System) load(p *Pmap) {
	c := s.thisCPU()
	old := c.current.Load()
	if p == nil {
		s.mmu.Deactivate()
	} else {
		s.identify(p)
		s.mmu.Activate(p.globalRoot())
	}
	if s.barrier != nil {
		s.crossDomains(c, old, p)
	}
	c.current.Store(p)
	if old != nil && old != p && uint16(old.id.Load()) == 0 {
		// Without identifiers no translation of old outlives the switch: the next Activate
		// flushes before user code runs.
		old.id.Store(0)
	}
}

// identify gives p an identifier of the current generation, if it has none. When the
// identifiers run out, a new generation begins, and all TLB entries are flushed on all
// CPUs. Preconditions: s.mu held.
func (s *System) identify(p *Pmap) {
	gen := s.gen.Load()
	if p.id.Load()>>16 == gen {
		return
	}
	n := min(s.mmu.ASIDs(), int(s.asidLimit.Load()))
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
				return // another CPU runs p, so that p kept its identifier
			}
			if s.skipKept(); s.nextASID > n {
				// Each other CPU can keep two: of what it has loaded, and of what it loads next.
				panic(fmt.Sprintf("pmap: %d identifiers for %d CPUs", n, len(s.cpus)))
			}
		}
		asid = uint16(s.nextASID)
		s.nextASID++
	}
	p.id.Store(gen<<16 | uint64(asid))
}

// skipKept moves nextASID past identifiers that CPUs still use from an earlier generation.
func (s *System) skipKept() {
	for len(s.kept) > 0 && s.kept[uint16(s.nextASID)] {
		s.nextASID++
	}
}

// newGeneration makes every identifier free that no CPU uses. The only CPU leaves its root
// first: what it walked between the flush and the switch would be cached under an
// identifier that another pmap gets next. A pmap that one of several CPUs has loaded, or is
// about to load, keeps its identifier, so that CPU need not be told: the flush only costs it
// time.
//
// CPUs that change entries read generation and identifier without s.mu: see liveRoot. So
// the running address spaces get into the new generation before it begins. Preconditions:
// s.mu held.
func (s *System) newGeneration() uint64 {
	if !s.many {
		s.load(nil)
	}
	s.rolling.Store(true) // before coming is read: see loadAtOnce
	gen := s.gen.Load() + 1
	s.nextASID = 1
	s.freeASID = s.freeASID[:0]
	clear(s.kept)
	for i := range s.cpus {
		c := &s.cpus[i]
		// A pmap that is coming may become current between the two reads.
		s.keep(c.coming.Load(), gen)
		s.keep(c.current.Load(), gen)
	}
	s.gen.Store(gen)
	s.mmu.FlushAll()
	s.rolling.Store(false)
	return gen
}

// keep lets p, which may be nil, keep its identifier in the generation that begins. A pmap
// that is only coming may have none of the present generation.
func (s *System) keep(p *Pmap, gen uint64) {
	if p == nil {
		return
	}
	if id := p.id.Load(); id>>16 == gen-1 {
		s.kept[uint16(id)] = true
		p.id.Store(gen<<16 | id&0xffff)
	}
}

// LimitIdentifiers limits the number of identifiers in use to n (0: none; negative: as many
// as the machine has) and begins a new generation. It is for tests, as a machine has so
// many identifiers that tests would hardly see them run out.
func (s *System) LimitIdentifiers(n int) {
	if n < 0 {
		n = math.MaxInt
	}
	s.Deactivate()
	s.mu.Lock()
	s.asidLimit.Store(int64(n)) // each CPU that has identifiers of its own looks when it loads a pmap
	if !s.local {
		s.newGeneration()
	}
	s.mu.Unlock()
}

// leaveLocked takes p off this CPU, drops all its translations at once, and frees its
// identifier. No other CPU has p loaded, because a thread leaves its root when it blocks or
// ends. Until leaving is false again, no CPU can load p. Preconditions: s.mu held.
func (s *System) leaveLocked(p *Pmap) {
	p.leaving.Store(true)
	id := p.id.Load()
	if s.many {
		pin()
		if s.thisCPU().current.Load() == p {
			s.Leave()
		}
		unpin()
		s.mustNotHave(p, "purge")
	} else if s.thisCPU().current.Load() == p {
		s.load(nil)
	}
	if s.local {
		// Slots know the pmap by its serial. With a new serial, no CPU uses what it may
		// still have cached for p.
		p.smp.serial.Store(s.serials.Add(1))
	} else if id != 0 && id>>16 == s.gen.Load() {
		asid := uint16(id)
		s.mmu.FlushASID(arch.Root{Table: p.root.PA(), ASID: asid, Layout: p.layout})
		p.id.Store(0)
		switch {
		case int(asid) >= s.nextASID: // kept from an earlier generation: nextASID has yet to reach it
			delete(s.kept, asid)
		case asid != 0:
			s.freeASID = append(s.freeASID, asid)
		}
	}
}

// mustNotHave panics if a CPU has p loaded. Preconditions: s.mu held; it is unlocked before
// the panic.
func (s *System) mustNotHave(p *Pmap, what string) {
	for i := range s.cpus {
		if s.cpus[i].has(p) {
			s.mu.Unlock()
			panic(fmt.Sprintf("pmap: %s of root %#x: it is active on CPU %d", what, p.root.PA(), i))
		}
	}
}

// liveRoot returns p's root with the identifier under which TLBs may hold translations of
// it. live is false if no TLB holds any. It is for machines with one CPU, or whose flushes
// are broadcast. It takes no lock.
//
// newGeneration may run at the same time. It gives the running address spaces identifiers
// of the new generation before the generation begins; liveRoot reads in the opposite order.
// So if liveRoot finds an old identifier, no CPU runs the address space, and none uses its
// translations until newGeneration has flushed them.
func (p *Pmap) liveRoot() (r arch.Root, live bool) {
	gen := p.s.gen.Load()
	id := p.id.Load()
	if id == 0 || id>>16 < gen {
		return r, false
	}
	return arch.Root{Table: p.root.PA(), ASID: uint16(id), Layout: p.layout}, true
}
