package arch

import (
	"sync/atomic"
	"unsafe"
)

// Publish stores a page-table entry that other CPUs may walk from now on. A CPU
// that follows the entry also sees the earlier stores to the page or table that it leads
// to: a store-release orders them for all observers, and the table walks of other CPUs are
// observers (Arm ARM B2.3, "Barrier-ordered-before"). Without that order a CPU
// could read what the frame held in another process's time, or take old memory for a
// table. The follower needs no barrier: the walk's reads depend on each other, and the
// access on the walk.
//
// A CPU that does not see the entry yet takes one more fault, finds the entry in place and
// goes on.
func (p *PTE) Publish(e PTE) {
	// Safety: a PTE is 64 bits, and aligned.
	atomic.StoreUint64((*uint64)(unsafe.Pointer(p)), uint64(e))
}
