package pmap

// noDomain is the domain of a CPU on which code of several domains ran since the last
// barrier. No pmap has it.
const noDomain = ^uint64(0)

// SetBarrier sets the function that makes the CPU's branch predictions useless that code
// before it has trained. nil means that this CPU needs no barrier; domains cost nothing
// then. It must be called before the first Activate.
func (s *System) SetBarrier(f func()) { s.barrier = f }

// SetDomain says to which domain the code belongs that runs on the pmap. When a CPU goes
// from a pmap of one domain to a pmap of another, it runs the barrier in between. d is any
// number but ^0. All threads of a pmap are in one domain, the one set last. The call takes
// effect when a CPU next leaves or loads the pmap.
func (p *Pmap) SetDomain(d uint64) { p.domain.Store(d) }

// Domain returns the domain set by SetDomain; it is 0 at first.
func (p *Pmap) Domain() uint64 { return p.domain.Load() }

// crossDomains is called at each change of this CPU's root, from old to next; nil is the
// bare kernel root. The kernel does not count as a domain: it does not train predictors for
// user code, and on CPUs that need a barrier it does not trust them. Only the CPU itself
// uses c.domain.
func (s *System) crossDomains(c *cpu, old, next *Pmap) {
	if old != nil && old.domain.Load() != c.domain {
		c.domain = noDomain // the domain of old changed while it ran
	}
	if next == nil {
		return
	}
	if d := next.domain.Load(); d != c.domain {
		c.domain = d
		s.barrier()
	}
}
