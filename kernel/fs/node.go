package fs

import (
	"math"
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

	firstDisk = 0x100 // file systems on disks: from the next on
	devSys    = 4
)

// Limits of limits.h and of path_resolution(7).
const (
	nameMax    = 255
	pathMax    = 4096 // with the final NUL
	maxSymlink = 40
)

// node is what a name leads to: an inode.
type node interface {
	base() *inode
	// open makes the handle of a new open file description. The caller holds a
	// reference on the node and passes it to the File.
	open(c call, flags int) (handle, error)
	// drop gives back what the node owns: no name and no open file is left.
	drop()
}

// inode is the part all nodes share. Fields are atomic, so that stat needs no
// lock; a reader may see a time older than a size, as on Linux.
type inode struct {
	fs   *FS
	vol  *volume // [I] of directories, and of what a store keeps
	ino  uint64
	dev  uint64
	rdev uint64
	typ  uint32 // S_IFMT bits

	perm  atomic.Uint32 // the other 12 bits of the mode
	uid   atomic.Uint32
	gid   atomic.Uint32
	nlink atomic.Int32 // written under volume.mu
	// refs holds drop back: one per name and one per open file; one of the volume, if a
	// store keeps the inode and it has a name. Once 0 it
	// stays 0, so that a walk that lost the race with unlink gets ENOENT.
	refs atomic.Int32

	locks   atomic.Pointer[fileLocks] // nil: there has been none
	watches atomic.Pointer[[]*watch]  // written under FS.watchMu; nil: none

	payer *charge.User // [I] nil: not charged, as in /proc
	cost  int64        // [I] of it
	// shared is whether payer has been charged for a node of the tree. Set before others
	// know the node.
	shared bool

	atime, mtime, ctime, btime atomic.Int64
}

func (i *inode) base() *inode { return i }

func (i *inode) drop() {}

// init fills in a new inode of type typ; refs and links are 0 until it is
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

// newborn gives a node that nobody else knows its first reference.
func newborn(n node) { n.base().refs.Store(1) }

// hold takes a reference; false if the node is already being dropped.
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

// unhold gives a reference back; the last one drops the node.
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

// changed notes a change of data (mtime, ctime).
func (i *inode) changed() {
	now := i.fs.cfg.Now()
	i.mtime.Store(now)
	i.ctime.Store(now)
	if v := i.stored(); v != nil && i.typ == syscall.S_IFREG { // of directories the store knows
		v.touched(i)
	}
}

// Stat is the union of what stat(2) and statx(2) tell. Times are nanoseconds
// since 1970.
type Stat struct {
	Dev, Ino, Rdev             uint64
	Mode                       uint32
	Nlink                      uint32
	UID, GID                   uint32
	Size                       int64
	Blksize                    int64
	Blocks                     int64 // of 512 bytes
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

// Statfs is what statfs(2) tells.
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

// quotaFigures are what statfs shows of a quota: the limit, and how much of it is free;
// 0 if there is no limit, as tmpfs has it.
func quotaFigures(q *vm.Quota) (all, left uint64) {
	if q.Limit() == math.MaxInt64 {
		return 0, 0
	}
	return uint64(q.Limit()), uint64(max(0, q.Limit()-q.Used()))
}

// anon is the node of a socket, event or other descriptor: it never had a name.
type anon struct {
	inode
	label string
}

// newAnon makes one, which has a reference: ENFILE.
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

// anonFile is an open file description on a node of its own, without a name: ENFILE.
// path is what /proc/self/fd shows.
func (s *FS) anonFile(t Task, label string, h handle, path string, flags int) (*File, error) {
	n, err := s.newAnon(t, label, 0o600)
	if err != nil {
		h.close()
		return nil, err
	}
	return s.newFile(t, n, h, place{nil, path}, flags)
}

// open is for /proc/self/fd/N: there is no second way in.
func (a *anon) open(call, int) (handle, error) { return nil, syscall.ENXIO }
