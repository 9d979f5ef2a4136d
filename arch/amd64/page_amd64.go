package amd64

import (
	"unsafe"

	"grim/arch"
)

// PageOps are the fastest ways that a CPU with features f has of clearing and
// copying a page; the zero value where plain Go code is as good. A page cleared by
// REP STOSQ costs 512 steps, by 32-byte stores 140 instructions.
func PageOps(f *Features) arch.PageOps {
	if !f.XSAVE || f.XCR0&xcr0AVX == 0 {
		return arch.PageOps{}
	}
	return arch.PageOps{Clear: clearPage, Copy: copyPage}
}

// Defined in page_amd64.s. Both keep every register of the vector unit as it is,
// whole: what user code has in them may be saved later than here. AVX must be on.

//go:noescape
func clearPage(p unsafe.Pointer)

//go:noescape
func copyPage(dst, src unsafe.Pointer)
