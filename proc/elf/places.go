package elf

import (
	"encoding/binary"

	"grim/arch"
)

// Where a new program's parts go when nothing is drawn (aslr=off,
// ADDR_NO_RANDOMIZE): always the same, so that a run is the same every time.
const (
	// sigPage is a page that belongs to the system-call layer. Above it the last
	// page of the user half stays free, as on Linux/amd64: memory that ends at
	// UserMax has nothing behind it to run into.
	sigPage = arch.UserMax - 2*arch.PageSize
	// stackTop is where the main stack ends, a guard page below sigPage.
	stackTop = sigPage - arch.PageSize
	// mmapTop is where mmap(2) begins to search downwards: below everything
	// that the stack may grow into, and a gap.
	mmapTop = stackTop - StackSize - 1<<20 // stackGap(StackSize)
	// pieBase is where a static PIE goes: two thirds up, as on Linux, so that
	// the heap after it has room.
	pieBase arch.VA = 0x555555554000
)

// Random bits of each address, counted in pages but for the stack pointer. The
// numbers are the defaults of Linux 6.1 on amd64. Its arm64 has 18 bits for stack
// and mmap base where this kernel has more: the address map is the same on both.
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

// mmapMax is the highest mmap base that is drawn: below the lowest stack top, the
// 128 MB for its growth that Linux keeps free (MIN_GAP), and a stack's guard gap.
// mmapMin is the lowest. What a program's file dictates must end below.
const (
	mmapMax = stackTop - 1<<(stackBits+arch.PageShift) - 128<<20 - 1<<20
	mmapMin = mmapMax - 1<<(mmapBits+arch.PageShift)
)

// stackGap is what stays free below the top of a stack that may grow to limit bytes,
// for mmap(2) not to stand in its way: up to 1 TB, and a guard gap.
func stackGap(limit uint64) arch.VA { return arch.VA(min(max(limit, StackSize), 1<<40)) + 1<<20 }

// Draw is random bytes, as many as the places of one program take.
type Draw [6 * 8]byte

// rnd is a number of that many bits out of the n-th eight bytes.
func (d *Draw) rnd(n int, bits uint) arch.VA {
	return arch.VA(binary.LittleEndian.Uint64(d[8*n:]) & (1<<bits - 1))
}

// Places are where the parts of a program go.
type Places struct {
	Bias     arch.VA // added to every address of the image
	Brk      arch.VA // start of the heap
	MmapBase arch.VA // where mmap(2) begins to search downwards
	StackTop arch.VA
	SPGap    arch.VA // what stays unused below StackTop
	SigPage  arch.VA
}

// fixed are the places where nothing is random.
func (im *Image) fixed() Places {
	bias := im.biasAt(pieBase)
	return Places{Bias: bias, Brk: im.High() + bias, MmapBase: mmapTop, StackTop: stackTop, SigPage: sigPage}
}

// random are places by d. A program that was linked to lie where stacks and mmap
// bases are drawn from, or that is so large that it reaches there, gets the fixed
// ones.
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
	// A guard page above the stack, then the signal page anywhere up to the end of
	// the 2 MB. Safety of the modulus: its bias is below 2^-54.
	low := p.StackTop + arch.PageSize
	high := min((low + arch.BlockSize).BlockDown(), sigPage+arch.PageSize)
	p.SigPage = low + d.rnd(5, 63)%((high-low)>>arch.PageShift)<<arch.PageShift
	return p
}

// biasAt is what is added to every address of the image when a static PIE goes to
// base or above.
func (im *Image) biasAt(base arch.VA) arch.VA {
	if !im.PIE {
		return 0
	}
	a := arch.VA(im.Align - 1)
	return (base+a)&^a - im.Low()&^a
}
