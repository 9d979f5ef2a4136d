package ext2

import (
	"fmt"
	"syscall"
)

const (
	maxLinks    = 65000
	maxLinksOld = 32000 // of file systems without dir_nlink: ext2 and ext3
)

func (f *FS) maxLinks() uint16 {
	if f.ro&roNlink != 0 {
		return maxLinks
	}
	return maxLinksOld
}

// changeDir returns a directory in which names may be changed. Preconditions: mu held.
func (f *FS) changeDir(dir uint32) (inode, error) {
	d, err := f.inode(dir)
	switch {
	case err != nil:
		return d, err
	case d.typ() != ModeDir:
		return d, syscall.ENOTDIR
	case d.links() == 0:
		return d, syscall.ENOENT
	case d.flags()&flagImmutable != 0:
		return d, syscall.EPERM
	}
	return d, nil
}

func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return syscall.EINVAL
	case len(name) > MaxName:
		return syscall.ENAMETOOLONG
	}
	return nil
}

// stamp sets the times of a directory after a change of its names.
func (d inode) stamp(now int64) {
	d.touch()
	d.setTime(iMtime, iMtimeX, now)
	d.setTime(iCtime, iCtimeX, now)
	d.done()
}

// Create makes an inode with the mode, owner, times and device of a, and gives it a name.
// target is the target of a symbolic link. EEXIST, ENOSPC, EMLINK.
func (f *FS) Create(dir uint32, name string, a Attr, target string) (ino uint32, err error) {
	if err := checkName(name); err != nil {
		return 0, err
	}
	if a.Mode&ModeType == ModeLink && int64(len(target)) >= f.bs {
		return 0, syscall.ENAMETOOLONG
	}
	if err := f.begin(); err != nil {
		return 0, err
	}
	defer f.mu.Unlock()
	d, err := f.changeDir(dir)
	if err != nil {
		return 0, err
	}
	if _, _, _, err := d.search(name); err != syscall.ENOENT {
		if err == nil {
			err = syscall.EEXIST
		}
		return 0, err
	}
	isDir := a.Mode&ModeType == ModeDir
	if isDir && d.links() >= f.maxLinks() {
		return 0, syscall.EMLINK
	}
	if f.freeBlocks-f.reserved < 4 { // for the name, the index and the inode's first block
		return 0, syscall.ENOSPC
	}
	ino, known, err := f.allocateInode(dir, isDir)
	if err != nil {
		return 0, err
	}
	i, err := f.inodeAt(ino)
	if err != nil {
		return 0, err
	}
	// content is the new inode's first block, if it needs one. It is written before the
	// inode.
	var content *buf
	made := known
	if isDir || a.Mode&ModeType == ModeLink && len(target) >= iBlockBytes {
		p, err := f.allocateMeta(0)
		if err != nil {
			return 0, f.undoInode(ino, isDir, err)
		}
		content = f.fresh(p)
		made = f.touch(content, known)
	}
	ad, err := d.add(name, ino, a.Mode, made)
	if err != nil {
		if content != nil {
			f.free(content.block, 1, f.queue.first)
		}
		return 0, f.undoInode(ino, isDir, err)
	}
	// If the new inode is in the same block as the directory's inode, both are written
	// together.
	behind := ad.at
	if i.b == d.b && f.own[dir] == ad.at && ad.b.pos < ad.at {
		behind = ad.b.pos
	}
	at := i.touch(behind, made)
	clear(i.raw)
	if len(i.raw) > 128 {
		i.put16(iExtra, f.extraSize)
	}
	i.put32(iGen, uint32(a.Ctime)^ino)
	i.setAttr(a)
	if i.has(iBtimeX + 4) {
		i.setTime(iBtime, iBtimeX, a.Btime)
	}
	i.put16(iLinks, 1)
	if f.incompat&incompatExtents != 0 && (isDir || a.Mode&ModeType == ModeReg || content != nil) {
		i.put32(iFlags, flagExtents)
		initExtents(i.block(), 0)
	}
	switch a.Mode & ModeType {
	case ModeDir:
		i.put16(iLinks, 2)
		i.setSize(f.bs)
		dirent{content.data, 0}.set(ino, entrySize(1), ".", f.entryType(ModeDir))
		dirent{content.data, entrySize(1)}.set(dir, f.room()-entrySize(1), "..", f.entryType(ModeDir))
		i.sealDir(content.data)
	case ModeLink:
		i.setSize(int64(len(target)))
		if content != nil {
			copy(content.data, target)
		} else {
			copy(i.block(), target)
		}
	case ModeChar, ModeBlk:
		i.setDevice(a.Rdev)
	}
	if content != nil {
		i.addBlocks(1)
		if err := i.insert(0, content.block, 1, made); err != nil {
			return 0, f.fail(err, "inode %d: its first block cannot be mapped", ino)
		}
	}
	i.done()
	f.own[ino] = at
	f.after[dir] = max(f.after[dir], at)
	d.touch()
	if isDir {
		d.put16(iLinks, d.links()+1)
	}
	d.stamp(a.Ctime)
	return ino, nil
}

// undoInode gives back an inode that was not made after all, and returns err.
func (f *FS) undoInode(ino uint32, dir bool, err error) error {
	if e := f.freeInode(ino, dir, f.queue.first); e != nil {
		return e
	}
	return err
}

// Link gives an inode another name. EEXIST, EMLINK, ENOSPC.
func (f *FS) Link(dir uint32, name string, ino uint32, now int64) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := f.begin(); err != nil {
		return err
	}
	defer f.mu.Unlock()
	d, err := f.changeDir(dir)
	if err != nil {
		return err
	}
	i, err := f.inode(ino)
	switch {
	case err != nil:
		return err
	case i.typ() == ModeDir || i.flags()&(flagImmutable|flagAppend) != 0:
		return syscall.EPERM
	case i.links() == 0:
		return syscall.ENOENT
	case i.links() >= f.maxLinks():
		return syscall.EMLINK
	}
	if _, _, _, err := d.search(name); err != syscall.ENOENT {
		if err == nil {
			err = syscall.EEXIST
		}
		return err
	}
	ad, err := d.add(name, ino, i.mode())
	if err != nil {
		return err
	}
	f.named(dir, ino, ad.at)
	i.touch()
	i.put16(iLinks, i.links()+1)
	i.setTime(iCtime, iCtimeX, now)
	i.done()
	d.stamp(now)
	return nil
}

// named records that an inode has got a name in a directory, which can be reached from
// stage at on. Another name of the inode must not be removed before, and the directory must
// not be deleted before.
func (f *FS) named(dir, ino uint32, at stage) {
	f.own[ino] = max(f.own[ino], at)
	f.after[dir] = max(f.after[dir], at)
}

// moved is named for an inode that loses its name in directory from. That directory must
// not be deleted before stage at.
func (f *FS) moved(from, to, ino uint32, at stage) {
	f.named(to, ino, at)
	f.after[from] = max(f.after[from], at)
}

// Unlink removes a name. rmdir means that it must be the name of an empty directory. If it
// was the last name, last is true, and the inode stays, without links, until Forget.
// ENOENT, ENOTDIR, EISDIR, ENOTEMPTY.
func (f *FS) Unlink(dir uint32, name string, rmdir bool, now int64) (ino uint32, last bool, err error) {
	if err := f.begin(); err != nil {
		return 0, false, err
	}
	defer f.mu.Unlock()
	d, err := f.changeDir(dir)
	if err != nil {
		return 0, false, err
	}
	if err := d.unindex(); err != nil {
		return 0, false, err
	}
	b, e, before, err := d.search(name)
	if err != nil {
		return 0, false, err
	}
	i, err := f.inode(e.ino())
	switch {
	case err != nil:
		return 0, false, err
	case rmdir && i.typ() != ModeDir:
		return 0, false, syscall.ENOTDIR
	case !rmdir && i.typ() == ModeDir:
		return 0, false, syscall.EISDIR
	case i.flags()&(flagImmutable|flagAppend) != 0 || i.ino == rootInode:
		return 0, false, syscall.EPERM
	}
	if rmdir {
		if err := i.empty(); err != nil {
			return 0, false, err
		}
	}
	at, last, err := f.dropLink(dir, i, now)
	if err != nil {
		return 0, false, err
	}
	d.remove(b, e, before, at)
	d.touch()
	if rmdir {
		d.put16(iLinks, max(d.links(), 3)-1)
	}
	d.stamp(now)
	return i.ino, last, nil
}

// dropLink takes a link off an inode. It returns the stage after which the name may be
// removed.
func (f *FS) dropLink(dir uint32, i inode, now int64) (at stage, last bool, err error) {
	last = i.typ() == ModeDir || i.links() == 1
	behind := stage(0)
	if i.typ() == ModeDir {
		behind = f.after[i.ino]
	}
	at = i.touch(behind)
	i.setTime(iCtime, iCtimeX, now)
	if !last {
		i.put16(iLinks, i.links()-1)
		i.done()
		at = f.own[i.ino] // the stage in which its other names are on disk
		f.after[dir] = max(f.after[dir], at)
		return at, false, nil
	}
	i.put16(iLinks, 0)
	i.put32(iDtime, uint32(now/1e9))
	i.done()
	f.orphans[i.ino] = true
	f.after[dir] = max(f.after[dir], at)
	return at, true, nil
}

// Forget frees an unlinked inode and its blocks. The inode must not be used any more.
func (f *FS) Forget(ino uint32) error {
	if err := f.begin(); err != nil {
		return err
	}
	defer f.mu.Unlock()
	if !f.orphans[ino] {
		return nil
	}
	i, err := f.inode(ino)
	if err != nil {
		return err
	}
	at := i.touch()
	isDir := i.typ() == ModeDir
	if err := i.freeContent(at); err != nil {
		return err
	}
	i.put32(iDtime, uint32(f.opts.Now()/1e9))
	i.done()
	delete(f.orphans, ino)
	delete(f.own, ino)
	return f.freeInode(ino, isDir, at)
}

// freeContent frees all blocks of an inode, including the block of extended attributes.
func (i inode) freeContent(at stage) error {
	switch t := i.typ(); {
	case t == ModeReg || t == ModeDir || t == ModeLink && !i.fast():
		if err := i.cut(0, at); err != nil {
			return err
		}
		i.setSize(0)
	}
	acl := i.acl()
	if acl == 0 {
		return nil
	}
	i.put32(iACL, 0)
	i.put16(iACLHi, 0)
	i.addBlocks(-1)
	if !i.f.valid(acl) {
		return i.f.corrupt("inode %d has its attributes in block %d", i.ino, acl)
	}
	b, err := i.f.block(acl)
	if err != nil {
		return err
	}
	const attrMagic, refs, sum = 0xea020000, 4, 16
	if le.Uint32(b.data) != attrMagic {
		return i.f.corrupt("block %d holds no attributes", acl)
	}
	n := le.Uint32(b.data[refs:])
	if n <= 1 {
		return i.f.free(acl, 1, at)
	}
	i.f.touch(b)
	le.PutUint32(b.data[refs:], n-1)
	if i.f.ro&roCsum != 0 {
		le.PutUint32(b.data[sum:], 0)
		c := crc(i.f.seed, le.AppendUint64(nil, acl))
		le.PutUint32(b.data[sum:], crc(c, b.data))
	}
	return nil
}

// fast reports whether a symbolic link's target is stored in its inode.
func (i inode) fast() bool {
	blocks := i.sectors()
	if i.acl() != 0 {
		blocks -= i.f.bs / 512
	}
	return blocks == 0 && i.size() < iBlockBytes
}

// Readlink returns the target of a symbolic link.
func (f *FS) Readlink(ino uint32) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trim()
	i, err := f.inode(ino)
	if err != nil {
		return "", err
	}
	n := i.size()
	switch {
	case i.typ() != ModeLink:
		return "", syscall.EINVAL
	case n <= 0 || n >= f.bs:
		return "", syscall.EUCLEAN
	case i.fast():
		return string(i.block()[:n]), nil
	}
	p, _, err := i.lookup(0)
	if err != nil {
		return "", err
	}
	if p == 0 {
		return "", syscall.EUCLEAN
	}
	b, err := f.block(p)
	if err != nil {
		return "", err
	}
	return string(b.data[:n]), nil
}

// Rename moves a name. If the new name exists, its file or empty directory loses it;
// replaced and last report that, as Unlink does. exchange swaps two names instead. EXDEV if
// a directory would get another parent, or if its new name does not fit into the block of
// the old one: see the package comment. The caller has made sure that no directory becomes
// its own ancestor.
func (f *FS) Rename(fromDir uint32, from string, toDir uint32, to string, exchange bool, now int64) (replaced uint32, last bool, err error) {
	if err := checkName(to); err != nil {
		return 0, false, err
	}
	if err := f.begin(); err != nil {
		return 0, false, err
	}
	defer f.mu.Unlock()
	fd, err := f.changeDir(fromDir)
	if err != nil {
		return 0, false, err
	}
	td, err := f.changeDir(toDir)
	if err != nil {
		return 0, false, err
	}
	for _, d := range []inode{fd, td} {
		if err := d.unindex(); err != nil {
			return 0, false, err
		}
	}
	fb, fe, fbefore, err := fd.search(from)
	if err != nil {
		return 0, false, err
	}
	i, err := f.inode(fe.ino())
	if err != nil {
		return 0, false, err
	}
	isDir := i.typ() == ModeDir
	tb, te, tbefore, err := td.search(to)
	if err != nil && err != syscall.ENOENT {
		return 0, false, err
	}
	exists := err == nil
	if exists && te.ino() == i.ino {
		return 0, false, nil
	}
	if isDir && fromDir != toDir {
		return 0, false, syscall.EXDEV
	}
	var old inode
	if exists {
		if old, err = f.inode(te.ino()); err != nil {
			return 0, false, err
		}
		if old.typ() == ModeDir && fromDir != toDir && exchange {
			return 0, false, syscall.EXDEV
		}
	}
	// All changes of the inode reach the disk before it replaces another file. So if a
	// program writes a file and renames it over another one, the name leads to the old file
	// or to all of the new one.
	ready := max(i.b.pos, f.own[i.ino])
	switch {
	case exchange && !exists:
		return 0, false, syscall.ENOENT
	case exchange:
		err = f.exchange(fd, td, fb, tb, fe, te, i, old, ready)
	case exists && old.typ() == ModeDir:
		if !isDir {
			return 0, false, syscall.EISDIR
		}
		if err := old.empty(); err != nil {
			return 0, false, err
		}
		at, _, err := f.dropLink(toDir, old, now)
		if err != nil {
			return 0, false, err
		}
		td.remove(tb, te, tbefore, at)
		td.touch()
		td.put16(iLinks, max(td.links(), 3)-1)
		td.done()
		replaced, last = old.ino, true
		// The entries of the block may have been merged.
		if fb, fe, fbefore, err = fd.search(from); err != nil {
			return 0, false, err
		}
		if err := f.rename(fd, td, fb, fe, fbefore, to, i); err != nil {
			return replaced, last, err
		}
	case exists:
		if isDir {
			return 0, false, syscall.ENOTDIR
		}
		if last, err = f.replace(fd, td, fb, tb, fe, te, fbefore, i, old, ready, now); err == nil {
			replaced = old.ino
		}
	default:
		err = f.rename(fd, td, fb, fe, fbefore, to, i)
	}
	if err != nil {
		return 0, false, err
	}
	fd.stamp(now)
	td.stamp(now)
	i.touch()
	i.setTime(iCtime, iCtimeX, now)
	i.done()
	return replaced, last, nil
}

// rename makes a new name that does not exist yet, and removes the old one.
func (f *FS) rename(fd, td inode, fb *buf, fe dirent, fbefore int, to string, i inode) error {
	if fd.ino == td.ino {
		if f.renameInBlock(fd, fb, fe, fbefore, to, i) {
			return nil
		}
		if i.typ() == ModeDir {
			return syscall.EXDEV
		}
	}
	ad, err := td.add(to, i.ino, i.mode())
	if err != nil {
		return err
	}
	f.moved(fd.ino, td.ino, i.ino, ad.at)
	// If the new name was put next to the old one, the old entry may have become shorter.
	// It is still there.
	from := string(fe.name())
	if fb, fe, fbefore, err = fd.search(from); err != nil {
		return err
	}
	fd.remove(fb, fe, fbefore, ad.at)
	return nil
}

// renameInBlock does the same within one block, by one write, if the block has room.
func (f *FS) renameInBlock(d inode, b *buf, e dirent, before int, to string, i inode) bool {
	trial := append([]byte(nil), b.data...)
	x := dirent{trial, e.at}
	if before >= 0 {
		le.PutUint16(trial[before+4:], uint16(dirent{trial, before}.size()+x.size()))
	} else {
		le.PutUint32(trial[x.at:], 0)
	}
	var slot dirent
	ok := false
	if err := each(trial[:f.room()], func(y dirent, _ int) bool {
		if y.size()-y.used() >= entrySize(len(to)) {
			slot, ok = y, true
		}
		return !ok
	}); err != nil || !ok {
		return false
	}
	size, used := slot.size(), slot.used()
	slot.data = trial
	if used > 0 {
		le.PutUint16(trial[slot.at+4:], uint16(used))
		slot.at += used
	}
	slot.set(i.ino, size-used, to, f.entryType(i.mode()))
	at := f.touch(b)
	copy(b.data, trial)
	d.sealDir(b.data)
	f.named(d.ino, i.ino, max(at, f.own[d.ino]))
	return true
}

// replace makes the name of file old a name of i. Before old loses its last name it gets
// one in lost+found, so that it always has a name.
func (f *FS) replace(fd, td inode, fb, tb *buf, fe, te dirent, fbefore int, i, old inode, ready stage, now int64) (last bool, err error) {
	spare, err := f.spareName(old)
	if err != nil {
		return false, err
	}
	at := f.touch(tb, ready, spare.at, f.own[old.ino])
	le.PutUint32(te.data[te.at:], i.ino)
	if f.incompat&incompatFiletype != 0 {
		te.data[te.at+7] = f.entryType(i.mode())
	}
	if fb == tb {
		// The old name is removed by the same write.
		if fbefore >= 0 {
			le.PutUint16(fb.data[fbefore+4:], uint16(dirent{fb.data, fbefore}.size()+fe.size()))
		} else {
			le.PutUint32(fb.data[fe.at:], 0)
		}
	}
	td.sealDir(tb.data)
	reached := max(at, f.own[td.ino])
	f.moved(fd.ino, td.ino, i.ino, reached)
	if fb != tb {
		fd.remove(fb, fe, fbefore, reached)
	}
	// The inode is changed after the name, and the spare name is removed after that.
	old.touch(at)
	st, last, err := f.dropLink(td.ino, old, now)
	if err != nil {
		return false, err
	}
	return last, f.dropSpare(spare, st)
}

// spare is a temporary name in lost+found.
type spare struct {
	dir  uint32
	name string
	at   stage
}

// spareName gives a file that has only one name another name in lost+found. If there is no
// lost+found, the file is without a name for the time of one write.
func (f *FS) spareName(i inode) (spare, error) {
	if i.links() > 1 {
		return spare{}, nil
	}
	root, err := f.inode(rootInode)
	if err != nil {
		return spare{}, err
	}
	_, e, _, err := root.search("lost+found")
	if err != nil {
		return spare{}, nil
	}
	d, err := f.changeDir(e.ino())
	if err != nil {
		return spare{}, nil
	}
	s := spare{dir: d.ino, name: fmt.Sprintf("#%d", i.ino)}
	if _, _, _, err := d.search(s.name); err != syscall.ENOENT {
		return spare{}, nil // a name that e2fsck has made earlier
	}
	ad, err := d.add(s.name, i.ino, i.mode())
	s.at = ad.at
	return s, err
}

func (f *FS) dropSpare(s spare, at stage) error {
	if s.name == "" {
		return nil
	}
	d, err := f.changeDir(s.dir)
	if err != nil {
		return err
	}
	b, e, before, err := d.search(s.name)
	if err != nil {
		return err
	}
	d.remove(b, e, before, at)
	return nil
}

// exchange swaps two names. A file has a spare name while it has no other.
func (f *FS) exchange(fd, td inode, fb, tb *buf, fe, te dirent, i, old inode, ready stage) error {
	put := func(e dirent, x inode) {
		le.PutUint32(e.data[e.at:], x.ino)
		if f.incompat&incompatFiletype != 0 {
			e.data[e.at+7] = f.entryType(x.mode())
		}
	}
	behind := max(ready, old.b.pos, f.own[old.ino])
	if fb == tb {
		at := f.touch(fb, behind)
		put(fe, old)
		put(te, i)
		fd.sealDir(fb.data)
		f.named(fd.ino, i.ino, at)
		f.named(fd.ino, old.ino, at)
		return nil
	}
	if i.typ() == ModeDir || old.typ() == ModeDir {
		return syscall.EXDEV
	}
	s, err := f.spareName(old)
	if err != nil {
		return err
	}
	at := f.touch(tb, behind, s.at)
	put(te, i)
	td.sealDir(tb.data)
	at = max(at, f.own[td.ino])
	f.moved(fd.ino, td.ino, i.ino, at)
	at = f.touch(fb, at)
	put(fe, old)
	fd.sealDir(fb.data)
	at = max(at, f.own[fd.ino])
	f.moved(td.ino, fd.ino, old.ino, at)
	return f.dropSpare(s, at)
}
