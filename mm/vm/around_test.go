package vm

import (
	"bytes"
	"slices"
	"syscall"
	"testing"

	"grim/arch"
)

// A read of a file's page maps the pages of the 64 KB around it that the file has in
// memory, and no others: no holes, nothing past the end or outside the mapping, and no page
// that the process has a copy of. Seen to fail: enterAround without the end of the mapping,
// or its start; from another index.
func TestReadAround(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 2048)
		vs := m.space()
		o := NewFileObject(m.System, "/f", nil)
		defer o.Unref()
		const pg = arch.PageSize
		for i := range 45 {
			if i == 5 || i == 20 {
				continue // holes
			}
			if _, err := o.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, pg), int64(i)*pg); err != nil {
				t.Fatal(err)
			}
		}
		if err := o.Truncate(44*pg + 1); err != nil {
			t.Fatal(err)
		}
		held := o.Pages()
		// Pages 3 to 50 of the file, at addresses whose 64 KB begin elsewhere.
		const va = arch.VA(0x5000_0000 + 7*pg)
		mustMap(t, vs, va, 48*pg, rw, Private|Fixed, o, 3*pg)
		resident := func() (list []int) {
			for i := range 48 {
				if _, ok := vs.pm.Lookup(va + arch.VA(i)*pg); ok {
					list = append(list, i+3)
				}
			}
			return list
		}
		want := func(what string, pages ...int) {
			t.Helper()
			if got := resident(); !slices.Equal(got, pages) {
				t.Fatalf("%s: pages %v of the file are mapped, want %v", what, got, pages)
			}
			if n := o.Pages(); n != held {
				t.Fatalf("%s: the file has %d pages, want %d", what, n, held)
			}
		}
		mustStore(t, vs, va+4*pg, 99) // page 7: a copy
		want("a write", 7)
		wantLoad(t, vs, va+pg, 5) // page 4; its 64 KB are pages 3 to 11, without 5
		want("a read at the start", 3, 4, 6, 7, 8, 9, 10, 11)
		wantLoad(t, vs, va+4*pg, 99)
		for i := 3; i <= 11; i++ {
			if i != 5 && i != 7 {
				wantLoad(t, vs, va+arch.VA(i-3)*pg, byte(i+1))
			}
		}
		wantLoad(t, vs, va+38*pg, 42) // page 41; its 64 KB are pages 28 to 43
		want("a read in the middle", 3, 4, 6, 7, 8, 9, 10, 11, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43)
		wantLoad(t, vs, va+41*pg, 45) // page 44, the last: pages 44 to 59, without those that are not there
		if got := resident(); got[len(got)-1] != 44 || len(got) != 25 {
			t.Fatalf("a read at the end: %v", got)
		}
		const small = arch.VA(0x6000_0000 + 2*pg)
		mustMap(t, vs, small, 3*pg, rw, Private|Fixed, o, 30*pg)
		wantLoad(t, vs, small+pg, 32)
		for i := arch.VA(0); i < 16; i++ {
			if _, ok := vs.pm.Lookup(small - 2*pg + i*pg); ok != (i >= 2 && i < 5) {
				t.Errorf("page %d around a small mapping: mapped %v", i, ok)
			}
		}
		wantErr(t, "a read past the end", vs.Fault(va+42*pg, arch.Read), syscall.EIO)
		vs.SetLimits(Limits{AS: Unlimited, Data: Unlimited, Stack: Unlimited, Memlock: Unlimited, Resident: 30 * pg})
		wantLoad(t, vs, va+14*pg, 18) // page 17, alone: a limit is near
		if got := resident(); len(got) != 26 {
			t.Fatalf("under a limit: %v", got)
		}
		check(t, vs)
	})
}
