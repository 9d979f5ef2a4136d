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

// Stocked is AllocZero of many frames, as far as there are zeroed frames in stock;
// it says how many. Under Refuse, none.
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

// alloc hands out a frame and says whether it is known to be zero. With wantZero
// the stock is asked first, else last.
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

// ask calls the reclaim functions until one of them frees something.
func (m *Memory) ask(want int) bool {
	for _, r := range m.reclaim {
		if r(want) > 0 {
			return true
		}
	}
	return false
}

// AllocBlock hands out 512 contiguous frames, 2 MB aligned, contents undefined,
// one reference to each. ENOMEM when no whole block is free, however many single
// frames are.
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

// Shortages is how often a frame was asked for and there was none, not even by reclaim.
// Work that has failed with ENOMEM compares it with what it was before the work began:
// frames that the work has given back on its way out may be free again, so the number of
// free frames does not tell why it failed. What Refuse refuses does not count.
func (m *Memory) Shortages() uint64 { return m.shortages.Load() }

// FreeZeroed gives up the only reference to a frame that is all zero: it goes
// to the stock while there is room. Freeing a frame that has other references
// is a panic.
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

// FreeZeroed is Memory.FreeZeroed for many frames: one lock, and what the stock
// has no room for is collected.
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
		// The only reference is ours, so nobody else can change it.
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
			m.dropLast(f) // panics where the loop above stopped for this
		}
		if x>>6 != word {
			b.collect(word, acc)
			word, acc = x>>6, 0
		}
		acc |= 1 << (x & 63)
	}
	b.collect(word, acc)
}

// Prezero clears up to n free frames into the stock and says how many; for the
// idle loop. Holds no lock while it clears.
func (m *Memory) Prezero(n int) int {
	for done := 0; ; done++ {
		m.mu.Lock()
		if done == n || m.nzero == zeroStock || m.partial < 0 {
			// Never cuts a whole block for the stock.
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
