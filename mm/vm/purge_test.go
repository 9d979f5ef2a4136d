package vm

import (
	"testing"

	"grim/arch"
	"grim/arch/amd64"
)

// A purge leaves nothing of any kind of entry: holes, guard pages, blocks, partly unmapped
// blocks, wired, shared file, shared anonymous, private copies, pages shared with a living
// parent, PROT_NONE with contents, stacks.
func TestPurgeEverything(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 16384)
		o := NewFileObject(m.System, "/f", nil)
		defer o.Unref()
		o.Truncate(64 << 12)
		parent := m.space()
		const base = 0x40000000
		mustMap(t, parent, base, 8<<20, rw, Anon|Private|Fixed, nil, 0)
		for i := range arch.VA(1600) {
			mustStore(t, parent, base+i<<12, 1)
		}
		vs, err := parent.Fork(arch.SharedUK, 0)
		if err != nil {
			t.Fatal(err)
		}
		mustStore(t, vs, base+3<<12, 2)
		if err := vs.Unmap(base+2<<20+0x3000, 0x5000); err != nil {
			t.Fatal(err)
		}
		big := mustMap(t, vs, 0, 4<<20, rw, Anon|Private|Populate, nil, 0)
		vs.Protect(big+1<<20, 4096, 0)
		mustMap(t, vs, 0x7fff00000000, 1<<16, rw, Anon|Private|Fixed|GrowsDown|Populate, nil, 0)
		mustStore(t, vs, 0x7fff00000000-5<<12, 1)
		mustMap(t, vs, 0, 1<<40, 0, Anon|Private|NoReserve, nil, 0)
		wired := mustMap(t, vs, 0, 64<<12, rw, Anon|Private|Locked, nil, 0)
		mustStore(t, vs, wired, 1)
		sa := mustMap(t, vs, 0, 64<<12, rw, Anon|Shared, nil, 0)
		mustStore(t, vs, sa+5<<12, 1)
		sf := mustMap(t, vs, 0, 64<<12, rw, Shared, o, 0)
		mustStore(t, vs, sf+9<<12, 1)
		wantLoad(t, vs, sf+30<<12, 0)
		pf := mustMap(t, vs, 0, 64<<12, rw|arch.Exec, Private, o, 0)
		mustStore(t, vs, pf+9<<12, 1)
		wantLoad(t, vs, pf+40<<12, 0)
		for i := range arch.VA(500) {
			mustMap(t, vs, 0x100000000+i<<13, 4096, rw, Anon|Private|Fixed, nil, 0)
		}
		check(t, vs)
		sum := vs.Stats()
		var st PurgeStats
		vs.Purge(&st)
		if !vs.Purged() || st.Entries != sum.Entries || uint64(st.Pages) != sum.RSS>>12 || uint64(st.Tables) != sum.Tables>>12 || st.Dirty != 1 {
			t.Errorf("purge says %+v; the space had %+v", st, sum)
		}
		// The space is empty and still valid: it can be used and purged again.
		check(t, vs)
		mustStore(t, vs, mustMap(t, vs, base, 4096, rw, Anon|Private|Fixed, nil, 0), 1)
		m.end(vs)
		for i := range arch.VA(1600) {
			wantLoad(t, parent, base+i<<12, 1)
		}
	})
}

// A sparse terabyte costs as much as its ten pages. The counts are compared, because one
// table page more or less shows in them.
func TestPurgeSparse(t *testing.T) {
	m := newMachine(t, formats[0], 1024)
	vs := m.space()
	va := mustMap(t, vs, 0, 1<<40, rw, Anon|Private|NoReserve, nil, 0)
	for i := range arch.VA(10) {
		mustStore(t, vs, va+i<<36+i<<12, 1)
	}
	var st PurgeStats
	vs.Purge(&st)
	if st.Pages != 10 || st.Entries != 1 || st.Tables > 30 {
		t.Errorf("purge of 10 pages in 1 TB: %+v", st)
	}
}

// Release of a space that is not empty is a kernel panic that names the facts (E8).
func TestReleaseAsserts(t *testing.T) {
	m := newMachine(t, formats[0], 1024)
	vs := m.space()
	mustMap(t, vs, 0, 4096, rw, Anon|Private, nil, 0)
	vs.Ref() // so that the cleanup's references come out even
	if vs.Release() {
		t.Error("release of one of two references was the last")
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("release of a space with entries did not panic")
			}
		}()
		vs.Release()
	}()
	vs.refs.Store(1)
}

// The end of an object with many pages lets others run, in a purge as elsewhere. (Broken
// by: Unref that gives freePages no yield.)
func TestObjectEndYields(t *testing.T) {
	m := newMachine(t, &amd64.Format, 4*4096+2048)
	const pages = 3 * 4096
	vs := m.space()
	va := mustMap(t, vs, 0, pages<<12, rw, Anon|Shared, nil, 0)
	for i := range arch.VA(pages) {
		mustStore(t, vs, va+i<<12, 1)
	}
	vs.mu.Lock()
	obj := vs.tree.find(va).obj
	vs.mu.Unlock()
	obj.Ref() // so that the purge does not free the pages
	vs.Purge(nil)
	yields := 0
	m.System.yield = func() { yields++ }
	obj.Unref()
	if yields < 3 {
		t.Errorf("%d yields while %d pages were freed, want one each 4096", yields, pages)
	}
}
