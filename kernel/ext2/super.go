package ext2

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"strings"
	"sync"
	"syscall"
)

var le = binary.LittleEndian

// Device is the device of a file system. Offsets and lengths are multiples of 512.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Flush() error
	Size() int64
	ReadOnly() bool
}

// Options are the options of Open.
type Options struct {
	ReadOnly bool
	// Now is the wall clock in nanoseconds since 1970. Required.
	Now func() int64
	// Log is called with messages about what is wrong with the file system. It may be nil.
	Log func(string)
}

// The place of the superblock, and its fields.
const (
	superAt    = 1024
	superBytes = 1024
	magic      = 0xef53

	sbInodes      = 0
	sbBlocks      = 4
	sbReserved    = 8
	sbFreeBlocks  = 12
	sbFreeInodes  = 16
	sbFirstBlock  = 20
	sbLogBlock    = 24
	sbLogCluster  = 28
	sbPerGroup    = 32
	sbInodesGroup = 40
	sbMountTime   = 44
	sbWriteTime   = 48
	sbMountCount  = 52
	sbMagic       = 56
	sbState       = 58
	sbRev         = 76
	sbFirstInode  = 84
	sbInodeSize   = 88
	sbCompat      = 92
	sbIncompat    = 96
	sbROCompat    = 100
	sbUUID        = 104
	sbReservedGDT = 206
	sbLastOrphan  = 232
	sbHashFlags   = 0x160
	sbDescSize    = 254
	sbBlocksHi    = 0x150
	sbReservedHi  = 0x154
	sbFreeHi      = 0x158
	sbWantExtra   = 0x15e
	sbCsumType    = 0x175
	sbBackups     = 0x24c
	sbSeed        = 0x270
	sbCsum        = 0x3fc

	stateClean  = 1
	stateErrors = 2
)

// Features, by their names in mke2fs(8).
const (
	compatJournal      = 0x4
	compatSparseSuper2 = 0x200

	incompatFiletype = 0x2
	incompatRecover  = 0x4
	incompatExtents  = 0x40
	incompat64       = 0x80
	incompatFlex     = 0x200
	incompatSeed     = 0x2000
	incompatKnown    = incompatFiletype | incompatExtents | incompat64 | incompatFlex | incompatSeed

	roSparse   = 0x1
	roLarge    = 0x2
	roHuge     = 0x8
	roGDTCsum  = 0x10
	roNlink    = 0x20
	roExtra    = 0x40
	roCsum     = 0x400
	roKnown    = roSparse | roLarge | roHuge | roGDTCsum | roNlink | roExtra | roCsum
	roReadOnly = 0x1000
)

var incompatNames = map[int]string{
	0: "compression", 2: "needs_recovery", 3: "journal_dev", 4: "meta_bg", 8: "mmp", 10: "ea_inode", 12: "dirdata",
	14: "large_dir", 15: "inline_data", 16: "encrypt", 17: "casefold",
}

var roNames = map[int]string{
	8: "quota", 9: "bigalloc", 11: "replica", 12: "read-only", 13: "project", 14: "shared_blocks", 15: "verity", 16: "orphan_present",
}

// featureText returns the names of the features in a mask.
func featureText(mask uint32, names map[int]string) string {
	var s []string
	for ; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros32(mask)
		if n := names[i]; n != "" {
			s = append(s, n)
		} else {
			s = append(s, fmt.Sprintf("bit %d", i))
		}
	}
	return strings.Join(s, ", ")
}

// FS is a mounted file system.
type FS struct {
	d    Device
	opts Options

	// [I] Geometry and features.
	bs             int64 // bytes of a block
	blocks         uint64
	inodes         uint32
	first          uint64 // the block at which group 0 starts
	perGroup       uint64
	inodesPerGroup uint32
	groups         uint32
	inodeSize      int
	firstInode     uint32
	descSize       int
	extraSize      uint16 // of new inodes
	compat         uint32
	incompat       uint32
	ro             uint32
	seed           uint32 // of checksums
	uuid           [16]byte
	foreign        string // why it can only be mounted read-only; "": it can be written

	commitMu sync.Mutex

	mu       sync.Mutex
	readOnly bool  // [mu]
	broken   error // why it became read-only
	super    *buf  // [mu] never evicted
	bufs     map[uint64]*buf
	lru      bufList
	queue    queue

	freeBlocks int64 // blocks that may be allocated now
	reserved   int64 // how many of them Reserve has promised
	freeInodes int64
	lastGroup  uint32
	orphans    map[uint32]bool  // inodes that are unlinked and not forgotten
	after      map[uint32]stage // by directory: the last stage in which an inode of one of its entries is
	own        map[uint32]stage // by inode: the stage after which the inode is on disk, with a name
	tables     map[uint32]stage // by group: see initTable
	closed     bool
}

// Open mounts the file system on d. It mounts it read-only if the image does not allow
// writing; ReadOnly returns the reason.
func Open(d Device, o Options) (*FS, error) {
	if o.Log == nil {
		o.Log = func(string) {}
	}
	f := &FS{
		d: d, opts: o, bufs: map[uint64]*buf{}, orphans: map[uint32]bool{},
		after: map[uint32]stage{}, own: map[uint32]stage{}, tables: map[uint32]stage{},
	}
	f.lru.init()
	f.queue.init()
	sb := make([]byte, superBytes)
	if d.Size() < superAt+superBytes {
		return nil, fmt.Errorf("ext2: the device has %d bytes", d.Size())
	}
	if _, err := d.ReadAt(sb, superAt); err != nil {
		return nil, fmt.Errorf("ext2: superblock: %w", err)
	}
	if err := f.parse(sb); err != nil {
		return nil, err
	}
	f.readOnly = o.ReadOnly || f.foreign != ""
	if err := f.checkGroups(); err != nil {
		return nil, err
	}
	b, err := f.block(superAt / uint64(f.bs))
	if err != nil {
		return nil, err
	}
	f.super = b
	f.lru.remove(b)
	b.pinned = true
	if !f.readOnly {
		if err := f.markMounted(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// ReadOnly returns why the file system cannot be written, or "" if it can.
func (f *FS) ReadOnly() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.broken != nil:
		return f.broken.Error()
	case f.foreign != "":
		return f.foreign
	case f.readOnly:
		return "mounted read-only"
	}
	return ""
}

// parse decodes the superblock, and refuses file systems that this package cannot read.
func (f *FS) parse(sb []byte) error {
	bad := func(format string, args ...any) error { return fmt.Errorf("ext2: "+format, args...) }
	u32 := func(at int) uint32 { return le.Uint32(sb[at:]) }
	u16 := func(at int) uint16 { return le.Uint16(sb[at:]) }
	if u16(sbMagic) != magic {
		return bad("no ext2 file system: magic is %#x", u16(sbMagic))
	}
	if u32(sbRev) == 0 {
		f.firstInode, f.inodeSize = 11, 128
	} else if u32(sbRev) == 1 {
		f.firstInode, f.inodeSize = u32(sbFirstInode), int(u16(sbInodeSize))
		f.compat, f.incompat, f.ro = u32(sbCompat), u32(sbIncompat), u32(sbROCompat)
	} else {
		return bad("revision %d", u32(sbRev))
	}
	if f.incompat&incompatRecover != 0 {
		return bad("the journal needs to be replayed: run e2fsck")
	}
	if no := f.incompat &^ incompatKnown; no != 0 {
		return bad("features that are not known: %s", featureText(no, incompatNames))
	}
	if u32(sbLogBlock) > 2 {
		return bad("blocks of 2^%d KB; at most 4 KB", u32(sbLogBlock))
	}
	f.bs = 1024 << u32(sbLogBlock)
	f.blocks, f.inodes = uint64(u32(sbBlocks)), u32(sbInodes)
	f.freeBlocks = int64(u32(sbFreeBlocks))
	f.descSize = 32
	if f.incompat&incompat64 != 0 {
		f.blocks |= uint64(u32(sbBlocksHi)) << 32
		f.freeBlocks |= int64(u32(sbFreeHi)) << 32
		f.descSize = int(u16(sbDescSize))
	}
	f.freeInodes = int64(u32(sbFreeInodes))
	f.first, f.perGroup, f.inodesPerGroup = uint64(u32(sbFirstBlock)), uint64(u32(sbPerGroup)), u32(sbInodesGroup)
	per := uint64(8 * f.bs)
	switch {
	case f.inodeSize < 128 || int64(f.inodeSize) > f.bs || f.inodeSize&(f.inodeSize-1) != 0:
		return bad("inodes of %d bytes", f.inodeSize)
	case f.descSize < 32 || f.descSize > 1024 || f.descSize&(f.descSize-1) != 0 || f.incompat&incompat64 != 0 && f.descSize < 64:
		return bad("group descriptors of %d bytes", f.descSize)
	case f.perGroup < 8 || f.perGroup > per || f.perGroup%8 != 0:
		return bad("%d blocks in a group", f.perGroup)
	case f.inodesPerGroup == 0 || uint64(f.inodesPerGroup) > per || f.inodesPerGroup%8 != 0 || f.inodesPerGroup%uint32(f.perBlock()) != 0:
		return bad("%d inodes in a group", f.inodesPerGroup)
	case f.first != 0 && f.bs != 1024 || f.first != 1 && f.bs == 1024:
		return bad("the first block is %d", f.first)
	case f.blocks <= f.first || f.blocks > uint64(f.d.Size()/f.bs):
		return bad("%d blocks of %d bytes on a device of %d bytes", f.blocks, f.bs, f.d.Size())
	}
	groups := (f.blocks - f.first + f.perGroup - 1) / f.perGroup
	if groups > 1<<22 || uint64(f.inodes) != groups*uint64(f.inodesPerGroup) || f.firstInode < 11 || f.firstInode >= f.inodes {
		return bad("%d inodes in %d groups of %d, first is %d", f.inodes, groups, f.inodesPerGroup, f.firstInode)
	}
	f.groups = uint32(groups)
	f.uuid = [16]byte(sb[sbUUID:])
	f.seed = crc(^uint32(0), f.uuid[:])
	if f.incompat&incompatSeed != 0 {
		f.seed = u32(sbSeed)
	}
	if f.ro&roCsum != 0 {
		if sb[sbCsumType] != 1 {
			return bad("checksums of type %d", sb[sbCsumType])
		}
		if got := crc(^uint32(0), sb[:sbCsum]); got != u32(sbCsum) {
			return bad("the superblock's checksum is %#x, not %#x", got, u32(sbCsum))
		}
	}
	if f.inodeSize > 128 {
		f.extraSize = min(max(u16(sbWantExtra), 28), uint16(f.inodeSize-128))
	}
	switch no := f.ro &^ roKnown; {
	case f.ro&roReadOnly != 0:
		f.foreign = "the file system is marked read-only"
	case no != 0:
		f.foreign = "features that can be read only: " + featureText(no, roNames)
	case u16(sbState)&stateClean == 0 || u16(sbState)&stateErrors != 0:
		f.foreign = "it was not unmounted cleanly: run e2fsck"
	case u32(sbLastOrphan) != 0:
		f.foreign = "it has a list of orphans: run e2fsck"
	case f.d.ReadOnly():
		f.foreign = "the device can be read only"
	}
	return nil
}

// perBlock returns how many inodes a block has.
func (f *FS) perBlock() int { return int(f.bs) / f.inodeSize }

// checkGroups checks all group descriptors once. It sets FS.freeBlocks and freeInodes to
// the sums of the descriptors' counts, which are more reliable than those of the
// superblock.
func (f *FS) checkGroups() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.freeBlocks, f.freeInodes = 0, 0
	tableBlocks := uint64(f.inodesPerGroup) / uint64(f.perBlock())
	for g := range f.groups {
		d, err := f.desc(g)
		if err != nil {
			return fmt.Errorf("ext2: descriptor of group %d: %w", g, err)
		}
		if f.ro&(roCsum|roGDTCsum) != 0 && d.sum() != le.Uint16(d.raw[gdCsum:]) {
			return fmt.Errorf("ext2: the checksum of group %d's descriptor is wrong: run e2fsck", g)
		}
		it := d.number(gdInodeTable, gdInodeTableHi)
		if !f.valid(d.number(gdBlockMap, gdBlockMapHi)) || !f.valid(d.number(gdInodeMap, gdInodeMapHi)) || !f.valid(it) || it+tableBlocks > f.blocks {
			return fmt.Errorf("ext2: group %d's tables are not in the file system", g)
		}
		if uint64(d.count(gdFreeBlocks, gdFreeBlocksHi)) > f.perGroup || d.count(gdFreeInodes, gdFreeInodesHi) > f.inodesPerGroup {
			return fmt.Errorf("ext2: group %d has more free than it holds", g)
		}
		f.freeBlocks += int64(d.count(gdFreeBlocks, gdFreeBlocksHi))
		f.freeInodes += int64(d.count(gdFreeInodes, gdFreeInodesHi))
	}
	return nil
}

// valid reports whether n is the number of a block of the file system.
func (f *FS) valid(n uint64) bool { return n > f.first && n < f.blocks }

// sb returns the superblock in its buffer.
func (f *FS) sb() []byte { return f.super.data[superAt%f.bs:][:superBytes] }

// markMounted records on disk that the file system is in use. Until Close, e2fsck has to
// check it after a crash.
func (f *FS) markMounted() error {
	f.mu.Lock()
	sb := f.sb()
	now := uint32(f.opts.Now() / 1e9)
	le.PutUint16(sb[sbState:], le.Uint16(sb[sbState:])&^stateClean)
	le.PutUint32(sb[sbMountTime:], now)
	le.PutUint16(sb[sbMountCount:], le.Uint16(sb[sbMountCount:])+1)
	f.mu.Unlock()
	if err := f.writeSuper(); err != nil {
		return err
	}
	return f.d.Flush()
}

// writeSuper writes the superblock, with current counts and checksum.
func (f *FS) writeSuper() error {
	f.mu.Lock()
	sb := f.sb()
	free, _ := f.totals()
	le.PutUint32(sb[sbFreeBlocks:], uint32(free))
	if f.incompat&incompat64 != 0 {
		le.PutUint32(sb[sbFreeHi:], uint32(free>>32))
	}
	le.PutUint32(sb[sbFreeInodes:], uint32(f.freeInodes))
	le.PutUint32(sb[sbWriteTime:], uint32(f.opts.Now()/1e9))
	if f.ro&roCsum != 0 {
		le.PutUint32(sb[sbCsum:], crc(^uint32(0), sb[:sbCsum]))
	}
	b := append([]byte(nil), f.super.data...)
	f.mu.Unlock()
	_, err := f.d.WriteAt(b, int64(f.super.block)*f.bs)
	return err
}

// totals returns how many blocks are free on disk, including those that must not be used
// yet, and how many can be promised.
func (f *FS) totals() (onDisk, left int64) {
	return f.freeBlocks + f.queue.freed, f.freeBlocks - f.reserved
}

// Close writes everything and marks the file system clean. It also frees inodes that have
// been unlinked and not forgotten. The FS must not be used afterwards.
func (f *FS) Close() error {
	f.mu.Lock()
	var rest []uint32
	for ino := range f.orphans {
		rest = append(rest, ino)
	}
	f.mu.Unlock()
	for _, ino := range rest {
		if err := f.Forget(ino); err != nil {
			return err
		}
	}
	// A commit frees blocks, which changes bitmaps. The next commit writes these.
	for waits := true; waits; {
		if err := f.Sync(); err != nil {
			return err
		}
		f.mu.Lock()
		waits = f.queue.waits()
		f.mu.Unlock()
	}
	f.mu.Lock()
	ro := f.readOnly
	if !ro {
		sb := f.sb()
		le.PutUint16(sb[sbState:], le.Uint16(sb[sbState:])|stateClean)
	}
	f.readOnly, f.closed = true, true
	f.mu.Unlock()
	if ro {
		return nil
	}
	if err := f.writeSuper(); err != nil {
		return err
	}
	return f.d.Flush()
}

// Stats are the values for statfs(2). Sizes are in blocks.
type Stats struct {
	BlockSize           int64
	Blocks, Free, Avail uint64
	Inodes, FreeInodes  uint64
}

// Statfs returns figures about the file system as a whole.
func (f *FS) Statfs() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	onDisk, left := f.totals()
	kept := int64(le.Uint32(f.sb()[sbReserved:]))
	left = max(left+f.queue.freed, 0)
	return Stats{f.bs, f.blocks - f.first, uint64(onDisk), uint64(max(left-kept, 0)), uint64(f.inodes), uint64(f.freeInodes + int64(len(f.queue.freedInodes)))}
}

// corrupt records that the file system makes no sense, and returns the error for that.
// Preconditions: mu held.
func (f *FS) corrupt(format string, args ...any) error {
	return f.fail(syscall.EUCLEAN, format, args...)
}

// fail makes the file system read-only, logs the reason once, and returns err.
// Preconditions: mu held.
func (f *FS) fail(err error, format string, args ...any) error {
	if f.broken == nil {
		f.broken = fmt.Errorf("ext2: "+format, args...)
		f.readOnly = true
		f.opts.Log(f.broken.Error())
	}
	return err
}

// writable returns EROFS if the file system cannot be changed. Preconditions: mu held.
func (f *FS) writable() error {
	if f.readOnly {
		return syscall.EROFS
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc is CRC-32C without the inversions at both ends, as ext4 uses it.
func crc(c uint32, p []byte) uint32 { return ^crc32.Update(^c, castagnoli, p) }

// crcNumber is crc of a number.
func crcNumber(c, n uint32) uint32 { return crc(c, le.AppendUint32(nil, n)) }

// crc16 is the CRC of group descriptors in file systems without metadata_csum (ANSI
// CRC-16).
func crc16(c uint16, p []byte) uint16 {
	for _, b := range p {
		c ^= uint16(b)
		for range 8 {
			c = c>>1 ^ 0xa001&-(c&1)
		}
	}
	return c
}
