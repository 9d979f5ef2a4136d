package arch

// PTE is a page-table entry of either architecture.
type PTE uint64

// Format describes an architecture's page-table entries as data, so that the
// code that walks tables is written once, inlines, and runs on the host over
// plain memory for both architectures. The values are in arch/amd64/format.go
// and arch/arm64/format.go.
//
// An entry is a leaf at level 0 always, above it when e&LeafMask == LeafBits.
type Format struct {
	Name     string
	Present  PTE // set in every valid entry
	Addr     PTE // mask of the output address
	LeafMask PTE // at levels 1 and 2: which bits tell a leaf from a table
	LeafBits PTE

	Table PTE // bits of an entry that points to a lower table (user half)

	// Leaf entries are built from these: page or block bits, then the rest.
	Page  PTE // level 0: valid, accessed, normal memory, user, not global
	Block PTE // level 1: the same for a 2 MB leaf

	// Permission bits of a leaf as mask and values: e&WriteMask == WriteBits
	// means writable. A mapping that allows nothing is not Present.
	WriteMask, WriteBits PTE
	ExecMask, ExecBits   PTE
	ReadOnly, NoExec     PTE // the bits to set for "not writable", "not executable"

	// Accessed and dirty state that hardware may change under a reader.
	Accessed  PTE
	DirtyMask PTE // e&DirtyMask == DirtyBits: written through since last cleaned
	DirtyBits PTE

	// Software bits, free for pmap and vm; ignored by the CPU in leaves.
	Soft [4]PTE

	// HardwareBits are those that the CPU may set by itself (accessed, dirty).
	HardwareBits PTE
}
