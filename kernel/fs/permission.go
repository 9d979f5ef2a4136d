package fs

import (
	"syscall"

	"golang.org/x/sys/unix"
	"grim/proc/cred"
)

// Kinds of access to a file, as bits of a mode (inode(7)).
const (
	mayRead  = 4
	mayWrite = 2
	mayExec  = 1 // for a directory: search
)

// credOf returns the credentials of a task. It returns nil for the kernel itself, which may
// do everything.
func credOf(t Task) *cred.Cred {
	if t == nil {
		return nil
	}
	return t.Cred()
}

// allows returns EACCES if c does not have the access want (path_resolution(7),
// "Permissions"). The owner has the owner's bits, members of the group have the group's
// bits, all others the last bits. Capabilities add to these.
func (i *inode) allows(c *cred.Cred, want uint32) error {
	if c == nil {
		return nil
	}
	bits := i.perm.Load()
	switch {
	case c.FSUID == i.uid.Load():
		bits >>= 6
	case c.InGroup(i.gid.Load()):
		bits >>= 3
	}
	if want&^bits == 0 {
		return nil
	}
	return i.overrides(c, want)
}

// overrides is allows for credentials that the mode does not give access: it checks the
// capabilities.
func (i *inode) overrides(c *cred.Cred, want uint32) error {
	dir := i.typ == syscall.S_IFDIR
	switch {
	case c.Has(cred.DACReadSearch) && (want == mayRead || dir && want&mayWrite == 0),
		c.Has(cred.DACOverride) && (dir || want&mayExec == 0 || i.perm.Load()&0o111 != 0):
		return nil
	}
	return syscall.EACCES
}

// owns reports whether c may change the attributes of the file.
func (i *inode) owns(c *cred.Cred) bool {
	return c == nil || c.FSUID == i.uid.Load() || c.Has(cred.FOwner)
}

// adopt sets the owner and the group of a new file. The owner is the caller. The group is
// the caller's, or d's group if d is a set-group-ID directory; a new directory in d
// inherits the set-group-ID bit too. d is nil for a file without a name.
func (i *inode) adopt(c *cred.Cred, d *dir) {
	if c == nil {
		return
	}
	i.uid.Store(c.FSUID)
	gid := c.FSGID
	if d != nil && d.perm.Load()&syscall.S_ISGID != 0 {
		gid = d.gid.Load()
		const both = syscall.S_ISGID | syscall.S_IXGRP
		switch {
		case i.typ == syscall.S_IFDIR:
			i.perm.Or(syscall.S_ISGID)
		case i.perm.Load()&both == both && !c.InGroup(gid) && !c.Has(cred.FSetID):
			i.perm.And(^uint32(syscall.S_ISGID))
		}
	}
	i.gid.Store(gid)
}

// mayChange returns EACCES if c may not add or remove names in d.
func (d *dir) mayChange(c *cred.Cred) error { return d.allows(c, mayWrite|mayExec) }

// mayRemove returns EACCES or EPERM if c may not remove n's name from d. In a sticky
// directory only the owner of n or of d may.
func (d *dir) mayRemove(c *cred.Cred, n node) error {
	if err := d.mayChange(c); err != nil || c == nil {
		return err
	}
	if d.perm.Load()&syscall.S_ISVTX != 0 && c.FSUID != n.base().uid.Load() && c.FSUID != d.uid.Load() && !c.Has(cred.FOwner) {
		return syscall.EPERM
	}
	return nil
}

// wanted returns the access that open(2) needs with these flags.
func wanted(flags int) (want uint32) {
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		want = mayRead
	case unix.O_WRONLY:
		want = mayWrite
	default:
		want = mayRead | mayWrite
	}
	if flags&unix.O_TRUNC != 0 {
		want |= mayWrite
	}
	return want
}

// mayOpen returns EACCES or EPERM if the caller may not open n with these flags.
func mayOpen(at At, n node, flags int) error {
	i, c := n.base(), at.cred()
	if err := i.allows(c, wanted(flags)); err != nil {
		if p, ok := n.(*procDir); !ok || p.guard == nil || p.guard(at.Task) != nil {
			return err
		}
	}
	if flags&unix.O_NOATIME != 0 && !i.owns(c) {
		return syscall.EPERM
	}
	return nil
}

// written clears the set-ID bits of a file that a thread without CAP_FSETID writes to or
// truncates.
func (i *inode) written(t Task) {
	const ids = syscall.S_ISUID | syscall.S_ISGID
	if i.perm.Load()&ids == 0 || t == nil || t.Cred().Has(cred.FSetID) {
		return
	}
	i.dropIDs()
}

// dropIDs clears set-user-ID, and set-group-ID if the group may execute the file. Without
// that permission, the set-group-ID bit has another meaning.
func (i *inode) dropIDs() {
	off := uint32(syscall.S_ISUID)
	if i.perm.Load()&syscall.S_IXGRP != 0 {
		off |= syscall.S_ISGID
	}
	i.perm.And(^off)
}
