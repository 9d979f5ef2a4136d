package phys

import (
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

// NoStop lets ReleaseEntries go to the end: no entry has all bits set.
const NoStop = ^arch.PTE(0)

// ReleaseEntries clears the leaf entries in t and gives up one reference to the
// frame of each (its address is in the bits addr), up to the first entry e with
// e&stop == stop. It returns where that is, len(t) if there is none.
//
// With takeRun this is the innermost loop of every teardown: 26 amd64
// instructions for a page nobody else has; see BenchmarkPurgePages in package pmap.
func (b *Batch) ReleaseEntries(t []arch.PTE, addr, stop arch.PTE) (at int) {
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
		x := uint(f - m.base)
		if atomic.LoadInt32(&m.info[x].refs) != 1 {
			t[k] = 0
			k++
			b.Unref(f)
			continue
		}
		if i := int32(x / arch.BlockPages); i != b.cur {
			b.flush()
			b.cur = i
		}
		acc, n := takeRun(t[k:], m.info, uint(m.base), addr, stop)
		b.mask[x>>6&7] |= acc
		b.n += int32(n)
		k += n
	}
	return len(t)
}

// takeRun clears entries from the start of t on whose frames have no reference
// but this one and lie in the same 64 as the first's, which does. It returns the
// frames as bits and how many there are. A function of its own so that all it
// uses stays in registers.
//
//go:noinline
func takeRun(t []arch.PTE, info []Info, base uint, addr, stop arch.PTE) (acc uint64, n int) {
	word := (uint((t[0]&addr)>>arch.PageShift) - base) >> 6
	for ; n < len(t); n++ {
		e := t[n]
		if e&stop == stop {
			break
		}
		// An empty entry leads to frame 0, which is never in a run: it has no
		// references, or lies below base and so beyond info.
		x := uint((e&addr)>>arch.PageShift) - base
		if x>>6 != word || x >= uint(len(info)) {
			break
		}
		p := &info[x].refs
		if atomic.LoadInt32(p) != 1 {
			break
		}
		// The only reference is ours, so nobody else can change the count.
		atomic.StoreInt32(p, 0)
		t[n] = 0
		acc |= 1 << (x & 63)
	}
	return acc, n
}
