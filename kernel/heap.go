//go:build tamago

package kernel

import (
	"runtime"
	"runtime/debug"
	"time"
)

// When the kernel's heap is collected.
//
// A collection costs as much as a hundred exits (2 to 4 million instructions), and
// a good part of it hits whoever allocates just then. What is hot in the kernel
// allocates little or nothing, and what is alive is small beside the heap: a few MB,
// of which the frame allocator's records, without pointers, are most. So there are
// three rules:
//
//   - Idle: when there is nothing to do, and a sixteenth of the heap has been
//     allocated since the last collection, collect. A machine that rests now and
//     then never collects otherwise.
//   - Busy: when half of the heap is full (limitCollections). The memory is the
//     heap's anyway.
//   - Full: at three quarters, whatever that costs (runtime.GrowHeap).
//
// What user programs make the kernel keep is limited by package charge, and that
// limit is such that the heap cannot be full of live objects (limitCharges).

// idlePart: see above.
const idlePart = 16

// idleQuiet is how long no timer may be due for an idle collection to begin: several
// times what one takes. An interrupt of a device that comes meanwhile waits for its
// end.
const idleQuiet = 10 * time.Millisecond

// heapAhead is the part of the heap that is zeroed before it is needed, at start
// and after each idle collection: a machine that is busy from its start on grows
// into it.
const heapAhead = 8

func heapBytes() uint64 {
	h := runtime.Heap()
	return uint64(h.Limit - h.Base)
}

// limitCollections sets the size that the heap must reach before a collection, by
// the collector's percentage: 100 stands for a least heap of 4 MB
// (runtime/debug.SetGCPercent, runtime's heapMinimum).
func limitCollections() {
	debug.SetGCPercent(max(100, int(heapBytes()/2*100>>22)))
}

// collectWhenIdle collects garbage, and prepares memory for the heap to grow into,
// while there is nothing else to do.
func collectWhenIdle() {
	for {
		runtime.WaitIdle(heapBytes()/idlePart, int64(idleQuiet))
		runtime.GC()
		runtime.PrepareHeap(uintptr(heapBytes() / heapAhead))
	}
}
