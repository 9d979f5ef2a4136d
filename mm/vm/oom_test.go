package vm

import (
	"syscall"
	"testing"

	"grim/arch"
)

// Memory runs out at every allocation of every operation in turn. The operation fails with
// ENOMEM, nothing is lost, and the same operation works when memory is back.
func TestOutOfMemory(t *testing.T) {
	const base = 0x40000000
	setup := func(t *testing.T, f *arch.Format) (*machine, *VMSpace, *FileObject) {
		m := newMachine(t, f, 8192)
		o := NewFileObject(m.System, "/f", nil)
		t.Cleanup(o.Unref)
		o.Truncate(8 << 12)
		vs := m.space()
		mustMap(t, vs, base, 8<<20, rw, Anon|Private|Fixed, nil, 0)
		for i := range arch.VA(600) {
			mustStore(t, vs, base+i<<12, 3)
		}
		mustMap(t, vs, base+1<<30, 8<<12, rw, Private|Fixed, o, 0)
		mustStore(t, vs, base+1<<30, 4)
		mustMap(t, vs, base+1<<40, 8<<12, rw, Shared|Fixed, o, 0)
		return m, vs, o
	}
	ops := []struct {
		name string
		op   func(m *machine, vs *VMSpace, o *FileObject) error
	}{
		{"fault", func(m *machine, vs *VMSpace, o *FileObject) error { return store(vs, base+5<<20+0x5000, 1) }},
		{"fault far", func(m *machine, vs *VMSpace, o *FileObject) error {
			if _, err := vs.Map(base+1<<45, 1<<20, rw, Anon|Private|Fixed, nil, 0); err != nil {
				return err
			}
			return store(vs, base+1<<45, 1)
		}},
		{"file read fault", func(m *machine, vs *VMSpace, o *FileObject) error {
			_, err := load(vs, base+1<<40+0x3000)
			return err
		}},
		{"private copy", func(m *machine, vs *VMSpace, o *FileObject) error { return store(vs, base+1<<30+0x2000, 1) }},
		{"fork", func(m *machine, vs *VMSpace, o *FileObject) error {
			c, err := vs.Fork(arch.SharedUK, 0)
			if err == nil {
				m.end(c)
			}
			return err
		}},
		{"write to a child's block", func(m *machine, vs *VMSpace, o *FileObject) error {
			c, err := vs.Fork(arch.Separate, 0)
			if err == nil {
				err = store(c, base+0x7000, 1)
				m.end(c)
			}
			return err
		}},
		{"unmap in a block", func(m *machine, vs *VMSpace, o *FileObject) error { return vs.Unmap(base+0x5000, 4096) }},
		{"protect in a block", func(m *machine, vs *VMSpace, o *FileObject) error {
			return vs.Protect(base+0x5000, 4096, arch.Read)
		}},
		{"mlock in a block", func(m *machine, vs *VMSpace, o *FileObject) error { return vs.Lock(base+0x5000, 4096, false) }},
		{"dontneed in a block", func(m *machine, vs *VMSpace, o *FileObject) error { return vs.Advise(base+0x5000, 4096, 4) }},
		{"mremap", func(m *machine, vs *VMSpace, o *FileObject) error {
			_, err := vs.Remap(base+0x5000, 0x300000, 0x300000, mremapMayMove|mremapFixed, base+1<<46+0x1000)
			return err
		}},
		{"map over a block", func(m *machine, vs *VMSpace, o *FileObject) error {
			_, err := vs.Map(base+0x5000, 4096, arch.Read, Anon|Private|Fixed, nil, 0)
			return err
		}},
		{"shared anon", func(m *machine, vs *VMSpace, o *FileObject) error {
			va, err := vs.Map(0, 4<<12, rw, Anon|Shared, nil, 0)
			if err != nil {
				return err
			}
			return store(vs, va, 1)
		}},
		{"write to a file", func(m *machine, vs *VMSpace, o *FileObject) error {
			if _, err := o.WriteAt([]byte{1}, 50<<12); err == syscall.ENOSPC {
				return syscall.ENOMEM
			} else {
				return err
			}
		}},
		{"copy out", func(m *machine, vs *VMSpace, o *FileObject) error {
			return vs.CopyOut(base+4<<20-5, make([]byte, 20))
		}},
	}
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		for _, c := range ops {
			t.Run(c.name, func(t *testing.T) {
				m, vs, o := setup(t, f)
				failed := 0
				for n := 0; ; n++ {
					if n > 200 {
						t.Fatal("still failing after 200 allocations")
					}
					m.pmaps.Drain() // else a stocked root hides an allocation
					m.mem.FailAfter(n)
					err := c.op(m, vs, o)
					m.mem.FailAfter(-1)
					check(t, vs)
					if aerr := m.mem.Audit(); aerr != nil {
						t.Fatalf("allocation %d failed: %v", n+1, aerr)
					}
					for _, i := range []arch.VA{0, 100, 599} {
						if b, lerr := load(vs, base+i<<12); err != nil && (b != 3 || lerr != nil) {
							t.Fatalf("allocation %d failed, and page %d reads %d, %v", n+1, i, b, lerr)
						}
					}
					if err == nil {
						break
					}
					failed++
					wantErr(t, c.name, err, syscall.ENOMEM)
				}
				if failed == 0 {
					t.Error("no allocation failed: the case tests nothing")
				}
			})
		}
	})
}

// Memory is really used up: the process gets ENOMEM, and afterwards all memory is free
// again.
func TestExhaust(t *testing.T) {
	m := newMachine(t, formats[0], 1500)
	vs, other := m.space(), m.space()
	va := mustMap(t, vs, 0, 1<<40, rw, Anon|Private|NoReserve, nil, 0)
	n := 0
	for ; ; n++ {
		if err := store(vs, va+arch.VA(n)<<12, 1); err != nil {
			wantErr(t, "the last frame", err, syscall.ENOMEM)
			break
		}
	}
	if n < 1450 {
		t.Errorf("only %d pages of 1500 frames", n)
	}
	ova := mustMap(t, other, 0, 4096, rw, Anon|Private, nil, 0)
	wantErr(t, "nothing left for others", store(other, ova, 1), syscall.ENOMEM)
	_, err := vs.Fork(arch.SharedUK, 0)
	wantErr(t, "fork", err, syscall.ENOMEM)
	if err := vs.Advise(va, 512<<12, 4); err != nil {
		t.Fatal(err)
	}
	mustStore(t, other, ova, 1)
	wantLoad(t, vs, va+700<<12, 1)
}
