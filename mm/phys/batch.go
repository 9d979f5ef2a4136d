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
	words uint8 // words of mask that are not 0
	mask  blockMap
}

// Unref gives up one reference to f.
func (b *Batch) Unref(f Frame) {
	m := b.M
	x := int(f - m.base)
	if p := &m.info[x].refs; atomic.LoadInt32(p) == 1 {
		// The only reference is ours, so nobody else can change it.
		atomic.StoreInt32(p, 0)
	} else if !m.drop(f) {
		return
	}
	b.collect(x>>6, 1<<(x&63))
}

// UnrefAll gives up one reference to each of frames that is not 0.
func (b *Batch) UnrefAll(frames []Frame) {
	m := b.M
	for k := 0; k < len(frames); {
		if frames[k] == 0 {
			k++
			continue
		}
		x := int(frames[k]) - int(m.base)
		n, acc := unrefRun(frames[k:], m.info, int(m.base), x>>6)
		b.collect(x>>6, acc)
		if k += n; n == 0 { // not for unrefRun
			b.Unref(frames[k])
			k++
		}
	}
}

// unrefRun is the inner loop of UnrefAll, as releaseRun is of ReleaseEntries.
func unrefRun(frames []Frame, info []Info, base, word int) (n int, acc uint64) {
	for k, f := range frames {
		if f == 0 {
			continue
		}
		x := int(f) - base
		p := &info[x].refs
		if r := atomic.LoadInt32(p); r == 1 && x>>6 == word {
			atomic.StoreInt32(p, 0)
			acc |= 1 << (x & 63)
		} else if r <= 1 {
			return k, acc
		} else if atomic.AddInt32(p, -1) == 0 {
			atomic.StoreInt32(p, 1)
			return k, acc
		}
	}
	return len(frames), acc
}

// collect takes frames that have no references: those of acc, word 64s after
// the first frame. No frames (acc 0) are nothing to do.
func (b *Batch) collect(word int, acc uint64) {
	if acc == 0 {
		return
	}
	if i := int32(word >> 3); i != b.cur {
		b.Flush()
		b.cur = i
	}
	b.mask[word&7] |= acc
	b.words |= 1 << (word & 7)
	b.n += int32(bits.OnesCount64(acc))
}

// Freed is how many frames the batch has freed so far, collected ones included.
func (b *Batch) Freed() int { return b.freed + int(b.n) }

// Flush frees what was collected.
func (b *Batch) Flush() {
	if b.n == 0 {
		return
	}
	m := b.M
	m.mu.Lock()
	if w := bits.TrailingZeros8(b.words) & 7; b.n == 1 && !debugOwners {
		// A sparse process frees a page here and a page there.
		m.releaseOne(m.first(b.cur) + Frame(w<<6+bits.TrailingZeros64(b.mask[w])))
		b.mask[w] = 0
		b.words = 0
	} else {
		m.release(b.cur, &b.mask, b.words)
		for ; b.words != 0; b.words &= b.words - 1 {
			b.mask[bits.TrailingZeros8(b.words)&7] = 0
		}
	}
	m.mu.Unlock()
	b.freed += int(b.n)
	b.n = 0
}

// NoStop as the stop of ReleaseEntries: no entry has all bits set.
const NoStop = ^arch.PTE(0)

// ReleaseEntries clears the leaf entries in t and gives up one reference to the
// frame of each (its address is in the bits addr). It stops at an entry e with
// e&stop == stop and returns where, len(t) at the end.
//
// This is the innermost loop of every teardown: see BenchmarkPurgePages in package
// pmap.
func (b *Batch) ReleaseEntries(t []arch.PTE, addr, stop arch.PTE) int {
	m := b.M
	for k := 0; k < len(t); {
		e := t[k]
		if e == 0 {
			k++
			continue
		}
		if e&stop == stop {
			return k
		}
		f := Frame((e & addr) >> arch.PageShift)
		x := int(f) - int(m.base)
		n, acc := releaseRun(t[k:], m.info, int(m.base), x>>6, addr, stop)
		b.collect(x>>6, acc)
		if k += n; n == 0 { // not for releaseRun
			t[k] = 0
			b.Unref(f)
			k++
		}
	}
	return len(t)
}

// releaseRun is the inner loop of ReleaseEntries: it goes on while the frames that
// become free lie in the same 64 (word), which it returns as a mask, and stops at
// whatever is not simple. It calls nothing, so that all it needs stays in
// registers: 25 instructions an entry; with calls in it, 41.
func releaseRun(t []arch.PTE, info []Info, base, word int, addr, stop arch.PTE) (n int, acc uint64) {
	for k, e := range t {
		if e == 0 {
			continue
		}
		if e&stop == stop {
			return k, acc
		}
		x := int((e&addr)>>arch.PageShift) - base
		p := &info[x].refs
		if r := atomic.LoadInt32(p); r == 1 && x>>6 == word {
			// The only reference is ours, so nobody else can change it.
			atomic.StoreInt32(p, 0)
			acc |= 1 << (x & 63)
		} else if r <= 1 {
			// The last reference to a frame of other 64s, or a whole block's
			// frame (refs 0).
			return k, acc
		} else if atomic.AddInt32(p, -1) == 0 {
			// The others went meanwhile. The frame is ours alone now: put our
			// reference back for the caller to give up.
			atomic.StoreInt32(p, 1)
			return k, acc
		}
		t[k] = 0
	}
	return len(t), acc
}
