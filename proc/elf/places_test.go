package elf

import (
	"fmt"
	"math/rand"
	"testing"

	"grim/arch"
)

// drawn returns a Draw from a generator.
func drawn(r *rand.Rand) (d Draw) {
	r.Read(d[:])
	return d
}

// Places are made from 1000 draws, and from the two most extreme ones. Every place lies
// within its bounds, none lies in another part's guard gap, and each bit that is said to be
// random takes both values. Broken by: any constant of places.go one bit larger or smaller.
func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		name    string
		im      Image
		pieBits uint
	}{
		{"fixed", image(false, arch.PageSize, Segment{VA: 0x400000, MemSize: 0x12345}), 0},
		{"pie", image(true, arch.PageSize, Segment{MemSize: 0x12345}), 28},
		{"pie-64K", image(true, 64<<10, Segment{VA: 0x10000, MemSize: 0x12345}), 24},
		{"pie-2M", image(true, 2<<20, Segment{VA: 0x200000, MemSize: 30 << 40}), 19},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ones, zeros Places // bits that were 1 at least once, and bits that were 0
			check := func(d Draw) Places {
				p := c.im.random(&d)
				end := c.im.High() + p.Bias
				for what, ok := range map[string]bool{
					"pages":                                (p.Bias|p.Brk|p.MmapBase|p.StackTop|p.SigPage)%arch.PageSize == 0,
					"image aligned":                        uint64(p.Bias)%c.im.Align == 0,
					"image below all else":                 p.Bias == 0 || c.im.Low()+p.Bias >= pieBase && c.im.Low()+p.Bias < pieBase+1<<40+arch.VA(c.im.Align),
					"heap behind the image":                p.Brk >= end && p.Brk < end+1<<30,
					"heap below mmap":                      p.Brk <= mmapMin && p.MmapBase >= mmapMin && p.MmapBase <= mmapMax,
					"128 MB and a gap for the stack":       p.StackTop >= p.MmapBase+128<<20+256*arch.PageSize,
					"stack":                                p.StackTop <= stackTop && p.StackTop > stackTop-16<<30,
					"stack pointer":                        p.SPGap < 8<<10 && p.SPGap%16 == 0,
					"a page between stack and signal page": p.SigPage >= p.StackTop+arch.PageSize,
					"signal page in the table page":        p.SigPage.BlockDown() == (p.StackTop + arch.PageSize).BlockDown(),
					"the last page is free":                p.SigPage <= arch.UserMax-2*arch.PageSize,
				} {
					if !ok {
						t.Fatalf("%s does not hold: %+x, image ends at %#x", what, p, end)
					}
				}
				return p
			}
			var none, all Draw
			for i := range all {
				all[i] = 0xff
			}
			check(none)
			check(all)
			r := rand.New(rand.NewSource(1))
			sig := map[arch.VA]bool{}
			for range 1000 {
				p := check(drawn(r))
				for _, f := range [...]struct{ one, zero, now *arch.VA }{
					{&ones.Bias, &zeros.Bias, &p.Bias}, {&ones.MmapBase, &zeros.MmapBase, &p.MmapBase},
					{&ones.StackTop, &zeros.StackTop, &p.StackTop}, {&ones.SPGap, &zeros.SPGap, &p.SPGap},
				} {
					*f.one |= *f.now
					*f.zero |= ^*f.now
				}
				sig[p.SigPage-p.StackTop] = true
			}
			random := func(one, zero arch.VA) (n uint) {
				for b := one & zero; b != 0; b &= b - 1 {
					n++
				}
				return n
			}
			// If the base is not a round number, a carry can change a bit or two more.
			for what, n := range map[string][2]uint{
				"pie": {random(ones.Bias, zeros.Bias), c.pieBits}, "mmap": {random(ones.MmapBase, zeros.MmapBase), mmapBits},
				"stack": {random(ones.StackTop, zeros.StackTop), stackBits}, "sp": {random(ones.SPGap, zeros.SPGap), spBits},
			} {
				if n[0] < n[1] || n[0] > n[1]+3 {
					t.Errorf("%s: %d bits change, want %d", what, n[0], n[1])
				}
			}
			if len(sig) < 200 {
				t.Errorf("the signal page was at %d distances only", len(sig))
			}
		})
	}
}

// Programs that lie where random places may be get the fixed places.
func TestPlacesFixed(t *testing.T) {
	for _, s := range []Segment{
		{VA: mmapMin - 1<<29, MemSize: 0x1000},
		{VA: mmapMax, MemSize: 0x1000},
		{VA: stackTop - 12<<30, MemSize: 0x1000},
		{VA: 0x10000, MemSize: uint64(mmapMin)},
	} {
		im := image(false, arch.PageSize, s)
		var d Draw
		if p := im.random(&d); p != im.fixed() {
			t.Errorf("%+x: %+x", s, p)
		}
	}
	pie := image(true, arch.PageSize, Segment{MemSize: 1})
	if p, q := fmt.Sprintf("%x", pie.fixed()),
		"{555555554000 555555555000 7fffff6fd000 7fffffffd000 0 7fffffffe000}"; p != q {
		t.Errorf("fixed places: %s, want %s", p, q)
	}
}

// image returns an image with one segment.
func image(pie bool, align uint64, s Segment) Image {
	im := Image{PIE: pie, Align: align}
	im.put(s)
	return im
}
