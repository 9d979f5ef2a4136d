package phys

import (
	"fmt"
	"math/bits"

	"grim/arch"
)

// Reservations: whole blocks that are set aside and handed out page by page. While
// a block is reserved it is on no list, even if pages that were handed out have
// come back: nothing but its reservation can hand out any of it. What is back then
// counts as free; if memory runs so short that it matters, reclaim ends the
// reservation.

// Reservation takes a whole free block out of the free memory without handing it
// out: its frames have no references until Populate. It never asks for reclaim;
// false if no block is free.
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

// BlockNumber is which of the memory's NumBlocks blocks f lies in.
func (m *Memory) BlockNumber(f Frame) int { return int(f-m.base) / arch.BlockPages }

// BlockFrame is the first frame of block n.
func (m *Memory) BlockFrame(n int) Frame { return m.first(int32(n)) }

// NumBlocks is how many blocks the memory has, holes between ranges included.
func (m *Memory) NumBlocks() int { return len(m.blocks) }

// Unreserve ends the reservation at base: it frees the frames that are not in
// populated, which has count bits set, and says how many.
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
	// Not by release: these frames never were anybody's, so there is nothing to
	// check but that they are not free already. A sparse process has hundreds of
	// reservations to give back at once.
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

// checkUnreserve compares what Unreserve was told with the frames' records.
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
