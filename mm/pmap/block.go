package pmap

import (
	"fmt"
	"syscall"

	"grim/arch"
	"grim/mm/phys"
)

// A block mapping holds one reference to each of its 512 frames, as the 512 page mappings
// that it replaces would. Package phys keeps one count for all 512 while the block is
// whole. So promoting and demoting change no counts.

// EnterBlock maps the 2 MB at va to the block of frames at f. On success the caller's
// references belong to the pmap. ENOMEM if a table page is needed and there is none; EEXIST
// if something is mapped in the range.
func (p *Pmap) EnterBlock(va arch.VA, f phys.Frame, prot arch.Prot, fl Flags) error {
	checkVA(va)
	if va != va.BlockDown() || f&(arch.BlockPages-1) != 0 {
		panic(fmt.Sprintf("pmap: block of frame %#x at %#x: not 2 MB aligned", uint32(f), uint64(va)))
	}
	s := p.s
	if prot&arch.Exec != 0 {
		s.mmu.SyncInstructions(f.PA(), arch.BlockSize)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := p.makeLevel1(va)
	if err != nil {
		return err
	}
	i := va.Index(1)
	if !p.vacate(n, i, va) {
		return syscall.EEXIST
	}
	p.put(n, i, s.block[prot&7][fl&7]|arch.PTE(f.PA()))
	p.resident += arch.BlockPages
	return nil
}

// vacate makes level-1 entry i of n empty if nothing is mapped below it, and reports
// whether the entry is empty now. An empty leaf table is unlinked, flushed and freed.
func (p *Pmap) vacate(n node, i int, va arch.VA) bool {
	e := n.t[i]
	if e == 0 {
		return true
	}
	if p.s.isBlock(e) || p.s.mem.Info(p.s.frame(e)).Used != 0 {
		return false
	}
	p.take(n, i)
	p.flushPage(va)
	p.tables--
	p.retire(p.s.frame(e))
	return true
}

// Promote turns the 512 pages around va into one 2 MB block mapping if all are present, lie
// in order in one aligned block of frames, agree in rights and flags, are neither Shared
// nor COW, and nothing else refers to the frames. It reports whether a block maps va
// afterwards.
func (p *Pmap) Promote(va arch.VA) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.s
	n1 := p.level1(va)
	if n1.t == nil {
		return false
	}
	i := va.Index(1)
	e := n1.t[i]
	if e == 0 || s.isBlock(e) {
		return e != 0
	}
	n0 := p.below(e)
	first := n0.t[0]
	f := s.frame(first)
	if s.mem.Info(n0.f).Used != arch.Entries || first&s.f.Present == 0 ||
		s.flags(first)&(Shared|COW) != 0 || f&(arch.BlockPages-1) != 0 {
		return false
	}
	// The block is dirty if any of its pages is. Its frames have counts, so no page is
	// Sole.
	ignore := s.f.HardwareBits | s.f.DirtyBits | s.sole
	dirty := arch.PTE(0)
	want := first
	for _, e := range n0.t {
		if (e^want)&^ignore != 0 {
			return false
		}
		dirty |= e & s.f.DirtyBits
		want += arch.PageSize
	}
	if !s.mem.Join(f) {
		return false
	}
	// Break before make. The TLB may hold any of the 512 pages, so all are flushed.
	n1.t[i] = 0
	p.flushAll()
	n1.t[i].Publish(s.block[s.prot(first)][s.flags(first)&^Sole] | dirty | arch.PTE(f.PA()))
	p.tables--
	// Cleared so that it goes to the stock of zeroed frames: most zeroed frames are taken
	// as tables.
	clear(n0.t[:])
	p.retire(n0.f)
	return true
}

// Demote replaces the 2 MB block that maps va, if there is one, by 512 page entries with
// the same rights and flags. ENOMEM if there is no table page.
func (p *Pmap) Demote(va arch.VA) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut(va)
}

// cut is Demote with p locked.
func (p *Pmap) cut(va arch.VA) error {
	n1 := p.level1(va)
	if n1.t == nil {
		return nil
	}
	if e := n1.t[va.Index(1)]; e == 0 || !p.s.isBlock(e) {
		return nil
	}
	_, err := p.demote(n1, va)
	return err
}

// cutEdges demotes the blocks that [start, end) covers only in part.
func (p *Pmap) cutEdges(start, end arch.VA) error {
	if start != start.BlockDown() {
		if err := p.cut(start); err != nil {
			return err
		}
	}
	if end != end.BlockDown() {
		return p.cut(end)
	}
	return nil
}

// demote replaces the block that va's entry of n1 maps by a leaf table, which it returns.
// Preconditions: p.mu held. ENOMEM.
func (p *Pmap) demote(n1 node, va arch.VA) (node, error) {
	n0, err := p.newTable()
	if err != nil {
		return node{}, err
	}
	s := p.s
	i := va.Index(1)
	b := n1.t[i]
	e := s.pageBits(b) | b&s.addr
	for k := range n0.t {
		n0.t[k] = e
		e += arch.PageSize
	}
	info := s.mem.Info(n0.f)
	info.Used, info.Groups = arch.Entries, ^uint64(0)
	n1.t[i] = 0 // break before make
	if b&s.f.Present != 0 {
		p.flushPage(va)
	}
	n1.t[i].Publish(p.tableEntry(n0.f))
	return n0, nil
}

// pageBits returns a page entry, without its address, with the rights and flags of block b.
func (s *System) pageBits(b arch.PTE) arch.PTE {
	return s.page[s.prot(b)][s.flags(b)]&^s.f.DirtyBits | b&s.f.DirtyBits
}
