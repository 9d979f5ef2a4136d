//go:build tamago

package kernel

import (
	"runtime"

	"grim/arch"
	"grim/mm/charge"
)

// How the kernel's heap is shared out, once everything that the kernel needs for
// itself is allocated: half of the free rest may be charged to user programs. An
// eighth of the heap is a reserve: while less than that is free, nothing more is
// charged, whatever the accounts say, because charges know nothing of garbage, of
// fragments, and of goroutine stacks that have grown. The rest is for garbage, for
// what system calls allocate while they run, and for the kernel's own objects.
const (
	chargedPart = 2
	reservePart = 8
)

// framePart is the part of memory that kernel objects may hold as a store for
// their contents, such as the buffers of pipes.
const framePart = 8

// limitCharges sets the limits. Before it, all is charged to the kernel.
func (s *system) limitCharges() {
	runtime.GC()
	s.charges.SetLimits(charge.Config{
		HeapLimit:  int64(runtime.Heap().Free) / chargedPart,
		FrameLimit: int64(s.mem.Total()) / framePart << arch.PageShift,
		Gate:       heapHasRoom,
	})
}

// mostInOne is the size of the largest single object that a charge may be for: a
// descriptor table.
const mostInOne = 2 << 20

// heapHasRoom is charge.Config.Gate. If free pages are short, or too few of them lie
// in a row, it collects garbage, unless there can be next to none.
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
