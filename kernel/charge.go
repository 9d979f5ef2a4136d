//go:build tamago

package kernel

import (
	"runtime"

	"grim/arch"
	"grim/mm/charge"
)

// How the kernel's heap is shared, after everything that the kernel itself needs is
// allocated. Half of the free rest may be charged to user programs. An eighth of the heap
// is a reserve: while less than that is free, nothing more is charged, whatever the
// accounts say, because charges do not include garbage, fragments, and grown goroutine
// stacks. The rest is for garbage, for allocations of system calls while they run, and for
// the kernel's own objects.
const (
	chargedPart = 2
	reservePart = 8
)

// framePart is the part of memory that kernel objects may use for their contents, such as
// the buffers of pipes.
const framePart = 8

// limitCharges sets the limits. Before it, everything is charged to the kernel.
func (s *system) limitCharges() {
	runtime.GC()
	s.charges.SetLimits(charge.Config{
		HeapLimit:  int64(runtime.Heap().Free) / chargedPart,
		FrameLimit: int64(s.mem.Total()) / framePart << arch.PageShift,
		Gate:       heapHasRoom,
	})
}

// mostInOne is the size of the largest single object that can be charged: a descriptor
// table.
const mostInOne = 2 << 20

// heapHasRoom is charge.Config.Gate. If there are not enough free pages, or not enough in a
// row, it collects garbage, unless there can be nearly none.
func heapHasRoom(n int64) bool {
	if heapFits(n) {
		return true
	}
	if runtime.AllocatedBytes() < heapBytes()/reservePart/4 {
		return false
	}
	runtime.GC()
	return heapFits(n)
}

func heapFits(n int64) bool {
	h := runtime.Heap()
	return uint64(h.Free) >= uint64(h.Limit-h.Base)/reservePart && runtime.HeapHasRun(uintptr(min(n, mostInOne)))
}
