package pmap_test

import (
	"syscall"
	"testing"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// A fault that also maps the neighbouring pages sees which are absent, and enters those for
// which it has frames, in an existing table or in a new one. Seen to fail: AbsentMaskLocked
// from entry 0; FillFramesLocked without the groups; FillFramesLocked without giving
// references back.
func TestFillFrames(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		p := b.pmap(0)
		const n = 16
		for _, va := range []arch.VA{blk, 3*blk + 496*pg, 1 << 40} {
			p.Lock()
			at, absent := p.AbsentLocked(va + 2*pg)
			if mask := p.AbsentMaskLocked(at, va, n); !absent || mask != 1<<n-1 {
				t.Fatalf("%#x: absent %v, mask %#x", va, absent, mask)
			}
			var frames [n]phys.Frame
			for k := range frames {
				if k%5 != 3 {
					frames[k] = b.frame()
				}
			}
			free := b.mem.FreeFrames()
			b.mem.FailAfter(0)
			kept := frames
			for k := range kept { // FillFramesLocked gives references back when it fails
				if kept[k] != 0 {
					b.mem.Ref(kept[k])
				}
			}
			if err := p.FillFramesLocked(at, va, frames[:], r, pmap.COW); err != syscall.ENOMEM {
				t.Fatal(err)
			}
			b.mem.FailAfter(-1)
			for _, f := range frames {
				if f != 0 && b.mem.Refs(f) != 1 {
					t.Fatalf("%d references after ENOMEM", b.mem.Refs(f))
				}
			}
			if got := b.mem.FreeFrames(); got != free {
				t.Fatalf("%d frames free after ENOMEM, want %d", got, free)
			}
			before := residentLocked(p)
			if err := p.FillFramesLocked(at, va, frames[:10], r, pmap.COW); err != nil {
				t.Fatal(err)
			}
			for k, f := range frames {
				m, ok := p.LookupLocked(va + arch.VA(k)*pg)
				if want := f != 0 && k < 10; ok != want || ok && (m.Frame != f || m.Prot != r || m.Flags != pmap.COW) {
					t.Errorf("page %d: %+v, %v", k, m, ok)
				}
			}
			if got := residentLocked(p) - before; got != 8 {
				t.Errorf("%d pages more are resident, want 8", got)
			}
			at, _ = p.AbsentLocked(va + 10*pg)
			if mask := p.AbsentMaskLocked(at, va, n); mask != 0xfc00|1<<3|1<<8 {
				t.Errorf("absent then: %#x", mask)
			}
			for _, f := range frames[10:] {
				if f != 0 {
					b.mem.Unref(f)
				}
			}
			f := b.frame()
			mustPanic(t, "is mapped", func() { _ = p.FillFramesLocked(at, va, []phys.Frame{f}, r, 0) })
			b.mem.Unref(f)
			p.Unlock()
			b.check(p)
		}
		p.Purge(nil, nil)
		p.Destroy()
	})
}

// residentLocked counts the mapped pages by looking them up, as Stats would take the lock.
func residentLocked(p *pmap.Pmap) (n int) {
	for _, va := range []arch.VA{blk, 3*blk + 496*pg, 1 << 40} {
		for k := range arch.VA(16) {
			if _, ok := p.LookupLocked(va + k*pg); ok {
				n++
			}
		}
	}
	return n
}
