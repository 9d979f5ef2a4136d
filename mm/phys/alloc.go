package phys

import (
	"fmt"
	"sync/atomic"
	"syscall"

	"grim/arch"
)

// Alloc hands out a frame with one reference and undefined contents. ENOMEM
// when there is none and the reclaim functions freed none.
func (m *Memory) Alloc(o Owner) (Frame, error) {
	f, _, err := m.alloc(o, false)
	return f, err
}

// AllocZero is Alloc of a frame that is all zero.
func (m *Memory) AllocZero(o Owner) (Frame, error) {
	return m.allocZero(o, false)
}

// allocZero is AllocZero, or AllocSole.
func (m *Memory) allocZero(o Owner, sole bool) (Frame, error) {
	var f Frame
	zero := false
	m.mu.Lock()
	if m.refuse == nil {
		if zero = m.nzero > 0; zero {
			f = m.popZero()
		} else {
			f = m.takeOne()
		}
	}
	m.mu.Unlock()
	if f == 0 { // with reclaim, or by Refuse
		var err error
		if f, zero, err = m.alloc(o, true); err != nil {
			return 0, err
		}
		m.info[f-m.base].refs = 0
	}
	if sole {
		m.makeSole(int(f - m.base))
	} else {
		m.info[f-m.base] = Info{refs: 1, owner: o}
	}
	if !zero {
		m.Zero(f)
	} else if debugOwners {
		m.checkZero(f)
	}
	return f, nil
}

// Stocked takes frames from the stock of zeroed frames, one reference to each, until
// frames is full or the stock is empty, and returns how many it took. It takes none while
// Refuse is set.
func (m *Memory) Stocked(o Owner, frames []Frame) (n int) {
	m.mu.Lock()
	if m.refuse == nil {
		n = min(len(frames), m.nzero)
		m.nzero -= n
		copy(frames, m.zero[m.nzero:][:n])
	}
	m.mu.Unlock()
	for _, f := range frames[:n] {
		if debugOwners {
			m.checkZero(f)
		}
		m.info[f-m.base] = Info{refs: 1, owner: o}
	}
	return n
}

// alloc hands out a frame and reports whether the frame is known to be zero. It takes from
// the stock of zeroed frames first if wantZero is set, and else only if no other frame is
// free.
func (m *Memory) alloc(o Owner, wantZero bool) (f Frame, zero bool, err error) {
	for again := false; ; again = true {
		m.mu.Lock()
		if m.refuse != nil && !again && m.refuse(o, sortOf(wantZero)) {
			m.mu.Unlock()
			return 0, false, syscall.ENOMEM
		}
		if wantZero && m.nzero > 0 {
			f, zero = m.popZero(), true
		} else if f = m.takeOne(); f == 0 && m.nzero > 0 {
			f, zero = m.popZero(), true
		}
		m.mu.Unlock()
		if f != 0 {
			break
		}
		if !m.ask(1) {
			m.shortages.Add(1)
			return 0, false, syscall.ENOMEM
		}
	}
	if debugOwners && zero {
		m.checkZero(f)
	}
	m.info[f-m.base] = Info{refs: 1, owner: o}
	return f, zero, nil
}

// popZero takes a frame from the stock. Preconditions: m.mu held, stock not empty.
func (m *Memory) popZero() Frame {
	m.nzero--
	return m.zero[m.nzero]
}

func (m *Memory) checkZero(f Frame) {
	for i, e := range m.Table(f) {
		if e != 0 {
			panic(fmt.Sprintf("phys: stocked frame %#x is not zero: word %d is %#x", uint32(f), i, uint64(e)))
		}
	}
}

// ask calls the reclaim functions in order until one of them frees a frame, and reports
// whether one did.
func (m *Memory) ask(want int) bool {
	for _, r := range m.reclaim {
		if r(want) > 0 {
			return true
		}
	}
	return false
}

// AllocBlock hands out 512 contiguous frames, 2 MB aligned, with one reference to each and
// undefined contents. It fails with ENOMEM if no whole block is free, even if single frames
// are.
func (m *Memory) AllocBlock(o Owner) (Frame, error) {
	for again := false; ; again = true {
		m.mu.Lock()
		if m.refuse != nil && !again && m.refuse(o, Block) {
			m.mu.Unlock()
			return 0, syscall.ENOMEM
		}
		i := m.takeBlock()
		if i < 0 && m.nzero > 0 {
			m.unstock()
			i = m.takeBlock()
		}
		if i >= 0 {
			b := &m.blocks[i]
			b.isWhole, b.wholeRefs, b.owner = true, 1, o
			m.mu.Unlock()
			return m.first(i), nil
		}
		m.mu.Unlock()
		if !m.ask(arch.BlockPages) {
			return 0, syscall.ENOMEM
		}
	}
}

// unstock turns the stock of zeroed frames into free frames. Preconditions: m.mu
// held.
func (m *Memory) unstock() {
	for m.nzero > 0 {
		m.releaseOne(m.popZero())
	}
}

// Shortages is the number of allocations that found no free frame, not even by reclaim. Code
// that fails with ENOMEM compares it with the number before it began, to find out whether
// the reason was a lack of frames. The number of free frames does not tell that, because the
// code may have given frames back when it failed. Refused allocations are not counted.
func (m *Memory) Shortages() uint64 { return m.shortages.Load() }

// FreeZeroed frees a frame that is all zero and to which the caller has the only reference;
// other references are a panic. The frame goes to the stock of zeroed frames if there is
// room.
func (m *Memory) FreeZeroed(f Frame) {
	m.dropLast(f)
	m.mu.Lock()
	if m.nzero < zeroStock {
		m.pushZero(f)
	} else {
		m.releaseOne(f)
	}
	m.mu.Unlock()
}

// pushZero puts a zeroed frame into the stock. Preconditions: m.mu held, room.
func (m *Memory) pushZero(f Frame) {
	m.info[f-m.base].owner = Free
	m.zero[m.nzero] = f
	m.nzero++
}

// FreeZeroed is Memory.FreeZeroed for many frames. It takes the lock once. Frames that the
// stock has no room for are collected in the batch.
func (b *Batch) FreeZeroed(frames []Frame) {
	m := b.M
	m.mu.Lock()
	stock := m.zero[m.nzero:]
	k := 0
	for ; k < len(frames) && k < len(stock); k++ {
		fi := &m.info[frames[k]-m.base]
		if atomic.LoadInt32(&fi.refs) != 1 {
			break
		}
		// The only reference is the caller's, so only the caller can change the count.
		atomic.StoreInt32(&fi.refs, 0)
		fi.owner = Free
		stock[k] = frames[k]
	}
	m.nzero += k
	m.mu.Unlock()
	word, acc := 0, uint64(0)
	for _, f := range frames[k:] {
		x := int(f - m.base)
		if p := &m.info[x].refs; atomic.LoadInt32(p) == 1 {
			atomic.StoreInt32(p, 0)
		} else {
			m.dropLast(f) // panics if f is the frame that stopped the loop above
		}
		if x>>6 != word {
			b.collect(word, acc)
			word, acc = x>>6, 0
		}
		acc |= 1 << (x & 63)
	}
	b.collect(word, acc)
}

// Prezero takes up to n free frames, clears them, puts them into the stock of zeroed frames,
// and returns how many there were. The idle loop calls it. It holds no lock while it clears
// a frame.
func (m *Memory) Prezero(n int) int {
	for done := 0; ; done++ {
		m.mu.Lock()
		if done == n || m.nzero == zeroStock || m.partial < 0 {
			// The stock never costs a whole block.
			m.mu.Unlock()
			return done
		}
		f := m.takeOne()
		m.mu.Unlock()
		m.Zero(f)
		m.info[f-m.base] = Info{refs: 1}
		m.FreeZeroed(f)
	}
}
