package arch

import (
	"sync/atomic"
	"unsafe"
)

// Publish stores a page-table entry that other CPUs may walk from now on. A CPU that
// follows the entry also sees the earlier stores to the page or table that it points to.
// The store-release orders these stores before the entry for all observers, and the table
// walks of other CPUs are observers (Arm ARM B2.3, "Barrier-ordered-before"). Without that
// order another CPU could read what the frame held for another process, or take old memory
// for a table. The other CPU needs no barrier: the reads of its walk depend on each other,
// and its access depends on the walk.
//
// A CPU that does not see the entry yet takes another fault, finds the entry in place and
// goes on.
func (p *PTE) Publish(e PTE) {
	// Safety: a PTE is 64 bits, and aligned.
	atomic.StoreUint64((*uint64)(unsafe.Pointer(p)), uint64(e))
}
