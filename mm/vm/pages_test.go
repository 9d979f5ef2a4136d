package vm

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"grim/arch"
	"grim/arch/amd64"
	"grim/mm/charge"
	"grim/mm/phys"
)

// Random frames are put in and taken out, dense and sparse, and compared with a map: what
// is kept, what is charged, and what the quota counts. Broken by: a chunk that forgets its
// few when it gets a table; a cut that loses the few below its start; a charge or a page of
// the quota not given back.
func TestPageIndexModel(t *testing.T) {
	for seed := range uint64(20) {
		m := newMachine(t, &amd64.Format, 2048)
		charges := charge.Unlimited()
		q := new(Quota)
		q.SetLimit(600)
		x := pageIndex{owner: charges.Kernel(), quota: q}
		r := rand.New(rand.NewPCG(seed, 1))
		model := map[int64]phys.Frame{}
		b := phys.Batch{M: m.mem}
		for step := range 900 {
			index := r.Int64N(1500)
			if r.IntN(2) == 0 {
				index = r.Int64N(40) << r.IntN(20)
			}
			switch k := r.IntN(40); {
			case k > 0 && model[index] == 0:
				f, err := m.mem.Alloc(phys.FileCache)
				if err != nil {
					t.Fatal(err)
				}
				if err := x.set(index, f); (err == nil) != (len(model) < 600) {
					t.Fatalf("seed %d, step %d: set of page %d with %d held: %v", seed, step, index, len(model), err)
				} else if err != nil {
					m.mem.Unref(f)
					continue
				}
				model[index] = f
			case k == 0:
				if r.IntN(10) == 0 {
					index = 0
				}
				x.cut(index, &b, func() {})
				b.Flush()
				for i := range model {
					if i >= index {
						delete(model, i)
					}
				}
			}
			if probe := r.Int64N(1500); x.get(probe) != model[probe] {
				t.Fatalf("seed %d, step %d: page %d is %v, want %v", seed, step, probe, x.get(probe), model[probe])
			}
			if x.n != int64(len(model)) || q.Used() != x.n {
				t.Fatalf("seed %d, step %d: %d pages, the quota has %d, want %d", seed, step, x.n, q.Used(), len(model))
			}
		}
		for i, f := range model {
			if x.get(i) != f {
				t.Fatalf("seed %d: page %d is lost", seed, i)
			}
		}
		x.cut(0, &b, nil)
		b.Flush()
		if n := charges.Used(charge.Heap); n != 0 || q.Used() != 0 {
			t.Fatalf("seed %d: %d bytes charged, %d pages counted, of nothing", seed, n, q.Used())
		}
	}
}

// An index of one page in each 2 MB, or in each GB, costs in proportion to what it holds.
func TestSparseIndex(t *testing.T) {
	if n := unsafe.Sizeof(chunk{}); n > 48 {
		t.Errorf("a chunk is %d bytes, want at most 48", n)
	}
	m := newMachine(t, &amd64.Format, 2048)
	charges := charge.Unlimited()
	x := pageIndex{owner: charges.Kernel()}
	const n = 500
	for i := range int64(n) {
		f, err := m.mem.Alloc(phys.FileCache)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.set(i<<(30-arch.PageShift), f); err != nil {
			t.Fatal(err)
		}
	}
	if used := charges.Used(charge.Heap); used > n*arch.PageSize/30 {
		t.Errorf("%d bytes of index for %d pages", used, n)
	}
	b := phys.Batch{M: m.mem}
	x.cut(0, &b, nil)
	b.Flush()
}
