package ext2

import "syscall"

// Fields of a group descriptor.
const (
	gdBlockMap   = 0
	gdInodeMap   = 4
	gdInodeTable = 8
	gdFreeBlocks = 12
	gdFreeInodes = 14
	gdDirs       = 16
	gdFlags      = 18
	gdBlockSum   = 24
	gdInodeSum   = 26
	gdUnused     = 28
	gdCsum       = 30

	gdBlockMapHi   = 32
	gdInodeMapHi   = 36
	gdInodeTableHi = 40
	gdFreeBlocksHi = 44
	gdFreeInodesHi = 46
	gdDirsHi       = 48
	gdUnusedHi     = 50
	gdBlockSumHi   = 56
	gdInodeSumHi   = 58

	gdInodeUninit = 1
	gdBlockUninit = 2
	gdTableZeroed = 4
)

// desc is the descriptor of a group, in its buffer.
type desc struct {
	f     *FS
	group uint32
	b     *buf
	raw   []byte
}

// desc returns the descriptor of group g. Preconditions: mu held.
func (f *FS) desc(g uint32) (desc, error) {
	per := uint32(f.bs) / uint32(f.descSize)
	b, err := f.block(f.first + 1 + uint64(g/per))
	if err != nil {
		return desc{}, err
	}
	at := int(g%per) * f.descSize
	return desc{f, g, b, b.data[at : at+f.descSize]}, nil
}

// number returns a block number that is stored in two halves.
func (d desc) number(lo, hi int) uint64 {
	n := uint64(le.Uint32(d.raw[lo:]))
	if len(d.raw) >= 64 {
		n |= uint64(le.Uint32(d.raw[hi:])) << 32
	}
	return n
}

// count returns a number that is stored in two halves of 16 bits.
func (d desc) count(lo, hi int) uint32 {
	n := uint32(le.Uint16(d.raw[lo:]))
	if len(d.raw) >= 64 {
		n |= uint32(le.Uint16(d.raw[hi:])) << 16
	}
	return n
}

func (d desc) add(lo, hi int, n int32) { d.set(lo, hi, uint32(int32(d.count(lo, hi))+n)) }

func (d desc) set(lo, hi int, n uint32) {
	le.PutUint16(d.raw[lo:], uint16(n))
	if len(d.raw) >= 64 {
		le.PutUint16(d.raw[hi:], uint16(n>>16))
	}
}

func (d desc) flags() uint16 { return le.Uint16(d.raw[gdFlags:]) }

// has reports whether a flag is set. Flags have a meaning only if there are checksums.
func (d desc) has(flag uint16) bool {
	return d.f.ro&(roCsum|roGDTCsum) != 0 && d.flags()&flag != 0
}

func (d desc) clearFlag(flag uint16) { le.PutUint16(d.raw[gdFlags:], d.flags()&^flag) }

// sum computes the descriptor's checksum.
func (d desc) sum() uint16 {
	if d.f.ro&roCsum != 0 {
		c := crcNumber(d.f.seed, d.group)
		c = crc(c, d.raw[:gdCsum])
		c = crc(c, []byte{0, 0})
		return uint16(crc(c, d.raw[gdCsum+2:]))
	}
	c := crc16(0xffff, d.f.uuid[:])
	c = crc16(c, le.AppendUint32(nil, d.group))
	c = crc16(c, d.raw[:gdCsum])
	return crc16(c, d.raw[gdCsum+2:])
}

// done must be called after each change of the descriptor.
func (d desc) done() {
	d.seal()
	d.f.touchMap(d.b)
}

func (d desc) seal() {
	if d.f.ro&(roCsum|roGDTCsum) != 0 {
		le.PutUint16(d.raw[gdCsum:], d.sum())
	}
}

// mapSum stores the checksum of a bitmap, of which bytesUsed bytes count.
func (d desc) mapSum(b *buf, bytesUsed, lo, hi int) {
	if d.f.ro&roCsum == 0 {
		return
	}
	c := crc(d.f.seed, b.data[:bytesUsed])
	le.PutUint16(d.raw[lo:], uint16(c))
	if len(d.raw) >= 64 {
		le.PutUint16(d.raw[hi:], uint16(c>>16))
	}
}

// checkMap compares a bitmap with its checksum, once.
func (d desc) checkMap(b *buf, bytesUsed, lo, hi int) error {
	if b.checked || d.f.ro&roCsum == 0 {
		return nil
	}
	c, mask := crc(d.f.seed, b.data[:bytesUsed]), uint32(0xffff)
	want := uint32(le.Uint16(d.raw[lo:]))
	if len(d.raw) >= 64 {
		want |= uint32(le.Uint16(d.raw[hi:])) << 16
		mask = ^uint32(0)
	}
	if c&mask != want {
		return d.f.fail(syscall.EBADMSG, "the checksum of a bitmap of group %d is %#x, not %#x", d.group, c&mask, want)
	}
	b.checked = true
	return nil
}

func bit(m []byte, i uint32) bool { return m[i/8]&(1<<(i%8)) != 0 }
func setBit(m []byte, i uint32)   { m[i/8] |= 1 << (i % 8) }
func clearBit(m []byte, i uint32) { m[i/8] &^= 1 << (i % 8) }

// groupBlocks returns how many blocks a group has. The last group may have fewer.
func (f *FS) groupBlocks(g uint32) uint32 {
	return uint32(min(f.perGroup, f.blocks-f.first-uint64(g)*f.perGroup))
}

// hasSuper reports whether a group has a copy of the superblock.
func (f *FS) hasSuper(g uint32) bool {
	if g == 0 {
		return true
	}
	if f.compat&compatSparseSuper2 != 0 {
		sb := f.sb()
		return g == le.Uint32(sb[sbBackups:]) || g == le.Uint32(sb[sbBackups+4:])
	}
	if f.ro&roSparse == 0 || g == 1 {
		return true
	}
	for _, p := range []uint32{3, 5, 7} {
		n := p
		for n < g {
			n *= p
		}
		if n == g {
			return true
		}
	}
	return false
}

// blockMap returns the bitmap of a group's blocks. If the group has not been initialized it
// makes the bitmap. Preconditions: mu held.
func (f *FS) blockMap(d desc) (*buf, error) {
	at := d.number(gdBlockMap, gdBlockMapHi)
	if !d.has(gdBlockUninit) {
		b, err := f.block(at)
		if err != nil {
			return nil, err
		}
		return b, d.checkMap(b, int(f.perGroup/8), gdBlockSum, gdBlockSumHi)
	}
	b := f.fresh(at)
	base := f.first + uint64(d.group)*f.perGroup
	n := uint64(f.groupBlocks(d.group))
	mark := func(from, count uint64) {
		for i := range count {
			if x := from + i; x >= base && x < base+n {
				setBit(b.data, uint32(x-base))
			}
		}
	}
	if f.hasSuper(d.group) {
		per := uint64(f.bs) / uint64(f.descSize)
		mark(base, 1+(uint64(f.groups)+per-1)/per+uint64(le.Uint16(f.sb()[sbReservedGDT:])))
	}
	mark(at, 1)
	mark(d.number(gdInodeMap, gdInodeMapHi), 1)
	mark(d.number(gdInodeTable, gdInodeTableHi), uint64(f.inodesPerGroup)/uint64(f.perBlock()))
	for i := uint32(n); i < uint32(8*f.bs); i++ {
		setBit(b.data, i)
	}
	d.clearFlag(gdBlockUninit)
	f.touchMap(b)
	d.mapSum(b, int(f.perGroup/8), gdBlockSum, gdBlockSumHi)
	d.done()
	return b, nil
}

// allocate takes up to n adjacent blocks, near goal if possible, and returns how many it
// took. The caller has reserved them, or takes them for metadata. ENOSPC. Preconditions: mu
// held, the file system is writable.
func (f *FS) allocate(goal uint64, n uint32) (start uint64, got uint32, err error) {
	if goal <= f.first || goal >= f.blocks {
		goal = f.first + 1
	}
	g0 := uint32((goal - f.first) / f.perGroup)
	for i := range f.groups + 1 {
		g := (g0 + i) % f.groups
		d, err := f.desc(g)
		if err != nil {
			return 0, 0, err
		}
		if d.count(gdFreeBlocks, gdFreeBlocksHi) == 0 {
			continue
		}
		b, err := f.blockMap(d)
		if err != nil {
			return 0, 0, err
		}
		from := uint32(0)
		if i == 0 {
			from = uint32((goal - f.first) % f.perGroup)
		}
		at, count := findRun(b.data, from, f.groupBlocks(g), n)
		if count == 0 {
			continue
		}
		start := f.first + uint64(g)*f.perGroup + uint64(at)
		if !f.valid(start) {
			return 0, 0, f.corrupt("block %d is free", start)
		}
		for k := range count {
			setBit(b.data, at+k)
		}
		f.touchMap(b)
		d.add(gdFreeBlocks, gdFreeBlocksHi, -int32(count))
		d.mapSum(b, int(f.perGroup/8), gdBlockSum, gdBlockSumHi)
		d.done()
		f.freeBlocks -= int64(count)
		return start, count, nil
	}
	return 0, 0, syscall.ENOSPC
}

// findRun returns the first clear bit of [from, to), and how many clear bits there are in a
// row, at most n.
func findRun(m []byte, from, to, n uint32) (at, count uint32) {
	for at = from; at < to; at++ {
		if at%8 == 0 && m[at/8] == 0xff {
			at += 7
			continue
		}
		if !bit(m, at) {
			for count < n && at+count < to && !bit(m, at+count) {
				count++
			}
			return at, count
		}
	}
	return 0, 0
}

// release clears the bits of blocks to which nothing on disk points any more.
// Preconditions: mu held.
func (f *FS) release(start, n uint64) error {
	for n > 0 {
		g := uint32((start - f.first) / f.perGroup)
		at := uint32((start - f.first) % f.perGroup)
		k := min(n, uint64(f.groupBlocks(g)-at))
		d, err := f.desc(g)
		if err != nil {
			return err
		}
		b, err := f.blockMap(d)
		if err != nil {
			return err
		}
		for i := range uint32(k) {
			if !bit(b.data, at+i) {
				return f.corrupt("block %d is freed and is free already", start+uint64(i))
			}
			clearBit(b.data, at+i)
		}
		f.touchMap(b)
		d.add(gdFreeBlocks, gdFreeBlocksHi, int32(k))
		d.mapSum(b, int(f.perGroup/8), gdBlockSum, gdBlockSumHi)
		d.done()
		f.freeBlocks += int64(k)
		start, n = start+k, n-k
	}
	return nil
}

// free frees blocks by a change that belongs to a stage. They can be used again when that
// stage is on disk. Preconditions: mu held.
func (f *FS) free(start, n uint64, at stage) error {
	if !f.valid(start) || n > f.blocks-start {
		return f.corrupt("blocks %d to %d are freed", start, start+n)
	}
	q := &f.queue
	q.freed += int64(n)
	if k := len(q.blocks); k > 0 && q.blocks[k-1].at == at && q.blocks[k-1].start+q.blocks[k-1].n == start {
		q.blocks[k-1].n += n
		return nil
	}
	q.blocks = append(q.blocks, freedRange{start, n, at})
	return nil
}

// Reserve promises n blocks for data that will be written later. ENOSPC. Each block must be
// given back, by WriteAt when it has allocated the block, or by Unreserve.
func (f *FS) Reserve(n int64) error {
	for try := 0; ; try++ {
		f.mu.Lock()
		err := f.writable()
		// Blocks that point to the data are needed too. One in a hundred is more than
		// enough, and a few for the ends.
		_, left := f.totals()
		waits := f.queue.freed
		if err == nil && left-n < f.reserved/100+metaReserve {
			err = syscall.ENOSPC
		}
		if err == nil {
			f.reserved += n
		}
		f.mu.Unlock()
		if err != syscall.ENOSPC || waits == 0 || try > 0 {
			return err
		}
		if err := f.commit(); err != nil { // afterwards, freed blocks can be used
			return err
		}
	}
}

// metaReserve is how many blocks are kept for metadata when data blocks are promised.
const metaReserve = 8

// Unreserve gives back n blocks that Reserve has promised.
func (f *FS) Unreserve(n int64) {
	f.mu.Lock()
	f.reserved -= n
	f.mu.Unlock()
}

// allocateMeta takes one block for metadata. ENOSPC. Preconditions: mu held.
func (f *FS) allocateMeta(goal uint64) (uint64, error) {
	if f.freeBlocks-f.reserved <= 0 {
		// Promised data come first, except for a margin.
		if f.freeBlocks-f.reserved < -metaReserve || f.freeBlocks <= 0 {
			return 0, syscall.ENOSPC
		}
	}
	n, _, err := f.allocate(goal, 1)
	return n, err
}

// inodeMap returns the bitmap of a group's inodes. Preconditions: mu held.
func (f *FS) inodeMap(d desc) (*buf, error) {
	at := d.number(gdInodeMap, gdInodeMapHi)
	if !d.has(gdInodeUninit) {
		b, err := f.block(at)
		if err != nil {
			return nil, err
		}
		return b, d.checkMap(b, int(f.inodesPerGroup/8), gdInodeSum, gdInodeSumHi)
	}
	b := f.fresh(at)
	for i := f.inodesPerGroup; i < uint32(8*f.bs); i++ {
		setBit(b.data, i)
	}
	d.clearFlag(gdInodeUninit)
	f.touchMap(b)
	d.mapSum(b, int(f.inodesPerGroup/8), gdInodeSum, gdInodeSumHi)
	d.done()
	return b, nil
}

// allocateInode takes an inode. For a file it is near its directory, for a directory it is
// in a group with room. The inode's name must come after stage at, which is the stage that
// tells e2fsck to read that part of the inode table. ENOSPC. Preconditions: mu held.
func (f *FS) allocateInode(near uint32, dir bool) (ino uint32, at stage, err error) {
	g0 := (near - 1) / f.inodesPerGroup
	if dir {
		g0 = f.lastGroup
		f.lastGroup = (f.lastGroup + 1) % f.groups
	}
	for i := range f.groups {
		g := (g0 + i) % f.groups
		d, err := f.desc(g)
		if err != nil {
			return 0, 0, err
		}
		if d.count(gdFreeInodes, gdFreeInodesHi) == 0 {
			continue
		}
		b, err := f.inodeMap(d)
		if err != nil {
			return 0, 0, err
		}
		from := uint32(0)
		if g == 0 {
			from = f.firstInode - 1
		}
		k, n := findRun(b.data, from, f.inodesPerGroup, 1)
		if n == 0 {
			continue
		}
		f.initTable(d, k)
		setBit(b.data, k)
		f.touchMap(b)
		d.add(gdFreeInodes, gdFreeInodesHi, -1)
		if dir {
			d.add(gdDirs, gdDirsHi, 1)
		}
		d.mapSum(b, int(f.inodesPerGroup/8), gdInodeSum, gdInodeSumHi)
		d.done()
		f.freeInodes--
		return g*f.inodesPerGroup + k + 1, f.tables[g], nil
	}
	return 0, 0, syscall.ENOSPC
}

// tableStep is how many blocks of an inode table are initialized at a time.
const tableStep = 8

// initTable makes sure that inode number at of a group is in an initialized part of the
// inode table. e2fsck -p does not repair a name that leads to an inode outside of that
// part. So this change of the descriptor, unlike others, has a place in the order of
// writes: FS.tables.
func (f *FS) initTable(d desc, at uint32) {
	if f.ro&(roCsum|roGDTCsum) == 0 {
		return
	}
	used := f.inodesPerGroup - min(f.inodesPerGroup, d.count(gdUnused, gdUnusedHi))
	if at < used {
		return
	}
	per := uint32(f.perBlock())
	end := min((at/per+tableStep)*per, f.inodesPerGroup)
	table := d.number(gdInodeTable, gdInodeTableHi)
	zeroed := stage(0)
	if d.flags()&gdTableZeroed == 0 {
		for n := (used + per - 1) / per; n < end/per; n++ {
			zeroed = max(zeroed, f.touch(f.fresh(table+uint64(n))))
		}
	}
	f.tables[d.group] = f.touch(d.b, zeroed)
	d.set(gdUnused, gdUnusedHi, f.inodesPerGroup-end)
	d.seal()
}

// freeInode frees an inode by a change that belongs to a stage. Preconditions: mu held.
func (f *FS) freeInode(ino uint32, dir bool, at stage) error {
	if dir {
		d, err := f.desc((ino - 1) / f.inodesPerGroup)
		if err != nil {
			return err
		}
		d.add(gdDirs, gdDirsHi, -1)
		d.done()
	}
	f.queue.freedInodes = append(f.queue.freedInodes, freedInode{ino, at})
	return nil
}

// releaseInode clears the bit of an inode that is deleted on disk. Preconditions: mu held.
func (f *FS) releaseInode(ino uint32) error {
	d, err := f.desc((ino - 1) / f.inodesPerGroup)
	if err != nil {
		return err
	}
	b, err := f.inodeMap(d)
	if err != nil {
		return err
	}
	at := (ino - 1) % f.inodesPerGroup
	if !bit(b.data, at) {
		return f.corrupt("inode %d is freed and is free already", ino)
	}
	clearBit(b.data, at)
	f.touchMap(b)
	d.add(gdFreeInodes, gdFreeInodesHi, 1)
	d.mapSum(b, int(f.inodesPerGroup/8), gdInodeSum, gdInodeSumHi)
	d.done()
	f.freeInodes++
	return nil
}
