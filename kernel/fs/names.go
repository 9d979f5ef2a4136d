package fs

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"grim/mm/charge"
	"grim/proc/cred"
)

// link gives n, a new node, its name in d. Errors: ENOENT if d was removed in the meantime,
// EEXIST, ENOSPC. The result is n, or, if a store keeps d, the node of an inode like n.
func (s *FS) link(t Task, d *dir, name string, n node) (node, error) {
	made, err := s.linkNew(t, d, name, n)
	if err == nil && made == n {
		s.tellName(d, name, n, unix.IN_CREATE)
	}
	return made, err
}

func (s *FS) linkNew(t Task, d *dir, name string, n node) (node, error) {
	c := credOf(t)
	if err := d.mayChange(c); err != nil {
		return nil, err
	}
	n.base().adopt(c, d)
	if v := d.stored(); v != nil {
		return v.create(d, name, n)
	}
	e, err := s.newSlot(t, name)
	if err != nil {
		return nil, err
	}
	d.vol.mu.Lock()
	defer d.vol.mu.Unlock()
	if d.removed() {
		e.free()
		return nil, syscall.ENOENT
	}
	if d.names[name] != nil {
		e.free()
		return nil, syscall.EEXIST
	}
	if s.named.Over() || !n.base().takeNode() { // n is new, and has been counted already
		e.free()
		return nil, syscall.ENOSPC
	}
	d.attach(e, n)
	return n, nil
}

// unlink removes a name again, if it is still n's.
func (s *FS) unlink(d *dir, name string, n node) {
	d.vol.mu.Lock()
	e := d.names[name]
	mine := e != nil && e.node == n
	if mine && d.stored() != nil {
		mine = d.vol.store.Unlink(d.ino, name, false, s.cfg.Now()) == nil
		d.vol.changed()
	}
	if mine {
		d.detach(name)
		unnamed(n)
	}
	d.vol.mu.Unlock()
	if mine {
		unhold(n)
	}
}

// vacant resolves a path at which something new is to be made, and returns the directory
// and the name. dirOK: the path may end with a slash.
func (s *FS) vacant(at At, path string, dirOK bool) (*dir, string, error) {
	t, err := s.walk(at, path, nameOnly)
	if err != nil {
		return nil, "", err
	}
	defer t.done()
	if t.node != nil {
		return nil, "", syscall.EEXIST
	}
	if t.slash && !dirOK {
		return nil, "", syscall.ENOENT
	}
	d, ok := t.dir.(*dir)
	if !ok {
		return nil, "", syscall.ENOENT // d is in /proc
	}
	return d, t.name, nil
}

// add makes n at path. n has no reference yet.
func (s *FS) add(at At, path string, n node, dirOK bool) error {
	newborn(n)
	defer unhold(n)
	d, name, err := s.vacant(at, path, dirOK)
	if err != nil {
		return err
	}
	_, err = s.link(at.Task, d, name, n)
	return err
}

// Mkdir implements mkdirat(2).
func (s *FS) Mkdir(at At, path string, mode uint32) error {
	d, err := s.newDir(at.Task, at.Place.mode(mode)&0o1777)
	if err != nil {
		return err
	}
	return s.add(at, path, d, true)
}

// Symlink implements symlinkat(2).
func (s *FS) Symlink(target string, at At, path string) error {
	if target == "" {
		return syscall.ENOENT
	}
	if len(target) >= pathMax {
		return syscall.ENAMETOOLONG
	}
	l, err := s.newSymlink(at.Task, target)
	if err != nil {
		return err
	}
	return s.add(at, path, l, false)
}

// Mknod implements mknodat(2). dev has a meaning for devices only.
func (s *FS) Mknod(at At, path string, mode uint32, dev uint64) error {
	perm := at.Place.mode(mode)
	var n node
	var err error
	switch typ := mode & syscall.S_IFMT; typ {
	case 0, syscall.S_IFREG:
		n, err = s.newRegular(at.Task, path, devRoot, perm)
	case syscall.S_IFIFO:
		n, err = s.newFIFO(at.Task, perm)
	case syscall.S_IFCHR, syscall.S_IFBLK:
		if c := at.cred(); c != nil && !c.Has(cred.MkNod) {
			return syscall.EPERM
		}
		n, err = s.newDevice(at.Task, typ|perm, dev)
	case syscall.S_IFSOCK:
		k := &socketNode{}
		if err = k.pay(s.payer(at.Task), 0); err == nil {
			k.init(s, devRoot, typ|perm)
		}
		n = k
	case syscall.S_IFDIR:
		return syscall.EPERM
	default:
		return syscall.EINVAL
	}
	if err != nil {
		return full(err)
	}
	return s.add(at, path, n, false)
}

// MakeFile makes a regular file with a page cache of the caller's, and takes over the
// reference on pages. EXDEV: the directory is on a volume that keeps its files itself. The
// other errors are those of mknodat(2).
func (s *FS) MakeFile(at At, path string, mode uint32, pages Pages) error {
	r, err := s.newRegularOf(at.Task, devRoot, at.Place.mode(mode), func(*charge.User) (Pages, error) { return pages, nil })
	if err != nil {
		pages.Unref()
		return full(err)
	}
	newborn(r)
	defer unhold(r) // without a name this drops the pages too
	d, name, err := s.vacant(at, path, false)
	if err != nil {
		return err
	}
	if d.stored() != nil {
		return syscall.EXDEV
	}
	_, err = s.link(at.Task, d, name, r)
	return err
}

// Link implements linkat(2). Flags: AT_SYMLINK_FOLLOW, AT_EMPTY_PATH.
func (s *FS) Link(oldAt At, oldPath string, newAt At, newPath string, flags int) error {
	if flags&^(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return syscall.EINVAL
	}
	look := flags & unix.AT_EMPTY_PATH
	if flags&unix.AT_SYMLINK_FOLLOW == 0 {
		look |= unix.AT_SYMLINK_NOFOLLOW
	}
	t, err := s.node(oldAt, oldPath, look)
	if err != nil {
		return err
	}
	defer t.done()
	d, name, err := s.vacant(newAt, newPath, false)
	if err != nil {
		return err
	}
	if _, ok := t.node.(directory); ok {
		return syscall.EPERM
	}
	if t.node.base().dev != d.dev {
		return syscall.EXDEV
	}
	if err := d.mayChange(newAt.cred()); err != nil {
		return err
	}
	e, err := s.newSlot(newAt.Task, name)
	if err != nil {
		return err
	}
	d.vol.mu.Lock()
	defer d.vol.mu.Unlock()
	err = d.load()
	switch {
	case err != nil:
	case d.removed():
		err = syscall.ENOENT
	case d.names[name] != nil:
		err = syscall.EEXIST
	case t.node.base().nlink.Load() == 0 && !linkable(t.node): // the last check: it counts as the one link
		err = syscall.ENOENT
	case d.stored() != nil:
		err = d.vol.store.Link(d.ino, name, t.node.base().ino, s.cfg.Now())
		d.vol.changed()
	}
	if err != nil {
		e.free()
		return err
	}
	d.attach(e, t.node)
	t.node.base().ctime.Store(s.cfg.Now())
	s.tellSelf(t.node, unix.IN_ATTRIB)
	s.tellName(d, name, t.node, unix.IN_CREATE)
	return nil
}

// linkable reports whether a file without a name may get one. That is allowed once, for a
// file that O_TMPFILE made.
func linkable(n node) bool {
	r, ok := n.(*regular)
	return ok && r.unnamed.CompareAndSwap(true, false)
}

// Unlink implements unlinkat(2); with AT_REMOVEDIR in flags it is rmdir(2). The file's data
// is freed when no descriptor and no mapping holds the file either.
func (s *FS) Unlink(at At, path string, flags int) error {
	if flags&^unix.AT_REMOVEDIR != 0 {
		return syscall.EINVAL
	}
	t, err := s.walk(at, path, nameOnly)
	if err != nil {
		return err
	}
	defer t.done()
	if err := t.existing(); err != nil {
		return err
	}
	if t.name == "" {
		return unlinkUnnamed(path, flags)
	}
	d, ok := t.dir.(*dir)
	if !ok {
		return syscall.EPERM // t is in /proc
	}
	n, err := s.detach(at.cred(), d, t.name, flags&unix.AT_REMOVEDIR != 0)
	if err != nil {
		return err
	}
	if flags&unix.AT_REMOVEDIR == 0 {
		s.tellSelf(n, unix.IN_ATTRIB) // its link count has changed
	}
	s.tellName(d, t.name, n, unix.IN_DELETE)
	unhold(n)
	return nil
}

// unlinkUnnamed returns the error for "/", "." and "..".
func unlinkUnnamed(path string, flags int) error {
	switch {
	case flags&unix.AT_REMOVEDIR == 0:
		return syscall.EISDIR
	case strings.Trim(path, "/") == "":
		return syscall.EBUSY
	case strings.HasSuffix(strings.TrimRight(path, "/"), ".."):
		return syscall.ENOTEMPTY
	}
	return syscall.EINVAL
}

// detach checks as unlink and rmdir do, and removes a name. It checks what has the name now:
// that may be another file than a walk has found, which somebody else owns. The caller must
// release the name's reference.
func (s *FS) detach(c *cred.Cred, d *dir, name string, rmdir bool) (node, error) {
	d.vol.mu.Lock()
	defer d.vol.mu.Unlock()
	e, err := d.slot(name)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, syscall.ENOENT
	}
	if err := d.mayRemove(c, e.node); err != nil {
		return nil, err
	}
	sub, isDir := e.node.(directory)
	switch {
	case isDir && !rmdir:
		return nil, syscall.EISDIR
	case !isDir && rmdir:
		return nil, syscall.ENOTDIR
	}
	if isDir {
		if err := removable(sub); err != nil {
			return nil, err
		}
	}
	if v := d.stored(); v != nil {
		if err := v.store.Unlink(d.ino, name, rmdir, s.cfg.Now()); err != nil {
			return nil, err
		}
		v.changed()
	}
	if isDir {
		sub.base().nlink.Add(-1) // for "."
	}
	n := d.detach(name)
	unnamed(n)
	return n, nil
}

// removable returns EBUSY for a directory of /proc, or on which a file system is mounted,
// and ENOTEMPTY for a directory with names. Precondition: volume.mu held.
func removable(d directory) error {
	c, ok := d.(*dir)
	switch {
	case !ok || c.over.Load() != nil:
		return syscall.EBUSY
	}
	if err := c.load(); err != nil {
		return err
	}
	if len(c.names) > 0 {
		return syscall.ENOTEMPTY
	}
	return nil
}

// Readlink implements readlinkat(2). An empty path names at.Dir itself.
func (s *FS) Readlink(at At, path string) (string, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if at.Dir != nil {
		flags |= unix.AT_EMPTY_PATH
	}
	t, err := s.node(at, path, flags)
	if err != nil {
		return "", err
	}
	defer t.done()
	l, ok := t.node.(linker)
	if !ok {
		return "", syscall.EINVAL
	}
	return l.readlink(at.Task)
}
