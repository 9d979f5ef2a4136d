package pmap_test

import (
	"testing"

	"grim/arch"
)

// The barrier runs once between code of two domains, whatever runs in between, and never
// without need. It failed while a pmap that changed its domain as it ran, or that was
// purged, left the CPU's domain as it was.
func TestBarrierBetweenDomains(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		n := 0
		b.sys.SetBarrier(func() { n++ })
		a, b1, b2 := b.pmap(arch.SharedUK), b.pmap(arch.SharedUK), b.pmap(arch.Separate)
		b1.SetDomain(1000)
		b2.SetDomain(1000)
		want := func(what string, more int) {
			t.Helper()
			if n != more {
				t.Errorf("%s: %d barriers, want %d", what, n, more)
			}
			n = 0
		}
		a.Activate()
		a.Activate()
		b.sys.Deactivate()
		a.Activate()
		want("the first user alone", 0)
		b1.Activate()
		want("another user", 1)
		b2.Activate()
		b1.Activate()
		b.sys.LimitIdentifiers(-1) // a new generation
		b2.Activate()
		want("the same user", 0)
		b.sys.Deactivate()
		a.Activate()
		want("back, with the kernel between", 1)
		a.SetDomain(1000)
		a.Activate()
		want("setuid(2)", 0)
		b1.Activate()
		want("another pmap of the new user, after code of the old one", 1)
		b1.SetDomain(0)
		b1.Purge(nil, nil)
		b2.SetDomain(1000)
		b2.Activate()
		want("after a purge of what had changed", 1)
		b1.Destroy()
	})
}
