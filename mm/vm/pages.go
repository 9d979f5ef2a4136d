package vm

import (
	"fmt"
	"math/bits"
	"syscall"
	"unsafe"

	"grim/mm/charge"
	"grim/mm/phys"
)

// chunkPages is how many frames one chunk of a page index holds: one Go
// allocation of 1 KB for 1 MB of file. Chunks are freed in any order, and each
// costs some 400 instructions then.
const (
	chunkShift = 8
	chunkPages = 1 << chunkShift
)

// chunkCost is what a chunk is charged, with its part of the map.
const chunkCost = int64(unsafe.Sizeof(chunk{})) + 64

// pageIndex maps an object's page numbers to frames. It holds one reference of
// each frame. The object locks it.
type pageIndex struct {
	owner  *charge.User // [I] pays for the chunks
	chunks map[int64]*chunk
	last   *chunk // the chunk used last: pages come in order
	n      int64  // frames held
}

// yieldChunks is how many chunks are taken apart between two yields: 1024 pages,
// as in a step of pmap.Purge, some 25 000 instructions.
const yieldChunks = 1024 / chunkPages

type chunk struct {
	number int64
	n      int
	frames [chunkPages]phys.Frame
}

// slotOf is where page index is kept: the number of a chunk and the place in it. An
// index below 0 has a number that no chunk has.
func slotOf(index int64) (number int64, in uint) {
	return index >> chunkShift, uint(index) % chunkPages
}

// chunk is the chunk of a number, nil if there is none.
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

// get is the frame of a page, 0 if there is none.
func (x *pageIndex) get(index int64) phys.Frame {
	number, in := slotOf(index)
	if c := x.chunk(number); c != nil {
		return c.frames[in]
	}
	return 0
}

// run stores the frames that there are of the pages first+k for each bit k of want,
// with a reference to each.
func (x *pageIndex) run(m *phys.Memory, first int64, want uint32, frames *[AroundPages]phys.Frame) {
	for ; want != 0; want &= want - 1 {
		k := bits.TrailingZeros32(want) & (AroundPages - 1)
		if f := x.get(first + int64(k)); f != 0 {
			m.Ref(f)
			frames[k] = f
		}
	}
}

// set stores a frame where there is none: nil or ENOMEM.
func (x *pageIndex) set(index int64, f phys.Frame) error {
	if index < 0 {
		panic(fmt.Sprintf("vm: page %d of an object", index))
	}
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
	c.frames[in] = f
	c.n++
	x.n++
	return nil
}

// cut takes out every frame of page first or above and gives up the index's
// reference to it, in time proportional to the chunks held. After each
// yieldChunks it calls yield, if that is not nil.
func (x *pageIndex) cut(first int64, b *phys.Batch, yield func()) {
	done := 0
	for k, c := range x.chunks {
		if done++; done%yieldChunks == 0 && yield != nil {
			yield()
		}
		lo := int64(0)
		if k < first/chunkPages {
			continue
		}
		if k == first/chunkPages {
			lo = first % chunkPages
		}
		cut := c.n
		if lo > 0 {
			cut = 0
			for _, f := range c.frames[lo:] {
				if f != 0 {
					cut++
				}
			}
		}
		b.UnrefAll(c.frames[lo:])
		clear(c.frames[lo:])
		c.n -= cut
		x.n -= int64(cut)
		if c.n == 0 && first > 0 {
			delete(x.chunks, k)
			x.owner.Give(charge.PageIndex, chunkCost)
		}
	}
	if first <= 0 {
		x.owner.Give(charge.PageIndex, int64(len(x.chunks))*chunkCost)
		x.chunks = nil
	}
	x.last = nil
}
