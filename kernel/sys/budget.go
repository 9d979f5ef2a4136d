package sys

import (
	"sync"
	"sync/atomic"
)

// The kernel's own heap is small and is not charged to processes. A thread that
// waits inside a call must therefore hold little more of it than a thread costs
// anyway, however many there are; what may be larger comes out of a fixed
// budget, and the call fails with ENOMEM when that is spent.

// transientBytes is the budget of all calls together: two of the largest
// argument lists that execve(2) allows.
const transientBytes = 2 * maxExecStrings

// budget is a number of bytes that can be taken and given back.
type budget struct{ used atomic.Int64 }

// take reserves n bytes; false if there are not as many left.
func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) > transientBytes {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

func (b *budget) give(n int) { b.used.Add(-int64(n)) }

const (
	// chunk is how much of a transfer is in kernel memory at a time: the
	// capacity of a pipe, so that one read empties it.
	chunk = 64 << 10
	// smallChunk serves short transfers, and all when bigBuffers are in use:
	// PIPE_BUF, which must not be divided (pipe(7)).
	smallChunk = 4 << 10
	// bigBuffers bounds the memory held by transfers that wait.
	bigBuffers = 16
)

// buffer is kernel memory of a transfer.
type buffer struct {
	b     []byte
	small *[smallChunk]byte // one of these is set
	big   *[chunk]byte
}

var (
	smallPool = sync.Pool{New: func() any { return new([smallChunk]byte) }}
	bigPool   = sync.Pool{New: func() any { return new([chunk]byte) }}
	bigInUse  atomic.Int32
)

// getBuffer is a buffer for a transfer of n bytes, of chunk or smallChunk.
func getBuffer(n uint64) buffer {
	if n > smallChunk {
		if bigInUse.Add(1) <= bigBuffers {
			p := bigPool.Get().(*[chunk]byte)
			return buffer{b: p[:], big: p}
		}
		bigInUse.Add(-1)
	}
	p := smallPool.Get().(*[smallChunk]byte)
	return buffer{b: p[:], small: p}
}

func (b *buffer) put() {
	if b.big != nil {
		bigPool.Put(b.big)
		bigInUse.Add(-1)
		return
	}
	smallPool.Put(b.small)
}
