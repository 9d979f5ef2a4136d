package vm

import "syscall"

// A program chooses the length of most operations here: the pages of a range, the entries
// in it, the mappings of a file. They all let others run, by System.yield, after about
// paceStep instructions, even while VMSpace.mu or an object's Mappings.mu is held. That
// only delays threads that need the same lock. No pmap.mu is held then (package pmap lets
// others run by itself).

// paceStep is how many instructions are executed before others may run.
const paceStep = 10_000

// pace counts work, in instructions, since others could last run.
type pace struct{ done int }

// spend adds instructions to the count, and lets others run if it is time.
func (p *pace) spend(s *System, instructions int) {
	if p.done += instructions; p.done >= paceStep {
		p.done = 0
		s.yield()
	}
}

// dirtyStep is how many pages are handed back to an object, one by one, before others run.
const dirtyStep = 32

// dirtyDone is called when page i of a run has been handed back.
func (s *System) dirtyDone(i int) {
	if i%dirtyStep == dirtyStep-1 {
		s.yield()
	}
}

// spend is pace.spend for the operation that holds mu. Preconditions: mu held.
func (vs *VMSpace) spend(instructions int) { vs.pace.spend(vs.sys, instructions) }

// Costs of common steps, in instructions, as measured on amd64.
const (
	costEntry  = 30   // to look at an entry
	costChange = 1000 // to cut, change or remove an entry
	costLookup = 350  // to look a page up
	costTouch  = 2000 // to make sure that a page is there, if most are
	costDirty  = 450  // to hand a page back to its object
)

// A Waiter is the thread that makes a call. It can be told to end.
type Waiter interface {
	// Pause lets others run, and returns an error if the thread is to end. It is called
	// with no lock held.
	Pause() error
	// MayEnd is a hint whether Pause would return an error. It takes no lock.
	MayEnd() bool
}

// Caller is an address space used by a thread that may be told to end. Then long calls end
// early where Linux's do, and keep what they have done so far.
type Caller struct {
	vs *VMSpace
	w  Waiter // nil: the calls do not end early
}

// For returns vs for use by thread w.
func (vs *VMSpace) For(w Waiter) Caller { return Caller{vs, w} }

// pause is Waiter.Pause, or a yield if there is no Waiter.
func (c Caller) pause() error {
	if c.w == nil {
		c.vs.sys.yield()
		return nil
	}
	return c.w.Pause()
}

// faulted is called after each page that was faulted in: with its neighbours that can take
// 18 000 instructions. EINTR if the thread is to end.
func (c Caller) faulted() error {
	if c.pause() != nil {
		return syscall.EINTR
	}
	return nil
}
