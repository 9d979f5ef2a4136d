package amd64

import (
	"unsafe"

	"grim/arch"
)

// PageOps returns the fastest ways that a CPU with features f has of clearing and copying a
// page. It returns the zero value if plain Go code is as good. To clear a page by REP STOSQ
// takes 512 steps, by 32-byte stores 140 instructions.
func PageOps(f *Features) arch.PageOps {
	if !f.XSAVE || f.XCR0&xcr0AVX == 0 {
		return arch.PageOps{}
	}
	return arch.PageOps{Clear: clearPage, Copy: copyPage}
}

// Defined in page_amd64.s. Both preserve every vector register in full, because user code's
// values may still be in the registers and be saved later. AVX must be on.

//go:noescape
func clearPage(p unsafe.Pointer)

//go:noescape
func copyPage(dst, src unsafe.Pointer)
