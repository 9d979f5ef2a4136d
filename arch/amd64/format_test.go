package amd64

import (
	"math/bits"
	"testing"

	"grim/arch"
)

// The entries are laid out as tables 5-17 to 5-20 of the Intel SDM, volume 3A, say.
func TestFormat(t *testing.T) {
	f := Format
	for _, c := range []struct {
		name      string
		got, want arch.PTE
	}{
		{"table", f.Table, 0x27}, // P, RW, US, A
		{"page", f.Page, 0x25},   // P, US, A
		{"block", f.Block, 0xa5}, // and PS
		{"writable", f.WriteBits, 2},
		{"not executable", f.NoExec, 1 << 63},
		{"dirty", f.DirtyBits, 0x40},
	} {
		if c.got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, c.got, c.want)
		}
	}
	for i, s := range f.Soft {
		// Bits 52..58 are ignored by the CPU in every entry; 9..11 too, but those are
		// too few. 59..62 are the protection key.
		if n := bits.TrailingZeros64(uint64(s)); bits.OnesCount64(uint64(s)) != 1 || n < 52 || n > 58 {
			t.Errorf("software bit %d is %#x", i, s)
		}
	}
	if f.Page&f.LeafMask == f.LeafBits || f.Block&f.LeafMask != f.LeafBits || f.Table&f.LeafMask == f.LeafBits {
		t.Error("PS does not tell blocks from tables")
	}
}
