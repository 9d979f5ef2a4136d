package fs

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Open implements openat(2). mode is the mode of a new file before the umask.
//
// It blocks only on a FIFO without O_NONBLOCK. O_TMPFILE works in memory only; on a disk it
// returns EOPNOTSUPP, which programs expect of some file systems.
func (s *FS) Open(at At, path string, flags int, mode uint32) (*File, error) {
	if flags&unix.O_PATH != 0 {
		return s.openPath(at, path, flags)
	}
	switch {
	case flags&unix.O_TMPFILE == unix.O_TMPFILE:
		return s.openUnnamed(at, path, flags, mode)
	case flags&unix.O_ACCMODE == unix.O_ACCMODE,
		flags&(unix.O_CREAT|unix.O_DIRECTORY) == unix.O_CREAT|unix.O_DIRECTORY:
		return nil, syscall.EINVAL
	}
	excl := flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL
	// If another thread creates or removes the name between the look-up and the creation,
	// look again. In each round another thread has made progress.
	end := follow
	switch create := flags&unix.O_CREAT != 0; {
	case excl, create && flags&unix.O_NOFOLLOW != 0:
		end = nameOnly
	case create:
		end = creating
	case flags&unix.O_NOFOLLOW != 0:
		end = noFollow
	}
	for {
		t, err := s.walk(at, path, end)
		if err != nil {
			return nil, err
		}
		f, err := s.openFound(at, t, flags, mode, excl)
		t.done()
		if err != errRetry {
			return f, err
		}
	}
}

// errRetry means that the tree changed during a walk.
const errRetry = syscall.ESTALE

// hold takes a reference on the node that a walk has found. errRetry: another thread has
// taken the node's last name since. The walk must be repeated, as its path may lead to another
// file now: if that thread has renamed a file over the node, there is a file at all times.
// ENOENT: the node is a removed directory that the walk found without a name.
func (t found) hold() error {
	switch {
	case hold(t.node):
		return nil
	case t.name == "":
		return syscall.ENOENT
	}
	return errRetry
}

func (s *FS) openFound(at At, t found, flags int, mode uint32, excl bool) (*File, error) {
	if t.slash && flags&unix.O_CREAT != 0 {
		return nil, syscall.EISDIR
	}
	if t.node == nil {
		if flags&unix.O_CREAT == 0 {
			return nil, syscall.ENOENT
		}
		return s.create(at, t, flags, mode)
	}
	if excl {
		return nil, syscall.EEXIST
	}
	if err := openable(t, flags); err != nil {
		return nil, err
	}
	if err := mayOpen(at, t.node, flags); err != nil {
		return nil, err
	}
	if err := t.hold(); err != nil {
		return nil, err
	}
	return s.openNode(at.Task, t.node, t.place, flags)
}

// openable checks the flags against the node that was found.
func openable(t found, flags int) error {
	_, isDir := t.node.(directory)
	_, isLink := t.node.(linker)
	switch {
	case isLink && flags&unix.O_DIRECTORY != 0:
		return syscall.ENOTDIR
	case isLink: // O_NOFOLLOW
		return syscall.ELOOP
	case isDir && (flags&unix.O_ACCMODE != unix.O_RDONLY || flags&(unix.O_CREAT|unix.O_TRUNC) != 0):
		return syscall.EISDIR
	case !isDir && (flags&unix.O_DIRECTORY != 0 || t.slash):
		return syscall.ENOTDIR
	}
	return nil
}

// openNode makes the File. It takes over the caller's reference on n, also if it fails.
func (s *FS) openNode(t Task, n node, from place, flags int) (*File, error) {
	if v := n.base().stored(); v != nil && (flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0) && v.store.ReadOnly() != "" {
		if t := n.base().typ; t == syscall.S_IFREG || t == syscall.S_IFDIR {
			unhold(n)
			return nil, syscall.EROFS
		}
	}
	h, err := n.open(call{task: t, nonblock: flags&unix.O_NONBLOCK != 0}, flags)
	if err == nil && flags&unix.O_TRUNC != 0 {
		if r, ok := n.(*regular); ok {
			if err = r.truncatePath(t, 0); err != nil {
				h.close()
			}
		}
	}
	if err != nil {
		unhold(n)
		return nil, err
	}
	f, err := s.newFile(t, n, h, from, flags)
	if err == nil {
		if flags&unix.O_TRUNC != 0 && n.base().typ == syscall.S_IFREG {
			s.tell(n, from, unix.IN_MODIFY)
		}
		s.tell(n, from, unix.IN_OPEN)
	}
	return f, err
}

// openUnnamed is open(2) with O_TMPFILE: it makes a regular file without a name. linkat(2)
// can give it a name, unless O_EXCL is set.
func (s *FS) openUnnamed(at At, path string, flags int, mode uint32) (*File, error) {
	if flags&unix.O_ACCMODE != unix.O_WRONLY && flags&unix.O_ACCMODE != unix.O_RDWR || flags&unix.O_CREAT != 0 {
		return nil, syscall.EINVAL
	}
	t, err := s.walk(at, path, follow)
	if err != nil {
		return nil, err
	}
	defer t.done()
	if err := t.existing(); err != nil {
		return nil, err
	}
	if _, ok := t.node.(directory); !ok {
		return nil, syscall.ENOTDIR
	}
	d, ok := t.node.(*dir)
	if !ok || d.stored() != nil {
		return nil, syscall.EOPNOTSUPP
	}
	if err := d.mayChange(at.cred()); err != nil {
		return nil, err
	}
	r, err := s.newRegular(at.Task, "", devRoot, at.Place.mode(mode))
	if err != nil {
		return nil, full(err)
	}
	newborn(r)
	r.adopt(at.cred(), d)
	r.unnamed.Store(flags&unix.O_EXCL == 0)
	h, err := r.open(call{}, flags)
	if err == nil && (s.named.Over() || !r.takeNode()) {
		h.close()
		err = syscall.ENOSPC
	}
	if err != nil {
		unhold(r)
		return nil, err
	}
	return s.newFile(at.Task, r, h, place{d, fmt.Sprintf("#%d", r.ino)}, flags&^unix.O_EXCL)
}

// create makes a regular file under a name that does not exist yet.
func (s *FS) create(at At, t found, flags int, mode uint32) (*File, error) {
	d, ok := t.dir.(*dir)
	if !ok {
		return nil, syscall.ENOENT // d is in /proc
	}
	r, err := s.newRegular(at.Task, t.name, devRoot, at.Place.mode(mode))
	if err != nil {
		return nil, full(err)
	}
	newborn(r) // the File's reference
	h, err := r.open(call{}, flags)
	var n node
	if err == nil {
		if n, err = s.link(at.Task, d, t.name, r); err != nil || n != r {
			h.close()
		}
	}
	if err == nil && n != r { // a store keeps the file
		unhold(r)
		if !hold(n) {
			return nil, errRetry
		}
		return s.openNode(at.Task, n, t.place, flags)
	}
	if err != nil {
		unhold(r)
		if err == syscall.EEXIST && flags&unix.O_EXCL == 0 {
			return nil, errRetry
		}
		return nil, err
	}
	f, err := s.newFile(at.Task, r, h, t.place, flags)
	if err != nil { // no event has been told for the name yet
		s.unlink(d, t.name, r)
		return nil, err
	}
	s.tell(f.node, t.place, unix.IN_OPEN)
	return f, nil
}

// OpenExec opens a file for reading, to run a program from it. Until the last Release of
// the File, no other thread can write to the file or open it for writing. flags are
// AT_EMPTY_PATH (with an empty path: open at.Dir's own file again) and AT_SYMLINK_NOFOLLOW.
// EACCES: not a regular file, or not executable. ETXTBSY: the file is open for writing.
func (s *FS) OpenExec(at At, path string, flags int) (*File, error) {
	if path == "" && flags&unix.AT_EMPTY_PATH != 0 && at.Dir != nil {
		n := at.Dir.node
		if !hold(n) {
			return nil, syscall.ENOENT
		}
		return s.openExec(at.Task, n, at.Dir.from)
	}
	end := follow
	if flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
		end = noFollow
	}
	t, err := s.reach(at, path, end, func(t found) error { return openable(t, unix.O_RDONLY) })
	if err != nil {
		return nil, err
	}
	return s.openExec(at.Task, t.node, t.place)
}

// reach walks to an existing file that passes a check, and takes a reference on its node,
// which the caller must unhold.
func (s *FS) reach(at At, path string, end lastLink, check func(t found) error) (found, error) {
	for {
		t, err := s.walk(at, path, end)
		if err != nil {
			return t, err
		}
		if err = t.existing(); err == nil {
			err = check(t)
		}
		if err == nil {
			err = t.hold()
		}
		t.done()
		if err != errRetry {
			return t, err
		}
	}
}

// openExec is OpenExec for a node. It takes over the caller's reference on n, also if it
// fails.
func (s *FS) openExec(t Task, n node, from place) (*File, error) {
	r, ok := n.(*regular)
	err := error(syscall.EACCES)
	if ok {
		if err = r.allows(credOf(t), mayExec); err == nil {
			err = r.denyWrite()
		}
	}
	if err != nil {
		unhold(n)
		return nil, err
	}
	return s.newFile(t, n, &regHandle{file: r, access: denies}, from, unix.O_RDONLY)
}

// openPath is open(2) with O_PATH: it makes a File that names the file and does not open
// it.
func (s *FS) openPath(at At, path string, flags int) (*File, error) {
	end := follow
	if flags&unix.O_NOFOLLOW != 0 {
		end = noFollow
	}
	t, err := s.reach(at, path, end, func(t found) error {
		if _, ok := t.node.(directory); !ok && flags&unix.O_DIRECTORY != 0 {
			return syscall.ENOTDIR
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	flags &= unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW
	return s.newFile(at.Task, t.node, pathHandle{}, t.place, flags)
}
