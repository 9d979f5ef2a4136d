// Package pmap keeps page tables.
package pmap

import (
	"grim/arch"
	"grim/mm/phys"
)

type Flags uint8

const (
	// Shared: an object's page; whether it was written matters. Entered with
	// Write it counts as dirty from then on; entered without, it is clean and
	// Protect never adds Write to it (the fault that dirties it must be seen).
	Shared Flags = 1 << iota
	// Wired: locked in memory; not inherited by Copy.
	Wired
	// COW: copy-on-write; never writable, and Protect never adds Write.
	COW
)

// Mapping is one leaf. Prot is 0 for a resident page with no access (PROT_NONE).
type Mapping struct {
	Frame phys.Frame // of the page asked for, also inside a block
	Prot  arch.Prot
	Flags Flags
	Dirty bool
	Block bool
}

type CopyMode uint8

const (
	CopyCOW   CopyMode = iota // both sides copy-on-write from now on
	CopyShare                 // same rights and flags in dst
)

type DirtyPage struct {
	VA    arch.VA
	Frame phys.Frame
}

// Visitor sees dirty Shared pages after they were unlinked and flushed and
// before their reference is given up. Called with no pmap lock held; may sleep.
// pages is valid during the call only.
type Visitor interface{ Dirty(pages []DirtyPage) }

type System struct{}

func NewSystem(m *phys.Memory, f *arch.Format, mmu arch.MMU) *System { panic("skeleton") }
func (s *System) Memory() *phys.Memory                               { panic("skeleton") }
func (s *System) New(l arch.Layout) (*Pmap, error)                   { panic("skeleton") }
func (s *System) Deactivate()                                        { panic("skeleton") }
func (s *System) CheckKernelHalf(p *Pmap) error                      { panic("skeleton") }

// Drain gives the recycled roots back to the frame allocator.
func (s *System) Drain() { panic("skeleton") }

type Stats struct{ Resident, Tables int } // pages; table pages without the root

type Pmap struct{}

func (p *Pmap) Layout() arch.Layout                                            { panic("skeleton") }
func (p *Pmap) Root() arch.Root                                                { panic("skeleton") }
func (p *Pmap) Activate()                                                      { panic("skeleton") }
func (p *Pmap) Lock()                                                          { panic("skeleton") }
func (p *Pmap) Unlock()                                                        { panic("skeleton") }
func (p *Pmap) Enter(va arch.VA, f phys.Frame, prot arch.Prot, fl Flags) error { panic("skeleton") }

// EnterRun enters n frames f, f+1, ... at va in one 2 MB block into empty entries.
func (p *Pmap) EnterRun(va arch.VA, f phys.Frame, n int, prot arch.Prot, fl Flags) error {
	panic("skeleton")
}
func (p *Pmap) EnterBlock(va arch.VA, f phys.Frame, prot arch.Prot, fl Flags) error {
	panic("skeleton")
}
func (p *Pmap) Promote(va arch.VA) bool                 { panic("skeleton") }
func (p *Pmap) Demote(va arch.VA) error                 { panic("skeleton") }
func (p *Pmap) Lookup(va arch.VA) (Mapping, bool)       { panic("skeleton") }
func (p *Pmap) LookupLocked(va arch.VA) (Mapping, bool) { panic("skeleton") }

// Reuse makes the copy-on-write leaf at va (page or block) writable in place and
// clears COW if this pmap holds the only reference to its frames.
func (p *Pmap) Reuse(va arch.VA, prot arch.Prot) bool { panic("skeleton") }

// Protect fails only with ENOMEM, when a block is cut and no table page is left.
func (p *Pmap) Protect(start, end arch.VA, prot arch.Prot) error { panic("skeleton") }

// Remove fails only with ENOMEM, when a block is cut and no table page is left;
// then nothing was removed.
func (p *Pmap) Remove(start, end arch.VA, v Visitor) error { panic("skeleton") }

// Clean write-protects the dirty Shared pages of a range, marks them clean and
// shows them to v (msync).
func (p *Pmap) Clean(start, end arch.VA, v Visitor)                     { panic("skeleton") }
func (p *Pmap) Wire(start, end arch.VA, on bool)                        { panic("skeleton") }
func (p *Pmap) Copy(dst *Pmap, start, end arch.VA, mode CopyMode) error { panic("skeleton") }

// Move re-links the leaves of [old, old+n) at new (mremap); both page aligned,
// not overlapping, the new range empty.
func (p *Pmap) Move(old, new arch.VA, n uint64) error                        { panic("skeleton") }
func (p *Pmap) Purge(v Visitor, yield func())                                { panic("skeleton") }
func (p *Pmap) Destroy()                                                     { panic("skeleton") }
func (p *Pmap) Stats() Stats                                                 { panic("skeleton") }
func (p *Pmap) Walk(start, end arch.VA, fn func(va arch.VA, m Mapping) bool) { panic("skeleton") }
func (p *Pmap) Check() error                                                 { panic("skeleton") }
