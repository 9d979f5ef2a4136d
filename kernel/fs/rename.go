package fs

import (
	"syscall"

	"golang.org/x/sys/unix"
	"grim/proc/cred"
)

// Rename implements renameat2(2) with RENAME_NOREPLACE or RENAME_EXCHANGE. It is atomic: no
// walk finds both names or neither.
func (s *FS) Rename(oldAt At, oldPath string, newAt At, newPath string, flags uint) error {
	switch flags {
	case 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE:
	default:
		return syscall.EINVAL
	}
	from, err := s.walk(oldAt, oldPath, nameOnly)
	if err != nil {
		return err
	}
	defer from.done()
	to, err := s.walk(newAt, newPath, nameOnly)
	if err != nil {
		return err
	}
	defer to.done()
	switch {
	case from.name != "" && to.name == "" && flags == unix.RENAME_NOREPLACE:
		return syscall.EEXIST
	case from.name == "" || to.name == "":
		return syscall.EBUSY
	}
	fd, ok1 := from.dir.(*dir)
	td, ok2 := to.dir.(*dir)
	switch {
	case !ok1 && !ok2:
		return syscall.EPERM // both in /proc
	case !ok1 || !ok2 || fd.vol != td.vol:
		return syscall.EXDEV
	}
	m := move{cred: newAt.cred(), fd: fd, td: td, fn: from.name, tn: to.name, fslash: from.slash, tslash: to.slash}
	if m.te, err = s.newSlot(newAt.Task, m.tn); err != nil {
		return err
	}
	if m.fe, err = s.newSlot(newAt.Task, m.fn); err != nil {
		m.te.free()
		return err
	}
	old, err := s.move(m, flags)
	for _, e := range []*slot{m.te, m.fe} {
		if e.node == nil { // a new slot that is not in a directory
			e.free()
		}
	}
	if err == nil && m.te.node != nil {
		s.tellMoved(fd, m.fn, td, m.tn, m.te.node)
		if m.fe.node != nil { // it was an exchange
			s.tellMoved(td, m.tn, fd, m.fn, m.fe.node)
		}
	}
	if old != nil {
		s.tellSelf(old, unix.IN_ATTRIB) // its link count has changed
		unhold(old)
	}
	return err
}

// move is a rename whose paths are resolved.
type move struct {
	fd, td         *dir
	fn, tn         string
	fe, te         *slot // new slots with these names; fe is used by an exchange
	fslash, tslash bool  // the path ended with a slash: it must be a directory
	cred           *cred.Cred
}

// move renames under volume.mu. It returns the node that has lost its name, or nil. The
// caller must release that name's reference.
func (s *FS) move(m move, flags uint) (node, error) {
	m.fd.vol.mu.Lock()
	defer m.fd.vol.mu.Unlock()
	from, err := m.fd.slot(m.fn)
	if err != nil {
		return nil, err
	}
	to, err := m.td.slot(m.tn)
	if err != nil {
		return nil, err
	}
	if from == nil || m.td.removed() {
		return nil, syscall.ENOENT
	}
	if err := m.allowed(from, to, flags); err != nil {
		return nil, err
	}
	if flags == unix.RENAME_EXCHANGE {
		return nil, m.exchange(from, to)
	}
	if err := m.check(from, to, flags); err != nil {
		return nil, err
	}
	if to != nil && to.node == from.node {
		return nil, nil // two names of one file: nothing to do (rename(2))
	}
	if err := m.keep(false); err != nil {
		return nil, err
	}
	var old node
	if to != nil {
		if c, ok := to.node.(*dir); ok {
			c.nlink.Add(-1) // for "."
		}
		old = m.td.detach(m.tn)
		unnamed(old)
	}
	n := m.fd.detach(m.fn)
	m.td.attach(m.te, n)
	n.base().refs.Add(-1) // the old name's; attach has taken one for the new name
	return old, nil
}

// allowed returns EACCES or EPERM if the caller may not rename. A directory that gets
// another parent must be writable too, as its ".." changes.
func (m move) allowed(from, to *slot, flags uint) error {
	if to != nil && flags == unix.RENAME_NOREPLACE || to == nil && flags == unix.RENAME_EXCHANGE {
		return nil // check returns another error
	}
	if to != nil && from.node == to.node {
		return nil
	}
	if err := m.fd.mayRemove(m.cred, from.node); err != nil {
		return err
	}
	if to == nil {
		if err := m.td.mayChange(m.cred); err != nil {
			return err
		}
	} else if err := m.td.mayRemove(m.cred, to.node); err != nil {
		return err
	}
	if m.fd == m.td {
		return nil
	}
	for _, e := range []*slot{from, to} {
		if e == nil || e == to && flags != unix.RENAME_EXCHANGE {
			continue
		}
		if d, ok := e.node.(*dir); ok {
			if err := d.allows(m.cred, mayWrite); err != nil {
				return err
			}
		}
	}
	return nil
}

// check returns the error that forbids the rename, in the order of Linux.
func (m move) check(from, to *slot, flags uint) error {
	if to != nil && flags == unix.RENAME_NOREPLACE {
		return syscall.EEXIST
	}
	fd, fromDir := from.node.(directory)
	if !fromDir && (m.fslash || m.tslash) {
		return syscall.ENOTDIR
	}
	if err := into(from.node, m.td); err != nil {
		return err
	}
	if fromDir && mounted(fd) {
		return syscall.EBUSY
	}
	if to == nil {
		return nil
	}
	td, toDir := to.node.(directory)
	switch {
	case toDir && within(td, m.fd):
		return syscall.ENOTEMPTY
	case fromDir && !toDir:
		return syscall.ENOTDIR
	case !fromDir && toDir:
		return syscall.EISDIR
	case toDir && to.node != from.node:
		return removable(td)
	}
	return nil
}

// exchange swaps two names.
func (m move) exchange(from, to *slot) error {
	if to == nil {
		return syscall.ENOENT
	}
	_, fromDir := from.node.(directory)
	_, toDir := to.node.(directory)
	if m.fslash && !fromDir || m.tslash && !toDir {
		return syscall.ENOTDIR
	}
	if err := into(from.node, m.td); err != nil {
		return err
	}
	if err := into(to.node, m.fd); err != nil {
		return err
	}
	for _, e := range []*slot{from, to} {
		if d, ok := e.node.(directory); ok && mounted(d) {
			return syscall.EBUSY
		}
	}
	if from.node == to.node {
		return nil
	}
	if err := m.keep(true); err != nil {
		return err
	}
	a, b := m.fd.detach(m.fn), m.td.detach(m.tn)
	m.fd.attach(m.fe, b)
	m.td.attach(m.te, a)
	a.base().refs.Add(-1) // for the old names
	b.base().refs.Add(-1)
	return nil
}

// into returns EINVAL if n would move into itself.
func into(n node, d *dir) error {
	if c, ok := n.(directory); ok && within(c, d) {
		return syscall.EINVAL
	}
	return nil
}

// ancestorTurn is how many parents are visited before other threads run: some 10
// instructions each.
const ancestorTurn = 512

// within reports whether d is c or below it. Precondition: volume.mu held.
func within(c directory, d *dir) bool {
	for steps := 1; ; steps++ {
		if steps%ancestorTurn == 0 {
			d.fs.cfg.Yield() // with the lock held, so that the tree stays as it is
		}
		if directory(d) == c {
			return true
		}
		up, ok := d.up.(*dir)
		if !ok || up == d || up.vol != d.vol {
			return false
		}
		d = up
	}
}

// mounted reports that d must keep its name: it is in /proc, or a file system is mounted on
// it.
func mounted(d directory) bool {
	c, ok := d.(*dir)
	return !ok || c.over.Load() != nil
}

// keep renames in the store, if there is one.
func (m move) keep(exchange bool) error {
	v := m.fd.stored()
	if v == nil {
		return nil
	}
	defer v.changed()
	return v.store.Rename(m.fd.ino, m.fn, m.td.ino, m.tn, exchange, v.fs.cfg.Now())
}
