package machine

import (
	"math/rand/v2"
	"testing"
)

// TestMemoryModel builds small random memory maps of banks, holes, reservations, an
// initramfs and an image. It compares what may be used with a model that has one entry for
// each unit.
func TestMemoryModel(t *testing.T) {
	const pages, unit = 40, pageSize / 4
	const size = pages * pageSize
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		piece := func() Range {
			// Bounds are on page boundaries, or not.
			base := uint64(r.IntN(size/unit)) * unit
			return Range{base, min(uint64(r.IntN(12*pageSize/unit))*unit, size-base)}
		}
		in := &Info{}
		ram, taken, hidden := make([]bool, size), make([]bool, size), make([]bool, size)
		mark := func(m []bool, p Range) {
			for a := p.Base; a < p.End(); a++ {
				m[a] = true
			}
		}
		for range 1 + r.IntN(4) {
			p := piece()
			in.Memory = append(in.Memory, p)
			mark(ram, p)
		}
		for range r.IntN(5) {
			p := piece()
			in.Reserved = append(in.Reserved, p)
			mark(taken, p)
			if r.IntN(2) == 0 {
				in.noMap = append(in.noMap, p)
				mark(hidden, p)
			}
		}
		if r.IntN(2) == 0 {
			in.Initrd = piece()
			mark(taken, in.Initrd)
		}
		image := piece()
		if err := in.finish(); err != nil {
			continue // no whole page of RAM, or an initramfs in hidden memory: tested below
		}
		checkInfo(t, in)

		whole := func(page int, m []bool, all bool) bool {
			n := 0
			for a := page * pageSize; a < (page+1)*pageSize; a++ {
				if m[a] {
					n++
				}
			}
			return n == pageSize || !all && n > 0
		}
		within := func(rs []Range, page int) bool {
			for _, r := range rs {
				if a := uint64(page) * pageSize; a >= r.Base && a < r.End() {
					return true
				}
			}
			return false
		}
		usable := in.Usable(image)
		imageMap := make([]bool, size)
		mark(imageMap, image)
		fits := image.Size > 0
		for page := range pages {
			// Banks that touch inside a page do not make that page whole: each bank is
			// rounded inward by itself. So the model demands less.
			mapped := whole(page, ram, true) && !whole(page, hidden, false)
			free := mapped && !whole(page, taken, false) && !whole(page, imageMap, false)
			if within(in.Memory, page) && !mapped {
				t.Fatalf("seed %d: page %d is mapped: not RAM, or not to be mapped", seed, page)
			}
			if within(usable, page) && !free {
				t.Fatalf("seed %d: page %d is usable, and not free", seed, page)
			}
			if free && within(in.Memory, page) && !within(usable, page) {
				t.Fatalf("seed %d: page %d is free, and not usable", seed, page)
			}
			if whole(page, imageMap, false) && (!within(in.Memory, page) || whole(page, taken, false)) {
				fits = false
			}
		}
		if err := in.CheckImage(image); err == nil && !fits && image.Size > 0 {
			t.Fatalf("seed %d: image %v accepted in memory %v, reserved %v", seed, image, in.Memory, in.Reserved)
		}
	}
}

func TestCheckImage(t *testing.T) {
	in := &Info{Memory: []Range{{0x1000, 0x9000}, {0x20000, 0x10000}}, Reserved: []Range{{0x4000, 0x1000}}}
	for _, c := range []struct {
		image Range
		ok    bool
	}{
		{Range{0x1000, 0x3000}, true},
		{Range{0x5000, 0x5000}, true},
		{Range{0x3000, 0x1001}, false}, // over the reserved page
		{Range{0x0, 0x2000}, false},    // begins before RAM
		{Range{0x8000, 0x3000}, false}, // ends behind it
		{Range{0x9000, 0x18000}, false},
	} {
		if err := in.CheckImage(c.image); (err == nil) != c.ok {
			t.Errorf("image %v: %v", c.image, err)
		}
	}
}
