package arm64

import (
	"unsafe"

	"grim/arch"
)

// PageOps are the fastest ways that this CPU has of clearing and copying a page.
func PageOps() arch.PageOps {
	ops := arch.PageOps{Copy: copyPage}
	// DCZID_EL0 (Arm ARM D24.2.36): BS, log2 of the words that DC ZVA clears, is
	// 4 on all CPUs that matter; DZP forbids it.
	if dczid()&(dczidDZP|dczidBS) == 4 {
		ops.Clear = clearPage
	}
	return ops
}

const (
	dczidBS  = 0xf
	dczidDZP = 1 << 4
)

// Defined in page_arm64.s. Both keep every SIMD register as it is: what user code
// has in them may be saved later than here.

//go:noescape
func clearPage(p unsafe.Pointer)

//go:noescape
func copyPage(dst, src unsafe.Pointer)

func dczid() uint64
