package vm

import "syscall"

// The length of most operations here is chosen by a program: the pages of a range, the
// entries in it, the mappings of a file. All of them let others run after at most
// paceStep instructions or so, by System.yield, also while VMSpace.mu or an object's
// Mappings.mu is held: that delays only threads that need the same lock. No pmap.mu is
// held then (package pmap gives way by itself).

// paceStep is how many instructions go by until others run.
const paceStep = 10_000

// pace counts work.
type pace struct{ done int }

// spend adds so many instructions, and lets others run when it is time.
func (p *pace) spend(s *System, instructions int) {
	if p.done += instructions; p.done >= paceStep {
		p.done = 0
		s.yield()
	}
}

// spend is pace.spend for the operation that holds mu. Preconditions: mu held.
func (vs *VMSpace) spend(instructions int) { vs.pace.spend(vs.sys, instructions) }

// Costs of common steps, in instructions, as measured on amd64.
const (
	costEntry  = 30   // to look at an entry
	costChange = 1000 // to cut, change or remove one
	costLookup = 350  // to look a page up
	costTouch  = 2000 // to make sure that a page is there, when most are
	costDirty  = 450  // to hand one back
)

// A Waiter is the thread that makes a call: it can be told to end.
type Waiter interface {
	// Pause lets others run, and returns an error if the thread is to end. No lock is
	// held.
	Pause() error
	// MayEnd is a hint whether Pause would say so. It takes no lock.
	MayEnd() bool
}

// Caller is an address space as used by a thread that may be told to end: long calls
// end early then, where Linux's do, with what they have done so far.
type Caller struct {
	vs *VMSpace
	w  Waiter // nil: nobody ends it
}

// For is vs for the thread w.
func (vs *VMSpace) For(w Waiter) Caller { return Caller{vs, w} }

// pause is Waiter.Pause, or a yield.
func (c Caller) pause() error {
	if c.w == nil {
		c.vs.sys.yield()
		return nil
	}
	return c.w.Pause()
}

// faulted is called after each page that was faulted in: with its neighbours that can
// be 18 000 instructions. EINTR: the thread is to end.
func (c Caller) faulted() error {
	if c.pause() != nil {
		return syscall.EINTR
	}
	return nil
}
