package arm64

import (
	"unsafe"

	"grim/arch"
)

// PageOps returns this CPU's fastest ways of clearing and copying a page.
func PageOps() arch.PageOps {
	ops := arch.PageOps{Copy: copyPage}
	// DCZID_EL0 (Arm ARM D24.2.36). BS is log2 of the words that DC ZVA clears; it is 4 on
	// all relevant CPUs. DZP forbids DC ZVA.
	if dczid()&(dczidDZP|dczidBS) == 4 {
		ops.Clear = clearPage
	}
	return ops
}

const (
	dczidBS  = 0xf
	dczidDZP = 1 << 4
)

// Both are defined in page_arm64.s. They preserve all SIMD registers: the user's values may
// still be in them.

//go:noescape
func clearPage(p unsafe.Pointer)

//go:noescape
func copyPage(dst, src unsafe.Pointer)

func dczid() uint64
