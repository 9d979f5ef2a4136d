package phys

import (
	"math/bits"
	"sync/atomic"

	"grim/arch"
)

// Batch gives up references to many frames at a few instructions each: frames
// without references are collected per superblock and freed with a few ORs. Flush
// before anyone counts on the frames being free. Not for use by two goroutines.
type Batch struct {
	M     *Memory
	cur   int32 // block of the frames in mask
	n     int32 // frames in mask
	freed int
	mask  blockMap
}

// Unref gives up one reference to f.
func (b *Batch) Unref(f Frame) {
	if b.M.drop(f) {
		b.add(int(f - b.M.base))
	}
}

// add collects frame x, counted from base, which has no references.
func (b *Batch) add(x int) {
	if i := int32(x / arch.BlockPages); i != b.cur {
		b.flush()
		b.cur = i
	}
	b.mask[x>>6&7] |= 1 << (x & 63)
	b.n++
}

// Flush frees what was collected.
func (b *Batch) Flush() { b.flush() }

// Freed is how many frames the batch has freed so far, collected ones included.
func (b *Batch) Freed() int { return b.freed + int(b.n) }

func (b *Batch) flush() {
	if b.n == 0 {
		return
	}
	m := b.M
	m.mu.Lock()
	m.release(b.cur, &b.mask)
	m.mu.Unlock()
	b.freed += int(b.n)
	b.n = 0
	b.mask = blockMap{}
}

// ReleaseEntries clears the leaf entries in t and gives up one reference to the
// frame of each (its address is in the bits addr). It stops at an entry e with
// e&stop == stop (0: at none), and returns how many entries were not zero before
// that and where it stopped, len(t) at the end.
//
// This is the innermost loop of every teardown: see BenchmarkPurgePages in package pmap.
func (b *Batch) ReleaseEntries(t []arch.PTE, addr, stop arch.PTE) (n, at int) {
	m := b.M
	base, info := int(m.base), m.info
	cur, word := int(b.cur), 0
	var acc uint64 // frames of mask[word], of block cur
	for k := range t {
		e := t[k]
		if e == 0 {
			continue
		}
		if e&stop == stop && stop != 0 {
			b.merge(word, acc)
			return n, k
		}
		t[k] = 0
		n++
		x := int((e&addr)>>arch.PageShift) - base
		p := &info[x].refs
		if atomic.LoadInt32(p) == 1 {
			// The only reference is ours, so nobody else can change it.
			atomic.StoreInt32(p, 0)
		} else if !m.drop(Frame(x + base)) {
			continue
		}
		if x>>6 != cur<<3|word {
			b.merge(word, acc)
			acc = 0
			if x/arch.BlockPages != cur {
				b.flush()
				cur = x / arch.BlockPages
				b.cur = int32(cur)
			}
			word = x >> 6 & 7
		}
		acc |= 1 << (x & 63)
	}
	b.merge(word, acc)
	return n, len(t)
}

// merge adds the frames acc of a word of the current block.
func (b *Batch) merge(word int, acc uint64) {
	b.mask[word] |= acc
	b.n += int32(bits.OnesCount64(acc))
}
