package vm

import (
	"syscall"
	"testing"

	"grim/arch"
)

// countYields returns a machine that counts its yields, and checks that no pmap is locked.
func countYields(t *testing.T, frames int) (m *machine, n *int) {
	m = newMachine(t, formats[0], frames)
	n = new(int)
	m.yield = func() { *n++ }
	m.pmaps.SetYield(m.yield)
	return m, n
}

// Every operation whose length a program chooses lets others run, at least once for each
// piece of work of up to 25 000 instructions. Seen to fail without the yield of pmap's
// Remove, change, Move or Copy, of settle, unmap or Incore. The self-test maps/gives-way
// measures in instructions how long others wait.
func TestGivesWay(t *testing.T) {
	const base, pages = 0x40000000, 8192
	const size = pages << 12
	touch := func(vs *VMSpace) {
		must(t, vs.EnsureWritable(base, size))
		for va := arch.VA(base); va < base+size; va += arch.BlockSize {
			must(t, vs.pm.Demote(va))
		}
	}
	memory := func(vs *VMSpace, o *FileObject) {
		mustMap(t, vs, base, size, rw, Private|Anon|Fixed, nil, 0)
		touch(vs)
	}
	file := func(vs *VMSpace, o *FileObject) {
		mustMap(t, vs, base, size, rw, Shared|Fixed, o, 0)
		touch(vs)
	}
	const crowd = 4096
	crowded := func(vs *VMSpace, o *FileObject) {
		for i := range arch.VA(crowd) {
			mustMap(t, vs, base+i<<12, 4096, arch.Read|arch.Prot(i&1)<<2, Private|Fixed, o, 0)
		}
	}
	for _, c := range []struct {
		name string
		prep func(*VMSpace, *FileObject)
		op   func(*VMSpace, *FileObject) error
		want int
	}{
		{"munmap", memory, func(vs *VMSpace, o *FileObject) error { return vs.Unmap(base, size) }, pages / 1024},
		{"munmap dirty", file, func(vs *VMSpace, o *FileObject) error { return vs.Unmap(base, size) }, pages / 64},
		{"mprotect", memory, func(vs *VMSpace, o *FileObject) error { return vs.Protect(base, size, arch.Read) }, pages / 1024},
		{"mprotect exec", memory, func(vs *VMSpace, o *FileObject) error { return vs.Protect(base, size, arch.Read|arch.Exec) }, pages / 32},
		{"mlock", memory, func(vs *VMSpace, o *FileObject) error { return vs.Lock(base, size, true) }, pages / 1024},
		{"msync", file, func(vs *VMSpace, o *FileObject) error { return vs.Sync(base, size, msSync) }, pages / 256},
		{"madvise", memory, func(vs *VMSpace, o *FileObject) error { return vs.Advise(base, size, 4) }, pages / 1024},
		{"mincore", memory, func(vs *VMSpace, o *FileObject) error { return vs.Incore(base, make([]byte, pages)) }, pages / 512},
		{"mremap", memory, func(vs *VMSpace, o *FileObject) error {
			_, err := vs.Remap(base, size, size, mremapMayMove|mremapFixed, base+1<<40)
			return err
		}, pages / 256},
		{"truncate", file, func(vs *VMSpace, o *FileObject) error { return o.Truncate(0) }, pages / 1024},
		{"fork", memory, func(vs *VMSpace, o *FileObject) error {
			c, err := vs.Fork(arch.SharedUK, 0)
			if err == nil {
				c.Purge(nil)
				c.Release()
			}
			return err
		}, pages/256 + pages/1024},
		{"munmap crowded", crowded, func(vs *VMSpace, o *FileObject) error { return vs.Unmap(base, size) }, crowd / 128},
		{"mprotect crowded", crowded, func(vs *VMSpace, o *FileObject) error { return vs.Protect(base, crowd<<12, 0) }, crowd / 128},
		{"madvise crowded", crowded, func(vs *VMSpace, o *FileObject) error { return vs.Advise(base, crowd<<12, 10) }, crowd / 2048},
		{"truncate crowded", crowded, func(vs *VMSpace, o *FileObject) error { return o.Truncate(0) }, crowd / 1024},
		{"fork crowded", crowded, func(vs *VMSpace, o *FileObject) error {
			c, err := vs.Fork(arch.SharedUK, 0)
			if err == nil {
				c.Fault(base, arch.Read)
				c.Purge(nil)
				c.Release()
			}
			return err
		}, 2*crowd/256 + crowd/512},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, n := countYields(t, pages+2048)
			vs := m.space()
			o := NewFileObject(m.System, "/f", nil)
			defer o.Unref()
			must(t, o.Truncate(size))
			c.prep(vs, o)
			m.yield = func() {
				*n++
				vs.pm.Stats() // would wait for ever if it were locked
			}
			m.pmaps.SetYield(m.yield)
			*n = 0
			must(t, c.op(vs, o))
			if *n < c.want-1 {
				t.Errorf("gave way %d times, want %d", *n, c.want-1)
			}
			check(t, vs)
		})
	}
}

// told is a thread that is told to end after so many pauses, or for which MayEnd only says
// so.
type told struct {
	pauses, after int
	hints         int // how often MayEnd was asked
	only          bool
}

func (w *told) Pause() error {
	if w.pauses++; w.pauses > w.after && !w.only {
		return syscall.EINTR
	}
	return nil
}

func (w *told) MayEnd() bool {
	w.hints++
	return w.hints > w.after
}

// A thread that is to end leaves the calls that Linux interrupts, and keeps what was done
// by then. A signal that does not end the thread does not stop a fork. Seen to fail without
// a check of Pause's error, call by call.
func TestStops(t *testing.T) {
	const base, pages = 0x40000000, 2048
	const size = pages << 12
	m := newMachine(t, formats[0], 2*pages+1024)
	vs := m.space()
	resident := func() int { return vs.pm.Stats().Resident }
	for name, call := range map[string]func(c Caller) error{
		"mlock":    func(c Caller) error { return c.Lock(base, size, false) },
		"mlockall": func(c Caller) error { return c.LockAll(mclCurrent) },
		"madvise":  func(c Caller) error { return c.Advise(base, size, 23 /* POPULATE_WRITE */) },
	} {
		mustMap(t, vs, base, size, rw, Private|Anon|Fixed, nil, 0)
		if err := call(vs.For(&told{after: 3})); err != syscall.EINTR {
			t.Errorf("%s: %v", name, err)
		}
		if n := resident(); n == 0 || n > pages/2 {
			t.Errorf("%s: %d pages are there", name, n)
		}
	}
	must(t, vs.Unlock(base, size))
	va, err := vs.For(&told{after: 3}).Map(base, size, rw, Private|Anon|Fixed|Populate, nil, 0)
	if n := resident(); va != base || err != nil || n == 0 || n > pages/2 {
		t.Errorf("mmap: %#x, %v, %d pages are there", va, err, n)
	}
	must(t, vs.EnsureWritable(base, size))
	for at := arch.VA(base); at < base+size; at += arch.BlockSize {
		must(t, vs.pm.Demote(at))
	}
	if c, err := vs.For(&told{after: 2, pauses: 2}).Fork(arch.SharedUK, 0, vs.owner()); err != syscall.EINTR || c != nil {
		t.Errorf("fork: %v", err)
	}
	mustStore(t, vs, base, 1)
	w := &told{after: 2, only: true}
	c, err := vs.For(w).Fork(arch.SharedUK, 0, vs.owner())
	if err != nil || w.pauses != 1 {
		t.Fatalf("fork with a signal that ends nobody: %v after %d pauses", err, w.pauses)
	}
	wantLoad(t, c, base, 1)
	m.end(c)
}
