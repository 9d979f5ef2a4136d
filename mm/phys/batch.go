package phys

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"grim/arch"
)

// Batch gives up references to many frames at a few instructions a frame. Frames that have
// no references left are collected for one superblock at a time, and freed together by
// ORing their bits into the superblock's map. They are free only after Flush, or when a
// frame of another superblock comes. A Batch is used by one goroutine.
type Batch struct {
	M     *Memory
	cur   int32 // block of the frames in mask
	words uint8 // words of mask that are not 0
	mask  blockMap
}

// Unref gives up one reference to f.
func (b *Batch) Unref(f Frame) {
	m := b.M
	x := int(f - m.base)
	if p := &m.info[x].refs; atomic.LoadInt32(p) == 1 {
		// The only reference is the caller's, so only the caller can change the count.
		atomic.StoreInt32(p, 0)
	} else if !m.drop(f) {
		return
	}
	b.collect(x>>6, 1<<(x&63))
}

// UnrefAll gives up one reference to each frame of frames. Elements that are 0 are passed
// over.
func (b *Batch) UnrefAll(frames []Frame) {
	m := b.M
	for k := 0; k < len(frames); {
		if frames[k] == 0 {
			k++
			continue
		}
		if n := b.unrefRows(frames[k:]); n > 0 {
			k += n
			continue
		}
		x := int(frames[k]) - int(m.base)
		n, acc := unrefRun(frames[k:], m.info, int(m.base), x>>6)
		b.collect(x>>6, acc)
		if k += n; n == 0 { // a frame that unrefRun leaves to its caller
			b.Unref(frames[k])
			k++
		}
	}
}

// unrefRun gives up references to frames in order until it meets a frame that needs more
// work, and returns how many it has dealt with. acc has a bit for each frame that has no
// reference left: these are frames 64*word to 64*word+63, counted from base. Frames of
// other words that must be freed, and frames of whole blocks, are left to the caller.
// unrefRun calls no function, and is not inlined, so that all its variables stay in registers.
//
//go:noinline
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

// collect adds frames that have no references to the batch: bit i of acc stands for frame
// 64*word+i, counted from base. acc may be 0.
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
}

// Flush frees the frames that were collected.
func (b *Batch) Flush() {
	if b.words == 0 {
		return
	}
	m := b.M
	w := bits.TrailingZeros8(b.words) & 7
	v := b.mask[w]
	m.mu.Lock()
	if b.words&(b.words-1) == 0 && v&(v-1) == 0 && !debugOwners {
		// One frame: a sparse process has few pages in each superblock.
		m.releaseOne(m.first(b.cur) + Frame(w<<6+bits.TrailingZeros64(v)))
		b.mask[w] = 0
		b.words = 0
	} else {
		m.release(b.cur, &b.mask, b.words)
		for ; b.words != 0; b.words &= b.words - 1 {
			b.mask[bits.TrailingZeros8(b.words)&7] = 0
		}
	}
	m.mu.Unlock()
}

// NoStop makes ReleaseLeaf go through to the end: no entry has all bits set.
const NoStop = ^arch.PTE(0)

// ReleaseLeaf clears the entries of leaf table t, and gives up one reference to the frame of
// each entry that was not zero.
//
// used is the number of entries of t that are not zero (Info.Used). groups has bit g set if
// entries 8g to 8g+7 may have such entries (Info.Groups). An entry with a bit of sole is the
// only reference to its frame, whose record is then left alone.
//
// ReleaseLeaf stops at an entry e for which e&stop == stop. It returns the place of that
// entry and the number of entries that are not zero from there on. At the end of the table
// both are 0.
//
// This is the innermost loop of every teardown. It is written for its instruction count:
// see BenchmarkPurgePages in package pmap.
func (b *Batch) ReleaseLeaf(t *Rows, groups uint64, used int, stop, sole arch.PTE) (at, left int) {
	info, base := b.M.info, int(b.M.base)
	word, acc := -1, uint64(0) // frames that are still to be collected: see collect
	for groups != 0 {
		g := bits.TrailingZeros64(groups) & 63
		row := &t[g]
		if e := row[0]; used >= 8 && row[7] == e+7<<arch.PageShift {
			b.collect(word, acc)
			acc = 0
			if left := b.releaseRows(t, g, used, stop, sole); left < used {
				if left == 0 {
					return 0, 0
				}
				g += (used - left) >> 3
				groups = groups >> (g & 63) << (g & 63)
				used = left
				continue
			}
		}
		for i := FirstUsed(row); i < len(row); i++ {
			e := row[i]
			if e == 0 {
				continue
			}
			x := int(frameOf(e)) - base
			if e&sole == 0 {
				if e&stop == stop {
					b.collect(word, acc)
					return g<<3 + i, used
				}
				p := &info[x].refs
				if r := atomic.LoadInt32(p); r == 1 {
					// The only reference is the caller's, so only the caller can change the count.
					atomic.StoreInt32(p, 0)
				} else {
					row[i] = 0
					if r < 1 || atomic.AddInt32(p, -1) == 0 {
						if r > 1 {
							// The other references were given up meanwhile. Ours is the last.
							atomic.StoreInt32(p, 1)
						}
						b.Unref(frameOf(e))
					}
					if used--; used == 0 {
						b.collect(word, acc)
						return 0, 0
					}
					continue
				}
			}
			row[i] = 0
			if x>>6 != word {
				b.collect(word, acc)
				word, acc = x>>6, 0
			}
			acc |= 1 << (x & 63)
			if used--; used == 0 {
				b.collect(word, acc)
				return 0, 0
			}
		}
		groups &= groups - 1
	}
	panic(fmt.Sprintf("phys: leaf table with %d entries more than are in use", used))
}

// releaseRows does the work of ReleaseLeaf for rows from g on whose eight entries map eight
// consecutive frames with equal attributes. Memory that was touched in order has such rows.
// It stops at a row of another kind, and returns how many entries of the table remain.
//
// The eight entries are written out for the instruction count. A page costs 7 instructions
// instead of 25 if its entry is the only reference to the frame, 11 if the frame's count is
// one, and 20 instead of 45 if the count is higher. Inlined into ReleaseLeaf, its variables
// would not stay in registers: an exit of 16 MB in pages of 4 KB would cost 2 % more.
//
//go:noinline
func (b *Batch) releaseRows(t *Rows, g, used int, stop, sole arch.PTE) (left int) {
	const pg = arch.PageSize
	info, base, cur := b.M.info, int(b.M.base), b.cur
	for ; g < len(t) && used >= 8; g++ {
		row := &t[g]
		e := row[0]
		if e&stop == stop || e == 0 || row[1] != e+pg || row[2] != e+2*pg || row[3] != e+3*pg ||
			row[4] != e+4*pg || row[5] != e+5*pg || row[6] != e+6*pg || row[7] != e+7*pg {
			break
		}
		x := int(frameOf(e)) - base
		if e&sole != 0 {
			if int32(x>>9) != cur || int32((x+7)>>9) != cur {
				break
			}
			*row = [8]arch.PTE{}
			b.maskRow(x)
			used -= 8
			continue
		}
		in := (*[8]Info)(info[x:])
		if r := atomic.LoadInt32(&in[0].refs); r != 1 {
			if r <= 0 || x>>9 != (x+7)>>9 {
				break // frames of a whole block have no counts; two blocks may differ
			}
			*row = [8]arch.PTE{}
			b.dropEight(in, x)
			cur = b.cur
			used -= 8
			continue
		}
		if int32(x>>9) != cur || int32((x+7)>>9) != cur {
			break
		}
		if atomic.LoadInt32(&in[0].refs) != 1 || atomic.LoadInt32(&in[1].refs) != 1 ||
			atomic.LoadInt32(&in[2].refs) != 1 || atomic.LoadInt32(&in[3].refs) != 1 ||
			atomic.LoadInt32(&in[4].refs) != 1 || atomic.LoadInt32(&in[5].refs) != 1 ||
			atomic.LoadInt32(&in[6].refs) != 1 || atomic.LoadInt32(&in[7].refs) != 1 {
			break
		}
		// The only references are ours, so no other CPU looks at the counts.
		in[0].refs, in[1].refs, in[2].refs, in[3].refs = 0, 0, 0, 0
		in[4].refs, in[5].refs, in[6].refs, in[7].refs = 0, 0, 0, 0
		*row = [8]arch.PTE{}
		b.maskRow(x)
		used -= 8
	}
	return used
}
