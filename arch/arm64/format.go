package arm64

import "grim/arch"

// Bits of a VMSAv8-64 stage 1 descriptor, 4 KB granule: Arm ARM (DDI 0487),
// section D8.3, "Translation table descriptor formats".
const (
	pteValid arch.PTE = 1 << 0
	pteTable arch.PTE = 1 << 1 // at levels 1 and 2: a table, not a block; must be set at level 0
	pteUser  arch.PTE = 1 << 6 // AP[1]: EL0 may access
	pteRO    arch.PTE = 1 << 7 // AP[2]: no writes
	pteInner arch.PTE = 3 << 8 // SH: inner shareable
	pteAF    arch.PTE = 1 << 10
	pteNG    arch.PTE = 1 << 11 // not global: tagged with the ASID
	ptePXN   arch.PTE = 1 << 53 // no fetch at EL1
	pteUXN   arch.PTE = 1 << 54 // no fetch at EL0
	pteAdr   arch.PTE = 0x0000_ffff_ffff_f000

	// PXNTable: nothing below a user table is ever executable at EL1, whatever a leaf says.
	// This is a second line of defence, as leaves have PXN too.
	ptePXNTable arch.PTE = 1 << 59

	// APTable: the other rights that a table entry removes for everything below it.
	pteNoUserTable arch.PTE = 1 << 61
	pteROTable     arch.PTE = 1 << 62

	// Bits 55..58 are free for software. 55 is the dirty bit: TCR_EL1.HD stays off, and
	// pmap sets the bit when it maps a page writable.
	pteSoftDirty arch.PTE = 1 << 55
)

// MAIR is what MAIR_EL1 must hold for the AttrIndx values that entries use:
// index 0 is normal memory, write-back, read- and write-allocate; index 1 is
// Device-nGnRnE; index 2 is normal memory, non-cacheable (Arm ARM, section D24.2,
// MAIR_EL1).
const (
	AttrNormal   = 0
	AttrDevice   = 1
	AttrUncached = 2
	MAIR         = 0xff<<(8*AttrNormal) | 0x00<<(8*AttrDevice) | 0x44<<(8*AttrUncached)
)

// Format is the arm64 page-table format.
var Format = arch.Format{
	Name:     "arm64",
	Present:  pteValid,
	Addr:     pteAdr,
	LeafMask: pteTable,
	LeafBits: 0,

	Table: pteValid | pteTable | ptePXNTable,
	Page:  pteValid | pteTable | AttrNormal<<2 | pteUser | pteInner | pteAF | pteNG | ptePXN,
	Block: pteValid | AttrNormal<<2 | pteUser | pteInner | pteAF | pteNG | ptePXN,

	WriteMask: pteRO, WriteBits: 0,
	ExecMask: pteUXN, ExecBits: 0,
	ReadOnly: pteRO, NoExec: pteUXN,

	Accessed:  pteAF,
	DirtyMask: pteSoftDirty,
	DirtyBits: pteSoftDirty,

	// 59 is ignored while TCR_EL1.HWU059 is 0 (Arm ARM, D8.3.1: page-based hardware
	// attributes).
	Soft: [4]arch.PTE{1 << 56, 1 << 57, 1 << 58, 1 << 59},

	// With TCR_EL1.HA = HD = 0 the CPU changes nothing. AF is listed so that the comparison
	// of kernel halves does not fail on a CPU with HA on.
	HardwareBits: pteAF,
}

// KernelRights returns the rights that a valid entry of the kernel half, a leaf or a table,
// leaves to kernel code for the memory below it, and whether it leaves user code any right.
// A translation has the rights that all its entries leave (Arm ARM, D8.4.2).
func KernelRights(e arch.PTE, leaf bool) (p arch.Prot, user bool) {
	readOnly, noExec, noUser := pteROTable, ptePXNTable, pteNoUserTable
	user = e&noUser == 0
	if leaf {
		readOnly, noExec = pteRO, ptePXN
		user = e&pteUser != 0
	}
	p = arch.Read
	if e&readOnly == 0 {
		p |= arch.Write
	}
	if e&noExec == 0 {
		p |= arch.Exec
	}
	return p, user
}
