package phys_test

import (
	"testing"
	"unsafe"

	"grim/arch"
	"grim/mm/phys"
)

// TestAdd checks that memory added later is allocated like all other memory, and that the
// recount agrees.
func TestAdd(t *testing.T) {
	const page = arch.PageSize
	arena := make([]byte, 16*page)
	m, err := phys.New(unsafe.Pointer(&arena[0]), []phys.Range{{Start: page, End: 4 * page}, {Start: 12 * page, End: 16 * page}})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Add(phys.Range{Start: 4 * page, End: 8 * page}); err != nil {
		t.Fatal(err)
	}
	if m.Total() != 11 || m.FreeFrames() != 11 {
		t.Errorf("%d frames, %d free; want 11 of both", m.Total(), m.FreeFrames())
	}
	seen := map[phys.Frame]bool{}
	for range 11 {
		f, err := m.Alloc(phys.Anon)
		if err != nil || seen[f] {
			t.Fatalf("frame %d, seen %v, %v", f, seen[f], err)
		}
		seen[f] = true
	}
	if _, err := m.Alloc(phys.Anon); err == nil {
		t.Error("a twelfth frame was handed out")
	}
	if err := m.Audit(); err != nil {
		t.Error(err)
	}
	for _, r := range []phys.Range{{Start: 1, End: page}, {Start: page, End: page}, {Start: 0, End: 1 << 40}} {
		if m.Add(r) == nil {
			t.Errorf("Add of [%#x, %#x) is no error", r.Start, r.End)
		}
	}
}
