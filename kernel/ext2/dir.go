package ext2

import (
	"syscall"
)

const (
	// MaxName is the longest name, in bytes.
	MaxName = 255

	entryHead = 8
	tailBytes = 12
	tailType  = 0xde
)

// Types of directory entries.
var entryTypes = map[uint16]uint8{ModeReg: 1, ModeDir: 2, ModeChar: 3, ModeBlk: 4, ModeFIFO: 5, ModeSock: 6, ModeLink: 7}

// dirent is the entry at an offset of a directory block.
type dirent struct {
	data []byte // the block
	at   int
}

func (e dirent) ino() uint32  { return le.Uint32(e.data[e.at:]) }
func (e dirent) size() int    { return int(le.Uint16(e.data[e.at+4:])) }
func (e dirent) nameLen() int { return int(e.data[e.at+6]) }
func (e dirent) name() []byte { return e.data[e.at+entryHead:][:e.nameLen()] }
func (e dirent) used() int {
	if e.ino() == 0 {
		return 0
	}
	return entrySize(e.nameLen())
}

func entrySize(n int) int { return (entryHead + n + 3) &^ 3 }

func (e dirent) set(ino uint32, size int, name string, typ uint8) {
	le.PutUint32(e.data[e.at:], ino)
	le.PutUint16(e.data[e.at+4:], uint16(size))
	e.data[e.at+6], e.data[e.at+7] = byte(len(name)), typ
	copy(e.data[e.at+entryHead:], name)
}

// fits returns EUCLEAN if the entry is not inside its block.
func (e dirent) fits() error {
	left := len(e.data) - e.at
	if left < entryHead || e.size() < entryHead || e.size()%4 != 0 || e.size() > left || e.ino() != 0 && entrySize(e.nameLen()) > e.size() {
		return syscall.EUCLEAN
	}
	return nil
}

// dirBlocks returns how many blocks a directory has. EUCLEAN, ENOTDIR.
func (d inode) dirBlocks() (uint64, error) {
	if d.typ() != ModeDir {
		return 0, syscall.ENOTDIR
	}
	n := d.size()
	if n%d.f.bs != 0 || n <= 0 || uint64(n/d.f.bs) > d.f.blocks {
		return 0, syscall.EUCLEAN
	}
	return uint64(n / d.f.bs), nil
}

// dirBlock returns block l of a directory, after checking its checksum.
func (d inode) dirBlock(l uint64) (*buf, error) {
	p, _, err := d.lookup(l)
	if err != nil {
		return nil, err
	}
	if p == 0 {
		return nil, syscall.EUCLEAN
	}
	b, err := d.f.block(p)
	if err != nil {
		return nil, err
	}
	if d.f.ro&roCsum != 0 && !b.checked && (d.flags()&flagIndex == 0 || !d.indexBlock(l, b.data)) {
		if !hasTail(b.data) || le.Uint32(b.data[len(b.data)-4:]) != crc(d.seed(), b.data[:len(b.data)-tailBytes]) {
			return nil, syscall.EBADMSG
		}
		b.checked = true
	}
	return b, nil
}

func hasTail(data []byte) bool {
	t := data[len(data)-tailBytes:]
	return le.Uint32(t) == 0 && le.Uint16(t[4:]) == tailBytes && t[6] == 0 && t[7] == tailType
}

// indexBlock reports whether block l of an indexed directory is a part of the index. That
// is the root, which follows "." and "..", or a node, which looks like one empty entry.
func (d inode) indexBlock(l uint64, data []byte) bool {
	return l == 0 || le.Uint32(data) == 0 && int(le.Uint16(data[4:])) == len(data)
}

// room returns how many bytes of a directory block entries may take.
func (f *FS) room() int {
	if f.ro&roCsum != 0 {
		return int(f.bs) - tailBytes
	}
	return int(f.bs)
}

// sealDir stores a directory block's checksum.
func (d inode) sealDir(data []byte) {
	if d.f.ro&roCsum == 0 {
		return
	}
	t := data[len(data)-tailBytes:]
	clear(t)
	t[4], t[7] = tailBytes, tailType
	le.PutUint32(t[8:], crc(d.seed(), data[:len(data)-tailBytes]))
}

// each calls yield for the entries of a block, including empty ones, until yield returns
// false. before is the offset of the previous entry, or -1.
func each(data []byte, yield func(e dirent, before int) bool) error {
	before := -1
	for at := 0; at < len(data); {
		e := dirent{data, at}
		if err := e.fits(); err != nil {
			return err
		}
		if !yield(e, before) {
			return nil
		}
		before = at
		at += e.size()
	}
	return nil
}

// search finds a name in a directory. It returns the block, the entry, and the offset of
// the previous entry in the block (-1 if there is none). ENOENT.
func (d inode) search(name string) (b *buf, e dirent, before int, err error) {
	n, err := d.dirBlocks()
	if err != nil {
		return nil, e, 0, err
	}
	for l := range n {
		if b, err = d.dirBlock(l); err != nil {
			return nil, e, 0, err
		}
		found := false
		err = each(b.data, func(x dirent, prev int) bool {
			if x.ino() != 0 && string(x.name()) == name {
				e, before, found = x, prev, true
			}
			return !found
		})
		if err != nil || found {
			return b, e, before, err
		}
	}
	return nil, e, 0, syscall.ENOENT
}

// Lookup returns the inode that a name leads to. ENOENT, ENOTDIR.
func (f *FS) Lookup(dir uint32, name string) (uint32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trim()
	d, err := f.inode(dir)
	if err != nil {
		return 0, err
	}
	_, e, _, err := d.search(name)
	if err != nil {
		return 0, err
	}
	return e.ino(), nil
}

// Entry is a name in a directory. Type is a type of ModeType, or 0 if only the inode has
// the type.
type Entry struct {
	Name string
	Ino  uint32
	Type uint16
}

// ReadDir calls yield for all names of a directory but "." and "..". Where the directory
// makes no sense it stops and returns the error. No lock is held while yield runs.
func (f *FS) ReadDir(dir uint32, yield func(Entry) error) error {
	f.mu.Lock()
	d, err := f.inode(dir)
	var n uint64
	if err == nil {
		n, err = d.dirBlocks()
	}
	f.mu.Unlock()
	for l := uint64(0); l < n && err == nil; l++ {
		var block []Entry
		f.mu.Lock()
		f.trim()
		if d, err = f.inode(dir); err == nil {
			var b *buf
			if b, err = d.dirBlock(l); err == nil {
				err = each(b.data, func(e dirent, _ int) bool {
					name := string(e.name())
					if e.ino() == 0 || name == "." || name == ".." {
						return true
					}
					x := Entry{Name: name, Ino: e.ino()}
					if f.incompat&incompatFiletype != 0 {
						for t, k := range entryTypes {
							if k == e.data[e.at+7] {
								x.Type = t
							}
						}
					}
					block = append(block, x)
					return true
				})
			}
		}
		f.mu.Unlock()
		for _, e := range block {
			if err := yield(e); err != nil {
				return err
			}
		}
	}
	return err
}

// entryType returns the type that a directory entry stores for an inode.
func (f *FS) entryType(mode uint16) uint8 {
	if f.incompat&incompatFiletype == 0 {
		return 0
	}
	return entryTypes[mode&ModeType]
}

// added says where an entry has been put.
type added struct {
	b *buf
	// at is the stage after which the name can be reached, if the directory can be reached.
	at stage
}

// add puts a new name into a directory. The change comes after the given stages.
func (d inode) add(name string, ino uint32, mode uint16, after ...stage) (added, error) {
	if err := d.unindex(); err != nil {
		return added{}, err
	}
	n, err := d.dirBlocks()
	if err != nil {
		return added{}, err
	}
	for l := range n {
		b, err := d.dirBlock(l)
		if err != nil {
			return added{}, err
		}
		if at, ok, err := d.addTo(b, name, ino, mode, after...); ok || err != nil {
			return added{b, max(at, d.f.own[d.ino])}, err
		}
	}
	p, err := d.f.allocateMeta(0)
	if err != nil {
		return added{}, err
	}
	b := d.f.fresh(p)
	d.f.touch(b, after...)
	dirent{b.data, 0}.set(0, d.f.room(), "", 0)
	at, ok, err := d.addTo(b, name, ino, mode)
	if !ok && err == nil {
		err = d.f.corrupt("a name of %d bytes does not fit into a block", len(name))
	}
	if err != nil {
		return added{}, err
	}
	d.touch(at)
	if err := d.insert(n, p, 1, at); err != nil {
		return added{}, err
	}
	at = d.touch(at)
	d.addBlocks(1)
	d.setSize(int64(n+1) * d.f.bs)
	d.done()
	return added{b, max(at, d.f.own[d.ino])}, nil
}

// addTo adds a name to a block if the block has room.
func (d inode) addTo(b *buf, name string, ino uint32, mode uint16, after ...stage) (at stage, ok bool, err error) {
	need := entrySize(len(name))
	var e dirent
	err = each(b.data[:d.f.room()], func(x dirent, _ int) bool {
		if x.size()-x.used() >= need {
			e, ok = x, true
		}
		return !ok
	})
	if !ok || err != nil {
		return 0, false, err
	}
	at = d.f.touch(b, after...)
	size, used := e.size(), e.used()
	if used > 0 {
		le.PutUint16(e.data[e.at+4:], uint16(used))
		e.at += used
	}
	e.set(ino, size-used, name, d.f.entryType(mode))
	d.sealDir(b.data)
	return at, true, nil
}

// remove takes an entry out of its block. The change comes after the given stages.
func (d inode) remove(b *buf, e dirent, before int, after ...stage) stage {
	at := d.f.touch(b, after...)
	if before >= 0 {
		p := dirent{b.data, before}
		le.PutUint16(b.data[before+4:], uint16(p.size()+e.size()))
	} else {
		le.PutUint32(b.data[e.at:], 0)
	}
	d.sealDir(b.data)
	return at
}

// unindex makes an indexed directory a plain list. Its blocks are one already, except for
// those of the index. These are changed before the inode: e2fsck drops an index that makes
// no sense.
func (d inode) unindex() error {
	if d.flags()&flagIndex == 0 {
		return nil
	}
	n, err := d.dirBlocks()
	if err != nil {
		return err
	}
	last := stage(0)
	for l := range n {
		b, err := d.dirBlock(l)
		if err != nil {
			return err
		}
		if !d.indexBlock(l, b.data) {
			continue
		}
		at := 0
		if l == 0 {
			dot, dots := dirent{b.data, 0}, dirent{b.data, entrySize(1)}
			if dot.fits() != nil || dot.size() != dots.at || dots.fits() != nil || string(dots.name()) != ".." {
				return d.f.corrupt("inode %d has an index without \"..\"", d.ino)
			}
			at = dots.at
		}
		last = max(last, d.f.touch(b))
		if l == 0 {
			le.PutUint16(b.data[at+4:], uint16(d.f.room()-at))
			clear(b.data[at+entrySize(2):])
		} else {
			clear(b.data)
			dirent{b.data, 0}.set(0, d.f.room(), "", 0)
		}
		d.sealDir(b.data)
		b.checked = true
	}
	d.touch(last)
	d.put32(iFlags, d.flags()&^flagIndex)
	d.done()
	return nil
}

// empty returns ENOTEMPTY if a directory has names.
func (d inode) empty() error {
	n, err := d.dirBlocks()
	if err != nil {
		return err
	}
	for l := range n {
		b, err := d.dirBlock(l)
		if err != nil {
			return err
		}
		used := false
		if err := each(b.data, func(e dirent, _ int) bool {
			used = e.ino() != 0 && string(e.name()) != "." && string(e.name()) != ".."
			return !used
		}); err != nil {
			return err
		}
		if used {
			return syscall.ENOTEMPTY
		}
	}
	return nil
}
