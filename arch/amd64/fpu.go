package amd64

import (
	"encoding/binary"

	"grim/arch"
)

// legacyFPU is the size of the FXSAVE image at the front of a save area; the
// XSAVE header of 64 bytes follows it (SDM volume 1, 13.4).
const (
	legacyFPU  = 512
	fpuHeader  = 64
	fpuMask    = 28 // MXCSR_MASK in the image
	maskUnsaid = 0xffbf
)

// setFPU gives u the FPU state of an image that user code supplied, in the form
// the kernel saves: FXSAVE, or XSAVE's standard format. It repairs whatever
// XRSTOR and FXRSTOR would fault on, in kernel mode: reserved bits of MXCSR, of
// the header, components that are not enabled (SDM volume 1, 13.8). It returns
// false, and changes nothing, if the image is too short to be one.
func setFPU(u *arch.UArea, image []byte, xcr0 uint64) bool {
	if len(image) < legacyFPU {
		return false
	}
	le := binary.LittleEndian
	mask := le.Uint32(u.FPU[fpuMask:])
	if mask == 0 {
		mask = maskUnsaid // SDM volume 1, 11.6.6
	}
	components := uint64(xcr0Base)
	if len(image) >= legacyFPU+fpuHeader {
		components = le.Uint64(image[xstateBV:])
	}
	n := copy(u.FPU[:], image)
	clear(u.FPU[n:])
	clear(u.FPU[xstateBV : xstateBV+fpuHeader])
	le.PutUint64(u.FPU[xstateBV:], components&xcr0)
	le.PutUint32(u.FPU[fpuMXCSR:], le.Uint32(u.FPU[fpuMXCSR:])&mask)
	return true
}
