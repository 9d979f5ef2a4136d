package amd64

import (
	"encoding/binary"

	"grim/arch"
)

// The save area UArea.FPU holds the image of FXSAVE. If the CPU has XSAVE, the 64-byte
// header and the extended state follow, in the standard format (SDM volume 1, 13.4).
const (
	legacyFPU  = 512
	fpuHeader  = 64
	fpuMask    = 28     // MXCSR_MASK, the word after MXCSR
	maskUnsaid = 0xffbf // what a MXCSR_MASK of 0 stands for, SDM volume 1, 11.6.6
)

// FPU says how this CPU saves the FPU state of a thread that is not in user mode.
type FPU struct {
	Features uint64 // XCR0; 0: the CPU has FXSAVE only
	Size     int    // bytes of UArea.FPU that the CPU fills; only these are copied out of the kernel
}

// FPU returns how a CPU with these features saves FPU state.
func (f *Features) FPU() FPU { return FPU{f.XCR0, f.FPUBytes} }

// Reset makes u's FPU state the initial one. MXCSR_MASK stays, as it is a constant of the
// CPU. An all-zero header means "initial state" for every component. The two control words
// are set because they are loaded whatever the header says.
func (f FPU) Reset(u *arch.UArea) {
	mask := [4]byte(u.FPU[fpuMask:])
	clear(u.FPU[:f.Size])
	le := binary.LittleEndian
	le.PutUint16(u.FPU[:], resetFCW)
	le.PutUint32(u.FPU[fpuMXCSR:], resetMXCSR)
	copy(u.FPU[fpuMask:], mask[:])
}

// Load gives u the FPU state of an image that user code supplied: f.Size bytes, or
// legacyFPU bytes for x87 and SSE alone. components are those to be taken from it; the
// others get their initial state. Load returns false, and changes nothing, if XRSTOR or
// FXRSTOR would refuse the image, which they do by a fault in kernel mode. They refuse
// reserved bits of MXCSR, components that are not enabled, and the compact format (SDM
// volume 1, 10.5.1.2 and 13.8.1).
func (f FPU) Load(u *arch.UArea, image []byte, components uint64) bool {
	if len(image) != legacyFPU && len(image) != f.Size {
		return false
	}
	le := binary.LittleEndian
	mask := le.Uint32(u.FPU[fpuMask:])
	known := mask
	if known == 0 {
		known = maskUnsaid
	}
	mxcsr := le.Uint32(image[fpuMXCSR:])
	present := uint64(xcr0Base)
	if len(image) > legacyFPU {
		header := image[xstateBV : xstateBV+fpuHeader]
		present = le.Uint64(header)
		if present&^f.Features != 0 || le.Uint64(header[8:]) != 0 || le.Uint64(header[16:]) != 0 {
			return false
		}
		present &= components
		if components&(xcr0SSE|xcr0AVX) == 0 {
			mxcsr = resetMXCSR // MXCSR belongs to SSE and AVX
		}
	}
	if mxcsr&^known != 0 {
		return false
	}
	clear(u.FPU[copy(u.FPU[:f.Size], image):f.Size])
	if f.Features != 0 {
		clear(u.FPU[xstateBV : xstateBV+fpuHeader])
		le.PutUint64(u.FPU[xstateBV:], present)
	}
	le.PutUint32(u.FPU[fpuMXCSR:], mxcsr)
	le.PutUint32(u.FPU[fpuMask:], mask)
	return true
}

// exceptions returns the unmasked floating-point exceptions of u's x87 unit, or of SSE, as
// bits of MXCSR: invalid, denormal, divide by zero, overflow, underflow, precision (SDM
// volume 1, 8.1.3 and 10.2.3). x87's status and control words have them at the same places.
func exceptions(u *arch.UArea, sse bool) uint32 {
	le := binary.LittleEndian
	raised, masked := le.Uint32(u.FPU[fpuMXCSR:]), le.Uint32(u.FPU[fpuMXCSR:])>>7
	if !sse {
		raised, masked = uint32(le.Uint16(u.FPU[2:])), uint32(le.Uint16(u.FPU[0:]))
	}
	return raised &^ masked & 0x3f
}
