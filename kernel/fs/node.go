package fs

import (
	"math"
	"sync"
	"sync/atomic"
	"syscall"

	"grim/mm/charge"
	"grim/mm/vm"
)

// Device numbers of the file systems, as stat(2) shows them.
const (
	devRoot = 1
	devProc = 2
	devAnon = 3 // pipes, sockets, event descriptors

	firstDisk = 0x100 // file systems on disks have the numbers after this
	devSys    = 4
)

// Limits of limits.h and of path_resolution(7).
const (
	nameMax    = 255
	pathMax    = 4096 // with the final NUL
	maxSymlink = 40
)

// node is an inode: names lead to it.
type node interface {
	base() *inode
	// open makes the handle of a new open file description. The caller holds a
	// reference on the node and passes it to the File.
	open(c call, flags int) (handle, error)
	// drop frees what the node owns. It is called when no name and no open file is left.
	drop()
}

// inode is the part that all nodes share. Fields are atomic, so that stat needs no lock. As
// on Linux, a reader may see a new size with an old time.
type inode struct {
	fs   *FS
	vol  *volume // [I] set in directories, and in inodes that a store keeps
	ino  uint64
	dev  uint64
	rdev uint64
	typ  uint32 // S_IFMT bits

	// attrMu makes one step of a change of mode and owner together with the check whether
	// the caller may change them, and of what execve(2) reads of them.
	attrMu sync.Mutex

	perm  atomic.Uint32 // the other 12 bits of the mode
	uid   atomic.Uint32
	gid   atomic.Uint32
	nlink atomic.Int32 // written under volume.mu
	// refs counts the names and the open files. If a store keeps the inode and it has a
	// name, the volume has a reference too. At 0, drop is called, and refs stays 0: so a
	// walk that lost a race with unlink gets ENOENT.
	refs atomic.Int32

	locks   atomic.Pointer[fileLocks] // nil: no lock has been requested yet
	watches atomic.Pointer[watch]     // the first of its list; written under FS.watchMu; nil: none

	payer *charge.User // [I] nil: not charged, as in /proc
	cost  int64        // [I] the charge for the inode
	// shared says that payer has been charged for a node of the tree. It is set before the
	// node is reachable.
	shared bool

	atime, mtime, ctime, btime atomic.Int64
}

func (i *inode) base() *inode { return i }

func (i *inode) drop() {}

// init fills in a new inode of type typ. refs and the link count are 0 until the inode is
// attached to a name or held by a File.
func (i *inode) init(s *FS, dev uint64, mode uint32) {
	i.fs, i.dev, i.typ = s, dev, mode&syscall.S_IFMT
	i.perm.Store(mode &^ syscall.S_IFMT)
	i.ino = s.lastIno.Add(1)
	now := s.cfg.Now()
	i.atime.Store(now)
	i.mtime.Store(now)
	i.ctime.Store(now)
	i.btime.Store(now)
	s.inodes.Add(1)
	if dev == devRoot {
		s.named.Count()
	}
}

// newborn sets the first reference of a node that is not reachable yet.
func newborn(n node) { n.base().refs.Store(1) }

// hold takes a reference. It returns false if the node is already being dropped.
func hold(n node) bool {
	refs := &n.base().refs
	for {
		r := refs.Load()
		if r == 0 {
			return false
		}
		if refs.CompareAndSwap(r, r+1) {
			return true
		}
	}
}

// unhold drops a reference. The last unhold drops the node.
func unhold(n node) {
	i := n.base()
	switch r := i.refs.Add(-1); {
	case r < 0:
		panic("fs: inode reference count below zero")
	case r == 0:
		if i.watches.Load() != nil {
			i.fs.watchesEnd(i)
		}
		i.fs.inodes.Add(-1)
		if i.dev == devRoot {
			i.fs.named.Uncount()
		}
		if v := i.stored(); v != nil {
			v.gone(n)
		}
		n.drop()
		if i.payer != nil {
			if i.shared {
				i.payer.Give(charge.FileNodes, 1)
			}
			i.payer.Give(charge.Inode, i.cost)
		}
	}
}

// changed sets mtime and ctime after a change of data.
func (i *inode) changed() {
	now := i.fs.cfg.Now()
	i.mtime.Store(now)
	i.ctime.Store(now)
	if v := i.stored(); v != nil && i.typ == syscall.S_IFREG { // for directories the store does this
		v.touched(i)
	}
}

// Stat has the fields of stat(2) and statx(2). Times are in nanoseconds since 1970.
type Stat struct {
	Dev, Ino, Rdev             uint64
	Mode                       uint32
	Nlink                      uint32
	UID, GID                   uint32
	Size                       int64
	Blksize                    int64
	Blocks                     int64 // in units of 512 bytes
	Atime, Mtime, Ctime, Btime int64
}

// sized is a node with a size.
type sized interface{ size() int64 }

func statOf(n node) Stat {
	i := n.base()
	st := Stat{
		Dev: i.dev, Ino: i.ino, Rdev: i.rdev,
		Mode:  i.typ | i.perm.Load(),
		Nlink: uint32(i.nlink.Load()),
		UID:   i.uid.Load(), GID: i.gid.Load(),
		Blksize: 4096,
		Atime:   i.atime.Load(), Mtime: i.mtime.Load(),
		Ctime: i.ctime.Load(), Btime: i.btime.Load(),
	}
	if z, ok := n.(sized); ok {
		st.Size = z.size()
	}
	if v := i.stored(); v != nil {
		if a, err := v.store.Stat(i.ino); err == nil {
			st.Blocks = a.Blocks
			if i.typ == syscall.S_IFDIR {
				st.Size = a.Size
			}
		}
	} else if r, ok := n.(*regular); ok {
		st.Blocks = r.blocks(st.Size)
	}
	return st
}

// Statfs has the fields of statfs(2).
type Statfs struct {
	Type, Bsize                         int64
	Blocks, Bfree, Bavail, Files, Ffree uint64
	Namelen                             int64
}

// Magic numbers of statfs(2).
const (
	tmpfsMagic = 0x01021994
	procMagic  = 0x9fa0
	pipeMagic  = 0x50495045
	sysMagic   = 0x62656572
)

func (s *FS) statfsOf(n node) Statfs {
	if v := n.base().stored(); v != nil {
		return v.store.Statfs()
	}
	st := Statfs{Bsize: 4096, Namelen: nameMax}
	switch n.base().dev {
	case devProc:
		st.Type = procMagic
		return st
	case devSys:
		st.Type = sysMagic
		return st
	case devAnon:
		st.Type = pipeMagic
		return st
	}
	st.Type = tmpfsMagic
	st.Blocks, st.Bfree = quotaFigures(&s.size)
	st.Bavail = st.Bfree
	st.Files, st.Ffree = quotaFigures(&s.named)
	return st
}

// quotaFigures returns the figures of a quota for statfs: the limit, and how much of it is
// free. Both are 0 if there is no limit, as for tmpfs.
func quotaFigures(q *vm.Quota) (all, left uint64) {
	if q.Limit() == math.MaxInt64 {
		return 0, 0
	}
	return uint64(q.Limit()), uint64(max(0, q.Limit()-q.Used()))
}

// anon is the node of a socket, event or other descriptor. It never has a name.
type anon struct {
	inode
	label string
}

// newAnon makes an anon node with one reference. Error: ENFILE.
func (s *FS) newAnon(t Task, label string, mode uint32) (*anon, error) {
	a := &anon{label: label}
	if a.pay(s.payer(t), 0) != nil {
		return nil, syscall.ENFILE
	}
	a.init(s, devAnon, mode)
	a.adopt(credOf(t), nil)
	newborn(a)
	return a, nil
}

// anonFile makes an open file description on a new anon node: ENFILE. path is the target
// that /proc/self/fd shows.
func (s *FS) anonFile(t Task, label string, h handle, path string, flags int) (*File, error) {
	n, err := s.newAnon(t, label, 0o600)
	if err != nil {
		h.close()
		return nil, err
	}
	return s.newFile(t, n, h, place{nil, path}, flags)
}

// open is called for /proc/self/fd/N: an anon node cannot be opened a second time.
func (a *anon) open(call, int) (handle, error) { return nil, syscall.ENXIO }
