package phys

import (
	"fmt"
	"math/bits"

	"grim/arch"
)

// A reservation is a whole block that is set aside and handed out page by page. While a
// block is reserved it is on no list, so that only its reservation can hand out its frames.
// That is also true for frames that were handed out and have been freed since: they are
// counted as free, but can be used again only when the reservation ends. Reclaim ends
// reservations when memory is short.

// Reservation reserves a free block and returns its first frame, or false if no block is
// free. The frames have no references until Populate. Reservation never calls the reclaim
// functions.
func (m *Memory) Reservation() (Frame, bool) {
	m.mu.Lock()
	if m.refuse != nil && m.refuse(Reserve, Block) {
		m.mu.Unlock()
		return 0, false
	}
	i := m.takeBlock()
	if i < 0 {
		m.mu.Unlock()
		return 0, false
	}
	m.blocks[i].reserved = true
	m.mu.Unlock()
	return m.first(i), true
}

// BlockNumber is the number of f's block, from 0 to NumBlocks-1.
func (m *Memory) BlockNumber(f Frame) int { return int(f-m.base) / arch.BlockPages }

// BlockFrame is the first frame of block n.
func (m *Memory) BlockFrame(n int) Frame { return m.first(int32(n)) }

// NumBlocks is the number of blocks of memory, holes between ranges included.
func (m *Memory) NumBlocks() int { return len(m.blocks) }

// Unreserve ends the reservation at base. populated has a bit for each frame that was
// populated, and count is their number. The other frames become free, and Unreserve returns
// how many there are.
func (m *Memory) Unreserve(base Frame, populated *[arch.BlockPages / 64]uint64, count int) int {
	i, k := m.blockOf(base)
	m.mu.Lock()
	b := &m.blocks[i]
	if !b.reserved || k != 0 {
		m.mu.Unlock()
		panic(fmt.Sprintf("phys: unreserve of frame %#x: not the start of a reservation", uint32(base)))
	}
	if debugOwners {
		m.checkUnreserve(base, populated, count)
	}
	b.reserved = false
	// release is not used: these frames have never been in use, and so the only check is
	// that they are not free already. A sparse process ends hundreds of reservations when
	// it exits.
	n := arch.BlockPages - count
	switch b.nfree += uint16(n); {
	case b.nfree == arch.BlockPages: // all that was handed out is back
		b.free = allFrames
	case int(b.nfree) == n:
		for w, p := range populated {
			b.free[w] = ^p
		}
	default:
		for w, p := range populated {
			if b.free[w]&^p != 0 {
				m.badRelease(i, w, b.free[w]&^p)
			}
			b.free[w] |= ^p
		}
	}
	m.nfree += n
	m.relist(i, 0)
	m.mu.Unlock()
	return n
}

// checkUnreserve compares the arguments of Unreserve with the frames' records.
func (m *Memory) checkUnreserve(base Frame, populated *[arch.BlockPages / 64]uint64, count int) {
	for _, p := range populated {
		count -= bits.OnesCount64(p)
	}
	if count != 0 {
		panic(fmt.Sprintf("phys: unreserve of frame %#x: %d frames too many counted as populated", uint32(base), count))
	}
	b := &m.blocks[m.BlockNumber(base)]
	for k := range arch.BlockPages {
		fi := &m.info[int(base-m.base)+k]
		if populated[k>>6]>>(k&63)&1 == 0 && (fi.refs != 0 || m.isSole(int(base-m.base)+k) || b.free.has(k)) {
			panic(fmt.Sprintf("phys: unreserve of frame %#x (%v) that has %d references, free %v", uint32(base)+uint32(k), fi.owner, fi.refs, b.free.has(k)))
		}
	}
}
