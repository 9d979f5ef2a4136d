package phys

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"grim/arch"
)

// A sole frame has one reference, and a leaf entry is that reference: the entry says
// so by a bit of its own. Nobody counts it. block.sole has the frame's bit, its count is
// 0, and nothing else in its record is of its time. So neither handing out such a frame
// nor freeing it writes the record, which in a teardown is a line fetched from memory
// for every four pages. Memory that a process touches first is given out so. Whoever
// takes a second reference, as fork does, makes the frame counted first, and clears the
// mark in the entry. Ref and Unref of a sole frame panic.

// AllocSole hands out a frame of anonymous memory that is all zero and sole: it goes
// into an entry that says so, or to FreeSole.
func (m *Memory) AllocSole() (Frame, error) {
	return m.allocZero(Anon, true)
}

// makeSole makes frame x, which has no references, sole.
func (m *Memory) makeSole(x int) {
	if debugOwners {
		m.recordSole(x)
	}
	atomic.OrUint64(m.soleWord(x), 1<<(x&63))
}

// Populate hands out n frames of a reservation from f on for anonymous memory, sole
// and all zero. The caller keeps record of which it populated.
func (m *Memory) Populate(f Frame, n int) {
	x := int(f - m.base)
	for end := x + n; x < end; x++ {
		if m.isSole(x) {
			panic(fmt.Sprintf("phys: frame %#x is handed out twice", uint32(m.base)+uint32(x)))
		}
		m.makeSole(x)
		m.Zero(m.base + Frame(x))
	}
}

// recordSole gives frame x an owner, for retire. Debug builds only.
func (m *Memory) recordSole(x int) {
	fi := &m.info[x]
	if fi.refs != 0 {
		panic(fmt.Sprintf("phys: frame %#x (%v) is handed out and has %d references", uint32(m.base)+uint32(x), fi.owner, fi.refs))
	}
	fi.owner = Anon
}

// soleWord is the word of block.sole that has the bit of frame x, counted from base:
// bit x&63.
func (m *Memory) soleWord(x int) *uint64 {
	return &m.blocks[uint(x)/arch.BlockPages].sole[x>>6&(arch.BlockPages/64-1)]
}

// Sole tells whether f is sole: whether the entry that maps it must say so.
func (m *Memory) Sole(f Frame) bool { return m.isSole(int(f - m.base)) }

// isSole tells whether frame x, counted from base, is sole.
func (m *Memory) isSole(x int) bool { return atomic.LoadUint64(m.soleWord(x))>>(x&63)&1 != 0 }

// unsole takes frame x's bit away.
func (m *Memory) unsole(x int) { atomic.AndUint64(m.soleWord(x), ^(uint64(1) << (x & 63))) }

// Counted gives sole frame f a count, of one. The caller has the entry, and clears its
// mark.
func (m *Memory) Counted(f Frame) {
	x := int(f - m.base)
	if !m.isSole(x) {
		panic(fmt.Sprintf("phys: an entry says that it is the only reference to frame %#x (%v), which has %d", uint32(f), m.info[x].owner, m.Refs(f)))
	}
	m.unsole(x)
	fi := &m.info[x]
	fi.owner, fi.Used = Anon, 0
	atomic.StoreUint64(&fi.Groups, 0)
	atomic.StoreInt32(&fi.refs, 1)
}

// CountTable makes the frames of those of a leaf table's entries that have the bit sole
// counted, and clears the bit.
func (m *Memory) CountTable(t *Rows, groups uint64, sole arch.PTE) {
	for ; groups != 0; groups &= groups - 1 {
		row := &t[bits.TrailingZeros64(groups)&63]
		for i, e := range row {
			if e&sole != 0 {
				m.Counted(frameOf(e))
				row[i] = e &^ sole
			}
		}
	}
}

// FreeSole gives up the reference that was a sole frame's entry.
func (m *Memory) FreeSole(f Frame) {
	m.mu.Lock()
	m.releaseOne(f)
	m.mu.Unlock()
}

// joinSole makes the counts of block i those of a whole block, if all of its frames are
// sole or have one reference, and all of these are the caller's.
func (m *Memory) joinSole(i int32) bool {
	b := &m.blocks[i]
	first := int(i) * arch.BlockPages
	for w := range b.sole {
		for counted := ^atomic.LoadUint64(&b.sole[w]); counted != 0; counted &= counted - 1 {
			if atomic.LoadInt32(&m.info[first+w*64+bits.TrailingZeros64(counted)].refs) != 1 {
				return false
			}
		}
	}
	for w := range b.sole {
		for counted := ^atomic.LoadUint64(&b.sole[w]); counted != 0; counted &= counted - 1 {
			atomic.StoreInt32(&m.info[first+w*64+bits.TrailingZeros64(counted)].refs, 0)
		}
		atomic.StoreUint64(&b.sole[w], 0)
	}
	return true
}
