package arch

import (
	"errors"
	"fmt"
	"testing"
)

func TestAroundGuards(t *testing.T) {
	guards := []StackGuard{{0x1000, "a"}, {0x3000, "b"}, {0x4000, "c"}, {0x8000, "d"}}
	for _, c := range []struct {
		from, to VA
		want     string
	}{
		{0, 0xa000, "[0-1000 2000-3000 5000-8000 9000-a000]"},
		{0x1000, 0x4000, "[2000-3000]"},
		{0x3000, 0x5000, "[]"},
		{0x5000, 0x6000, "[5000-6000]"},
		{0x8000, 0x9000, "[]"},
		{0x6000, 0x8000, "[6000-8000]"},
	} {
		pieces := []string{}
		err := AroundGuards(guards, c.from, c.to, func(from, to VA) error {
			pieces = append(pieces, fmt.Sprintf("%x-%x", uint64(from), uint64(to)))
			return nil
		})
		if got := fmt.Sprint(pieces); got != c.want || err != nil {
			t.Errorf("[%#x, %#x): %s, want %s", c.from, c.to, got, c.want)
		}
	}
	wrong := errors.New("wrong")
	if err := AroundGuards(guards, 0, 0x2000, func(VA, VA) error { return wrong }); err != wrong {
		t.Errorf("an error became %v", err)
	}
}

func TestOverflowed(t *testing.T) {
	guards := []StackGuard{{0x10000, "a"}, {0x20000, "b"}}
	for _, c := range []struct {
		addr, sp VA
		want     string
	}{
		{0x10ff8, 0x11000, "a"},
		{0x10000, 0x0ff00, "a"},
		{0x20000, 0x20800, "b"},
		{0x10ff8, 0x20000, ""}, // a wild pointer
		{0x11000, 0x11000, ""},
		{0x0fff8, 0x10000, ""},
	} {
		if got := Overflowed(guards, c.addr, c.sp); got != c.want {
			t.Errorf("fault at %#x, sp %#x: %q, want %q", c.addr, c.sp, got, c.want)
		}
	}
}
