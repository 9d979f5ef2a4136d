package ext2

import (
	"slices"
	"syscall"
)

// Fields of an inode.
const (
	iMode    = 0
	iUID     = 2
	iSize    = 4
	iAtime   = 8
	iCtime   = 12
	iMtime   = 16
	iDtime   = 20
	iGID     = 24
	iLinks   = 26
	iBlocks  = 28
	iFlags   = 32
	iBlock   = 40 // 60 bytes
	iGen     = 100
	iACL     = 104
	iSizeHi  = 108
	iBlockHi = 116
	iACLHi   = 118
	iUIDHi   = 120
	iGIDHi   = 122
	iSum     = 124
	iExtra   = 128
	iSumHi   = 130
	iCtimeX  = 132
	iMtimeX  = 136
	iAtimeX  = 140
	iBtime   = 144
	iBtimeX  = 148

	iBlockBytes = 60

	flagImmutable = 0x10
	flagAppend    = 0x20
	flagIndex     = 0x1000
	flagHuge      = 0x40000
	flagExtents   = 0x80000
	flagInline    = 0x10000000
	flagsOdd      = 0x800 | 0x100000 | flagInline // encrypted, verity: such an inode is not supported at all

	// RootInode is the number of the root directory.
	RootInode = 2
	rootInode = RootInode
)

// Types and permission bits are those of Linux (inode(7)).
const (
	ModeType = 0xf000
	ModeFIFO = 0x1000
	ModeChar = 0x2000
	ModeDir  = 0x4000
	ModeBlk  = 0x6000
	ModeReg  = 0x8000
	ModeLink = 0xa000
	ModeSock = 0xc000
)

// inode is an inode in its buffer.
type inode struct {
	f   *FS
	ino uint32
	b   *buf
	raw []byte
}

// inodeAt returns an inode, whatever it contains. Preconditions: mu held.
func (f *FS) inodeAt(ino uint32) (inode, error) {
	if ino == 0 || ino > f.inodes {
		return inode{}, syscall.EUCLEAN
	}
	g, at := (ino-1)/f.inodesPerGroup, int(ino-1)%int(f.inodesPerGroup)
	d, err := f.desc(g)
	if err != nil {
		return inode{}, err
	}
	b, err := f.block(d.number(gdInodeTable, gdInodeTableHi) + uint64(at/f.perBlock()))
	if err != nil {
		return inode{}, err
	}
	off := at % f.perBlock() * f.inodeSize
	return inode{f, ino, b, b.data[off : off+f.inodeSize]}, nil
}

// inode returns an inode that is in use. EUCLEAN, EBADMSG. Preconditions: mu held.
func (f *FS) inode(ino uint32) (inode, error) {
	i, err := f.inodeAt(ino)
	if err != nil {
		return i, err
	}
	if f.ro&roCsum != 0 && !i.b.checked {
		if i.sum() != i.storedSum() {
			return i, syscall.EBADMSG
		}
	}
	if i.u16(iMode) == 0 || i.flags()&flagsOdd != 0 || ino != rootInode && ino < f.firstInode && ino != 11 {
		return i, syscall.EUCLEAN
	}
	if i.links() == 0 && !f.orphans[ino] {
		return i, syscall.EUCLEAN
	}
	return i, nil
}

func (i inode) u16(at int) uint16      { return le.Uint16(i.raw[at:]) }
func (i inode) u32(at int) uint32      { return le.Uint32(i.raw[at:]) }
func (i inode) put16(at int, v uint16) { le.PutUint16(i.raw[at:], v) }
func (i inode) put32(at int, v uint32) { le.PutUint32(i.raw[at:], v) }
func (i inode) mode() uint16           { return i.u16(iMode) }
func (i inode) typ() uint16            { return i.mode() & ModeType }
func (i inode) flags() uint32          { return i.u32(iFlags) }
func (i inode) links() uint16          { return i.u16(iLinks) }
func (i inode) extents() bool          { return i.flags()&flagExtents != 0 }
func (i inode) block() []byte          { return i.raw[iBlock : iBlock+iBlockBytes] }
func (i inode) acl() uint64            { return uint64(i.u32(iACL)) | uint64(i.u16(iACLHi))<<32 }

// has reports whether the inode has the field that ends at offset end.
func (i inode) has(end int) bool {
	return len(i.raw) > 128 && 128+int(i.u16(iExtra)) >= end && end <= len(i.raw)
}

func (i inode) size() int64 {
	n := uint64(i.u32(iSize))
	if i.typ() == ModeReg || i.typ() == ModeDir {
		n |= uint64(i.u32(iSizeHi)) << 32
	}
	return int64(n & (1<<63 - 1))
}

func (i inode) setSize(n int64) {
	i.put32(iSize, uint32(n))
	i.put32(iSizeHi, uint32(n>>32))
}

// sectors returns the number of 512-byte blocks that the inode says it has.
func (i inode) sectors() int64 {
	n := int64(i.u32(iBlocks))
	if i.f.ro&roHuge != 0 {
		n |= int64(i.u16(iBlockHi)) << 32
		if i.flags()&flagHuge != 0 {
			n *= i.f.bs / 512
		}
	}
	return n
}

// addBlocks adds n file system blocks to that number.
func (i inode) addBlocks(n int64) {
	k := n * i.f.bs / 512
	if i.flags()&flagHuge != 0 {
		k = n
	}
	v := int64(i.u32(iBlocks))
	if i.f.ro&roHuge != 0 {
		v |= int64(i.u16(iBlockHi)) << 32
	}
	v = max(v+k, 0)
	i.put32(iBlocks, uint32(v))
	if i.f.ro&roHuge != 0 {
		i.put16(iBlockHi, uint16(v>>32))
	}
}

// seed returns the start value of the checksums for the inode and its blocks.
func (i inode) seed() uint32 { return crcNumber(crcNumber(i.f.seed, i.ino), i.u32(iGen)) }

func (i inode) sum() uint32 {
	raw := slices.Clone(i.raw)
	le.PutUint16(raw[iSum:], 0)
	if i.has(iSumHi + 2) {
		le.PutUint16(raw[iSumHi:], 0)
		return crc(i.seed(), raw)
	}
	return crc(i.seed(), raw) & 0xffff
}

func (i inode) storedSum() uint32 {
	s := uint32(i.u16(iSum))
	if i.has(iSumHi + 2) {
		s |= uint32(i.u16(iSumHi)) << 16
	}
	return s
}

// touch must be called before a change of the inode, and done after it. If touch is called
// in the middle of a change, what has been changed so far may reach the disk first, so it
// gets a checksum.
func (i inode) touch(after ...stage) stage {
	if i.b.pos != 0 && i.mode() != 0 {
		i.done()
	}
	return i.f.touch(i.b, after...)
}

func (i inode) done() {
	if i.f.ro&roCsum == 0 {
		return
	}
	s := i.sum()
	i.put16(iSum, uint16(s))
	if i.has(iSumHi + 2) {
		i.put16(iSumHi, uint16(s>>16))
	}
}

// Times: the extra word has two more bits of seconds, and the nanoseconds.
func (i inode) time(at, extra int) int64 {
	s, ns := int64(int32(i.u32(at))), int64(0)
	if i.has(extra + 4) {
		x := i.u32(extra)
		s += int64(x&3) << 32
		ns = int64(x >> 2)
	}
	return s*1e9 + min(ns, 1e9-1)
}

func (i inode) setTime(at, extra int, t int64) {
	s, ns := t/1e9, t%1e9
	if ns < 0 {
		s, ns = s-1, ns+1e9
	}
	if !i.has(extra + 4) {
		i.put32(at, uint32(max(min(s, 1<<31-1), -1<<31)))
		return
	}
	s = max(min(s, 3<<32+1<<31-1), -1<<31)
	i.put32(at, uint32(s))
	i.put32(extra, uint32((s-int64(int32(s)))>>32)&3|uint32(ns)<<2)
}

// Attr are the attributes of an inode. Times are in nanoseconds since 1970.
type Attr struct {
	Mode                       uint16
	UID, GID                   uint32
	Links                      uint16
	Size                       int64
	Blocks                     int64  // 512-byte blocks
	Rdev                       uint64 // in Linux's format; for devices only
	Atime, Mtime, Ctime, Btime int64
}

func (i inode) attr() Attr {
	a := Attr{
		Mode: i.mode(), Links: i.links(), Size: i.size(), Blocks: i.sectors(),
		UID: uint32(i.u16(iUID)) | uint32(i.u16(iUIDHi))<<16, GID: uint32(i.u16(iGID)) | uint32(i.u16(iGIDHi))<<16,
		Atime: i.time(iAtime, iAtimeX), Mtime: i.time(iMtime, iMtimeX), Ctime: i.time(iCtime, iCtimeX),
	}
	a.Btime = a.Ctime
	if i.has(iBtimeX + 4) {
		a.Btime = i.time(iBtime, iBtimeX)
	}
	if t := i.typ(); t == ModeChar || t == ModeBlk {
		a.Size, a.Blocks = 0, 0
		if old := uint64(i.u32(iBlock)); old != 0 {
			a.Rdev = device(old>>8&0xff, old&0xff)
		} else {
			v := uint64(i.u32(iBlock + 4))
			a.Rdev = device(v>>8&0xfff, v&0xff|v>>12&0xfff00)
		}
	}
	return a
}

// device returns a device number in the format of stat(2).
func device(major, minor uint64) uint64 {
	return minor&0xff | major&0xfff<<8 | minor&^0xff<<12 | major&^0xfff<<32
}

// setDevice stores a device number in the format that Linux uses in inodes.
func (i inode) setDevice(rdev uint64) {
	major, minor := rdev>>8&0xfff|rdev>>32&^0xfff, rdev&0xff|rdev>>12&^0xff
	clear(i.block())
	if major < 256 && minor < 256 {
		i.put32(iBlock, uint32(major<<8|minor))
		return
	}
	i.put32(iBlock+4, uint32(minor&0xff|major<<8|minor&^0xff<<12))
}

// Stat returns the attributes of an inode.
func (f *FS) Stat(ino uint32) (Attr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trim()
	i, err := f.inode(ino)
	if err != nil {
		return Attr{}, err
	}
	return i.attr(), nil
}

// SetAttr changes permission bits, owner and times of an inode to those of a. Type, size
// and links stay.
func (f *FS) SetAttr(ino uint32, a Attr) error {
	if err := f.begin(); err != nil {
		return err
	}
	defer f.mu.Unlock()
	i, err := f.inode(ino)
	if err != nil {
		return err
	}
	old := i.attr()
	if a.Mode = a.Mode&^ModeType | i.typ(); a.Mode == old.Mode && a.UID == old.UID && a.GID == old.GID &&
		a.Atime == old.Atime && a.Mtime == old.Mtime && a.Ctime == old.Ctime {
		return nil
	}
	i.touch()
	i.setAttr(a)
	i.done()
	return nil
}

func (i inode) setAttr(a Attr) {
	i.put16(iMode, a.Mode)
	i.put16(iUID, uint16(a.UID))
	i.put16(iUIDHi, uint16(a.UID>>16))
	i.put16(iGID, uint16(a.GID))
	i.put16(iGIDHi, uint16(a.GID>>16))
	i.setTime(iAtime, iAtimeX, a.Atime)
	i.setTime(iMtime, iMtimeX, a.Mtime)
	i.setTime(iCtime, iCtimeX, a.Ctime)
}
