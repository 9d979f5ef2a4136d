package fs

import (
	"sync"
	"sync/atomic"
)

const (
	// turnBytes is how much of a transfer is in kernel memory at a time, and how
	// much is done between two calls of Task.Pause: to clear, copy and fault in
	// four pages takes some 10 000 instructions.
	turnBytes = 16 << 10
	// smallBytes serves short transfers, and all when bigBuffers are in use.
	smallBytes = 4 << 10
	// bigBuffers bounds the memory held by transfers that wait.
	bigBuffers = 64
)

// Buffer is kernel memory of a transfer. Put gives it back.
type Buffer struct {
	B     []byte
	small *[smallBytes]byte // one of these is set
	big   *[turnBytes]byte
}

var (
	smallPool = sync.Pool{New: func() any { return new([smallBytes]byte) }}
	bigPool   = sync.Pool{New: func() any { return new([turnBytes]byte) }}
	bigInUse  atomic.Int32
)

// NewBuffer is a buffer for a transfer of n bytes, of turnBytes or smallBytes.
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

// BuffersInUse is how many big buffers are out, for leak checks.
func BuffersInUse() int { return int(bigInUse.Load()) }
