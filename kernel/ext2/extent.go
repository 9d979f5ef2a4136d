package ext2

import (
	"math"
	"syscall"
)

const (
	extentMagic = 0xf30a
	extentEntry = 12
	extentDepth = 5
	// lenUnwritten is added to the length of an extent whose blocks have not been written
	// yet.
	lenUnwritten = 1 << 15
)

// enode is a node of a tree of extents: the root in the inode, or a block. Its header has
// the number of entries, their maximum, and the depth below the node. An entry has 12 bytes
// and begins with the number of the first block of the file that it describes.
type enode struct {
	i    inode
	b    *buf // nil: the root
	data []byte
}

func (e enode) entries() int     { return int(le.Uint16(e.data[2:])) }
func (e enode) max() int         { return int(le.Uint16(e.data[4:])) }
func (e enode) depth() int       { return int(le.Uint16(e.data[6:])) }
func (e enode) setEntries(n int) { le.PutUint16(e.data[2:], uint16(n)) }

func (e enode) at(k int) []byte    { return e.data[12+extentEntry*k:][:extentEntry] }
func (e enode) first(k int) uint64 { return uint64(le.Uint32(e.at(k))) }

// child returns the block that index entry k points to.
func (e enode) child(k int) uint64 {
	return uint64(le.Uint32(e.at(k)[4:])) | uint64(le.Uint16(e.at(k)[8:]))<<32
}

// extent decodes entry k of a leaf: blocks l to l+n-1 of the file are at p.
func (e enode) extent(k int) (l, p, n uint64, unwritten bool) {
	x := e.at(k)
	n = uint64(le.Uint16(x[4:]))
	if n > lenUnwritten {
		n, unwritten = n-lenUnwritten, true
	}
	return uint64(le.Uint32(x)), uint64(le.Uint32(x[8:])) | uint64(le.Uint16(x[6:]))<<32, n, unwritten
}

func makeExtent(l, p, n uint64, unwritten bool) []byte {
	x := make([]byte, extentEntry)
	le.PutUint32(x, uint32(l))
	if unwritten {
		n += lenUnwritten
	}
	le.PutUint16(x[4:], uint16(n))
	le.PutUint16(x[6:], uint16(p>>32))
	le.PutUint32(x[8:], uint32(p))
	return x
}

func makeIndex(l, p uint64) []byte {
	x := make([]byte, extentEntry)
	le.PutUint32(x, uint32(l))
	le.PutUint32(x[4:], uint32(p))
	le.PutUint16(x[8:], uint16(p>>32))
	return x
}

// initExtents makes an empty tree node in data.
func initExtents(data []byte, depth int) {
	clear(data)
	le.PutUint16(data, extentMagic)
	le.PutUint16(data[4:], uint16((len(data)-12)/extentEntry))
	le.PutUint16(data[6:], uint16(depth))
}

// check returns EUCLEAN if the node makes no sense.
func (e enode) check() error {
	if le.Uint16(e.data) != extentMagic || e.max() > (len(e.data)-12)/extentEntry || e.max() == 0 || e.entries() > e.max() || e.depth() > extentDepth {
		return syscall.EUCLEAN
	}
	end := uint64(0)
	for k := range e.entries() {
		if e.first(k) < end {
			return syscall.EUCLEAN
		}
		end = e.first(k) + 1
		if e.depth() == 0 {
			l, p, n, _ := e.extent(k)
			if n == 0 || !e.i.f.valid(p) || n > e.i.f.blocks-p {
				return syscall.EUCLEAN
			}
			end = l + n
		} else if !e.i.f.valid(e.child(k)) {
			return syscall.EUCLEAN
		}
	}
	return nil
}

func (i inode) root() (enode, error) {
	e := enode{i, nil, i.block()}
	return e, e.check()
}

// below returns the node that entry k of e points to.
func (e enode) below(k int) (enode, error) {
	b, err := e.i.f.block(e.child(k))
	if err != nil {
		return enode{}, err
	}
	n := enode{e.i, b, b.data}
	if !b.checked {
		if err := n.check(); err != nil {
			return n, err
		}
		if e.i.f.ro&roCsum != 0 && le.Uint32(b.data[n.tail():]) != n.sum() {
			return n, syscall.EBADMSG
		}
		b.checked = true
	}
	if n.depth() != e.depth()-1 || le.Uint16(n.data) != extentMagic {
		return n, syscall.EUCLEAN
	}
	return n, nil
}

func (e enode) tail() int   { return min(12+extentEntry*e.max(), len(e.data)-4) }
func (e enode) sum() uint32 { return crc(e.i.seed(), e.data[:e.tail()]) }

// touch must be called before a change of the node, and done after it.
func (e enode) touch(after ...stage) stage {
	if e.b == nil {
		return e.i.touch(after...)
	}
	return e.i.f.touch(e.b, after...)
}

func (e enode) done() {
	if e.b != nil && e.i.f.ro&roCsum != 0 {
		le.PutUint32(e.data[e.tail():], e.sum())
	}
}

// find returns the last entry that begins at l or before, or -1 if there is none.
func (e enode) find(l uint64) int {
	lo, hi := 0, e.entries()
	for lo < hi {
		if m := (lo + hi) / 2; e.first(m) <= l {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo - 1
}

// put inserts an entry at index k. The node must have room.
func (e enode) put(k int, entry []byte) {
	n := e.entries()
	copy(e.data[12+extentEntry*(k+1):], e.data[12+extentEntry*k:12+extentEntry*n])
	copy(e.at(k), entry)
	e.setEntries(n + 1)
}

func (e enode) full() bool { return e.entries() == e.max() }

func (i inode) extentLookup(l uint64) (p, n uint64, err error) {
	e, err := i.root()
	end := uint64(math.MaxUint32)
	for err == nil && e.depth() > 0 {
		k := e.find(l)
		if k+1 < e.entries() {
			end = e.first(k + 1)
		}
		if k < 0 {
			return 0, max(end, l+1) - l, nil
		}
		e, err = e.below(k)
	}
	if err != nil {
		return 0, 0, err
	}
	k := e.find(l)
	if k+1 < e.entries() {
		end = e.first(k + 1)
	}
	if k >= 0 {
		if first, p, n, unwritten := e.extent(k); l < first+n {
			if unwritten {
				return 0, first + n - l, nil
			}
			return p + l - first, first + n - l, nil
		}
	}
	return 0, max(end, l+1) - l, nil
}

// descend returns the nodes from the root to the leaf for block l.
func (i inode) descend(l uint64) ([]enode, error) {
	e, err := i.root()
	way := []enode{e}
	for err == nil && e.depth() > 0 {
		if e.entries() == 0 {
			return nil, i.f.corrupt("inode %d has an index without entries", i.ino)
		}
		e, err = e.below(max(0, e.find(l)))
		way = append(way, e)
	}
	return way, err
}

func (i inode) extentInsert(l, p, n uint64, after stage) error {
	for n > 0 {
		k := min(n, maxRun)
		if err := i.extentInsertOne(l, p, k, after); err != nil {
			return err
		}
		l, p, n = l+k, p+k, n-k
	}
	return nil
}

func (i inode) extentInsertOne(l, p, n uint64, after stage) error {
	for range 4 * extentDepth {
		way, err := i.descend(l)
		if err != nil {
			return err
		}
		leaf := way[len(way)-1]
		k := leaf.find(l)
		if k >= 0 {
			first, at, have, unwritten := leaf.extent(k)
			if l < first+have {
				if unwritten {
					// Linux's fallocate(2) makes such extents. They read as zeros. Dividing
					// one is not supported.
					return syscall.EOPNOTSUPP
				}
				return i.f.corrupt("inode %d: block %d is mapped already", i.ino, l)
			}
			if !unwritten && first+have == l && at+have == p && have+n <= maxRun {
				leaf.touch(after)
				copy(leaf.at(k), makeExtent(first, at, have+n, false))
				leaf.done()
				return nil
			}
		}
		if leaf.full() {
			if err := makeRoom(way, len(way)-1, l); err != nil {
				return err
			}
			continue
		}
		if k < 0 && leaf.b != nil {
			return i.putFirst(way, makeExtent(l, p, n, false), after)
		}
		leaf.touch(after)
		leaf.put(k+1, makeExtent(l, p, n, false))
		leaf.done()
		return nil
	}
	return i.f.corrupt("inode %d: no room is made in its tree of extents", i.ino)
}

// putFirst inserts an entry before all others. Each index above the leaf begins with the
// first block of the leaf, so all nodes on the way change. They are replaced by new nodes,
// and one write of the inode makes the root point to these.
func (i inode) putFirst(way []enode, entry []byte, after stage) error {
	l := uint64(le.Uint32(entry))
	at := after
	for k := len(way) - 1; k > 0; k-- {
		old := way[k]
		n, err := i.f.allocateMeta(old.goal())
		if err != nil {
			return err
		}
		b := i.f.fresh(n)
		at = i.f.touch(b, at)
		copy(b.data, old.data)
		e := enode{i, b, b.data}
		if old.depth() == 0 {
			e.put(0, entry)
		} else {
			copy(e.at(0), entry)
		}
		e.done()
		entry = makeIndex(l, n)
	}
	at = i.touch(at)
	copy(way[0].at(0), entry)
	for _, old := range way[1:] {
		if err := i.f.free(old.b.block, 1, at); err != nil {
			return err
		}
	}
	return nil
}

// grow puts a new level between the root and the nodes below it.
func (i inode) grow() error {
	root, err := i.root()
	if err != nil {
		return err
	}
	if root.depth() >= extentDepth {
		return syscall.EFBIG
	}
	n, err := i.f.allocateMeta(root.goal())
	if err != nil {
		return err
	}
	b := i.f.fresh(n)
	at := i.f.touch(b)
	initExtents(b.data, root.depth())
	e := enode{i, b, b.data}
	copy(e.data[12:], root.data[12:12+extentEntry*root.entries()])
	e.setEntries(root.entries())
	e.done()
	first := uint64(0)
	if root.entries() > 0 {
		first = root.first(0)
	}
	depth := root.depth() + 1
	i.touch(at)
	initExtents(i.block(), depth)
	root.put(0, makeIndex(first, n))
	i.addBlocks(1)
	return nil
}

// goal returns a block near the blocks that the node describes.
func (e enode) goal() uint64 {
	if e.entries() == 0 {
		return 0
	}
	if e.depth() > 0 {
		return e.child(e.entries() - 1)
	}
	_, p, n, _ := e.extent(e.entries() - 1)
	return p + n
}

// makeRoom makes room in node k of way for an entry of block l. Afterwards the caller must
// descend again.
func makeRoom(way []enode, k int, l uint64) error {
	e := way[k]
	i := e.i
	if k == 0 {
		return i.grow()
	}
	up := way[k-1]
	if up.full() {
		return makeRoom(way, k-1, l)
	}
	place := max(0, up.find(l))
	n := e.entries()
	newNode := func(from, to int) (uint64, stage, error) {
		at, err := i.f.allocateMeta(e.goal())
		if err != nil {
			return 0, 0, err
		}
		b := i.f.fresh(at)
		st := i.f.touch(b)
		initExtents(b.data, e.depth())
		x := enode{i, b, b.data}
		copy(x.data[12:], e.data[12+extentEntry*from:12+extentEntry*to])
		x.setEntries(to - from)
		x.done()
		i.addBlocks(1)
		return at, st, nil
	}
	cut := n / 2
	if e.find(l) == n-1 {
		cut = n - 1 // most files grow at their end
	}
	left, s1, err := newNode(0, cut)
	if err != nil {
		return err
	}
	right, s2, err := newNode(cut, n)
	if err != nil {
		return err
	}
	at := up.touch(s1, s2)
	copy(up.at(place), makeIndex(up.first(place), left))
	up.put(place+1, makeIndex(e.first(cut), right))
	up.done()
	i.addBlocks(-1)
	return i.f.free(e.b.block, 1, at)
}

// extentCut frees the blocks of the file from l on.
func (i inode) extentCut(l uint64, at stage) error {
	root, err := i.root()
	if err != nil {
		return err
	}
	if err := root.cut(l, at); err != nil {
		return err
	}
	if root.entries() == 0 {
		initExtents(i.block(), 0)
	}
	return nil
}

// cut removes the entries that begin at l or later from a node and all below it. at is the
// stage in which the node has been touched, or 0 if it has not been.
func (e enode) cut(l uint64, at stage) error {
	for k := e.entries() - 1; k >= 0; k-- {
		touch := func() {
			if at == 0 {
				at = e.touch()
			}
		}
		if e.depth() == 0 {
			first, p, n, unwritten := e.extent(k)
			if first+n <= l {
				break
			}
			touch()
			keep := uint64(0)
			if first < l {
				keep = l - first
				copy(e.at(k), makeExtent(first, p, keep, unwritten))
			} else {
				e.setEntries(k)
			}
			e.i.addBlocks(-int64(n - keep))
			if err := e.i.f.free(p+keep, n-keep, at); err != nil {
				return err
			}
			continue
		}
		x, err := e.below(k)
		if err != nil {
			return err
		}
		whole := e.first(k) >= l
		if whole {
			touch()
			if err := x.freeAll(at); err != nil {
				return err
			}
		} else if err := x.cut(l, 0); err != nil {
			return err
		} else if x.entries() == 0 {
			whole = true
			touch()
		}
		if !whole {
			break
		}
		e.setEntries(k)
		e.i.addBlocks(-1)
		if err := e.i.f.free(x.b.block, 1, at); err != nil {
			return err
		}
	}
	if at != 0 {
		e.done()
	}
	return nil
}

// freeAll frees all blocks below a node. The caller frees the node itself.
func (e enode) freeAll(at stage) error {
	for k := range e.entries() {
		if e.depth() == 0 {
			_, p, n, _ := e.extent(k)
			e.i.addBlocks(-int64(n))
			if err := e.i.f.free(p, n, at); err != nil {
				return err
			}
			continue
		}
		x, err := e.below(k)
		if err != nil {
			return err
		}
		if err := x.freeAll(at); err != nil {
			return err
		}
		e.i.addBlocks(-1)
		if err := e.i.f.free(x.b.block, 1, at); err != nil {
			return err
		}
	}
	return nil
}
