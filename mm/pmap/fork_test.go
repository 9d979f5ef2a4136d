package pmap_test

import (
	"testing"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// Fork by copy-on-write, page and block: both sides lose Write at once, whoever
// is alone again gets it back in place, and a block can be cut on one side only.
func TestFork(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		p, c := b.pmap(arch.SharedUK), b.pmap(arch.SharedUK)
		page, text, block := b.frame(), b.frame(), b.block()
		va, code := arch.VA(blk), arch.VA(3*blk)
		ok(t, p.EnterBlock(va, block, rw, 0))
		ok(t, p.Enter(code, text, rx, pmap.COW))
		ok(t, p.Enter(code+pg, page, rw, pmap.Wired))
		p.Activate()
		for _, a := range []arch.VA{va, code + pg} {
			if _, can := b.mmu.Access(a, rw); !can {
				t.Fatalf("%#x is not writable before the fork", a)
			}
		}
		ok(t, p.Copy(c, []pmap.Range{{0, arch.UserMax}}))
		for _, a := range []arch.VA{va, va + 77*pg, code + pg} {
			if _, can := b.mmu.Access(a, rw); can {
				t.Errorf("the parent can still write to %#x", a)
			}
		}
		same(t, p, run{va, blk, block.PA(), r, pmap.COW}, run{code, pg, text.PA(), rx, pmap.COW}, run{code + pg, pg, page.PA(), r, pmap.COW | pmap.Wired})
		same(t, c, run{va, blk, block.PA(), r, pmap.COW}, run{code, pg, text.PA(), rx, pmap.COW}, run{code + pg, pg, page.PA(), r, pmap.COW})
		b.check(p, c)

		ok(t, p.Protect(0, 4*blk, rw)) // gives nobody Write
		if p.Reuse(va, rw) || p.Reuse(code+pg, rw) || c.Reuse(va+pg, rw) {
			t.Error("shared memory became writable")
		}
		// The child writes to one page of the block: its own copy.
		own := b.frame()
		ok(t, c.Enter(va+5*pg, own, rw, 0))
		if m, _ := p.Lookup(va + 5*pg); !m.Block || m.Frame != block+5 {
			t.Errorf("the parent's block: %+v", m)
		}
		if b.mem.Refs(block+5) != 1 || b.mem.Refs(block+6) != 2 {
			t.Errorf("references: copied page %d, other %d, want 1 and 2", b.mem.Refs(block+5), b.mem.Refs(block+6))
		}
		if p.Reuse(va, rw) {
			t.Error("a block of which the child has most pages became writable")
		}
		b.check(p, c)
		c.Purge(nil, nil)
		c.Destroy()
		if !p.Reuse(va+9*pg, rw) || !p.Reuse(code+pg, rw) {
			t.Error("alone again, and not writable in place")
		}
		same(t, p, run{va, blk, block.PA(), rw, 0}, run{code, pg, text.PA(), r, pmap.COW}, run{code + pg, pg, page.PA(), rw, pmap.Wired})
		if _, can := b.mmu.Access(va+5*pg, rw); !can {
			t.Error("the CPU does not agree")
		}
		if p.Reuse(4*blk, rw) || p.Reuse(1<<45, rw) {
			t.Error("an empty page was made writable")
		}
		b.check(p)
		p.Purge(nil, nil)
		p.Destroy()
	})
}

// mremap: pages, and blocks at the same and at another offset, go to the new
// address; nothing is left at the old one for CPU or tables.
func TestMove(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		p := b.pmap(arch.Separate)
		p.Activate()
		from, block, f := arch.VA(1<<30), b.block(), b.frame()
		stay := b.frame()
		ok(t, p.EnterBlock(from, block, rw, 0))
		ok(t, p.Enter(from+blk, f, r, pmap.Shared))
		ok(t, p.Enter(from+blk+2*pg, stay, r, 0)) // keeps the leaf table
		move := func(old, to arch.VA, n uint64) {
			t.Helper()
			for a := old; a < old+arch.VA(n); a += pg {
				b.mmu.Access(a, r)
			}
			ok(t, p.Move(old, to, n))
			for a := old; a < old+arch.VA(n); a += pg {
				if pa, still := b.mmu.Access(a, r); still {
					t.Fatalf("%#x still translates, to %#x", a, pa)
				}
			}
			b.check(p)
		}
		to := arch.VA(1 << 40)
		move(from, to, blk+pg)
		same(t, p, run{from + blk + 2*pg, pg, stay.PA(), r, 0}, run{to, blk, block.PA(), rw, 0}, run{to + blk, pg, f.PA(), r, pmap.Shared})
		if m, _ := p.Lookup(to); !m.Block {
			t.Error("an aligned block was cut")
		}
		move(to, from+4*blk+pg, blk+pg)
		same(t, p, run{from + blk + 2*pg, pg, stay.PA(), r, 0}, run{from + 4*blk + pg, blk, block.PA(), rw, 0}, run{from + 5*blk + pg, pg, f.PA(), r, pmap.Shared})
		if s := p.Stats(); s.Tables != 2+3 { // two upper tables, the leaf tables of stay and of two blocks' worth
			t.Errorf("%d table pages remain, want 5", s.Tables)
		}
		p.Purge(nil, nil)
		p.Destroy()
	})
}

// What the CPU has cached is gone when rights are taken away, be it one page,
// many, or a block.
func TestProtectFlushes(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		p := b.pmap(arch.SharedUK)
		p.Activate()
		ok(t, p.EnterBlock(blk, b.block(), rw, 0))
		for i := range arch.VA(20) {
			ok(t, p.Enter(2*blk+i*pg, b.frame(), rw, 0))
		}
		for _, c := range []struct {
			start, end arch.VA
			prot       arch.Prot
		}{{2 * blk, 2*blk + pg, r}, {2*blk + pg, 2*blk + 20*pg, 0}, {blk, 2 * blk, r}, {blk, 2 * blk, 0}} {
			for a := c.start; a < c.end; a += pg {
				b.mmu.Access(a, r)
			}
			ok(t, p.Protect(c.start, c.end, c.prot))
			for a := c.start; a < c.end; a += pg {
				_, reads := b.mmu.Access(a, r)
				if _, writes := b.mmu.Access(a, rw); writes || reads != (c.prot != 0) {
					t.Fatalf("%#x with %v: read %v, write %v", uint64(a), c.prot, reads, writes)
				}
			}
			b.check(p)
		}
		p.Purge(nil, nil)
		p.Destroy()
	})
}

// The rules for Shared pages: a clean one never gets Write by Protect, a dirty one
// stays dirty through every change of rights until Clean.
func TestDirty(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		p := b.pmap(arch.SharedUK)
		p.Activate()
		f, va := b.frame(), arch.VA(blk)
		expect := func(what string, prot arch.Prot, dirty bool) {
			t.Helper()
			if m, _ := p.Lookup(va); m.Prot != prot || m.Dirty != dirty {
				t.Errorf("%s: %v, dirty %v; want %v, %v", what, m.Prot, m.Dirty, prot, dirty)
			}
		}
		ok(t, p.Enter(va, f, r, pmap.Shared))
		ok(t, p.Protect(va, va+pg, rw))
		expect("clean, made writable", r, false)
		b.mem.Ref(f)
		ok(t, p.Enter(va, f, rw, pmap.Shared)) // the write fault
		expect("written", rw, true)
		ok(t, p.Protect(va, va+pg, 0))
		expect("no access", 0, true)
		ok(t, p.Protect(va, va+pg, rw))
		expect("writable again", rw, true)
		b.mmu.Access(va, rw)
		var v counter
		v.mem = b.mem
		p.Clean(0, arch.UserMax, &v)
		expect("cleaned", r, false)
		if _, can := b.mmu.Access(va, rw); can || v.n != 1 || v.refs != 2 {
			t.Errorf("after Clean: writable %v, %d pages shown with %d references", can, v.n, v.refs)
		}
		p.Clean(0, arch.UserMax, &v)
		ok(t, p.Remove(0, arch.UserMax, &v))
		if v.n != 1 {
			t.Errorf("a clean page was shown")
		}
		b.sys.Deactivate()
		p.Destroy()
	})
}

type counter struct {
	mem  *phys.Memory
	n    int
	refs int32
}

func (c *counter) Dirty(pages []pmap.DirtyPage) {
	c.n += len(pages)
	c.refs = c.mem.Refs(pages[0].Frame)
}
