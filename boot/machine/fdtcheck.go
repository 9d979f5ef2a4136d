package machine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/u-root/u-root/pkg/dt"
)

// Limits of a device tree. The Linux arm64 boot protocol allows 2 MB. The Devicetree
// Specification (v0.4, 2.2.1) allows names of 31 characters. No real tree is deeper than
// 10.
const (
	maxTree  = 2 << 20
	maxName  = 255
	maxDepth = 32
	fdtHead  = 40
)

var be = binary.BigEndian

// parseTree reads the flattened device tree at pa with u-root's pkg/dt. That package
// allocates by the lengths in the tree without checking them, so they are compared with the
// tree's size first.
func parseTree(read Reader, pa uint64) (*dt.Node, []dt.ReserveEntry, uint64, error) {
	h := read(pa, fdtHead)
	if len(h) != fdtHead {
		return nil, nil, 0, fmt.Errorf("header is not readable")
	}
	if m := be.Uint32(h); m != dt.Magic {
		return nil, nil, 0, fmt.Errorf("magic %#x, want %#x", m, dt.Magic)
	}
	size := be.Uint32(h[4:])
	if size < fdtHead || size > maxTree {
		return nil, nil, 0, fmt.Errorf("totalsize is %d, want %d to %d", size, fdtHead, maxTree)
	}
	b := read(pa, int(size))
	if len(b) != int(size) {
		return nil, nil, 0, fmt.Errorf("%d bytes are not readable", size)
	}
	if err := checkTree(b); err != nil {
		return nil, nil, 0, err
	}
	t, err := dt.ReadFDT(io.NewSectionReader(bytes.NewReader(b), 0, int64(size)))
	if err != nil {
		return nil, nil, 0, err
	}
	return t.RootNode, t.ReserveEntries, uint64(size), nil
}

// checkTree walks the structure block of a tree without building anything. It reports
// lengths and offsets that point outside.
func checkTree(b []byte) error {
	size := uint64(len(b))
	block := func(name string, off, n uint32) ([]byte, error) {
		if off%4 != 0 && name != "strings" || uint64(off)+uint64(n) > size || off < fdtHead {
			return nil, fmt.Errorf("%s block: offset %#x, size %#x in a tree of %#x bytes", name, off, n, size)
		}
		return b[off : off+n], nil
	}
	s, err := block("structure", be.Uint32(b[8:]), be.Uint32(b[36:]))
	if err != nil {
		return err
	}
	if _, err := block("strings", be.Uint32(b[12:]), be.Uint32(b[32:])); err != nil {
		return err
	}
	if _, err := block("memory reservation", be.Uint32(b[16:]), 16); err != nil {
		return err
	}

	const begin, end, prop, nop, last = 1, 2, 3, 4, 9
	depth := 0
	for i := 0; i+4 <= len(s); {
		token := be.Uint32(s[i:])
		at := i
		i += 4
		switch token {
		case begin:
			n := bytes.IndexByte(s[i:min(len(s), i+maxName+1)], 0)
			if n < 0 {
				return fmt.Errorf("node name at structure offset %#x is longer than %d bytes", at, maxName)
			}
			if depth++; depth > maxDepth {
				return fmt.Errorf("nodes nest deeper than %d at structure offset %#x", maxDepth, at)
			}
			i += n + 1
		case end:
			if depth--; depth < 0 {
				return fmt.Errorf("node end without a node at structure offset %#x", at)
			}
		case prop:
			if i+8 > len(s) {
				return fmt.Errorf("property at structure offset %#x is cut off", at)
			}
			n := be.Uint32(s[i:])
			if i += 8; uint64(n) > uint64(len(s)-i) {
				return fmt.Errorf("property at structure offset %#x: length %#x goes over the end of the block", at, n)
			}
			i += int(n)
		case nop:
		case last:
			if depth != 0 {
				return fmt.Errorf("tree ends inside of %d nodes", depth)
			}
			return nil
		default:
			return fmt.Errorf("token %#x at structure offset %#x", token, at)
		}
		i = (i + 3) &^ 3
	}
	return fmt.Errorf("structure block has no end token")
}
