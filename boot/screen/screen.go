// Package screen writes text on a framebuffer that firmware left: for whoever has
// a display and no serial line, or no driver for it.
//
// It is plain Go over a piece of memory, so that the host tests look at the pixels.
// A Screen's methods do not allocate, block or take a lock: they run while the
// kernel dies. One caller at a time.
package screen

import (
	"fmt"
	"image"
	"unsafe"

	"golang.org/x/image/font/basicfont"
)

// Config is a framebuffer. Sizes are in pixels, Stride is in bytes from a line to
// the next one.
type Config struct {
	Width, Height, Stride int
	Format                string // of the device-tree binding simple-framebuffer
}

// The font, one byte a pixel, and its cells.
var (
	glyphs = basicfont.Face7x13.Mask.(*image.Alpha).Pix
	cellX  = basicfont.Face7x13.Advance
	cellY  = basicfont.Face7x13.Height
)

const (
	noGlyph = 95 // the font's replacement character
	maxSide = 1 << 14
	wide    = 1280 // from this width on, pixels are too small for single ones
)

// Screen is text on a framebuffer. It does not scroll, which would mean to read
// memory that is slow to read: after the last row comes the first one again, and
// the row below the newest is empty.
type Screen struct {
	mem    unsafe.Pointer
	c      Config
	px     pixel
	scale  int // framebuffer pixels to the side of a font's
	cols   int
	rows   int
	col    int
	row    int
	skip   bool // inside of an escape sequence
	inside bool // and behind its bracket
}

// New makes a screen of the framebuffer at mem and clears it. The memory may be
// device memory, aligned to a page: every access is one of a pixel's size, or of
// bytes, and nothing is read. It returns an error for a format or a size that it
// cannot do.
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

// Put shows a byte of ASCII text. Line feed starts a new row, carriage return goes
// to the row's start, tab to the next column that is a multiple of 8; escape
// sequences (ECMA-48, 5.4) and the later bytes of UTF-8 characters show nothing,
// the first ones and other control characters a mark.
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

// escape passes over one byte of an escape sequence.
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

// fill empties lines of pixels.
func (s *Screen) fill(from, to int) {
	for y := from; y < to; y++ {
		for x := range s.c.Width {
			s.set(x, y, s.px.paper)
		}
	}
}

// draw shows a character at the cursor, and moves on.
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

// set is one pixel. Stores one by one: what clear and copy do at their speed, device
// memory does not bear.
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
