package fs

import (
	"sync/atomic"
	"syscall"

	"grim/kernel/uipc"
)

// symlink is a symbolic link of the in-memory tree.
type symlink struct {
	inode
	target string
}

func (s *FS) newSymlink(t Task, target string) (*symlink, error) {
	l := &symlink{target: target}
	if err := l.pay(s.payer(t), len(target)); err != nil {
		return nil, err
	}
	l.init(s, devRoot, syscall.S_IFLNK|0o777)
	return l, nil
}

func (l *symlink) size() int64                     { return int64(len(l.target)) }
func (l *symlink) open(call, int) (handle, error)  { return nil, syscall.ELOOP }
func (l *symlink) readlink(t Task) (string, error) { return l.target, nil }

// linker is a node whose content is a path.
type linker interface {
	node
	readlink(t Task) (string, error)
}

// jumper is a magic link of /proc: a walk goes straight to the node, whatever
// path readlink shows (it may be deleted, or a pipe). The node comes with a
// reference.
type jumper interface {
	linker
	jump(t Task) (node, place, error)
}

// device is a character device node. Opening one whose number nobody serves
// gives ENXIO.
type device struct{ inode }

func (s *FS) newDevice(t Task, mode uint32, rdev uint64) (*device, error) {
	d := &device{}
	if err := d.pay(s.payer(t), 0); err != nil {
		return nil, err
	}
	d.init(s, devRoot, mode)
	d.rdev = rdev
	return d, nil
}

func (d *device) open(c call, flags int) (handle, error) {
	if d.typ != syscall.S_IFCHR {
		return nil, syscall.ENXIO
	}
	return d.fs.openDevice(c, d.rdev, flags)
}

// socketNode is a name that a socket is bound to, or was, or that mknod(2) has made:
// nothing can be opened there.
type socketNode struct {
	inode
	bound atomic.Pointer[uipc.Socket] // nil: nobody listens there
}

func (*socketNode) open(call, int) (handle, error) { return nil, syscall.ENXIO }
