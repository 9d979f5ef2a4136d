package screen

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// pixel says how a color format stores the two colors that are used.
type pixel struct {
	size          uintptr // bytes
	paper, letter uint32
}

// formats are those of the binding simple-framebuffer (simple-framebuffer.yaml in Linux's
// documentation). A name gives the highest bits first. White has every bit of the three
// colors set, black none. Both are opaque.
var formats = map[string]pixel{
	"r5g6b5":      {2, 0, 0xffff},
	"x1r5g5b5":    {2, 0, 0x7fff},
	"a1r5g5b5":    {2, 0x8000, 0xffff},
	"r8g8b8":      {3, 0, 0xffffff},
	"b8g8r8":      {3, 0, 0xffffff},
	"x8r8g8b8":    {4, 0, 0xffffff},
	"x8b8g8r8":    {4, 0, 0xffffff},
	"a8r8g8b8":    {4, 0xff000000, 0xffffffff},
	"a8b8g8r8":    {4, 0xff000000, 0xffffffff},
	"r8g8b8x8":    {4, 0, 0xffffff00},
	"r8g8b8a8":    {4, 0xff, 0xffffffff},
	"x2r10g10b10": {4, 0, 0x3fffffff},
	"a2r10g10b10": {4, 0xc0000000, 0xffffffff},
}

func lookup(format string) (pixel, error) {
	p, ok := formats[format]
	if !ok {
		return p, fmt.Errorf("framebuffer format %q is none of %s", format, strings.Join(slices.Sorted(maps.Keys(formats)), ", "))
	}
	return p, nil
}
