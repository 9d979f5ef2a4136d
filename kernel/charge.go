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
// accounts say (charge.Room), because charges do not include garbage, fragments, and grown goroutine
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
		Room:       heapRoom{},
	})
}

// mostInOne is the size of the largest single object that can be charged: a descriptor
// table.
const mostInOne = 2 << 20

// heapRoom is the charge.Room of the kernel's heap.
type heapRoom struct{}

func (heapRoom) Free(n int64) int64 {
	if !runtime.HeapHasRun(uintptr(min(n, mostInOne))) {
		return -1
	}
	return int64(runtime.Heap().Free) - int64(heapBytes())/reservePart
}

func (heapRoom) Allocated() int64 { return int64(runtime.AllocatedBytes()) }

// Worth is a quarter of the reserve.
func (heapRoom) Worth() int64 { return int64(heapBytes()) / reservePart / 4 }

func (heapRoom) Collect() { runtime.GC() }
