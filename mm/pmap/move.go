package pmap

import (
	"fmt"

	"grim/arch"
)

// Move moves the mappings of [old, old+n) to [to, to+n), for mremap. The ranges do not
// overlap, and nothing is mapped in the new one. ENOMEM if a table page is needed; then
// nothing has moved.
//
// Move works in steps and lets others run between them. The caller makes sure that nothing
// else maps or unmaps pages in the two ranges meanwhile; they may be looked at.
func (p *Pmap) Move(old, to arch.VA, n uint64) error {
	end := old + arch.VA(n)
	checkRange(old, end)
	checkRange(to, to+arch.VA(n))
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cutEdges(old, end); err != nil {
		return err
	}
	aligned := (old^to)&(arch.BlockSize-1) == 0
	for at := old; at < end; {
		var err error
		if at, err = p.prepareMove(at, end, to-old, aligned); err != nil {
			return err
		}
		p.rest(true)
	}
	for at := old; at < end; {
		at = p.moveSome(at, end, to-old)
		p.flushAll()
		p.rest(at < end)
	}
	td := p.s.getTeardown()
	for at := old; at < end; {
		at = p.unlink(at, end, td) // only empty tables are left
		p.flushUnlinked(td)
		p.free(td, nil)
		p.rest(at < end)
	}
	p.s.putTeardown(td)
	return nil
}

// rest unlocks p and lets others run, if more is true. Preconditions: p.mu held; it is
// given up in between.
func (p *Pmap) rest(more bool) {
	if more {
		p.mu.Unlock()
		p.s.yield()
		p.mu.Lock()
	}
}

// How much Move does in a step: moveStep pages are moved, some 200 instructions each, or
// the tables for prepareStep leaf tables are made, some 1000 instructions each if they must
// be cleared.
const (
	moveStep    = 32
	prepareStep = 8
)

// moveSome moves mappings from at on, by the distance by, until the step is over. It
// returns where to go on.
func (p *Pmap) moveSome(at, end, by arch.VA) (next arch.VA) {
	left := moveStep
	next = end
	p.leaves(at, end, func(sp span) bool {
		if left -= 8; left <= 0 {
			next = sp.va
			return false
		}
		dest := sp.va + by
		if sp.level == 1 {
			n, err := p.makeLevel1(dest)
			if err != nil || !p.vacate(n, dest.Index(1), dest) {
				panic(fmt.Sprintf("pmap: move of a block to %#x: %v, or mapped", uint64(dest), err))
			}
			p.put(n, dest.Index(1), sp.t[sp.lo])
			p.take(sp.node, sp.lo)
			return true
		}
		for k := sp.lo; k < sp.hi; k++ {
			e := sp.t[k]
			if e == 0 {
				continue
			}
			off := arch.VA(k-sp.lo) << arch.PageShift
			if left--; left <= 0 {
				next = sp.va + off
				return false
			}
			d := dest + off
			n, err := p.makeLeaf(d)
			if err != nil || n.t[d.Index(0)] != 0 {
				panic(fmt.Sprintf("pmap: move of a page to %#x: %v, or mapped", uint64(d), err))
			}
			p.put(n, d.Index(0), e)
			if e&p.s.sole != 0 {
				p.s.mem.Info(n.f).Sole = uint8(Sole)
			}
			p.take(sp.node, k)
		}
		return true
	})
	return next
}

// prepareMove makes the tables that the move needs from at on, so that the move cannot fail
// half-way. It cuts blocks that do not stay aligned. It returns where to go on.
func (p *Pmap) prepareMove(at, end, by arch.VA, aligned bool) (next arch.VA, err error) {
	prepare := func(d arch.VA, level int) error {
		if level == 1 {
			_, err := p.makeLevel1(d)
			return err
		}
		_, err := p.makeLeaf(d)
		return err
	}
	left := prepareStep
	next = end
	p.leaves(at, end, func(sp span) bool {
		if left--; left < 0 {
			next = sp.va
			return false
		}
		if sp.level == 1 && !aligned {
			err = p.cut(sp.va)
			next = sp.va // go on with the pages that took the block's place
			return false
		}
		last := sp.va + arch.VA(sp.hi-sp.lo-1)<<arch.PageShift
		if err = prepare(sp.va+by, sp.level); err == nil && sp.level == 0 {
			err = prepare(last+by, 0)
		}
		return err == nil
	})
	return next, err
}
