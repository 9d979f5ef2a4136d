// Package share mounts a directory of another machine: the client of a 9P2000.L server
// (github.com/hugelgupf/p9) as the store of a volume of package fs, and the virtio device by
// which QEMU's host is reached (queue.go).
//
// While the directory is mounted, names, attributes and data that have been read are cached
// like those of a disk. What others change in it meanwhile may not be seen, and what they
// write at the same time may be lost.
//
// The server is not trusted: conn.go checks every reply. What it says about files is used as
// the word of a disk is used: package fs checks the tree.
//
// Locks: Store.mu is innermost. No request is made with it held.
package share

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"

	"grim/kernel/fs"
)

// Store implements fs.Store with a server. An inode's number is the path of its QID, unless
// another inode has that number: a server may use a path again when its file has no name any
// more, and here the file may still be in use.
type Store struct {
	client   *p9.Client
	readOnly string
	root     uint64

	maximum int // [I] handles that are kept

	mu      sync.Mutex
	nodes   map[uint64]*node  // [mu]
	numbers map[uint64]uint64 // [mu] by path of the QID: inodes with names
	spare   uint64            // [mu] the last number that is no path
	names   map[place]uint64  // [mu] the inode of each name that is known
	open    int               // [mu] handles
	closed  bool              // [mu]
	clock   uint64            // [mu] counts uses of handles
	written map[uint64]*node  // [mu] with data that Sync has not seen
}

// place is a name in a directory.
type place struct {
	dir  uint64
	name string
}

// node is an inode that the server has told of. Its place is one by which the server finds it.
type node struct {
	path   uint64     // [I] of its QID
	at     place      // [Store.mu]
	links  int        // [Store.mu] how many of its names are known
	fids   [2]*handle // [Store.mu] by use
	attr   *fs.Attr   // [Store.mu] what the server has been told, or has said; nil: not known
	mtime  *int64     // [Store.mu] what the server was told last; nil: nothing
	orphan bool       // [Store.mu] it has the name of an orphan: see Unlink
}

// The uses of a handle.
const (
	forNames = iota // to walk from, for attributes, to change names
	forData
)

// handle is a file of the library's.
type handle struct {
	p9.File
	users int    // [Store.mu]
	last  uint64 // [Store.mu] Store.clock at its last use
	gone  bool   // [Store.mu] it is to be closed by its last user
}

const (
	// maxHandles is how many handles are kept. A server keeps something for each.
	maxHandles = 256
	// orphanPrefix begins the names that files have in the root directory from when they
	// lose their last name until they are not used any more: the server finds files by name.
	orphanPrefix = ".grim-orphan-"
	// listBytes is how much of a directory is read at a time.
	listBytes = 32 << 10
	// maxTarget is the length of the longest target of a symbolic link, and one.
	maxTarget = 4096
	// maxDepth is how many directories may have to be walked through for one.
	maxDepth  = 500
	blockSize = 512
	// spareNumbers is where the numbers of inodes begin that cannot have their path.
	spareNumbers = 1 << 63
)

// Open connects to the server at the other end of a queue.
func Open(q *Queue, readOnly bool) (*Store, error) { return open(q, readOnly) }

func open(l link, readOnly bool) (*Store, error) {
	client, err := p9.NewClient(newConn(l), p9.WithMessageSize(MessageBytes))
	if err != nil {
		return nil, fmt.Errorf("the server does not speak %s with messages of %d bytes: %w", version, MessageBytes, err)
	}
	s := &Store{client: client, nodes: map[uint64]*node{}, names: map[place]uint64{}, numbers: map[uint64]uint64{}, spare: spareNumbers, written: map[uint64]*node{}, maximum: maxHandles}
	if readOnly {
		s.readOnly = "as it was asked for"
	}
	f, err := client.Attach("")
	if err != nil {
		return nil, fmt.Errorf("the server gives no access: %w", errno(err))
	}
	qid, _, _, err := f.GetAttr(p9.AttrMaskAll)
	if err == nil && qid.Type != p9.TypeDir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("the server's directory: %w", errno(err))
	}
	s.root = qid.Path
	s.numbers[s.root] = s.root
	s.nodes[s.root] = &node{path: s.root, links: 1, fids: [2]*handle{{File: f, users: 1}}} // it is never closed before the end
	s.open = 1
	return s, nil
}

// errno returns an error of the library's as one of Linux: the server's, or else EIO.
func errno(err error) error {
	var e linux.Errno
	var own syscall.Errno
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own
	case errors.As(err, &e) && e != 0:
		return syscall.Errno(e)
	}
	return syscall.EIO
}

// handle returns a handle of an inode, for one of the uses. The caller must call release.
func (s *Store) handle(ino uint64, use int) (*handle, error) { return s.deepHandle(ino, use, 0) }

// deepHandle is handle, for an inode that is depth directories above the one that is wanted.
func (s *Store) deepHandle(ino uint64, use, depth int) (*handle, error) {
	s.mu.Lock()
	n := s.nodes[ino]
	switch {
	case s.closed || depth > maxDepth: // a server may say that a directory is below itself
		s.mu.Unlock()
		return nil, syscall.EIO
	case n == nil:
		s.mu.Unlock()
		return nil, syscall.ENOENT
	}
	if h := s.useLocked(n.fids[use]); h != nil {
		s.mu.Unlock()
		return h, nil
	}
	at := n.at
	s.mu.Unlock()
	f, err := s.reach(ino, at, use, depth)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	if h := s.useLocked(n.fids[use]); h != nil { // another thread was first
		s.mu.Unlock()
		f.Close()
		return h, nil
	}
	h := &handle{File: f}
	s.useLocked(h)
	n.fids[use] = h
	s.open++
	old := s.surplus()
	s.mu.Unlock()
	for _, f := range old {
		f.Close()
	}
	return h, nil
}

// reach walks to an inode, and opens it for data.
func (s *Store) reach(ino uint64, at place, use, depth int) (p9.File, error) {
	from, names := at.dir, []string{at.name}
	if use == forData {
		from, names = ino, nil // a copy of its handle
	}
	h, err := s.deepHandle(from, forNames, depth+1)
	if err != nil {
		return nil, err
	}
	defer s.release(h)
	_, f, err := h.Walk(names)
	if err != nil {
		return nil, errno(err)
	}
	if use == forData {
		_, _, err = f.Open(p9.ReadWrite)
		if e := errno(err); e == syscall.EACCES || e == syscall.EROFS || e == syscall.EISDIR || e == syscall.EPERM || e == syscall.ETXTBSY {
			_, _, err = f.Open(p9.ReadOnly)
		}
		if err != nil {
			f.Close()
			return nil, errno(err)
		}
	}
	return f, nil
}

// useLocked notes a use of a handle. Preconditions: mu held.
func (s *Store) useLocked(h *handle) *handle {
	if h != nil {
		s.clock++
		h.users++
		h.last = s.clock
	}
	return h
}

func (s *Store) release(h *handle) {
	s.mu.Lock()
	h.users--
	end := h.gone && h.users == 0
	s.mu.Unlock()
	if end {
		h.Close()
	}
}

// drop takes a handle away from its node, and returns it if it is to be closed now.
// Preconditions: mu held.
func (s *Store) drop(n *node, use int) []p9.File {
	h := n.fids[use]
	if h == nil {
		return nil
	}
	n.fids[use] = nil
	s.open--
	if h.users > 0 {
		h.gone = true
		return nil
	}
	return []p9.File{h.File}
}

// surplus takes away a quarter of the handles, those that have not been used for the
// longest time, if there are too many. It returns those that are to be closed.
// Preconditions: mu held.
func (s *Store) surplus() (old []p9.File) {
	if s.open <= s.maximum {
		return nil
	}
	type held struct {
		n   *node
		use int
	}
	var all []held
	for _, n := range s.nodes {
		for use, h := range n.fids {
			if h != nil && h.users == 0 {
				all = append(all, held{n, use})
			}
		}
	}
	slices.SortFunc(all, func(a, b held) int { return cmp.Compare(a.n.fids[a.use].last, b.n.fids[b.use].last) })
	for _, x := range all[:min(len(all), s.maximum/4+1)] {
		old = append(old, s.drop(x.n, x.use)...)
	}
	return old
}

// know records that a name leads to a file with a path of a QID, and returns the inode.
func (s *Store) know(at place, path uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	ino, ok := s.numbers[path]
	if !ok {
		ino = path
		if s.nodes[ino] != nil {
			s.spare++
			ino = s.spare
		}
		s.numbers[path] = ino
		s.nodes[ino] = &node{path: path}
	}
	s.knowLocked(at, ino)
	return ino
}

// knowLocked records that a name leads to an inode. Preconditions: mu held.
func (s *Store) knowLocked(at place, ino uint64) {
	n := s.nodes[ino]
	if n.links == 0 && !n.orphan {
		n.at = at
	}
	n.links++
	if _, ok := s.names[at]; ok {
		s.loseLocked(at)
	}
	s.names[at] = ino
}

// forget removes an inode that has no name any more.
func (s *Store) forget(ino uint64) {
	s.mu.Lock()
	n := s.nodes[ino]
	var old []p9.File
	if n != nil && ino != s.root {
		old = append(s.drop(n, forNames), s.drop(n, forData)...)
		delete(s.nodes, ino)
		delete(s.written, ino)
		if s.numbers[n.path] == ino {
			delete(s.numbers, n.path)
		}
	}
	s.mu.Unlock()
	for _, f := range old {
		f.Close()
	}
}

func (s *Store) Root() uint64     { return s.root }
func (s *Store) ReadOnly() string { return s.readOnly }

// Stat implements fs.Store.
func (s *Store) Stat(ino uint64) (a fs.Attr, err error) {
	h, err := s.handle(ino, forNames)
	if err != nil {
		return a, err
	}
	defer s.release(h)
	_, _, p, err := h.GetAttr(p9.AttrMaskAll)
	if err != nil {
		return a, errno(err)
	}
	nano := func(s, n uint64) int64 { return int64(s)*1e9 + int64(n%1e9) }
	a = fs.Attr{
		Mode: uint32(p.Mode), UID: uint32(p.UID), GID: uint32(p.GID), Nlink: uint32(p.NLink), Size: int64(p.Size), Blocks: int64(p.Blocks), Rdev: uint64(p.RDev),
		Atime: nano(p.ATimeSeconds, p.ATimeNanoSeconds), Mtime: nano(p.MTimeSeconds, p.MTimeNanoSeconds), Ctime: nano(p.CTimeSeconds, p.CTimeNanoSeconds),
	}
	a.Btime = a.Ctime // the protocol has no field that servers fill in
	if a.Size < 0 || a.Nlink == 0 || a.Nlink > 1<<31-1 {
		return a, syscall.EIO
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[ino]; n != nil {
		n.attr = &a
	}
	return a, nil
}

// SetAttr implements fs.Store. The server is told of what has changed only: it may not let
// this machine change owners.
func (s *Store) SetAttr(ino uint64, a fs.Attr) error {
	if s.readOnly != "" {
		return syscall.EROFS
	}
	s.mu.Lock()
	n := s.nodes[ino]
	var was fs.Attr
	known := n != nil && n.attr != nil
	if known {
		was = *n.attr
	}
	s.mu.Unlock()
	if n == nil {
		return syscall.ENOENT
	}
	if !known {
		var err error
		if was, err = s.Stat(ino); err != nil {
			return err
		}
	}
	valid := p9.SetAttrMask{
		Permissions: was.Mode != a.Mode && a.Mode&syscall.S_IFMT != syscall.S_IFLNK,
		UID:         was.UID != a.UID, GID: was.GID != a.GID,
		ATime: was.Atime != a.Atime, ATimeNotSystemTime: was.Atime != a.Atime,
		MTime: was.Mtime != a.Mtime, MTimeNotSystemTime: was.Mtime != a.Mtime,
	}
	if valid == (p9.SetAttrMask{}) {
		return nil
	}
	h, err := s.handle(ino, forNames)
	if err != nil {
		return err
	}
	defer s.release(h)
	err = h.SetAttr(valid, p9.SetAttr{
		Permissions: p9.FileMode(a.Mode &^ syscall.S_IFMT), UID: p9.UID(a.UID), GID: p9.GID(a.GID),
		ATimeSeconds: uint64(a.Atime / 1e9), ATimeNanoSeconds: uint64(a.Atime % 1e9),
		MTimeSeconds: uint64(a.Mtime / 1e9), MTimeNanoSeconds: uint64(a.Mtime % 1e9),
	})
	if err != nil {
		return errno(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.Nlink, a.Size, a.Blocks = was.Nlink, was.Size, was.Blocks
	n.attr, n.mtime = &a, &a.Mtime
	return nil
}

// List implements fs.Store.
func (s *Store) List(dir uint64, yield func(name string, ino uint64, typ uint32) error) error {
	h, err := s.handle(dir, forNames)
	if err != nil {
		return err
	}
	defer s.release(h)
	_, f, err := h.Walk(nil)
	if err != nil {
		return errno(err)
	}
	defer f.Close()
	if _, _, err := f.Open(p9.ReadOnly); err != nil {
		return errno(err)
	}
	for offset := uint64(0); ; {
		list, err := f.Readdir(offset, listBytes)
		if err != nil || len(list) == 0 {
			return errno(err)
		}
		before := offset
		for _, e := range list {
			offset = e.Offset
			if e.Name == "." || e.Name == ".." || dir == s.root && strings.HasPrefix(e.Name, orphanPrefix) {
				continue
			}
			if e.Name == "" || len(e.Name) > unix.NAME_MAX || strings.ContainsAny(e.Name, "/\x00") {
				return syscall.EIO
			}
			if err := yield(e.Name, s.know(place{dir, e.Name}, e.QID.Path), typeOf(e)); err != nil {
				return err
			}
		}
		if offset == before { // the list would not end
			return syscall.EIO
		}
	}
}

// typeOf returns the type bits of a directory's entry, or 0 if they are not known. QEMU
// gives Linux's DT_ numbers and no types of QIDs; the library's server gives these.
func typeOf(e p9.Dirent) uint32 {
	switch {
	case e.QID.Type == p9.TypeDir || e.Type == unix.DT_DIR:
		return syscall.S_IFDIR
	case e.QID.Type == p9.TypeSymlink || e.Type == unix.DT_LNK:
		return syscall.S_IFLNK
	case e.Type == unix.DT_REG:
		return syscall.S_IFREG
	}
	return 0
}

// Create implements fs.Store.
func (s *Store) Create(dir uint64, name string, a fs.Attr, target string) (uint64, error) {
	if s.readOnly != "" {
		return 0, syscall.EROFS
	}
	h, err := s.handle(dir, forNames)
	if err != nil {
		return 0, err
	}
	defer s.release(h)
	mode := p9.FileMode(a.Mode &^ syscall.S_IFMT)
	var qid p9.QID
	switch a.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		_, f, e := h.Walk(nil)
		if err = e; err == nil {
			_, qid, _, err = f.Create(name, p9.ReadWrite|unix.O_EXCL, mode, p9.NoUID, p9.NoGID)
			f.Close()
		}
	case syscall.S_IFDIR:
		qid, err = h.Mkdir(name, mode, p9.NoUID, p9.NoGID)
	case syscall.S_IFLNK:
		qid, err = h.Symlink(target, name, p9.NoUID, p9.NoGID)
	default:
		qid, err = h.Mknod(name, p9.FileMode(a.Mode), unix.Major(a.Rdev), unix.Minor(a.Rdev), p9.NoUID, p9.NoGID)
	}
	if err != nil {
		return 0, errno(err)
	}
	s.mu.Lock()
	delete(s.numbers, qid.Path) // a file that had it is gone from the server
	s.mu.Unlock()
	ino := s.know(place{dir, name}, qid.Path)
	if _, err := s.Stat(ino); err != nil {
		return 0, err
	}
	return ino, s.SetAttr(ino, a)
}

// Link implements fs.Store.
func (s *Store) Link(dir uint64, name string, ino uint64, _ int64) error {
	if s.readOnly != "" {
		return syscall.EROFS
	}
	d, err := s.handle(dir, forNames)
	if err != nil {
		return err
	}
	defer s.release(d)
	h, err := s.handle(ino, forNames)
	if err != nil {
		return err
	}
	defer s.release(h)
	if err := d.Link(h.File, name); err != nil {
		return errno(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.knowLocked(place{dir, name}, ino)
	return nil
}

// Unlink implements fs.Store. A file that loses its last name gets another one until Forget,
// because the server finds files by their names.
func (s *Store) Unlink(dir uint64, name string, rmdir bool, _ int64) error {
	if s.readOnly != "" {
		return syscall.EROFS
	}
	h, err := s.handle(dir, forNames)
	if err != nil {
		return err
	}
	defer s.release(h)
	at := place{dir, name}
	s.mu.Lock()
	ino, known := s.names[at]
	s.mu.Unlock()
	if !known {
		return syscall.ENOENT
	}
	last := !rmdir
	if last {
		if last, err = s.lastName(ino); err != nil {
			return err
		}
	}
	switch {
	case rmdir:
		err = h.UnlinkAt(name, unix.AT_REMOVEDIR)
	case last:
		err = s.hide(h, at, ino)
	default:
		err = h.UnlinkAt(name, 0)
	}
	if err != nil {
		return errno(err)
	}
	s.lose(at)
	return nil
}

// lastName reports whether an inode has one name, for the server too.
func (s *Store) lastName(ino uint64) (bool, error) {
	a, err := s.Stat(ino)
	return a.Nlink <= 1, err
}

// hide gives a file the name of an orphan.
func (s *Store) hide(h *handle, at place, ino uint64) error {
	root, err := s.handle(s.root, forNames)
	if err != nil {
		return err
	}
	defer s.release(root)
	if err := h.RenameAt(at.name, root.File, orphanName(ino)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[ino]
	n.orphan, n.at = true, place{s.root, orphanName(ino)}
	return nil
}

func orphanName(ino uint64) string { return fmt.Sprintf("%s%d", orphanPrefix, ino) }

// lose records that a name is gone. If its inode's place was that name, it gets another one.
func (s *Store) lose(at place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loseLocked(at)
}

func (s *Store) loseLocked(at place) {
	ino := s.names[at]
	delete(s.names, at)
	n := s.nodes[ino]
	if n == nil {
		return
	}
	if n.links--; n.links == 0 && !n.orphan && s.numbers[n.path] == ino {
		delete(s.numbers, n.path)
	}
	if n.at != at || n.links == 0 {
		return
	}
	for p, i := range s.names {
		if i == ino {
			n.at = p
			return
		}
	}
}

// Rename implements fs.Store. Servers cannot exchange names.
func (s *Store) Rename(from uint64, name string, to uint64, newName string, exchange bool, _ int64) error {
	switch {
	case s.readOnly != "":
		return syscall.EROFS
	case exchange:
		return syscall.EINVAL
	}
	fd, err := s.handle(from, forNames)
	if err != nil {
		return err
	}
	defer s.release(fd)
	td, err := s.handle(to, forNames)
	if err != nil {
		return err
	}
	defer s.release(td)
	old, now := place{from, name}, place{to, newName}
	s.mu.Lock()
	moved, known := s.names[old]
	victim, replaces := s.names[now]
	s.mu.Unlock()
	if !known {
		return syscall.ENOENT
	}
	// The file that loses its name may be in use. It keeps its data under another name. If it
	// is a directory, it is empty or the server refuses.
	var kept p9.File
	if replaces {
		a, err := s.Stat(victim)
		if err != nil {
			return err
		}
		if victim != moved && a.Nlink == 1 && a.Mode&syscall.S_IFMT != syscall.S_IFDIR {
			if kept, err = s.keep(td, now, victim); err != nil {
				return errno(err)
			}
		}
	}
	if err := fd.RenameAt(name, td.File, newName); err != nil {
		if kept != nil {
			_ = kept.UnlinkAt(orphanName(victim), 0)
			s.unkeep(now, victim)
		}
		return errno(err)
	}
	if replaces && victim == moved { // two names of a file: nothing happens
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.knowLocked(now, moved)
	if n := s.nodes[moved]; n != nil && n.at == old {
		n.at = now
	}
	s.loseLocked(old)
	return nil
}

// keep gives a file that is about to be replaced the name of an orphan beside its own, so
// that there is no moment without the name. It returns the directory of orphans. A server
// that has no hard links refuses; then the file is replaced, and lost to those who use it.
func (s *Store) keep(td *handle, at place, ino uint64) (p9.File, error) {
	root, err := s.handle(s.root, forNames)
	if err != nil {
		return nil, err
	}
	defer s.release(root)
	h, err := s.handle(ino, forNames)
	if err != nil {
		return nil, err
	}
	defer s.release(h)
	if err := root.Link(h.File, orphanName(ino)); err != nil {
		return nil, nil
	}
	s.mu.Lock()
	n := s.nodes[ino]
	n.orphan, n.at = true, place{s.root, orphanName(ino)}
	old := append(s.drop(n, forNames), s.drop(n, forData)...) // they may be by the name that goes
	s.mu.Unlock()
	for _, f := range old {
		f.Close()
	}
	return root.File, nil
}

// unkeep undoes keep.
func (s *Store) unkeep(at place, ino uint64) {
	s.mu.Lock()
	n := s.nodes[ino]
	n.orphan, n.at = false, at
	old := append(s.drop(n, forNames), s.drop(n, forData)...)
	s.mu.Unlock()
	for _, f := range old {
		f.Close()
	}
}

// Readlink implements fs.Store.
func (s *Store) Readlink(ino uint64) (string, error) {
	h, err := s.handle(ino, forNames)
	if err != nil {
		return "", err
	}
	defer s.release(h)
	target, err := h.Readlink()
	if err == nil && (target == "" || len(target) >= maxTarget || strings.ContainsRune(target, 0)) {
		err = syscall.EIO
	}
	return target, errno(err)
}

// Forget implements fs.Store: it removes an orphan.
func (s *Store) Forget(ino uint64) error {
	s.mu.Lock()
	n := s.nodes[ino]
	orphan := n != nil && n.orphan
	s.mu.Unlock()
	s.forget(ino)
	if !orphan {
		return nil
	}
	root, err := s.handle(s.root, forNames)
	if err != nil {
		return err
	}
	defer s.release(root)
	return errno(root.UnlinkAt(orphanName(ino), 0))
}

// Need, Reserve and Unreserve do nothing: a server tells of a full disk when it is written to.
func (s *Store) Need(uint64, int64, int64) (int64, error) { return 0, nil }
func (s *Store) Reserve(int64) error                      { return nil }
func (s *Store) Unreserve(int64)                          {}

// Read implements fs.Store.
func (s *Store) Read(ino uint64, p []byte, off int64) error {
	h, err := s.handle(ino, forData)
	if err != nil {
		return err
	}
	defer s.release(h)
	for len(p) > 0 {
		n, err := h.ReadAt(p, off)
		if err == io.EOF || err == nil && n == 0 {
			clear(p)
			return nil
		}
		if err != nil {
			return errno(err)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// changed notes that the server has changed a file's times with its data, or may have done so.
// It is called after the request: a Sync between a note and the request would give the file
// its time of change before the server replaces it, and no later Sync would know of the file.
func (s *Store) changed(ino uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[ino]; n != nil {
		s.written[ino] = n
		n.attr = nil
	}
}

// Write implements fs.Store.
func (s *Store) Write(ino uint64, p []byte, off, size int64) (int64, error) {
	if s.readOnly != "" {
		return 0, syscall.EROFS
	}
	p = p[:max(0, min(int64(len(p)), size-off))]
	h, err := s.handle(ino, forData)
	if err != nil {
		return 0, err
	}
	defer s.release(h)
	defer s.changed(ino)
	for len(p) > 0 {
		n, err := h.WriteAt(p, off)
		if err == nil && n == 0 {
			err = syscall.EIO
		}
		if err != nil {
			return 0, errno(err)
		}
		p, off = p[n:], off+int64(n)
	}
	return 0, nil
}

// Truncate implements fs.Store.
func (s *Store) Truncate(ino uint64, size int64) error {
	if s.readOnly != "" {
		return syscall.EROFS
	}
	h, err := s.handle(ino, forNames)
	if err != nil {
		return err
	}
	defer s.release(h)
	defer s.changed(ino)
	return errno(h.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{Size: uint64(size)}))
}

// Sync implements fs.Store: the server writes the files that have changed to its disk. They get
// the time of change that was set for them, as data are written later than the program wrote
// them.
func (s *Store) Sync() error {
	s.mu.Lock()
	written := s.written
	s.written = map[uint64]*node{}
	s.mu.Unlock()
	var first error
	for ino, n := range written {
		h, err := s.handle(ino, forData)
		if err == nil {
			err = s.settle(h, n)
			s.release(h)
		}
		if err == nil || first != nil {
			continue
		}
		s.mu.Lock()
		if s.nodes[ino] == n { // else it has been removed meanwhile
			first = err
		}
		s.mu.Unlock()
	}
	return first
}

func (s *Store) settle(h *handle, n *node) error {
	s.mu.Lock()
	t := n.mtime
	s.mu.Unlock()
	if t != nil {
		err := h.SetAttr(p9.SetAttrMask{MTime: true, MTimeNotSystemTime: true}, p9.SetAttr{MTimeSeconds: uint64(*t / 1e9), MTimeNanoSeconds: uint64(*t % 1e9)})
		if err != nil {
			return errno(err)
		}
	}
	return errno(h.FSync())
}

// Statfs implements fs.Store.
func (s *Store) Statfs() fs.Statfs {
	h, err := s.handle(s.root, forNames)
	if err != nil {
		return fs.Statfs{}
	}
	defer s.release(h)
	p, err := h.StatFS()
	if err != nil {
		return fs.Statfs{Type: unix.V9FS_MAGIC, Bsize: blockSize, Namelen: unix.NAME_MAX}
	}
	return fs.Statfs{
		Type: unix.V9FS_MAGIC, Bsize: int64(max(p.BlockSize, blockSize)), Blocks: p.Blocks, Bfree: p.BlocksFree, Bavail: p.BlocksAvailable,
		Files: p.Files, Ffree: p.FilesFree, Namelen: unix.NAME_MAX,
	}
}

// Close implements fs.Store.
func (s *Store) Close() error {
	err := s.Sync()
	s.mu.Lock()
	var all []p9.File
	var orphans []uint64
	for ino, n := range s.nodes {
		if n.orphan {
			orphans = append(orphans, ino)
		}
	}
	s.mu.Unlock()
	for _, ino := range orphans {
		_ = s.Forget(ino)
	}
	s.mu.Lock()
	s.closed = true
	s.nodes[s.root].fids[forNames].users-- // open's
	for _, n := range s.nodes {
		all = append(append(all, s.drop(n, forNames)...), s.drop(n, forData)...)
	}
	s.mu.Unlock()
	for _, f := range all {
		f.Close()
	}
	return errors.Join(err, s.client.Close())
}
