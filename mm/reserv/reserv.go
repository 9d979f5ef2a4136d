// Package reserv keeps 2 MB reservations of frames for anonymous memory.
package reserv

import (
	"grim/arch"
	"grim/mm/phys"
)

// Pool holds the machine's reservations.
type Pool struct{}

// NewPool registers itself as m's reclaim function. With enabled false
// (hugepages=off) Alloc hands out single frames.
func NewPool(m *phys.Memory, enabled bool) *Pool { panic("skeleton") }

// Set holds one address space's reservations; zero value plus Init.
type Set struct{}

func (s *Set) Init(p *Pool) { panic("skeleton") }

// Run is what Alloc hands out: N zeroed frames F, F+1, ... (one reference
// each, the caller's) for the pages from VA.
type Run struct {
	VA   arch.VA
	F    phys.Frame
	N    int
	Full bool // the reservation is used up: enter the run, then pmap.Promote(VA)
}

// Alloc gets memory for a fault at va inside the anonymous range [lo, hi). The
// caller knows that no page is mapped at va; max bounds the fill-ahead (>= 1),
// empty(n) pages from va+1 on are not checked: a reservation never hands out the
// same page twice.
func (s *Set) Alloc(va, lo, hi arch.VA, max int) (Run, error) { panic("skeleton") }

// Break ends the reservations that overlap [start, end): unmap, protect, fork.
func (s *Set) Break(start, end arch.VA) { panic("skeleton") }

// BreakAll ends all (exit, exec, fork).
func (s *Set) BreakAll() { panic("skeleton") }

// Unpopulated is how many frames are reserved and not handed out, machine-wide.
func (p *Pool) Unpopulated() int { panic("skeleton") }
