package pmap

import (
	"fmt"

	"grim/arch"
)

// Move maps what p maps in [old, old+n) at [to, to+n) instead (mremap). The
// ranges do not overlap and nothing is mapped in the new one. ENOMEM if a table
// page is needed; then nothing has moved.
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
	if err := p.prepareMove(old, end, to, aligned); err != nil {
		return err
	}
	p.leaves(old, end, func(sp span) bool {
		dest := sp.va - old + to
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
			if e := sp.t[k]; e != 0 {
				d := dest + arch.VA(k-sp.lo)<<arch.PageShift
				n, err := p.makeLeaf(d)
				if err != nil || n.t[d.Index(0)] != 0 {
					panic(fmt.Sprintf("pmap: move of a page to %#x: %v, or mapped", uint64(d), err))
				}
				p.put(n, d.Index(0), e)
				p.take(sp.node, k)
			}
		}
		return true
	})
	p.flushAll()
	p.removeEmpty(old, end)
	return nil
}

// prepareMove makes every table that the move needs, so that it cannot fail
// half-way. Blocks are cut unless they stay aligned.
func (p *Pmap) prepareMove(old, end, to arch.VA, aligned bool) (err error) {
	prepare := func(d arch.VA, level int) error {
		if level == 1 {
			_, err := p.makeLevel1(d)
			return err
		}
		_, err := p.makeLeaf(d)
		return err
	}
	for again := true; again && err == nil; {
		again = false
		p.leaves(old, end, func(sp span) bool {
			if sp.level == 1 && !aligned {
				err = p.cut(sp.va)
				again = true
				return err == nil
			}
			last := sp.va + arch.VA(sp.hi-sp.lo-1)<<arch.PageShift
			if err = prepare(sp.va-old+to, sp.level); err == nil && sp.level == 0 {
				err = prepare(last-old+to, 0)
			}
			return err == nil
		})
	}
	return err
}
