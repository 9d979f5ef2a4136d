package amd64

import "grim/arch"

// Bits of a 4-level paging entry: Intel SDM volume 3A, section 5.5.4, tables
// 5-15 to 5-20 (AMD64 APM volume 2, section 5.4).
const (
	pteP   arch.PTE = 1 << 0  // present
	pteRW  arch.PTE = 1 << 1  // writes allowed
	pteUS  arch.PTE = 1 << 2  // user-mode accesses allowed
	pteA   arch.PTE = 1 << 5  // accessed
	pteD   arch.PTE = 1 << 6  // dirty
	ptePS  arch.PTE = 1 << 7  // levels 1 and 2: a leaf (at level 0 this bit is PAT)
	pteNX  arch.PTE = 1 << 63 // no instruction fetch (EFER.NXE)
	pteAdr arch.PTE = 0x000f_ffff_ffff_f000
)

// Format is the amd64 page-table format. Its memory type is PAT entry 0, which is
// write-back after reset.
var Format = arch.Format{
	Name:     "amd64",
	Present:  pteP,
	Addr:     pteAdr,
	LeafMask: ptePS,
	LeafBits: ptePS,

	Table: pteP | pteRW | pteUS | pteA,
	Page:  pteP | pteUS | pteA,
	Block: pteP | pteUS | pteA | ptePS,

	WriteMask: pteRW, WriteBits: pteRW,
	ExecMask: pteNX, ExecBits: 0,
	ReadOnly: 0, NoExec: pteNX,

	Accessed:  pteA,
	DirtyMask: pteD,
	DirtyBits: pteD,

	Soft: [4]arch.PTE{1 << 52, 1 << 53, 1 << 54, 1 << 55}, // ignored by the CPU

	HardwareBits: pteA | pteD,
}

// KernelRights returns what a present entry of the kernel half, at any level, allows: the
// access p by kernel code, and whether user code has access. A translation allows what all
// its entries allow (SDM volume 3A, 5.6.1).
func KernelRights(e arch.PTE, _ bool) (p arch.Prot, user bool) {
	p = arch.Read
	if e&pteRW != 0 {
		p |= arch.Write
	}
	if e&pteNX == 0 {
		p |= arch.Exec
	}
	return p, e&pteUS != 0
}
