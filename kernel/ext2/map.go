package ext2

import (
	"math"
	"syscall"
)

// This file finds a file's blocks. They are given by pointers in the inode and in blocks of
// pointers (ext2), or by a tree of extents (ext4, extent.go).

const (
	direct = 12
	maxRun = 1 << 15 // blocks
)

// lookup returns where block l of a file is, and for how many blocks that holds at least:
// they are at p, p+1 and so on. If p is 0 they are not allocated. Preconditions: mu held.
func (i inode) lookup(l uint64) (p uint64, n uint64, err error) {
	if i.extents() {
		p, n, err = i.extentLookup(l)
	} else {
		p, n, err = i.pointerLookup(l)
	}
	if err == nil && p != 0 && (!i.f.valid(p) || n > i.f.blocks-p) {
		return 0, 0, syscall.EUCLEAN
	}
	return p, n, err
}

// insert maps blocks l to l+n-1, which are not allocated, to p and the following blocks.
// The change comes after stage after. Preconditions: mu held, the inode has been touched.
func (i inode) insert(l, p, n uint64, after stage) error {
	if i.extents() {
		return i.extentInsert(l, p, n, after)
	}
	for k := range n {
		if err := i.pointerInsert(l+k, p+k, after); err != nil {
			return err
		}
	}
	return nil
}

// cut frees all blocks of the file from l on. Preconditions: mu held, the inode has been
// touched in stage at.
func (i inode) cut(l uint64, at stage) error {
	if i.extents() {
		return i.extentCut(l, at)
	}
	return i.pointerCut(l, at)
}

// maxBlock returns the first block number that a file cannot have.
func (i inode) maxBlock() uint64 {
	if i.extents() {
		return math.MaxUint32
	}
	per := uint64(i.f.bs / 4)
	// i_blocks counts sectors in 32 bits.
	return min(direct+per+per*per+per*per*per, math.MaxUint32/uint64(i.f.bs/512)-3*per)
}

// path returns where the pointer to block l is: its index in the inode, then the indexes in
// the blocks of pointers below.
func (i inode) path(l uint64) (at []int, ok bool) {
	if l < direct {
		return []int{int(l)}, true
	}
	per := uint64(i.f.bs / 4)
	l -= direct
	span := per
	for depth := 1; depth <= 3; depth++ {
		if l < span {
			at = append(at, direct+depth-1)
			for d := depth; d > 0; d-- {
				span /= per
				at = append(at, int(l/span))
				l %= span
			}
			return at, true
		}
		l -= span
		span *= per
	}
	return nil, false
}

func (i inode) pointerLookup(l uint64) (p, n uint64, err error) {
	at, ok := i.path(l)
	if !ok {
		return 0, 1 << 30, nil
	}
	data, limit := i.block(), direct
	for d, k := range at {
		p = uint64(le.Uint32(data[4*k:]))
		if d == len(at)-1 {
			break
		}
		if p == 0 { // this pointer has nothing below it
			rest := uint64(1)
			for _, j := range at[d+1:] {
				rest = rest*uint64(i.f.bs/4) - uint64(j)
			}
			return 0, max(rest, 1), nil
		}
		if !i.f.valid(p) {
			return 0, 0, syscall.EUCLEAN
		}
		b, err := i.f.block(p)
		if err != nil {
			return 0, 0, err
		}
		data, limit = b.data, len(b.data)/4
	}
	for k := at[len(at)-1]; n < maxRun && k+int(n) < limit; n++ {
		q := uint64(le.Uint32(data[4*(k+int(n)):]))
		if p == 0 && q != 0 || p != 0 && q != p+n {
			break
		}
	}
	return p, n, nil
}

func (i inode) pointerInsert(l, p uint64, after stage) error {
	at, ok := i.path(l)
	if !ok || p > math.MaxUint32 {
		return syscall.EFBIG
	}
	// The pointer goes into the lowest block of pointers that exists. Missing blocks below
	// are made first, from the bottom up.
	data := i.block()
	var holder *buf // of data; nil: the inode
	d := 0
	for ; d < len(at)-1; d++ {
		next := uint64(le.Uint32(data[4*at[d]:]))
		if next == 0 {
			break
		}
		if !i.f.valid(next) {
			return i.f.corrupt("inode %d has its pointers in block %d", i.ino, next)
		}
		b, err := i.f.block(next)
		if err != nil {
			return err
		}
		holder, data = b, b.data
	}
	value, made := p, after
	for k := len(at) - 1; k > d; k-- {
		n, err := i.f.allocateMeta(p)
		if err != nil {
			return err
		}
		b := i.f.fresh(n)
		made = i.f.touch(b, made)
		le.PutUint32(b.data[4*at[k]:], uint32(value))
		i.addBlocks(1)
		value = n
	}
	if holder != nil {
		i.f.touch(holder, made)
	} else {
		i.touch(made)
	}
	le.PutUint32(data[4*at[d]:], uint32(value))
	return nil
}

// pointerCut frees the blocks of the file from l on.
func (i inode) pointerCut(l uint64, at stage) error {
	per := uint64(i.f.bs / 4)
	blk := i.block()
	base, span := uint64(0), uint64(1)
	for k := range direct + 3 {
		if k >= direct {
			span *= per
		}
		p := uint64(le.Uint32(blk[4*k:]))
		if p != 0 && base+span > l {
			if base >= l {
				if err := i.freePointers(p, max(0, k-direct+1), at); err != nil {
					return err
				}
				le.PutUint32(blk[4*k:], 0)
			} else if err := i.cutPointers(p, k-direct+1, l-base); err != nil {
				return err
			}
		}
		base += span
	}
	return nil
}

// freePointers frees a block and all below it. A block of depth 0 is data.
func (i inode) freePointers(p uint64, depth int, at stage) error {
	if depth > 0 {
		if !i.f.valid(p) {
			return i.f.corrupt("inode %d has its pointers in block %d", i.ino, p)
		}
		b, err := i.f.block(p)
		if err != nil {
			return err
		}
		for k := 0; k < len(b.data); k += 4 {
			if q := uint64(le.Uint32(b.data[k:])); q != 0 {
				if err := i.freePointers(q, depth-1, at); err != nil {
					return err
				}
			}
		}
	}
	i.addBlocks(-1)
	return i.f.free(p, 1, at)
}

// cutPointers frees the blocks below a block of pointers, from the l-th block on; l > 0.
func (i inode) cutPointers(p uint64, depth int, l uint64) error {
	if !i.f.valid(p) {
		return i.f.corrupt("inode %d has its pointers in block %d", i.ino, p)
	}
	b, err := i.f.block(p)
	if err != nil {
		return err
	}
	span := uint64(1)
	for range depth - 1 {
		span *= uint64(i.f.bs / 4)
	}
	at := stage(0)
	for k := int(l / span); k < len(b.data)/4; k++ {
		q := uint64(le.Uint32(b.data[4*k:]))
		if q == 0 {
			continue
		}
		if uint64(k)*span < l {
			if err := i.cutPointers(q, depth-1, l-uint64(k)*span); err != nil {
				return err
			}
			continue
		}
		if at == 0 {
			at = i.f.touch(b)
		}
		if err := i.freePointers(q, depth-1, at); err != nil {
			return err
		}
		le.PutUint32(b.data[4*k:], 0)
	}
	return nil
}
