package vm

import (
	"math"
	"syscall"
	"testing"

	"grim/arch"
	"grim/mm/charge"
)

// Every operation that ends a shared mapping hands its dirty pages back, whichever call it
// is part of, and drops the mapping's reference to the object. Seen to fail: a brk that
// does not settle what unmap returned loses the page and leaks frame and object, and so
// does each of the others.
func TestDirtyComesBack(t *testing.T) {
	const start = 0x40000000
	ways := map[string]func(vs *VMSpace, va arch.VA) error{
		"munmap": func(vs *VMSpace, va arch.VA) error { return vs.Unmap(va, 4096) },
		"brk": func(vs *VMSpace, va arch.VA) error {
			if vs.Brk(start) != start {
				t.Error("the heap did not shrink")
			}
			return nil
		},
		"mmap over it": func(vs *VMSpace, va arch.VA) error {
			_, err := vs.Map(va, 4096, rw, Anon|Private|Fixed, nil, 0)
			return err
		},
		"mremap over it": func(vs *VMSpace, va arch.VA) error {
			from := mustMap(t, vs, 0, 4096, rw, Anon|Private, nil, 0)
			_, err := vs.Remap(from, 4096, 4096, mremapMayMove|mremapFixed, va)
			return err
		},
		"mremap to less": func(vs *VMSpace, va arch.VA) error {
			_, err := vs.Remap(va-4096, 3*4096, 4096, 0, 0)
			return err
		},
		"mremap of less to elsewhere": func(vs *VMSpace, va arch.VA) error {
			_, err := vs.Remap(va-4096, 3*4096, 4096, mremapMayMove|mremapFixed, start+1<<30)
			return err
		},
		"mremap away, then munmap": func(vs *VMSpace, va arch.VA) error {
			to, err := vs.Remap(va, 4096, 4096, mremapMayMove|mremapFixed, start+1<<30)
			if err != nil {
				return err
			}
			return vs.Unmap(to, 4096)
		},
		"msync":            func(vs *VMSpace, va arch.VA) error { return vs.Sync(va, 4096, msSync) },
		"madvise DONTNEED": func(vs *VMSpace, va arch.VA) error { return vs.Advise(va, 4096, 4) },
		"purge":            func(vs *VMSpace, va arch.VA) error { vs.Purge(nil); return nil },
	}
	for name, fn := range ways {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, formats[0], 1024)
			vs := m.space()
			pg := &slowPager{}
			o := NewFileObject(m.System, "/f", pg)
			must(t, o.Truncate(8<<12))
			vs.SetBrk(start)
			if vs.Brk(start+8<<12) != start+8<<12 {
				t.Fatal("no heap")
			}
			const va = start + 4<<12
			mustMap(t, vs, va-4096, 3<<12, rw, Shared|Fixed, o, 4096)
			o.Unref() // the mapping's reference is the last
			mustStore(t, vs, va, 7)
			must(t, fn(vs, va))
			if p := pg.pages[2]; len(p) == 0 || p[0] != 7 {
				t.Error("the page was not handed back")
			}
		})
	}
}

// A mapping that grows downwards cannot have an object, because an object has no pages
// below its first. Seen to fail with a Map that allows it and a growStack that does not
// check: index out of range [-1] in the object's table.
func TestGrowsDownObject(t *testing.T) {
	m := newMachine(t, formats[0], 1024)
	vs := m.space()
	o := NewFileObject(m.System, "/f", nil)
	defer o.Unref()
	if _, err := o.WriteAt([]byte("contents"), 0); err != nil {
		t.Fatal(err)
	}
	const va = 0x40000000
	_, err := vs.Map(va, 4096, rw, Private|GrowsDown|Fixed, o, 0)
	wantErr(t, "a growing mapping of a file", err, syscall.EINVAL)
	_, err = vs.Map(va, 4096, rw, Shared|Anon|GrowsDown|Fixed, nil, 0)
	wantErr(t, "a growing shared mapping", err, syscall.EINVAL)
	// If there were such a mapping it could not grow, and its pages would have no index.
	mustMap(t, vs, va, 4096, rw, Private|Fixed, o, 0)
	vs.mu.Lock()
	e := vs.tree.find(va)
	e.flags |= entGrowsDown
	err = vs.growStack(e, va-4096)
	e.flags &^= entGrowsDown
	vs.mu.Unlock()
	wantErr(t, "growing", err, syscall.EFAULT)
	x := pageIndex{owner: charge.Unlimited().Kernel()}
	wantErr(t, "set", x.set(0, 5), nil)
	for _, i := range []int64{-1, -chunkPages, math.MinInt64} {
		if f := x.get(i); f != 0 {
			t.Errorf("page %d of an object is frame %#x", i, f)
		}
		if _, err := o.GetPage(i, false); err != syscall.EIO {
			t.Errorf("page %d of a file: %v", i, err)
		}
		if inObject(i, 8) {
			t.Errorf("page %d is in an object of 8 pages", i)
		}
	}
}

// Offsets past the largest are refused wherever a mapping gets longer. Seen to fail with
// the check in mremap's move only.
func TestOffsetOverflow(t *testing.T) {
	m := newMachine(t, formats[0], 1024)
	vs := m.space()
	o := NewFileObject(m.System, "/f", nil)
	defer o.Unref()
	const last = math.MaxInt64&^0xfff - 2<<12 // three pages, less a byte
	_, err := vs.Map(0, 3<<12, arch.Read, Shared, o, last)
	wantErr(t, "map", err, syscall.EOVERFLOW)
	va := mustMap(t, vs, 0x40000000, 2<<12, arch.Read, Shared|Fixed, o, last)
	for _, flags := range []int{0, mremapMayMove} {
		_, err = vs.Remap(va, 2<<12, 3<<12, flags, 0)
		wantErr(t, "grow", err, syscall.EINVAL)
	}
	_, err = vs.Remap(va, 0, 3<<12, mremapMayMove, 0)
	wantErr(t, "second mapping", err, syscall.EINVAL)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
