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
// in order, and of which no frame has been taken since. Its cost is so proportional to the
// memory in use, not to the size of memory. It overlooks a record in such a block that was
// changed although the frame is free; the next Audit finds it.
func (m *Memory) AuditChanged() error { return m.audit(true) }

func (m *Memory) audit(changed bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	stocked := make(map[Frame]bool, m.nzero)
	for _, f := range m.zero[:m.nzero] {
		if stocked[f] {
			return fmt.Errorf("phys: frame %#x is in the stock twice", uint32(f))
		}
		stocked[f] = true
		for i, e := range m.Table(f) {
			if e != 0 {
				return fmt.Errorf("phys: stocked frame %#x: word %d is %#x", uint32(f), i, uint64(e))
			}
		}
	}
	free, whole := 0, 0
	for i := range m.blocks {
		b := &m.blocks[i]
		if changed && b.looked && b.nfree == arch.BlockPages && !b.reserved {
			free += arch.BlockPages
			whole++
			continue
		}
		n, err := m.auditBlock(int32(i), stocked)
		if err != nil {
			return err
		}
		free += n
		if n == arch.BlockPages && !b.reserved {
			whole++
			b.looked = true
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

func (m *Memory) auditBlock(i int32, stocked map[Frame]bool) (free int, err error) {
	b := &m.blocks[i]
	for _, w := range b.free {
		free += bits.OnesCount64(w)
	}
	if free != int(b.nfree) {
		return 0, fmt.Errorf("phys: block at frame %#x has %d frames free, counted %d", uint32(m.first(i)), free, b.nfree)
	}
	if b.reserved && (b.next >= 0 || b.prev >= 0 || m.partial == i || m.whole == i) {
		return 0, fmt.Errorf("phys: reserved block at frame %#x is on a list", uint32(m.first(i)))
	}
	if b.isWhole && (free != 0 || b.wholeRefs <= 0) {
		return 0, fmt.Errorf("phys: whole block at frame %#x has %d frames free, %d references", uint32(m.first(i)), free, b.wholeRefs)
	}
	for k := range arch.BlockPages {
		f := m.first(i) + Frame(k)
		fi := &m.info[f-m.base]
		r := atomic.LoadInt32(&fi.refs)
		switch {
		case m.isSole(int(f-m.base)) && (r != 0 || b.free.has(k) || b.isWhole || stocked[f]):
			return 0, fmt.Errorf("phys: frame %#x (%v) is an entry's alone and has %d references; free %v, in a whole block %v, stocked %v", uint32(f), fi.owner, r, b.free.has(k), b.isWhole, stocked[f])
		case r < 0, r > 0 && (b.free.has(k) || b.isWhole || stocked[f]):
			return 0, fmt.Errorf("phys: frame %#x (%v) has %d references; free %v, in a whole block %v, stocked %v", uint32(f), fi.owner, r, b.free.has(k), b.isWhole, stocked[f])
		case b.free.has(k) && stocked[f]:
			return 0, fmt.Errorf("phys: stocked frame %#x is also free", uint32(f))
		case r == 0 && !b.free.has(k) && !b.isWhole && !stocked[f] && !b.reserved && fi.owner != Free && !m.isSole(int(f-m.base)):
			return 0, fmt.Errorf("phys: frame %#x (%v) has no references and is not free: leaked", uint32(f), fi.owner)
		}
	}
	return free, nil
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

// Owners counts the frames by owner. Frames that are free, and places that are not RAM, are
// counted as Free.
func (m *Memory) Owners() map[Owner]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := make(map[Owner]int)
	for i := range m.blocks {
		b := &m.blocks[i]
		if b.isWhole {
			n[b.owner] += arch.BlockPages
			continue
		}
		for k := range arch.BlockPages {
			x := int(m.first(int32(i))-m.base) + k
			switch fi := &m.info[x]; {
			case atomic.LoadInt32(&fi.refs) > 0 || m.isSole(x):
				n[m.ownerOf(x)]++
			case b.reserved && !b.free.has(k):
				n[Reserve]++
			default:
				n[Free]++
			}
		}
	}
	return n
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
