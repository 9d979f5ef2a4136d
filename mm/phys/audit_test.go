package phys

import (
	"testing"
	"unsafe"

	"grim/arch"
)

// TestAuditChanged checks that AuditChanged finds a wrong record in a block that has frames
// in use or had some since the last call, and that Audit finds one in a block of which no
// frame was ever allocated.
//
// Broken by: a block that counts as audited after a frame of it was allocated.
func TestAuditChanged(t *testing.T) {
	const blocks = 4
	arena := make([]byte, (blocks+1)*arch.BlockSize)
	at := (uintptr(unsafe.Pointer(&arena[0])) + arch.BlockSize - 1) &^ (arch.BlockSize - 1)
	start := at - uintptr(unsafe.Pointer(&arena[0]))
	m, err := New(unsafe.Add(unsafe.Pointer(&arena[0]), start), []Range{{Start: 0, End: blocks * arch.BlockSize}})
	if err != nil {
		t.Fatal(err)
	}
	// wrong adds a reference without a holder to a frame while it calls look.
	wrong := func(f Frame, look func() error) error {
		m.info[f-m.base].refs++
		defer func() { m.info[f-m.base].refs-- }()
		return look()
	}
	if err := m.Audit(); err != nil {
		t.Fatal(err)
	}
	untouched := m.first(blocks-1) + 7
	for i := m.whole; i >= 0; i = m.blocks[i].next {
		untouched = m.first(i) + 7 // a frame of the block that is allocated last
	}
	if wrong(untouched, m.AuditChanged) != nil {
		t.Error("an untouched block was looked at again: that is what costs")
	}
	if wrong(untouched, m.Audit) == nil {
		t.Error("Audit has not looked at an untouched block")
	}
	// A whole block is allocated and freed between two calls of AuditChanged.
	i := m.whole
	var all []Frame
	for m.whole == i || len(all) == 0 || m.blocks[i].nfree > 0 {
		f, err := m.Alloc(Kernel)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
		if len(all) > 2*arch.BlockPages {
			t.Fatal("the block does not come to its end")
		}
	}
	used := all[len(all)-1]
	if err := m.AuditChanged(); err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		m.Unref(f)
	}
	if m.blocks[i].nfree != arch.BlockPages {
		t.Fatalf("%d frames of the block are free", m.blocks[i].nfree)
	}
	if wrong(used, m.AuditChanged) == nil {
		t.Error("a frame that was in use since the last look was not looked at")
	}
	if err := m.AuditChanged(); err != nil {
		t.Error(err)
	}
}
