package screen

import (
	"strings"
	"testing"
	"unsafe"
)

// framebuffer is memory with a screen on it, and with guard bytes on both sides.
type framebuffer struct {
	*Screen
	all []byte
}

const guard = 64

func open(t *testing.T, c Config) *framebuffer {
	t.Helper()
	size := c.Stride * c.Height
	f := &framebuffer{all: make([]byte, size+2*guard)}
	for i := range f.all {
		f.all[i] = 0xa5
	}
	s, err := New(unsafe.Pointer(&f.all[guard]), uint64(size), c)
	if err != nil {
		t.Fatal(err)
	}
	f.Screen = s
	return f
}

func (f *framebuffer) print(s string) {
	for i := range len(s) {
		f.Put(s[i])
	}
}

func (f *framebuffer) pixel(x, y int) (v uint32) {
	n := int(f.px.size)
	at := f.all[guard+y*f.c.Stride+x*n:][:n]
	for i, b := range at {
		v |= uint32(b) << (8 * i)
	}
	return v
}

// text reads the screen back.
func (f *framebuffer) text() string {
	return Read(f.c.Width, f.c.Height, func(x, y int) bool { return f.pixel(x, y) == f.px.letter })
}

// intact checks that nothing was written beside the pixels.
func (f *framebuffer) intact(t *testing.T) {
	t.Helper()
	line := f.c.Width * int(f.px.size)
	for i, b := range f.all {
		at := i - guard
		inside := at >= 0 && at < f.c.Stride*f.c.Height && at%f.c.Stride < line
		if !inside && b != 0xa5 {
			t.Fatalf("byte %d beside the pixels was written: %#x", at, b)
		}
	}
}

// TestFormats: in every format the text can be read, in white on black, and nothing beside
// the pixels is written. Seen to fail with the width used as the stride.
func TestFormats(t *testing.T) {
	for name, px := range formats {
		c := Config{Width: 331, Height: 120, Stride: 340 * int(px.size), Format: name}
		f := open(t, c)
		f.print("grim: boot: no RAM\n~!@ 0123456789\n")
		if got := f.text(); got != "grim: boot: no RAM\n~!@ 0123456789\n" {
			t.Errorf("%s: %q", name, got)
		}
		f.intact(t)
		for y := range c.Height {
			for x := range c.Width {
				if v := f.pixel(x, y); v != px.paper && v != px.letter {
					t.Fatalf("%s: pixel %d, %d is %#x", name, x, y, v)
				}
			}
		}
	}
}

// TestText: lines that are too long, more rows than fit, and control characters.
func TestText(t *testing.T) {
	c := Config{Width: 10 * 7, Height: 5 * 13, Stride: 10 * 7 * 4, Format: "x8r8g8b8"}
	for _, x := range []struct{ name, in, want string }{
		{"wrap", "0123456789abc", "0123456789\nabc\n"},
		{"exactly a row", "0123456789\nx", "0123456789\nx\n"},
		{"more rows", "a\nb\nc\nd\ne\nf", "f\n\nc\nd\ne\n"},
		{"return", "abc\rx", "xbc\n"},
		{"backspace", "abc\b\bx", "axc\n"},
		{"tab", "a\tb", "a       b\n"},
		{"escape", "\x1b[1;31mred\x1b[0m\x1bcx", "redx\n"},
		{"one mark a character", "\u00b5s", "\ufffds\n"},
		{"control", "a\x01b\x00\x07", "a\ufffdb\n"},
	} {
		f := open(t, c)
		f.print(x.in)
		if got := f.text(); got != x.want {
			t.Errorf("%s: %q shows %q, want %q", x.name, x.in, got, x.want)
		}
		f.intact(t)
	}
}

// TestScale: on a large screen, letters are twice the size.
func TestScale(t *testing.T) {
	f := open(t, Config{Width: 1280, Height: 200, Stride: 1280 * 4, Format: "a8r8g8b8"})
	f.print("Grim\n")
	if f.scale != 2 || f.text() != "Grim\n" {
		t.Errorf("scale %d, text %q", f.scale, f.text())
	}
}

// TestBadConfig: a framebuffer is refused that does not fit into its memory, or whose text
// could not be read.
func TestBadConfig(t *testing.T) {
	var b [64]byte
	for _, x := range []struct {
		c    Config
		size uint64
		want string
	}{
		{Config{100, 100, 400, "p8"}, 40000, `format "p8" is none of a1r5g5b5, `},
		{Config{100, 100, 399, "x8r8g8b8"}, 40000, "make no sense"},
		{Config{100, 100, 402, "x8r8g8b8"}, 50000, "make no sense"},
		{Config{100, 100, 400, "x8r8g8b8"}, 39999, "make no sense"},
		{Config{1 << 20, 100, 4 << 20, "x8r8g8b8"}, 1 << 30, "make no sense"},
		{Config{-100, 100, 400, "x8r8g8b8"}, 40000, "too small"},
		{Config{100, -100, 400, "x8r8g8b8"}, 40000, "make no sense"},
		{Config{100, 38, 400, "x8r8g8b8"}, 40000, "too small"},
	} {
		if _, err := New(unsafe.Pointer(&b), x.size, x.c); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%+v: %v, want %q", x.c, err, x.want)
		}
	}
}
