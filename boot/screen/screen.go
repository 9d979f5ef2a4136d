// Package screen writes text on a framebuffer that firmware set up, for users who have a
// display and no serial line, or no driver for the line.
//
// It is plain Go over a piece of memory, so that host tests can look at the pixels. A
// Screen's methods do not allocate, block or take a lock, as they also run while the kernel
// dies. Only one caller at a time may use a Screen.
package screen

import (
	"fmt"
	"image"
	"unsafe"

	"golang.org/x/image/font/basicfont"
)

// Config describes a framebuffer. Width and Height are in pixels. Stride is in bytes, from
// one line to the next.
type Config struct {
	Width, Height, Stride int
	Format                string // of the device-tree binding simple-framebuffer
}

// The font, with one byte for each pixel, and the size of its cells.
var (
	glyphs = basicfont.Face7x13.Mask.(*image.Alpha).Pix
	cellX  = basicfont.Face7x13.Advance
	cellY  = basicfont.Face7x13.Height
)

const (
	noGlyph = 95 // the font's replacement character
	maxSide = 1 << 14
	wide    = 1280 // from this width on, a font pixel is two pixels wide, as one is too small to read
)

// Screen is text on a framebuffer. It does not scroll, because that would read memory that
// is slow to read. After the last row comes the first one again, and the row below the
// newest is kept empty.
type Screen struct {
	mem    unsafe.Pointer
	c      Config
	px     pixel
	scale  int // framebuffer pixels for the side of a font pixel
	cols   int
	rows   int
	col    int
	row    int
	skip   bool // inside an escape sequence
	inside bool // and after its bracket
}

// New makes a screen of the framebuffer at mem, which has size bytes, and clears it. The
// memory may be device memory, aligned to a page: every access has a pixel's size or is a
// byte, and nothing is read. New returns an error if it does not support the format or the
// size.
func New(mem unsafe.Pointer, size uint64, c Config) (*Screen, error) {
	px, err := lookup(c.Format)
	if err != nil {
		return nil, err
	}
	s := &Screen{mem: mem, c: c, px: px, scale: 1}
	if c.Width > maxSide || c.Height > maxSide || c.Stride < c.Width*int(px.size) ||
		c.Stride%int(px.size) != 0 && px.size != 3 || uint64(c.Stride)*uint64(c.Height) > size {
		return nil, fmt.Errorf("framebuffer of %d bytes: %d by %d pixels of %d bytes, %d bytes a line, make no sense",
			size, c.Width, c.Height, px.size, c.Stride)
	}
	if c.Width >= wide {
		s.scale = 2
	}
	s.cols, s.rows = c.Width/(cellX*s.scale), c.Height/(cellY*s.scale)
	if s.cols < 1 || s.rows < 3 {
		return nil, fmt.Errorf("framebuffer of %d by %d pixels is too small for text", c.Width, c.Height)
	}
	s.fill(0, c.Height)
	return s, nil
}

// Put shows a byte of ASCII text. A line feed starts a new row, a carriage return goes to
// the row's start, and a tab to the next column that is a multiple of 8. Escape sequences
// (ECMA-48, 5.4) and all but the first byte of a UTF-8 character show nothing. The first
// byte, and other control characters, show a mark.
func (s *Screen) Put(c byte) {
	if s.skip {
		s.escape(c)
		return
	}
	switch {
	case c == '\n':
		s.newline()
	case c == '\r':
		s.col = 0
	case c == '\t':
		for s.draw(' '); s.col%8 != 0; {
			s.draw(' ')
		}
	case c == '\b':
		s.col = max(s.col-1, 0)
	case c == 0x1b:
		s.skip, s.inside = true, false
	case c >= 0x80 && c < 0xc0, c == 0, c == 7:
	default:
		s.draw(c)
	}
}

// escape skips one byte of an escape sequence.
func (s *Screen) escape(c byte) {
	if !s.inside {
		s.inside = c == '['
		s.skip = s.inside
		return
	}
	s.skip = c < 0x40 || c > 0x7e
}

func (s *Screen) newline() {
	s.col = 0
	s.row = (s.row + 1) % s.rows
	s.clearRow(s.row)
	s.clearRow((s.row + 1) % s.rows)
}

func (s *Screen) clearRow(row int) {
	h := cellY * s.scale
	s.fill(row*h, (row+1)*h)
}

// fill clears the lines of pixels [from, to).
func (s *Screen) fill(from, to int) {
	for y := from; y < to; y++ {
		for x := range s.c.Width {
			s.set(x, y, s.px.paper)
		}
	}
}

// draw shows a character at the cursor and moves the cursor.
func (s *Screen) draw(c byte) {
	if s.col == s.cols {
		s.newline()
	}
	glyph := noGlyph
	if c >= ' ' && c < 0x7f {
		glyph = int(c - ' ')
	}
	width := basicfont.Face7x13.Width // the rest of the cell stays empty
	x0, y0 := s.col*cellX*s.scale, s.row*cellY*s.scale
	for y := range cellY * s.scale {
		line := glyphs[(glyph*cellY+y/s.scale)*width:][:width]
		for x := range cellX * s.scale {
			v := s.px.paper
			if fx := x / s.scale; fx < width && line[fx] != 0 {
				v = s.px.letter
			}
			s.set(x0+x, y0+y, v)
		}
	}
	s.col++
}

// set stores one pixel. Pixels are stored one by one because device memory does not allow
// the accesses that clear and copy make.
//
// Safety: New has checked that all pixels lie in the memory it was given.
func (s *Screen) set(x, y int, v uint32) {
	p := unsafe.Add(s.mem, uintptr(y)*uintptr(s.c.Stride)+uintptr(x)*s.px.size)
	switch s.px.size {
	case 4:
		*(*uint32)(p) = v
	case 2:
		*(*uint16)(p) = uint16(v)
	default:
		for i := range s.px.size {
			*(*byte)(unsafe.Add(p, i)) = byte(v >> (8 * i))
		}
	}
}
