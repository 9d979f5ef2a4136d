package vm

import (
	"math/rand"
	"syscall"
	"testing"

	"grim/arch"
)

// In a tree of forks every process writes. No process ever sees another's bytes, and pages
// that were not written are shared. Broken on purpose once by leaving the parent's pages
// writable in forkEntries (a Sharing in pmap.Copy that loses nothing): fails at the first
// generation.
func TestForkTree(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		for _, big := range []bool{false, true} {
			m := newMachine(t, f, 8192)
			const base = 0x40000000
			pages := 8
			if big {
				pages = 600 // one whole block and a part
			}
			root := m.space()
			mustMap(t, root, base, uint64(pages)<<12, rw, Anon|Private|Fixed, nil, 0)
			model := map[*VMSpace][]byte{root: make([]byte, pages)}
			for i := range pages {
				mustStore(t, root, base+arch.VA(i)<<12, byte(i))
				model[root][i] = byte(i)
			}
			if mp, _ := root.pm.Lookup(base); big && !mp.Block {
				t.Error("600 pages written in a row at a 2 MB boundary are not a block")
			}
			live := []*VMSpace{root}
			r := rand.New(rand.NewSource(3))
			for range 400 {
				vs := live[r.Intn(len(live))]
				switch k := r.Intn(20); {
				case k == 0 && len(live) < 12:
					c, err := vs.Fork(arch.Layout(r.Intn(2)), 0)
					if err != nil {
						t.Fatal(err)
					}
					live = append(live, c)
					model[c] = append([]byte(nil), model[vs]...)
				case k == 1 && vs != root:
					m.end(vs)
					delete(model, vs)
					for i := range live {
						if live[i] == vs {
							live = append(live[:i], live[i+1:]...)
							break
						}
					}
				case k < 8:
					i := r.Intn(pages)
					wantLoad(t, vs, base+arch.VA(i)<<12, model[vs][i])
				default:
					i, b := r.Intn(pages), byte(r.Intn(256))
					mustStore(t, vs, base+arch.VA(i)<<12, b)
					model[vs][i] = b
				}
			}
			for vs, want := range model {
				check(t, vs)
				for i := range want {
					wantLoad(t, vs, base+arch.VA(i)<<12, want[i])
				}
				if vs != root {
					m.end(vs)
				}
			}
		}
	})
}

// A fork takes no frames except for tables, and the last user of a page writes it in place.
func TestForkShares(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 4096)
		vs := m.space()
		const base, pages = 0x40000000, 512 // a block
		mustMap(t, vs, base, pages<<12, rw, Anon|Private|Fixed, nil, 0)
		for i := range pages {
			mustStore(t, vs, base+arch.VA(i)<<12, 1)
		}
		before := m.mem.FreeFrames()
		c, err := vs.Fork(arch.Separate, 0)
		if err != nil {
			t.Fatal(err)
		}
		if used := before - m.mem.FreeFrames(); used > 5 {
			t.Errorf("fork used %d frames", used)
		}
		mustStore(t, c, base+5<<12, 2)
		if used := before - m.mem.FreeFrames(); used > 8 {
			t.Errorf("fork and one write used %d frames: a block was copied", used)
		}
		m.end(c)
		free := m.mem.FreeFrames()
		mustStore(t, vs, base+7<<12, 3) // sole owner again: no copy
		if n := m.mem.FreeFrames(); n < free {
			t.Errorf("the last owner's write took %d frames", free-n)
		}
		wantLoad(t, vs, base+5<<12, 1)
		wantLoad(t, vs, base+7<<12, 3)
	})
}

func TestForkAdvice(t *testing.T) {
	m := newMachine(t, formats[0], 1024)
	vs := m.space()
	const base = 0x40000000
	mustMap(t, vs, base, 3<<12, rw, Anon|Private|Fixed, nil, 0)
	for i := range 3 {
		mustStore(t, vs, base+arch.VA(i)<<12, 9)
	}
	vs.Advise(base, 4096, 10)      // DONTFORK
	vs.Advise(base+4096, 4096, 18) // WIPEONFORK
	if err := vs.Lock(base+8192, 4096, false); err != nil {
		t.Fatal(err)
	}
	c, err := vs.Fork(arch.SharedUK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer m.end(c)
	wantErr(t, "MADV_DONTFORK page", c.Fault(base, arch.Read), syscall.EFAULT)
	wantLoad(t, c, base+4096, 0)
	wantLoad(t, c, base+8192, 9)
	if s := c.Stats(); s.Locked != 0 {
		t.Errorf("child has %d bytes locked", s.Locked)
	}
	if s := vs.Stats(); s.Locked != 4096 {
		t.Errorf("parent has %d bytes locked, want 4096", s.Locked)
	}
}

// PROT_NONE keeps a page's contents. Rights are enforced, and can be given back.
func TestProtect(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 1024)
		vs := m.space()
		const base = 0x40000000
		mustMap(t, vs, base, 4<<12, rw, Anon|Private|Fixed, nil, 0)
		mustStore(t, vs, base, 1)
		c, err := vs.Fork(arch.SharedUK, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*VMSpace{vs, c} {
			if err := s.Protect(base, 4<<12, 0); err != nil {
				t.Fatal(err)
			}
			wantErr(t, "read of PROT_NONE", s.Fault(base, arch.Read), syscall.EACCES)
			wantErr(t, "copy in of PROT_NONE", s.CopyIn(make([]byte, 1), base), syscall.EFAULT)
			if err := s.Protect(base, 4096, arch.Read); err != nil {
				t.Fatal(err)
			}
			wantLoad(t, s, base, 1)
			wantErr(t, "write of read-only", s.Fault(base, arch.Write), syscall.EACCES)
			wantErr(t, "exec of read-only", s.Fault(base, arch.Exec), syscall.EACCES)
			wantErr(t, "copy out to read-only", s.CopyOut(base, []byte{1}), syscall.EFAULT)
			if err := s.Protect(base, 4096, rw|arch.Exec); err != nil {
				t.Fatal(err)
			}
			wantErr(t, "exec", s.Fault(base, arch.Exec), nil)
		}
		mustStore(t, c, base, 2)
		wantLoad(t, vs, base, 1)
		mustStore(t, vs, base, 3)
		wantLoad(t, c, base, 2)
		m.end(c)
	})
}

// A touched page reserves a block. Every change of the mapping gives back the frames that
// were not used. Each case was broken once by leaving out its Break.
func TestReservationsEnd(t *testing.T) {
	const base = 0x40000000
	for name, op := range map[string]func(m *machine, vs *VMSpace) error{
		"munmap":   func(m *machine, vs *VMSpace) error { return vs.Unmap(base+1<<20, 4096) },
		"mprotect": func(m *machine, vs *VMSpace) error { return vs.Protect(base+1<<20, 4096, arch.Read) },
		"dontneed": func(m *machine, vs *VMSpace) error { return vs.Advise(base+1<<20, 4096, 4) },
		"mremap": func(m *machine, vs *VMSpace) error {
			_, err := vs.Remap(base, 2<<20, 2<<20, mremapMayMove|mremapFixed|mremapDontUnmap, base+1<<30)
			return err
		},
		"fork": func(m *machine, vs *VMSpace) error {
			c, err := vs.Fork(arch.SharedUK, 0)
			if err == nil {
				m.end(c)
			}
			return err
		},
		"purge": func(m *machine, vs *VMSpace) error { vs.Purge(nil); return nil },
	} {
		m := newMachine(t, formats[0], 4096)
		vs := m.space()
		mustMap(t, vs, base, 2<<20, rw, Anon|Private|Fixed, nil, 0)
		mustStore(t, vs, base, 1)
		if n := m.pool.Unpopulated(); n != 511 {
			t.Fatalf("%d frames set aside, want 511", n)
		}
		if err := op(m, vs); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := m.pool.Unpopulated(); n != 0 {
			t.Errorf("%s leaves %d frames set aside", name, n)
		}
	}
}
