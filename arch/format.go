package arch

// PTE is a page-table entry of either architecture.
type PTE uint64

// Format describes an architecture's page-table entries as data. So the code that walks
// tables is written once, inlines, and runs on the host over plain memory for both
// architectures. The values are in arch/amd64/format.go and arch/arm64/format.go.
//
// An entry of level 0 is always a leaf. An entry above is a leaf if e&LeafMask == LeafBits.
type Format struct {
	Name     string
	Present  PTE // set in every valid entry
	Addr     PTE // mask of the output address
	LeafMask PTE // at levels 1 and 2: the bits that tell a leaf from a table
	LeafBits PTE

	Table PTE // bits of an entry that points to a lower table (user half)

	// A leaf entry is built from Page or Block, permission bits, software bits and address.
	Page  PTE // level 0: valid, accessed, normal memory, user, not global
	Block PTE // level 1: the same for a 2 MB leaf

	// Permission bits of a leaf, as mask and value: a leaf is writable if e&WriteMask ==
	// WriteBits. A mapping that allows no access is not Present.
	WriteMask, WriteBits PTE
	ExecMask, ExecBits   PTE
	ReadOnly, NoExec     PTE // the bits to set for "not writable", "not executable"

	// Accessed and dirty state, which hardware may change at any time.
	Accessed  PTE
	DirtyMask PTE // e&DirtyMask == DirtyBits: written through since it was last cleaned
	DirtyBits PTE

	// Software bits, free for pmap and vm; ignored by the CPU in leaves.
	Soft [4]PTE

	// HardwareBits are the bits that the CPU may set by itself (accessed, dirty).
	HardwareBits PTE
}
