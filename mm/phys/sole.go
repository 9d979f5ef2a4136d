package phys

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"grim/arch"
)

// A sole frame has exactly one reference: a leaf entry, which has a bit that says so. The
// frame's bit in block.sole is set, its count is 0, and the rest of its record is out of
// date. So the record is not written when the frame is handed out, nor when it is freed. In
// a teardown that saves a cache line fetched from memory for every four pages.
//
// The memory that a process touches first is handed out as sole frames. Before a second
// reference is added, as in fork, the frame must become a counted one (Counted), and the
// entry's bit be cleared. Ref and Unref of a sole frame panic.

// AllocSole hands out a sole frame of anonymous memory that is all zero. The caller puts it
// into an entry with the bit of a sole frame, or gives it to FreeSole. ENOMEM.
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

// Populate hands out frames f to f+n-1 of a reservation as sole frames of anonymous memory,
// all zero. The caller keeps a record of the frames that it has populated.
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

// recordSole gives frame x an owner, so that retire overwrites it later. It is for debug
// builds.
func (m *Memory) recordSole(x int) {
	fi := &m.info[x]
	if fi.refs != 0 {
		panic(fmt.Sprintf("phys: frame %#x (%v) is handed out and has %d references", uint32(m.base)+uint32(x), fi.owner, fi.refs))
	}
	fi.owner = Anon
}

// soleWord is the word of block.sole that has the bit of frame x, counted from base. The bit
// is bit x&63.
func (m *Memory) soleWord(x int) *uint64 {
	return &m.blocks[uint(x)/arch.BlockPages].sole[x>>6&(arch.BlockPages/64-1)]
}

// Sole reports whether f is sole.
func (m *Memory) Sole(f Frame) bool { return m.isSole(int(f - m.base)) }

// isSole reports whether frame x, counted from base, is sole.
func (m *Memory) isSole(x int) bool { return atomic.LoadUint64(m.soleWord(x))>>(x&63)&1 != 0 }

// unsole clears frame x's bit.
func (m *Memory) unsole(x int) { atomic.AndUint64(m.soleWord(x), ^(uint64(1) << (x & 63))) }

// Counted makes sole frame f a frame with a count of one. The caller owns the entry that
// maps f, and clears the bit in it.
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

// CountTable calls Counted for the frame of each entry of leaf table t that has the bit
// sole, and clears the bit. groups are those of t: Info.Groups.
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

// FreeSole frees sole frame f. The caller has cleared the entry that mapped it.
func (m *Memory) FreeSole(f Frame) {
	m.mu.Lock()
	m.releaseOne(f)
	m.mu.Unlock()
}

// joinSole clears the counts and sole bits of block i if each of its frames is sole or has a
// count of one, and reports whether that is so. The caller holds all these references.
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
