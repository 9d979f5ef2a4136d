package phys

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"grim/arch"
)

// blockMap has a bit for each frame of a superblock.
type blockMap [arch.BlockPages / 64]uint64

func (b *blockMap) set(i int)      { b[i>>6] |= 1 << (i & 63) }
func (b *blockMap) has(i int) bool { return b[i>>6]&(1<<(i&63)) != 0 }

// block is a superblock. All fields under Memory.mu.
type block struct {
	free  blockMap
	nfree uint16
	// isWhole: used as one 2 MB block, with wholeRefs references to each of
	// its frames; the frames' own counts are 0 meanwhile.
	isWhole bool
	cursor  uint8 // word of free where takeOne begins to look
	// looked: an audit has found it in order with no frame in use, that is wholly free or no
	// RAM, and the block was on the same list, or none, since.
	looked    bool
	reserved  bool  // on no list: frames neither free nor referenced belong to a reservation
	owner     Owner // of a whole block's frames
	wholeRefs int32
	// sole has a bit for each sole frame: see sole.go. The words are atomic and not under mu.
	// A bit may be changed by the code that holds the frame.
	sole blockMap
	// next and prev are links of Memory.whole if nfree is 512, of Memory.partial if it is 1
	// to 511. A block without free frames, and a reserved block, is on no list.
	next, prev int32
}

func (m *Memory) link(head *int32, i int32) {
	b := &m.blocks[i]
	b.next, b.prev = *head, -1
	if *head >= 0 {
		m.blocks[*head].prev = i
	}
	*head = i
	b.looked = false
}

func (m *Memory) unlink(head *int32, i int32) {
	b := &m.blocks[i]
	if b.prev >= 0 {
		m.blocks[b.prev].next = b.next
	} else {
		*head = b.next
	}
	if b.next >= 0 {
		m.blocks[b.next].prev = b.prev
	}
	b.next, b.prev = -1, -1
	b.looked = false
}

// relist moves block i between the lists after its count went from old to nfree.
func (m *Memory) relist(i int32, old uint16) {
	b := &m.blocks[i]
	switch {
	case old == b.nfree || b.reserved:
		return
	case old == arch.BlockPages:
		m.unlink(&m.whole, i)
		m.nblocks--
		m.walked.Opened++
	case old != 0 && (b.nfree == 0 || b.nfree == arch.BlockPages):
		m.unlink(&m.partial, i)
	case old != 0:
		return // partial before and after
	}
	switch {
	case b.nfree == arch.BlockPages:
		m.link(&m.whole, i)
		m.nblocks++
	case b.nfree != 0:
		m.link(&m.partial, i)
	}
}

// allWords tells release to look at every word of the mask.
const allWords = 0xff

// release makes the frames of mask in block i free. words must have a bit for each word of
// mask that is not 0, and may have more.
//
// Preconditions: m.mu held (or start-up); the frames' counts are 0.
func (m *Memory) release(i int32, mask *blockMap, words uint8) {
	b := &m.blocks[i]
	old, n := b.nfree, 0
	b.cursor = min(b.cursor, uint8(bits.TrailingZeros8(words)))
	for ; words != 0; words &= words - 1 {
		w := bits.TrailingZeros8(words)
		bitsOf := mask[w]
		if b.free[w]&bitsOf != 0 || b.isWhole {
			m.badRelease(i, w, bitsOf)
		}
		b.free[w] |= bitsOf
		if s := atomic.LoadUint64(&b.sole[w]); s&bitsOf != 0 {
			atomic.AndUint64(&b.sole[w], ^bitsOf)
		}
		n += bits.OnesCount64(bitsOf)
	}
	if debugOwners {
		m.retire(i, mask)
	}
	b.nfree += uint16(n)
	m.nfree += n
	m.relist(i, old)
}

// releaseOne is release for one frame.
func (m *Memory) releaseOne(f Frame) {
	x := int(f - m.base)
	i, k := int32(x/arch.BlockPages), x&(arch.BlockPages-1)
	b := &m.blocks[i]
	if b.free.has(k) || b.isWhole {
		m.badRelease(i, k>>6, 1<<(k&63))
	}
	if debugOwners {
		var mask blockMap
		mask.set(k)
		m.retire(i, &mask)
	}
	// The frame's bit is ours to change, but the word has bits of frames of others.
	if atomic.LoadUint64(&b.sole[k>>6])>>(k&63)&1 != 0 {
		atomic.AndUint64(&b.sole[k>>6], ^(uint64(1) << (k & 63)))
	}
	old := b.nfree
	b.free.set(k)
	b.nfree++
	m.nfree++
	if !b.reserved && (old == 0 || old == arch.BlockPages-1) {
		m.relist(i, old)
	}
}

// poison fills freed frames in debug builds. As a page-table entry it is present, as an
// address it is not canonical, and it is easy to see in a dump.
const poison = 0xdb

func (m *Memory) badRelease(i int32, w int, mask uint64) {
	b := &m.blocks[i]
	f := m.base + Frame(int(i)*arch.BlockPages+w*64+bits.TrailingZeros64(mask))
	panic(fmt.Sprintf("phys: double free: frame %#x (mask %#x of word %d) in block with free map %#x, whole %v, last owner %v",
		uint32(f), mask, w, b.free[w], b.isWhole, m.info[f-m.base].owner))
}

// retire marks freed frames as free and overwrites them with poison, so that code that still
// uses a frame is noticed. It runs in debug builds only: it stores a whole page a frame.
func (m *Memory) retire(i int32, mask *blockMap) {
	for k := range arch.BlockPages {
		if mask.has(k) {
			f := m.base + Frame(int(i)*arch.BlockPages+k)
			fi := &m.info[f-m.base]
			if fi.owner == Free {
				continue // never used before: the memory that start-up adds
			}
			fi.owner = Free
			b := m.Bytes(f)
			b[0] = poison
			for n := 1; n < len(b); n *= 2 {
				copy(b[n:], b[:n])
			}
		}
	}
}

// takeOne removes one frame from the free maps and returns it, or 0 if no frame is free. It
// takes from a partial block if there is one, so that whole blocks stay whole.
//
// Preconditions: m.mu held.
func (m *Memory) takeOne() Frame {
	i := m.partial
	if i < 0 {
		if i = m.whole; i < 0 {
			return 0
		}
	}
	b := &m.blocks[i]
	for k := range b.free {
		w := (int(b.cursor) + k) & (len(b.free) - 1)
		if v := b.free[w]; v != 0 {
			b.free[w] = v & (v - 1)
			b.cursor = uint8(w)
			old := b.nfree
			b.nfree--
			m.nfree--
			if old == arch.BlockPages || old == 1 {
				m.relist(i, old)
			}
			return m.base + Frame(int(i)*arch.BlockPages+w*64+bits.TrailingZeros64(v))
		}
	}
	panic(fmt.Sprintf("phys: block at frame %#x counts %d free frames, its map is empty", uint32(m.base)+uint32(i)*arch.BlockPages, b.nfree))
}

// takeBlock removes a wholly free block and returns its number, or -1 if there is none.
//
// Preconditions: m.mu held.
func (m *Memory) takeBlock() int32 {
	i := m.whole
	if i < 0 {
		return -1
	}
	b := &m.blocks[i]
	b.free = blockMap{}
	b.nfree = 0
	m.nfree -= arch.BlockPages
	m.relist(i, arch.BlockPages)
	return i
}

// blockOf returns the number of f's block and f's place in it.
func (m *Memory) blockOf(f Frame) (i int32, k int) {
	x := int(f - m.base)
	return int32(x / arch.BlockPages), x & (arch.BlockPages - 1)
}

// first is the first frame of block i.
func (m *Memory) first(i int32) Frame { return m.base + Frame(i)*arch.BlockPages }
