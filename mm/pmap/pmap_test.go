package pmap_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
)

const (
	r   = arch.Read
	rw  = arch.Read | arch.Write
	rx  = arch.Read | arch.Exec
	rwx = rw | arch.Exec
	pg  = arch.PageSize
	blk = arch.BlockSize
)

func onBoth(t *testing.T, f func(t *testing.T, b *bench)) {
	for _, format := range formats {
		t.Run(format.Name, func(t *testing.T) { f(t, newBench(t, format, 16*512, 255)) })
	}
}

// run is a stretch of equal mappings with consecutive frames.
type run struct {
	va   arch.VA
	len  uint64
	pa   arch.PA
	prot arch.Prot
	fl   pmap.Flags
}

func (r run) String() string {
	return fmt.Sprintf("\n\t[%#x +%#x] -> %#x %v flags %b", uint64(r.va), r.len, uint64(r.pa), r.prot, r.fl)
}

func runs(p *pmap.Pmap) (all []run) {
	p.Walk(0, arch.UserMax, func(va arch.VA, m pmap.Mapping) bool {
		n := run{va, pg, m.Frame.PA(), m.Prot, m.Flags}
		if m.Block {
			n.len = blk
		}
		if k := len(all) - 1; k >= 0 && all[k].va+arch.VA(all[k].len) == va && all[k].pa+arch.PA(all[k].len) == n.pa && all[k].prot == n.prot && all[k].fl == n.fl {
			all[k].len += n.len
		} else {
			all = append(all, n)
		}
		return true
	})
	return all
}

func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if r := fmt.Sprint(recover()); !strings.Contains(r, want) {
			t.Errorf("panic %q, want one that says %q", r, want)
		}
	}()
	f()
}

func same(t *testing.T, p *pmap.Pmap, want ...run) {
	t.Helper()
	if got := runs(p); !slices.Equal(got, want) {
		t.Errorf("mapped\n%v\nwant\n%v", got, want)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMappings(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		p := b.pmap(arch.SharedUK)
		f, g := b.block(), b.block()
		base := arch.VA(0x7f00_0000_0000)
		ok(t, p.EnterBlock(base, f, rw, 0))
		ok(t, p.EnterBlock(base+blk, g, rw, 0))
		same(t, p, run{base, blk, f.PA(), rw, 0}, run{base + blk, blk, g.PA(), rw, 0})

		ok(t, p.Remove(base+blk-2*pg, base+blk+pg, nil)) // half of both blocks
		same(t, p, run{base, blk - 2*pg, f.PA(), rw, 0}, run{base + blk + pg, blk - pg, g.PA() + pg, rw, 0})

		ok(t, p.Protect(base+pg, base+3*pg, r))
		ok(t, p.Protect(base+2*pg, base+4*pg, 0))
		ok(t, p.Protect(base+5*pg, base+6*pg, rx))
		at := func(i int) (arch.VA, arch.PA) { return base + arch.VA(i*pg), f.PA() + arch.PA(i*pg) }
		va := func(i int) arch.VA { v, _ := at(i); return v }
		pa := func(i int) arch.PA { _, a := at(i); return a }
		want := []run{
			{va(0), pg, pa(0), rw, 0}, {va(1), pg, pa(1), r, 0}, {va(2), 2 * pg, pa(2), 0, 0},
			{va(4), pg, pa(4), rw, 0}, {va(5), pg, pa(5), rx, 0}, {va(6), (512 - 8) * pg, pa(6), rw, 0},
			{base + blk + pg, blk - pg, g.PA() + pg, rw, 0},
		}
		same(t, p, want...)
		b.check(p)

		// No access and back keeps the page.
		ok(t, p.Protect(va(1), va(7), rw))
		same(t, p, run{base, blk - 2*pg, f.PA(), rw, 0}, run{base + blk + pg, blk - pg, g.PA() + pg, rw, 0})

		// The last page of the user half and the first.
		top, low := b.frame(), b.frame()
		ok(t, p.Enter(arch.UserMax-pg, top, rwx, pmap.Wired))
		ok(t, p.Enter(arch.UserMin, low, rx, pmap.Shared))
		all := runs(p)
		if first, last := all[0], all[len(all)-1]; first != (run{arch.UserMin, pg, low.PA(), rx, pmap.Shared}) || last != (run{arch.UserMax - pg, pg, top.PA(), rwx, pmap.Wired}) {
			t.Errorf("first %+v, last %+v", first, last)
		}
		if m, found := p.Lookup(arch.DirectBase); found {
			t.Errorf("a kernel address is found: %+v", m)
		}
		b.check(p)
		p.Purge(nil, nil)
		same(t, p)
		p.Destroy()
	})
}

// Entries are compared bit by bit with the manuals that the formats name.
func TestRawEntries(t *testing.T) {
	want := map[string][3]arch.PTE{ // 4 KB: r, rw, rx
		"amd64": {1<<63 | 0x25, 1<<63 | 0x67, 0x25},
		"arm64": {1<<54 | 1<<53 | 0xfc3&^0x80 | 0x80, 1<<55 | 1<<54 | 1<<53 | 0xf43, 1<<53 | 0xfc3},
	}
	tables := map[string]arch.PTE{"amd64": 0x27, "arm64": 1<<59 | 3}
	onBoth(t, func(t *testing.T, b *bench) {
		name := strings.Split(t.Name(), "/")[1]
		p := b.pmap(arch.Separate)
		va := arch.VA(0x12345000)
		var f [3]phys.Frame
		for i, prot := range []arch.Prot{r, rw, rx} {
			f[i] = b.frame()
			ok(t, p.Enter(va+arch.VA(i*pg), f[i], prot, 0))
		}
		table := b.mem.Table(phys.FrameOf(p.Root().Table))
		for level := 3; level > 0; level-- {
			e := table[va.Index(level)]
			pa := arch.PA(e & 0xfffffffff000)
			if e-arch.PTE(pa) != tables[name] {
				t.Errorf("level %d: table entry %#x, want bits %#x", level, e, tables[name])
			}
			table = b.mem.Table(phys.FrameOf(pa))
		}
		for i, bits := range want[name] {
			if e := table[va.Index(0)+i]; e != bits|arch.PTE(f[i].PA()) {
				t.Errorf("entry %d is %#x, want %#x", i, e, bits|arch.PTE(f[i].PA()))
			}
		}
		p.Purge(nil, nil)
		p.Destroy()
	})
}

// A valid entry that gets another frame or another size is empty when it is flushed (break
// before make).
func TestBreakBeforeMake(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		p := b.pmap(arch.SharedUK)
		p.Activate()
		va := arch.VA(4 * blk)
		ok(t, p.Enter(va, b.frame(), rw, 0))
		flushed := 0
		b.mmu.OnFlush = func(_ arch.Root, at arch.VA) {
			if m, there := p.LookupLocked(at); there {
				t.Errorf("flush of %#x while it is mapped: %+v", at, m)
			}
			flushed++
		}
		ok(t, p.Enter(va, b.frame(), rw, 0))
		ok(t, p.Remove(va, va+pg, nil))
		f := b.block()
		ok(t, p.EnterBlock(va, f, rw, 0))
		ok(t, p.Demote(va+pg))
		if flushed != 3 || b.mmu.Counts().FlushASID != 0 {
			t.Errorf("%d flushes, want 3: replaced, removed, demoted", flushed)
		}
		before := b.mmu.Counts().FlushASID
		if !p.Promote(va) || b.mmu.Counts().FlushASID != before+1 {
			t.Errorf("promoted with %d flushes, want 1", b.mmu.Counts().FlushASID-before)
		}
		b.mmu.OnFlush = nil
		p.Purge(nil, nil)
		p.Destroy()
	})
}

// order records what a purge does, in order.
type order struct {
	t     *testing.T
	b     *bench
	p     *pmap.Pmap
	log   []string
	dirty int
}

func (o *order) Dirty(pages []pmap.DirtyPage) {
	o.log = append(o.log, "dirty")
	o.dirty += len(pages)
	for _, d := range pages {
		if o.b.mem.Refs(d.Frame) != 1 {
			o.t.Errorf("page %#x is shown with %d references to its frame", d.VA, o.b.mem.Refs(d.Frame))
		}
	}
	if !o.b.unlocked(o.p) {
		o.t.Error("the visitor runs with the pmap locked")
	}
}

func (o *order) yield() {
	o.log = append(o.log, "yield")
	if !o.b.unlocked(o.p) {
		o.t.Error("yield runs with the pmap locked")
	}
}

// unlocked takes and releases p's lock. The test hangs if something holds it.
func (b *bench) unlocked(p *pmap.Pmap) bool {
	p.Lock()
	defer p.Unlock()
	return true
}

// A purge first takes the pmap off every CPU and flushes once. Then it shows dirty pages
// and frees everything. Kernel half and root stay as they were.
func TestPurge(t *testing.T) {
	for _, layout := range []arch.Layout{arch.SharedUK, arch.Separate} {
		onBoth(t, func(t *testing.T, b *bench) {
			free := b.mem.FreeFrames()
			p := b.pmap(layout)
			p.Activate()
			keep := b.frame() // a page with a second reference
			b.mem.Ref(keep)
			ok(t, p.Enter(arch.UserMin, keep, r, 0))
			for i := range arch.VA(200) { // more than one visit
				fl := pmap.Shared
				prot := rw
				if i%2 == 1 {
					prot = r // clean
				}
				ok(t, p.Enter(1<<40+i*pg, b.frame(), prot, fl))
				b.mmu.Access(1<<40+i*pg, r)
			}
			for i := range arch.VA(4) {
				ok(t, p.EnterBlock(1<<30+i*blk, b.block(), rw, 0))
			}
			ok(t, p.Remove(1<<30+pg, 1<<30+2*pg, nil)) // one block in pieces
			for i := range arch.VA(1000) {             // many leaf tables
				ok(t, p.Enter(1<<41+i*blk, b.frame(), rw, pmap.Wired))
			}
			ok(t, p.Protect(1<<41, 1<<41+10*blk, 0))
			b.check(p)
			root := *b.mem.Table(phys.FrameOf(p.Root().Table))

			o := &order{t: t, b: b, p: p}
			before := b.mmu.Counts()
			b.mmu.OnFlush = func(arch.Root, arch.VA) { t.Error("purge flushes a page") }
			p.Purge(o, o.yield)
			b.mmu.OnFlush = nil
			after := b.mmu.Counts()
			if after.Deactivate != before.Deactivate+1 || after.FlushASID != before.FlushASID+1 {
				t.Errorf("purge: %d times off the root, %d flushes, want 1 and 1", after.Deactivate-before.Deactivate, after.FlushASID-before.FlushASID)
			}
			if _, on := b.mmu.Active(); on || b.sys.Current() != nil {
				t.Error("the root is still active")
			}
			// 2248 pages, 1009 tables and 3 blocks are enough for others to run in between.
			if o.dirty != 100 || len(o.log) < 3 || !slices.Contains(o.log, "yield") {
				t.Errorf("%d dirty pages, %d steps", o.dirty, len(o.log))
			}
			if s := p.Stats(); s != (pmap.Stats{}) {
				t.Errorf("after: %+v", s)
			}
			b.check(p)
			clear(root[:arch.KernelHalf])
			if root != *b.mem.Table(phys.FrameOf(p.Root().Table)) {
				t.Error("purge changed more of the root than the user half")
			}
			p.Destroy()
			b.sys.Drain()
			if n := b.mem.FreeFrames(); n != free-1 || b.mem.Refs(keep) != 1 {
				t.Errorf("%d frames free, want %d; the kept page has %d references", n, free-1, b.mem.Refs(keep))
			}
		})
	}
}

func TestAssertions(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		mustPanic(t, "not a user page", func() { b.pmap(0).Enter(arch.UserMax, b.frame(), r, 0) })
		mustPanic(t, "not a user page", func() { b.pmap(0).Enter(0, b.frame(), r, 0) })
		mustPanic(t, "not a range", func() { b.pmap(0).Remove(0, arch.UserMax+pg, nil) })
		mustPanic(t, "leaves its 2 MB block", func() { fill(b.pmap(0), blk-pg, b.frame(), 2, r, 0) })
		p := b.pmap(0)
		ok(t, p.Enter(pg, b.frame(), r, 0))
		mustPanic(t, "1 resident pages", func() { p.Destroy() })
		p = b.pmap(0)
		p.Activate()
		mustPanic(t, "is active on CPU", func() { p.Destroy() })
		b.sys.Deactivate()
		p = b.pmap(0)
		p.Destroy()
		mustPanic(t, "after it was destroyed", func() { p.Activate() })
		mustPanic(t, "destroyed already", func() { p.Destroy() })
		mustPanic(t, "destroyed already", func() { p.Empty() })
		p = b.pmap(0)
		b.mem.Table(phys.FrameOf(p.Root().Table))[300] ^= 1 << 30
		if b.sys.CheckKernelHalf(p) == nil {
			t.Error("a changed kernel entry is not seen")
		}
		p = b.pmap(1)
		ok(t, p.Enter(pg, b.frame(), r, 0))
		b.mem.Table(phys.FrameOf(p.Root().Table))[7] = 1
		if p.Check() == nil {
			t.Error("Check is content with an entry that nobody entered")
		}
	})
}

// A root comes back from the stock clean, and only for its own layout.
func TestRecycledRoots(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		p, q := b.pmap(arch.SharedUK), b.pmap(arch.Separate)
		ok(t, p.Enter(1<<46, b.frame(), rw, 0))
		p.Purge(nil, nil)
		table := p.Root().Table
		p.Destroy()
		q.Destroy()
		again, sep := b.pmap(arch.SharedUK), b.pmap(arch.Separate)
		if again.Root().Table != table {
			t.Errorf("root %#x, want %#x from the stock", again.Root().Table, table)
		}
		b.check(again, sep)
		for range 40 { // more than the stock holds
			b.pmap(arch.Separate).Destroy()
		}
	})
}

// With more address spaces than identifiers, no address space ever uses translations of
// another.
func TestIdentifiers(t *testing.T) {
	for _, asids := range []int{0, 1, 3} {
		for _, format := range formats {
			b := newBench(t, format, 1024, asids)
			var ps []*pmap.Pmap
			for i := range 8 {
				p := b.pmap(arch.Layout(i % 2))
				ok(t, p.Enter(blk, b.frame(), rw, 0))
				ps = append(ps, p)
			}
			for i := range 100 {
				p := ps[i*i%len(ps)]
				p.Activate()
				p.Activate()
				m, _ := p.Lookup(blk)
				if pa, found := b.mmu.Access(blk, rw); !found || pa != m.Frame.PA() {
					t.Fatalf("%d identifiers: access %#x, %v, want %#x", asids, pa, found, m.Frame.PA())
				}
				if i%10 == 9 {
					p.Purge(nil, nil)
					ok(t, p.Enter(blk, b.frame(), rw, 0))
				}
			}
			ps[0].Activate()
			n := b.mmu.Counts().Activate
			b.sys.Current().Activate()
			if b.mmu.Counts().Activate != n {
				t.Error("activating the active pmap reaches the MMU")
			}
			b.check(ps...)
		}
	}
}

// Executable pages are synchronised once per contents.
func TestSyncInstructions(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		p := b.pmap(0)
		f := b.frame()
		step := func(what string, want int, err error) {
			t.Helper()
			ok(t, err)
			if n := b.mmu.Counts().Sync; n != want {
				t.Errorf("%s: %d synchronisations, want %d", what, n, want)
			}
		}
		b.mem.Ref(f)
		b.mem.Ref(f)
		step("data", 0, p.Enter(blk, f, rw, 0))
		step("made executable", 1, p.Protect(blk, blk+pg, rx))
		step("mapped again", 1, p.Enter(2*blk, f, rx, 0))
		b.mem.Modified(f)
		step("written", 2, p.Enter(3*blk, f, rx, 0))
	})
}

// Every operation that may run out of memory fails with ENOMEM at each allocation that it
// makes. It changes nothing then, and leaks nothing.
func TestNoMemory(t *testing.T) {
	base := arch.VA(1<<39 - 2*blk) // crosses tables of every level
	ops := map[string]func(b *bench, p, q *pmap.Pmap) error{
		"enter": func(b *bench, p, q *pmap.Pmap) error {
			f := phys.Frame(0)
			p.Walk(0, arch.UserMax, func(_ arch.VA, m pmap.Mapping) bool { f = m.Frame; return false })
			b.mem.Ref(f)
			err := p.Enter(1<<45, f, rw, 0)
			if err != nil {
				b.mem.Unref(f)
			}
			return err
		},
		"demote":  func(b *bench, p, q *pmap.Pmap) error { return p.Demote(base) },
		"remove":  func(b *bench, p, q *pmap.Pmap) error { return p.Remove(base+pg, base+blk+pg, nil) },
		"protect": func(b *bench, p, q *pmap.Pmap) error { return p.Protect(base+pg, base+blk+pg, r) },
		"wire":    func(b *bench, p, q *pmap.Pmap) error { return p.Wire(base+pg, base+blk+pg, true, nil) },
		"move":    func(b *bench, p, q *pmap.Pmap) error { return p.Move(base, 1<<45+pg, 4*blk) },
		"copy": func(b *bench, p, q *pmap.Pmap) error {
			err := p.Copy(q, []pmap.Range{{0, arch.UserMax}}, pmap.Own{}, nil)
			if err != nil {
				q.Purge(nil, nil)
			}
			return err
		},
		"copy with a page of its own": func(b *bench, p, q *pmap.Pmap) error {
			at := base + 3*blk + 9*pg
			m, _ := p.Lookup(base)
			b.mem.Ref(m.Frame) // a reference to any frame serves
			err := p.Copy(q, []pmap.Range{{0, arch.UserMax}}, pmap.Own{VA: at, Frame: m.Frame, Prot: rw}, nil)
			if err != nil {
				q.Purge(nil, nil)
			}
			return err
		},
	}
	for name, op := range ops {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, b *bench) {
				free := b.mem.FreeFrames()
				failed := 0
				for n := 0; ; n++ {
					p, q := b.pmap(0), b.pmap(1)
					ok(t, p.EnterBlock(base, b.block(), rw, 0))
					ok(t, p.EnterBlock(base+blk, b.block(), rw, 0))
					ok(t, p.Enter(base+2*blk, b.frame(), rw, 0))
					ok(t, p.Enter(base+3*blk+9*pg, b.frame(), rw, 0))
					p.Activate()
					b.mmu.Access(base+7*pg, rw)
					b.mmu.Access(base+2*blk, rw)
					before := runs(p)
					b.mem.FailAfter(n)
					err := op(b, p, q)
					b.mem.FailAfter(-1)
					b.check(p, q)
					if err != nil {
						failed++
						if err != syscall.ENOMEM {
							t.Fatalf("allocation %d: %v, want ENOMEM", n, err)
						}
						if !strings.HasPrefix(name, "copy") {
							same(t, p, before...)
						}
					}
					p.Purge(nil, nil)
					q.Purge(nil, nil)
					p.Destroy()
					q.Destroy()
					b.sys.Drain()
					if got := b.mem.FreeFrames(); got != free {
						t.Fatalf("allocation %d failed: %d frames leaked", n, free-got)
					}
					if err == nil {
						break
					}
				}
				if failed == 0 {
					t.Error("the operation allocates nothing: it cannot fail")
				}
			})
		})
	}
}

// FrameLocked agrees with LookupLocked for every kind of mapping and access.
func TestFrameLocked(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		p := b.pmap(0)
		ok(t, p.EnterBlock(1<<30, b.block(), rw, 0))
		ok(t, p.EnterBlock(1<<30+blk, b.block(), r|arch.Exec, 0))
		for i, prot := range []arch.Prot{0, r, rw, r | arch.Exec, rw | arch.Exec} {
			ok(t, p.Enter(1<<40+arch.VA(i)*pg, b.frame(), prot, 0))
			ok(t, p.Enter(1<<41+arch.VA(i)*pg, b.frame(), prot, pmap.COW))
		}
		p.Lock()
		defer p.Unlock()
		for _, va := range []arch.VA{pg, 1 << 30, 1<<30 + 77*pg, 1<<30 + blk + 5*pg, 1<<30 + 2*blk, 1 << 39,
			1 << 40, 1<<40 + pg, 1<<40 + 2*pg, 1<<40 + 3*pg, 1<<40 + 4*pg, 1<<40 + 5*pg,
			1 << 41, 1<<41 + pg, 1<<41 + 2*pg, 1<<41 + 3*pg, 1<<41 + 4*pg, arch.UserMax, ^arch.VA(0)} {
			m, is := p.LookupLocked(va)
			for want := range arch.Prot(8) {
				f, got := p.FrameLocked(va+9, want)
				if should := is && m.Prot&want == want; got != should || got && f != m.Frame {
					t.Errorf("%#x for %v: frame %#x, %v; mapped %v to %+v", va, want, f, got, is, m)
				}
			}
		}
	})
}

// fill is FillLocked as a fault uses it.
func fill(p *pmap.Pmap, va arch.VA, f phys.Frame, n int, prot arch.Prot, fl pmap.Flags) (int, error) {
	p.Lock()
	defer p.Unlock()
	at, absent := p.AbsentLocked(va)
	if _, there := p.LookupLocked(va); there == absent {
		panic(fmt.Sprintf("%#x: absent %v, but found %v", va, absent, there))
	}
	return p.FillLocked(at, va, f, n, prot, fl)
}
