package phys

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"grim/arch"
)

// Audit recounts all frames from the maps and the frames' records, and returns an error that
// names the first thing that does not agree. It means something only while no other code
// allocates or frees, and no Batch holds frames.
func (m *Memory) Audit() error { return m.audit(false) }

// AuditChanged is Audit without the blocks that an earlier audit has found wholly free and
// in order, and of which no frame has been taken since, and without places that are not RAM.
// So its cost is proportional to the memory in use, not to the size of memory. It overlooks
// a record in such a block that was changed although the frame is free; the next Audit finds
// it.
func (m *Memory) AuditChanged() error { return m.audit(true) }

func (m *Memory) audit(changed bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	stock := make(map[int32]*blockMap) // the stock's frames, by block
	for _, f := range m.zero[:m.nzero] {
		i, k := m.blockOf(f)
		if stock[i] == nil {
			stock[i] = new(blockMap)
		}
		if stock[i].has(k) {
			return fmt.Errorf("phys: frame %#x is in the stock twice", uint32(f))
		}
		stock[i].set(k)
		for i, e := range m.Table(f) {
			if e != 0 {
				return fmt.Errorf("phys: stocked frame %#x: word %d is %#x", uint32(f), i, uint64(e))
			}
		}
	}
	free, whole := 0, 0
	for i := range m.blocks {
		b := &m.blocks[i]
		if !changed || !b.looked {
			stocked := stock[int32(i)]
			if stocked == nil {
				stocked = new(blockMap)
			}
			used, err := m.auditBlock(int32(i), stocked)
			if err != nil {
				return err
			}
			b.looked = !used && !b.reserved && (b.nfree == arch.BlockPages || b.nfree == 0)
		}
		free += int(b.nfree)
		if b.nfree == arch.BlockPages && !b.reserved {
			whole++
		}
	}
	if free != m.nfree || whole != m.nblocks {
		return fmt.Errorf("phys: %d frames and %d blocks are free, counted %d and %d", free, whole, m.nfree, m.nblocks)
	}
	if err := m.auditList("partial", m.partial, func(n uint16) bool { return n > 0 && n < arch.BlockPages }); err != nil {
		return err
	}
	return m.auditList("free", m.whole, func(n uint16) bool { return n == arch.BlockPages })
}

// auditBlock recounts a block, and reports whether a frame of it is in use, or in the stock.
func (m *Memory) auditBlock(i int32, stocked *blockMap) (used bool, err error) {
	b := &m.blocks[i]
	m.walked.Frames += arch.BlockPages
	free := 0
	for _, w := range b.free {
		free += bits.OnesCount64(w)
	}
	if free != int(b.nfree) {
		return true, fmt.Errorf("phys: block at frame %#x has %d frames free, counted %d", uint32(m.first(i)), free, b.nfree)
	}
	if b.reserved && (b.next >= 0 || b.prev >= 0 || m.partial == i || m.whole == i) {
		return true, fmt.Errorf("phys: reserved block at frame %#x is on a list", uint32(m.first(i)))
	}
	if b.isWhole && (free != 0 || b.wholeRefs <= 0) {
		return true, fmt.Errorf("phys: whole block at frame %#x has %d frames free, %d references", uint32(m.first(i)), free, b.wholeRefs)
	}
	used = b.isWhole || *stocked != blockMap{}
	for k := range arch.BlockPages {
		f := m.first(i) + Frame(k)
		fi := &m.info[f-m.base]
		r, sole := atomic.LoadInt32(&fi.refs), m.isSole(int(f-m.base))
		used = used || r != 0 || sole
		switch {
		case sole && (r != 0 || b.free.has(k) || b.isWhole || stocked.has(k)):
			return true, fmt.Errorf("phys: frame %#x (%v) is an entry's alone and has %d references; free %v, in a whole block %v, stocked %v", uint32(f), fi.owner, r, b.free.has(k), b.isWhole, stocked.has(k))
		case r < 0, r > 0 && (b.free.has(k) || b.isWhole || stocked.has(k)):
			return true, fmt.Errorf("phys: frame %#x (%v) has %d references; free %v, in a whole block %v, stocked %v", uint32(f), fi.owner, r, b.free.has(k), b.isWhole, stocked.has(k))
		case b.free.has(k) && stocked.has(k):
			return true, fmt.Errorf("phys: stocked frame %#x is also free", uint32(f))
		case r == 0 && !b.free.has(k) && !b.isWhole && !stocked.has(k) && !b.reserved && fi.owner != Free && !sole:
			return true, fmt.Errorf("phys: frame %#x (%v) has no references and is not free: leaked", uint32(f), fi.owner)
		}
	}
	return used, nil
}

func (m *Memory) auditList(name string, head int32, belongs func(nfree uint16) bool) error {
	want, got := 0, 0
	for i := range m.blocks {
		if b := &m.blocks[i]; belongs(b.nfree) && !b.reserved {
			want++
		}
	}
	for i := head; i >= 0; i = m.blocks[i].next {
		if got++; !belongs(m.blocks[i].nfree) || m.blocks[i].reserved || got > want {
			return fmt.Errorf("phys: block at frame %#x with %d frames free is on the %s list (%d of %d)", uint32(m.first(i)), m.blocks[i].nfree, name, got, want)
		}
	}
	if got != want {
		return fmt.Errorf("phys: %d blocks on the %s list, want %d", got, name, want)
	}
	return nil
}

// Owners counts the frames in use by owner. It looks at the blocks that have frames in use
// only: its cost does not follow the size of memory, once AuditChanged has found the places
// that are not RAM.
func (m *Memory) Owners() map[Owner]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	var n [owners]int
	for i := range m.blocks {
		b := &m.blocks[i]
		switch {
		case b.isWhole:
			n[b.owner] += arch.BlockPages
			continue
		case b.looked, b.nfree == arch.BlockPages && !b.reserved:
			continue
		}
		m.walked.Frames += arch.BlockPages
		for k := range arch.BlockPages {
			x := int(m.first(int32(i))-m.base) + k
			switch fi := &m.info[x]; {
			case atomic.LoadInt32(&fi.refs) > 0 || m.isSole(x):
				n[m.ownerOf(x)]++
			case b.reserved && !b.free.has(k):
				n[Reserve]++
			}
		}
	}
	of := make(map[Owner]int)
	for o, n := range n {
		if n > 0 {
			of[Owner(o)] = n
		}
	}
	return of
}

// Walked is how much code that looks at many frames has looked at. A self-test that looks at
// all frames takes minutes on a machine with much memory.
type Walked struct {
	Frames uint64 // frames that Audit, AuditChanged and Owners have looked at
	Opened uint64 // wholly free blocks of which frames were taken
}

// Walked returns the present counts.
func (m *Memory) Walked() Walked {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.walked
}

// Peek reports whether a frame is in use, and its owner. It takes no lock and orders nothing,
// like a CPU's page walk: it is for test doubles of hardware. A frame of a whole block is in
// use.
//
//go:norace
func (m *Memory) Peek(f Frame) (inUse bool, o Owner) {
	if f < m.base || int(f-m.base) >= len(m.info) {
		return false, Free
	}
	if i, _ := m.blockOf(f); m.blocks[i].isWhole {
		return true, m.blocks[i].owner
	}
	fi := &m.info[f-m.base]
	if m.isSole(int(f - m.base)) {
		return true, Anon
	}
	return fi.refs > 0, fi.owner
}

// ownerOf is the owner of frame x, counted from base, which is not part of a whole block.
func (m *Memory) ownerOf(x int) Owner {
	if m.isSole(x) {
		return Anon
	}
	return m.info[x].owner
}
