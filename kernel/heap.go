//go:build tamago

package kernel

import (
	"runtime"
	"runtime/debug"
	"time"
)

// When the kernel's heap is collected.
//
// A collection costs as much as a hundred exits (2 to 4 million instructions), and much of
// that slows down the goroutines that allocate at that time. Hot paths of the kernel
// allocate little or nothing. The live objects are small compared with the heap: a few MB,
// mostly the frame allocator's records, which have no pointers. So there are three rules:
//
//   - Idle: when there is nothing to do, and a sixteenth of the heap has been
//     allocated since the last collection, collect. A machine that rests now and
//     then never collects otherwise.
//   - Busy: when half of the heap is full (limitCollections). The memory is the
//     heap's anyway.
//   - Full: at three quarters, whatever that costs (runtime.GrowHeap).
//
// Package charge limits what user programs can make the kernel keep. With that limit the
// heap cannot be full of live objects (limitCharges).

// idlePart is the part of the heap in the rule for idle collections.
const idlePart = 16

// idleQuiet is the time in which no timer may be due for an idle collection to begin:
// several times the duration of a collection. A device's interrupt during it waits until it
// ends.
const idleQuiet = 10 * time.Millisecond

// heapAhead is the part of the heap that is zeroed before it is needed, at start and after
// each idle collection. A machine that is busy from its start on grows into it.
const heapAhead = 8

func heapBytes() uint64 {
	h := runtime.Heap()
	return uint64(h.Limit - h.Base)
}

// limitCollections sets the size that the heap must reach before a collection. It does so
// with the collector's percentage: 100 corresponds to a minimum heap of 4 MB
// (runtime/debug.SetGCPercent, runtime's heapMinimum).
func limitCollections() {
	debug.SetGCPercent(max(100, int(heapBytes()/2*100>>22)))
}

// collectWhenIdle collects garbage, and prepares memory into which the heap can grow, when
// there is nothing else to do.
func collectWhenIdle() {
	for {
		runtime.WaitIdle(heapBytes()/idlePart, int64(idleQuiet))
		runtime.GC()
		runtime.PrepareHeap(uintptr(heapBytes() / heapAhead))
	}
}
