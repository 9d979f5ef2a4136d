package fs

import (
	"syscall"

	"golang.org/x/sys/unix"
	"grim/proc/cred"
)

// What a caller wants of a file, as the bits of a mode (inode(7)).
const (
	mayRead  = 4
	mayWrite = 2
	mayExec  = 1 // of a directory: to look names up
)

// credOf are the credentials of a task; the kernel itself has none, and may all.
func credOf(t Task) *cred.Cred {
	if t == nil {
		return nil
	}
	return t.Cred()
}

// allows is EACCES if c may not do what is wanted (path_resolution(7), "Permissions"):
// the owner's bits count for the owner, the group's for the group, the last for all
// others, and capabilities beside them.
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

// overrides is allows for a caller whom the mode does not let in.
func (i *inode) overrides(c *cred.Cred, want uint32) error {
	dir := i.typ == syscall.S_IFDIR
	switch {
	case c.Has(cred.DACReadSearch) && (want == mayRead || dir && want&mayWrite == 0),
		c.Has(cred.DACOverride) && (dir || want&mayExec == 0 || i.perm.Load()&0o111 != 0):
		return nil
	}
	return syscall.EACCES
}

// owns says whether c may change the attributes of the file.
func (i *inode) owns(c *cred.Cred) bool {
	return c == nil || c.FSUID == i.uid.Load() || c.Has(cred.FOwner)
}

// adopt gives a new file its owner: the caller, and the caller's group or that of a
// set-group-ID directory, which a directory below it inherits. d is nil for a file
// without a name.
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

// mayChange is EACCES if c may not add names to d or take them away.
func (d *dir) mayChange(c *cred.Cred) error { return d.allows(c, mayWrite|mayExec) }

// mayRemove is EACCES or EPERM if c may not take n's name from d: in a sticky directory
// only the owner of one of them may.
func (d *dir) mayRemove(c *cred.Cred, n node) error {
	if err := d.mayChange(c); err != nil || c == nil {
		return err
	}
	if d.perm.Load()&syscall.S_ISVTX != 0 && c.FSUID != n.base().uid.Load() && c.FSUID != d.uid.Load() && !c.Has(cred.FOwner) {
		return syscall.EPERM
	}
	return nil
}

// wanted is what open(2) with the flags given wants of a file.
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

// mayOpen is EACCES or EPERM if the caller may not open n so.
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

// written takes the set-ID bits off a file that somebody without CAP_FSETID writes to
// or truncates.
func (i *inode) written(t Task) {
	const ids = syscall.S_ISUID | syscall.S_ISGID
	if i.perm.Load()&ids == 0 || t == nil || t.Cred().Has(cred.FSetID) {
		return
	}
	i.dropIDs()
}

// dropIDs takes off set-user-ID, and set-group-ID where the group may execute: without
// that the bit means something else.
func (i *inode) dropIDs() {
	off := uint32(syscall.S_ISUID)
	if i.perm.Load()&syscall.S_IXGRP != 0 {
		off |= syscall.S_ISGID
	}
	i.perm.And(^off)
}
