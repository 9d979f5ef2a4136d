package arch

import (
	"testing"
	"unsafe"
)

// Machine code has these offsets built in. If a field moves, this test fails.
func TestUAreaOffsets(t *testing.T) {
	var u UArea
	if s := unsafe.Sizeof(u); s != PageSize {
		t.Errorf("UArea is %d bytes, want one page", s)
	}
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"Frame", unsafe.Offsetof(u.Frame), 0},
		{"Trap", unsafe.Offsetof(u.Trap), 320},
		{"Mach", unsafe.Offsetof(u.Mach), 344},
		{"FPU", unsafe.Offsetof(u.FPU), 512},
	} {
		if c.got != c.want {
			t.Errorf("%s at %d, want %d", c.name, c.got, c.want)
		}
	}
}
