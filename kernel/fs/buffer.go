package fs

import (
	"sync"
	"sync/atomic"
)

const (
	// turnBytes is how much of a transfer is in kernel memory at a time. It is also how
	// much is done between two calls of Task.Pause: clearing, copying and faulting in four
	// pages takes some 10 000 instructions.
	turnBytes = 16 << 10
	// smallBytes is the buffer size of short transfers, and of all transfers while
	// bigBuffers large buffers are in use.
	smallBytes = 4 << 10
	// bigBuffers is the maximum number of large buffers: it bounds the memory of transfers
	// that wait.
	bigBuffers = 64
)

// Buffer is kernel memory for a transfer. Put returns it to the pool.
type Buffer struct {
	B     []byte
	small *[smallBytes]byte // one of small and big is set
	big   *[turnBytes]byte
}

var (
	smallPool = sync.Pool{New: func() any { return new([smallBytes]byte) }}
	bigPool   = sync.Pool{New: func() any { return new([turnBytes]byte) }}
	bigInUse  atomic.Int32
)

// NewBuffer returns a buffer for a transfer of n bytes. The buffer has turnBytes or
// smallBytes bytes, which may be less than n.
func NewBuffer(n uint64) Buffer {
	if n > smallBytes {
		if bigInUse.Add(1) <= bigBuffers {
			p := bigPool.Get().(*[turnBytes]byte)
			return Buffer{B: p[:], big: p}
		}
		bigInUse.Add(-1)
	}
	p := smallPool.Get().(*[smallBytes]byte)
	return Buffer{B: p[:], small: p}
}

func (b *Buffer) Put() {
	if b.big != nil {
		bigPool.Put(b.big)
		bigInUse.Add(-1)
		return
	}
	smallPool.Put(b.small)
}

// BuffersInUse returns the number of big buffers in use, for leak checks.
func BuffersInUse() int { return int(bigInUse.Load()) }
