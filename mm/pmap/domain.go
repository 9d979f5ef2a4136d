package pmap

// noDomain is the domain of a CPU on which several were at work since the last
// barrier. No pmap has it.
const noDomain = ^uint64(0)

// SetBarrier gives the function that makes the CPU's branch predictions of the code
// that ran before useless for what runs next; nil if there is no need for one, and
// then domains cost nothing. Before the first Activate.
func (s *System) SetBarrier(f func()) { s.barrier = f }

// SetDomain says whose code runs on the pmap: when a CPU goes from a pmap of one
// domain to one of another, the barrier comes between. Any number but ^0. All
// threads of the pmap have one domain, the latest set. It takes effect the next time
// that a CPU leaves or loads the pmap.
func (p *Pmap) SetDomain(d uint64) { p.domain.Store(d) }

// Domain is what SetDomain set, 0 at first.
func (p *Pmap) Domain() uint64 { return p.domain.Load() }

// crossDomains is called for each change of root of a CPU, from old to next, nil
// being the bare kernel root. The kernel does not count as a domain: it neither
// trains predictors for others nor, on CPUs that need a barrier, trusts them.
// Only the CPU itself uses c.domain.
func (s *System) crossDomains(c *cpu, old, next *Pmap) {
	if old != nil && old.domain.Load() != c.domain {
		c.domain = noDomain // it became another's while it ran
	}
	if next == nil {
		return
	}
	if d := next.domain.Load(); d != c.domain {
		c.domain = d
		s.barrier()
	}
}
