package fs

import (
	"math/rand/v2"
	"testing"

	"grim/mm/charge"
)

// TestEpollItems does random calls on the items of an instance and on a map: several files
// under one number, and numbers far apart.
// Broken by: remove that takes the first item of the number; free that gives nothing back.
func TestEpollItems(t *testing.T) {
	charges := charge.Unlimited()
	ep := &epoll{payer: charges.User(1000)}
	files := []*File{{}, {}, {}}
	model := map[epollKey]*epollItem{}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		key := epollKey{files[r.IntN(3)], []int{0, 62, 700, 5000}[r.IntN(4)] + r.IntN(4)}
		if got := ep.items.get(key); got != model[key] {
			t.Fatalf("step %d: get gave %p, want %p", i, got, model[key])
		}
		if model[key] == nil {
			model[key] = &epollItem{ep: ep, epollKey: key}
			must(t, ep.items.add(model[key]))
		} else if r.IntN(2) == 0 {
			if got := ep.items.remove(key); got != model[key] {
				t.Fatalf("step %d: remove gave %p, want %p", i, got, model[key])
			}
			delete(model, key)
		}
		n := 0
		for it := range ep.items.all {
			if n++; model[it.epollKey] != it {
				t.Fatalf("step %d: an item that is not in the map", i)
			}
		}
		if n != len(model) {
			t.Fatalf("step %d: %d items, want %d", i, n, len(model))
		}
		next := ep.items.next(key.fd)
		for k := range model {
			if k.fd >= key.fd && (next == nil || k.fd < next.fd) || next != nil && next.fd < key.fd {
				t.Fatalf("step %d: next of %d is %v, there is %d", i, key.fd, next, k.fd)
			}
		}
	}
	ep.items.free(ep.payer)
	if n := charges.Used(charge.Heap); n != 0 {
		t.Errorf("%d bytes are charged after free", n)
	}
}
