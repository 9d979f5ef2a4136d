package vm

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"syscall"
	"unsafe"

	"grim/arch"
	"grim/mm/charge"
	"grim/mm/phys"
)

// chunkPages is how many frames one chunk of a page index can hold: 1 MB of a file. A chunk
// with few frames keeps them in itself and has 48 bytes; otherwise it has a table of 1 KB.
// So an index takes at most a fiftieth of the memory of its frames, wherever in the object
// they are. Chunks are freed in any order; freeing a full one costs some 400 instructions.
const (
	chunkShift = 8
	chunkPages = 1 << chunkShift
	fewPages   = 4
)

// chunkCost is what a chunk is charged, with its part of the Go map. tableCost is what its
// table is charged.
const (
	chunkCost = int64(unsafe.Sizeof(chunk{})) + 64
	tableCost = int64(unsafe.Sizeof([chunkPages]phys.Frame{}))
)

// Quota limits how many pages, or other things, a set of objects may hold: it is the size
// of a file system.
type Quota struct {
	limit, used atomic.Int64
}

// SetLimit sets the limit. Objects that hold more keep what they have.
func (q *Quota) SetLimit(pages int64) { q.limit.Store(pages) }

// Limit returns the limit, Used how many are counted.
func (q *Quota) Limit() int64 { return q.limit.Load() }
func (q *Quota) Used() int64  { return q.used.Load() }

// Count counts one more without a check, so that the limit may be exceeded. Uncount undoes
// it.
func (q *Quota) Count()   { q.used.Add(1) }
func (q *Quota) Uncount() { q.used.Add(-1) }

// Over reports whether more is counted than the limit allows.
func (q *Quota) Over() bool { return q.used.Load() > q.limit.Load() }

// take counts a page and returns true, or returns false if the limit is reached.
func (q *Quota) take() bool {
	if q.used.Add(1) > q.limit.Load() {
		q.used.Add(-1)
		return false
	}
	return true
}

func (q *Quota) give(pages int64) { q.used.Add(-pages) }

// pageIndex maps an object's page numbers to frames. It holds one reference to each frame.
// The object's lock protects it.
type pageIndex struct {
	owner  *charge.User // [I] pays for the chunks
	quota  *Quota       // [I] counts the frames; nil: none
	chunks map[int64]*chunk
	last   *chunk // the chunk used last, which is often the next one needed
	n      int64  // frames held
}

// yieldPages is how many frames are given up between two yields, yieldChunks how many
// chunks are visited: some 15 000 instructions.
const (
	yieldPages  = 256
	yieldChunks = 128
)

// chunk holds the frames of chunkPages pages.
type chunk struct {
	number int64
	n      int32
	at     [fewPages]uint8         // without a table: indexes of few[:n] in the chunk
	few    [fewPages]phys.Frame    // without a table: the frames
	table  *[chunkPages]phys.Frame // nil if there are at most fewPages frames
}

// get returns the frame at an index in the chunk, 0 if there is none.
func (c *chunk) get(in uint) phys.Frame {
	if c.table != nil {
		return c.table[in]
	}
	for i := range c.n {
		if uint(c.at[i]) == in {
			return c.few[i]
		}
	}
	return 0
}

// slotOf returns where page index is kept: the number of a chunk and the index in it. For
// an index below 0 the number is one that no chunk has.
func slotOf(index int64) (number int64, in uint) {
	return index >> chunkShift, uint(index) % chunkPages
}

// chunk returns the chunk with a number, nil if there is none.
func (x *pageIndex) chunk(number int64) *chunk {
	if c := x.last; c != nil && c.number == number {
		return c
	}
	c := x.chunks[number]
	if c != nil {
		x.last = c
	}
	return c
}

// get returns the frame of a page, 0 if there is none.
func (x *pageIndex) get(index int64) phys.Frame {
	number, in := slotOf(index)
	if c := x.chunk(number); c != nil {
		return c.get(in)
	}
	return 0
}

// run stores in frames[k] the frame of page first+k, with a reference, for each bit k of
// want whose page has a frame.
func (x *pageIndex) run(m *phys.Memory, first int64, want uint32, frames *[AroundPages]phys.Frame) {
	for ; want != 0; want &= want - 1 {
		k := bits.TrailingZeros32(want) & (AroundPages - 1)
		if f := x.get(first + int64(k)); f != 0 {
			m.Ref(f)
			frames[k] = f
		}
	}
}

// set stores a frame for a page that has none. ENOMEM; ENOSPC if the quota is used up.
func (x *pageIndex) set(index int64, f phys.Frame) error {
	if index < 0 {
		panic(fmt.Sprintf("vm: page %d of an object", index))
	}
	if x.quota != nil {
		if !x.owner.Take(charge.FilePages, arch.PageSize) {
			return syscall.ENOSPC
		}
		if !x.quota.take() {
			x.owner.Give(charge.FilePages, arch.PageSize)
			return syscall.ENOSPC
		}
	}
	if err := x.put(index, f); err != nil {
		x.unquota(1)
		return err
	}
	x.n++
	return nil
}

// unquota gives back pages to the quota and to the owner's account.
func (x *pageIndex) unquota(pages int64) {
	if x.quota != nil && pages != 0 {
		x.quota.give(pages)
		x.owner.Give(charge.FilePages, pages<<arch.PageShift)
	}
}

// put is set without the counts.
func (x *pageIndex) put(index int64, f phys.Frame) error {
	number, in := slotOf(index)
	c := x.chunk(number)
	if c == nil {
		if !x.owner.Take(charge.PageIndex, chunkCost) {
			return syscall.ENOMEM
		}
		if x.chunks == nil {
			x.chunks = make(map[int64]*chunk)
		}
		c = &chunk{number: number}
		x.chunks[c.number] = c
		x.last = c
	}
	switch {
	case c.table != nil:
		c.table[in] = f
	case c.n < fewPages:
		c.at[c.n], c.few[c.n] = uint8(in), f
	default:
		if !x.owner.Take(charge.PageIndex, tableCost) {
			return syscall.ENOMEM
		}
		c.table = new([chunkPages]phys.Frame)
		for i, at := range c.at {
			c.table[at] = c.few[i]
		}
		c.table[in] = f
	}
	c.n++
	return nil
}

// cut removes every frame of page first or above, and gives up the index's reference to it.
// Its time is proportional to the number of chunks. yield may be nil. Otherwise it is
// called now and then, and may let others look pages up and add pages below first.
func (x *pageIndex) cut(first int64, b *phys.Batch, yield func()) {
	chunks, pages, cost := 0, int32(0), int64(0)
	for k, c := range x.chunks {
		if chunks++; yield != nil && (chunks >= yieldChunks || pages >= yieldPages) {
			b.Flush()
			yield()
			chunks, pages = 0, 0
		}
		if k < first/chunkPages {
			continue
		}
		lo := int64(0)
		if k == first/chunkPages {
			lo = first % chunkPages
		}
		n := c.cut(uint(lo), b)
		pages += n
		x.n -= int64(n)
		x.unquota(int64(n))
		if c.n == 0 {
			cost += chunkCost
			if c.table != nil {
				cost += tableCost
			}
			if first > 0 { // otherwise all are dropped together
				delete(x.chunks, k)
			}
		}
	}
	if first <= 0 {
		x.chunks = nil
	}
	x.last = nil
	x.owner.Give(charge.PageIndex, cost)
}

// cut removes the frames from index lo on, and returns how many there were.
func (c *chunk) cut(lo uint, b *phys.Batch) (n int32) {
	if c.table == nil {
		kept := int32(0)
		for i := range c.n {
			if uint(c.at[i]) < lo {
				c.at[kept], c.few[kept] = c.at[i], c.few[i]
				kept++
			} else {
				b.UnrefAll(c.few[i : i+1])
			}
		}
		n, c.n = c.n-kept, kept
		return n
	}
	n = c.n
	if lo > 0 {
		n = 0
		for _, f := range c.table[lo:] {
			if f != 0 {
				n++
			}
		}
	}
	b.UnrefAll(c.table[lo:])
	clear(c.table[lo:])
	c.n -= n
	return n
}
