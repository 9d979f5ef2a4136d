package kernel

import (
	"math/rand/v2"
	"testing"

	"grim/boot/machine"
)

// Frames that bootMemory gave out are aligned, below the limit, inside free memory and in
// no other allocation. The test compares with a model that keeps a byte for each page.
func TestBootMemory(t *testing.T) {
	const page, pages = 4096, 1024
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var b bootMemory
		var free [pages]bool
		for at := rnd.IntN(20); at < pages; {
			n := min(1+rnd.IntN(100), pages-at)
			b.free = append(b.free, machine.Range{Base: uint64(at * page), Size: uint64(n * page)})
			for i := at; i < at+n; i++ {
				free[i] = true
			}
			at += n + 1 + rnd.IntN(50)
		}
		for range 60 {
			n, align := 1+rnd.IntN(20), 1<<rnd.IntN(5)
			limit := rnd.IntN(pages + 1)
			pa, err := b.take(uint64(n*page), uint64(align*page), uint64(limit*page))
			if err != nil {
				for at := 0; at+n <= limit; at += align {
					fits := true
					for i := at; i < at+n; i++ {
						fits = fits && free[i]
					}
					if fits {
						t.Fatalf("take(%d, %d, %d): %v, but page %d would do", n, align, limit, err, at)
					}
				}
				continue
			}
			at := int(pa) / page
			if int(pa)%(align*page) != 0 || at+n > limit {
				t.Fatalf("take(%d, %d, %d) = %#x", n, align, limit, pa)
			}
			for i := at; i < at+n; i++ {
				if !free[i] {
					t.Fatalf("page %d was handed out twice or never free", i)
				}
				free[i] = false
			}
		}
		left := 0
		for _, f := range free {
			if f {
				left++
			}
		}
		if got := b.bytes(); got != uint64(left*page) {
			t.Fatalf("%d bytes left, want %d", got, left*page)
		}
	}
}
