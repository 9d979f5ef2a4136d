package elf

import (
	"encoding/binary"

	"grim/arch"
)

// Where the parts of a new program go when nothing is random (aslr=off, ADDR_NO_RANDOMIZE).
// The places are always the same, so that a run is the same every time.
const (
	// sigPage is a page that belongs to the system-call layer. The last page of the user
	// half, above it, stays free, as on Linux/amd64: nothing may lie directly below
	// UserMax.
	sigPage = arch.UserMax - 2*arch.PageSize
	// stackTop is where the main stack ends; between it and sigPage there is a guard page.
	stackTop = sigPage - arch.PageSize
	// mmapTop is where mmap(2) begins to search downwards. It lies below all addresses that
	// the stack may grow into, and a gap.
	mmapTop = stackTop - StackSize - 1<<20 // stackGap(StackSize)
	// pieBase is where a static PIE goes. It is two thirds up, as on Linux, so that the
	// heap above it has room.
	pieBase arch.VA = 0x555555554000
)

// Random bits of each address. The unit is pages, for the stack pointer 16 bytes. The
// numbers are the defaults of Linux 6.1 on amd64. Linux on arm64 has 18 bits for stack and
// mmap base; this kernel has more, because its address map is the same on both
// architectures.
//
//	part          bits  range    remarks
//	mmap base       28  1 TB     vm.mmap_rnd_bits
//	static PIE      28  1 TB     fewer by log2(align/4 KB): 24 on arm64, where linkers align to 64 KB
//	stack           22  16 GB    STACK_RND_MASK
//	stack pointer    9  8 KB     in steps of 16 bytes, below the top (arch_align_stack)
//	heap (brk)      18  1 GB     behind the program, arch_randomize_brk
//	signal page   0..9  2 MB     besides the stack's bits: above the stack in the table page of its top,
//	                             as Linux places the vDSO, so that it costs no table page of its own
const (
	mmapBits  = 28
	pieBits   = 28
	stackBits = 22
	spBits    = 9
	brkBits   = 18

	spStep = 16
)

// mmapMax is the highest random mmap base. It lies below the lowest stack top by the 128 MB
// that Linux keeps free for the stack's growth (MIN_GAP) and a stack's guard gap. mmapMin
// is the lowest random mmap base. A program's own addresses must end below it.
const (
	mmapMax = stackTop - 1<<(stackBits+arch.PageShift) - 128<<20 - 1<<20
	mmapMin = mmapMax - 1<<(mmapBits+arch.PageShift)
)

// stackGap returns how much stays free below the top of a stack that may grow to limit
// bytes, so that mmap(2) takes nothing in its way. It is at most 1 TB, and a guard gap.
func stackGap(limit uint64) arch.VA { return arch.VA(min(max(limit, StackSize), 1<<40)) + 1<<20 }

// Draw is as many random bytes as the places of one program take.
type Draw [6 * 8]byte

// rnd returns a number with the given number of bits, taken from the n-th eight bytes.
func (d *Draw) rnd(n int, bits uint) arch.VA {
	return arch.VA(binary.LittleEndian.Uint64(d[8*n:]) & (1<<bits - 1))
}

// Places are where the parts of a program go.
type Places struct {
	Bias     arch.VA // added to every address of the image
	Brk      arch.VA // start of the heap
	MmapBase arch.VA // where mmap(2) begins to search downwards
	StackTop arch.VA
	SPGap    arch.VA // unused bytes below StackTop
	SigPage  arch.VA
}

// fixed returns the places without randomness.
func (im *Image) fixed() Places {
	bias := im.biasAt(pieBase)
	return Places{Bias: bias, Brk: im.High() + bias, MmapBase: mmapTop, StackTop: stackTop, SigPage: sigPage}
}

// random returns places chosen by d. A program that was linked for addresses where stacks
// and mmap bases may be, or that is so large that it reaches there, gets the fixed places.
func (im *Image) random(d *Draw) Places {
	p := Places{
		Bias:     im.biasAt(pieBase + d.rnd(0, pieBits)<<arch.PageShift),
		MmapBase: mmapMax - d.rnd(1, mmapBits)<<arch.PageShift,
		StackTop: stackTop - d.rnd(2, stackBits)<<arch.PageShift,
		SPGap:    d.rnd(3, spBits) * spStep,
	}
	end := im.High() + p.Bias
	if end < im.High() || end > mmapMin-1<<(brkBits+arch.PageShift) {
		return im.fixed()
	}
	p.Brk = end + d.rnd(4, brkBits)<<arch.PageShift
	// A guard page above the stack, then the signal page anywhere up to the end of the 2
	// MB. The modulus favours some pages, by less than 2^-54.
	low := p.StackTop + arch.PageSize
	high := min((low + arch.BlockSize).BlockDown(), sigPage+arch.PageSize)
	p.SigPage = low + d.rnd(5, 63)%((high-low)>>arch.PageShift)<<arch.PageShift
	return p
}

// biasAt returns the number that is added to every address of the image if a static PIE
// goes to base or above.
func (im *Image) biasAt(base arch.VA) arch.VA {
	if !im.PIE {
		return 0
	}
	a := arch.VA(im.Align - 1)
	return (base+a)&^a - im.Low()&^a
}
