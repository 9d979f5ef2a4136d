package arm64

import (
	"math/bits"
	"testing"

	"grim/arch"
)

// TestFormat checks descriptors against Arm ARM section D8.3.
func TestFormat(t *testing.T) {
	f := Format
	for _, c := range []struct {
		name      string
		got, want arch.PTE
	}{
		{"table", f.Table, 1<<59 | 3},   // PXNTable
		{"page", f.Page, 1<<53 | 0xf43}, // PXN, nG, AF, inner shareable, AP[1], page
		{"block", f.Block, 1<<53 | 0xf41},
		{"read only", f.ReadOnly, 1 << 7},     // AP[2]
		{"not executable", f.NoExec, 1 << 54}, // UXN
	} {
		if c.got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, c.got, c.want)
		}
	}
	for i, s := range append(f.Soft[:], f.DirtyBits) {
		if n := bits.TrailingZeros64(uint64(s)); bits.OnesCount64(uint64(s)) != 1 || n < 55 || n > 59 {
			t.Errorf("software bit %d is %#x, want one of 55 to 59", i, s)
		}
	}
	if f.Block&f.LeafMask != f.LeafBits || f.Table&f.LeafMask == f.LeafBits {
		t.Error("bit 1 does not tell blocks from tables")
	}
	if MAIR>>(8*AttrNormal)&0xff != 0xff || MAIR>>(8*AttrDevice)&0xff != 0 || MAIR>>(8*AttrUncached)&0xff != 0x44 {
		t.Errorf("MAIR %#x", MAIR)
	}
}
