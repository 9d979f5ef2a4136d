package pmap_test

import (
	"testing"

	"grim/arch"
	"grim/mm/phys"
)

// A table in the first 2 MB of an address space that becomes empty is flushed before it is
// freed, like any other. A move leaves such tables behind: the CPU may have walked to one
// after the flush of the moved pages. Seen to fail with 0 for noAddress in flushUnlinked:
// the model's walk cache then holds a freed table.
func TestFlushFirstBlock(t *testing.T) {
	for _, f := range formats {
		for _, asids := range []int{0, 8} {
			b := newBench(t, f, 2048, asids)
			p := b.pmap(arch.SharedUK)
			p.Activate()
			for _, va := range []arch.VA{arch.UserMin, arch.BlockSize + arch.UserMin, 1 << 30} {
				to := va + 1<<40
				if err := p.Enter(va, b.frame(), rw, 0); err != nil {
					t.Fatal(err)
				}
				if _, ok := b.mmu.Access(va, arch.Write); !ok {
					t.Fatalf("%#x: no access", va)
				}
				if err := p.Move(va, to, arch.PageSize); err != nil {
					t.Fatal(err)
				}
				b.check(p)
				if _, ok := b.mmu.Access(va, arch.Read); ok {
					t.Errorf("%#x can be read after it moved", va)
				}
				if _, ok := b.mmu.Access(to, arch.Write); !ok {
					t.Errorf("%#x: no access", to)
				}
			}
			p.Purge(nil, nil)
			p.Destroy()
		}
	}
}

// A frame counts as synchronised for instruction fetch only after SyncInstructions has
// returned, because another CPU that then maps the frame executable does not wait. A write
// by the kernel in between makes the frame unsynchronised again. Seen to fail with a
// SetSynced before SyncInstructions, and with a SetSynced that stores without comparing.
func TestSyncBeforeSynced(t *testing.T) {
	const rx = arch.Read | arch.Exec
	for _, f := range formats {
		b := newBench(t, f, 1024, 8)
		p := b.pmap(arch.SharedUK)
		enter := func(va arch.VA) { must(t, p.Enter(va, b.frame(), rx, 0)) }
		write := false
		b.mmu.OnSync = func(pa arch.PA, n int) {
			frame := phys.FrameOf(pa)
			if b.mem.FetchOf(frame).Synced() {
				t.Error("a frame is marked synced while it is being synchronised")
			}
			if write {
				b.mem.Modified(frame)
			}
		}
		enter(1 << 20)
		m, _ := p.Lookup(1 << 20)
		if !b.mem.FetchOf(m.Frame).Synced() {
			t.Error("not synced after it was mapped executable")
		}
		write = true
		enter(2 << 20)
		m, _ = p.Lookup(2 << 20)
		if b.mem.FetchOf(m.Frame).Synced() {
			t.Error("synced, though it was written to while it was synchronised")
		}
		// The frames of a whole block have no fetch state of their own.
		write = false
		block := b.block()
		must(t, p.EnterBlock(4<<20, block, rw, 0))
		must(t, p.Demote(4<<20))
		before := b.mmu.Counts().Sync
		must(t, p.Protect(4<<20, 4<<20+2*arch.PageSize, rx))
		if n := b.mmu.Counts().Sync - before; n != 2 {
			t.Errorf("%d frames of a block were synchronised, want 2", n)
		}
		p.Purge(nil, nil)
		p.Destroy()
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
