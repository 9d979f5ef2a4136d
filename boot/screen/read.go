package screen

import (
	"strings"

	"golang.org/x/image/font/basicfont"
)

// Read returns the text that a Screen shows on a display of width by height pixels. There
// is one line for each row, without the blanks at its end, up to the last row that is not
// empty. lit reports whether a pixel is lit. A cell that looks like no character is U+FFFD.
// It is for tests.
func Read(width, height int, lit func(x, y int) bool) string {
	scale := 1
	if width >= wide {
		scale = 2
	}
	chars := map[[13]byte]rune{}
	for g := range noGlyph + 1 {
		r := rune(g + ' ')
		if g == noGlyph {
			r = '\ufffd'
		}
		chars[shape(func(x, y int) bool {
			w := basicfont.Face7x13.Width
			return x < w && glyphs[(g*cellY+y)*w+x] != 0
		})] = r
	}
	var text strings.Builder
	full := 0 // length up to the last row with something in it
	for row := range height / (cellY * scale) {
		var line strings.Builder
		for col := range width / (cellX * scale) {
			r, ok := chars[shape(func(x, y int) bool { return lit((col*cellX+x)*scale, (row*cellY+y)*scale) })]
			if !ok {
				r = '\ufffd'
			}
			line.WriteRune(r)
		}
		s := strings.TrimRight(line.String(), " ")
		text.WriteString(s + "\n")
		if s != "" {
			full = text.Len()
		}
	}
	return text.String()[:full]
}

// shape returns a cell's pixels, one byte for each line.
func shape(lit func(x, y int) bool) (s [13]byte) {
	for y := range cellY {
		for x := range cellX {
			if lit(x, y) {
				s[y] |= 1 << x
			}
		}
	}
	return s
}
