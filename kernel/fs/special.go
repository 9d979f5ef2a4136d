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

// linker is a symbolic link: a node whose content is a path.
type linker interface {
	node
	readlink(t Task) (string, error)
}

// jumper is a magic link of /proc. A walk goes directly to its node; the path that readlink
// shows is not used (the file may be deleted, or a pipe). jump returns the node with a
// reference.
type jumper interface {
	linker
	jump(t Task) (node, place, error)
}

// device is a device node. Opening a device that the kernel does not have returns ENXIO.
type device struct {
	inode
	// pts says that the node is that of a pseudo-terminal in /dev/pts. Its number may be
	// another one's now. [I] once the node has a name
	pts bool
}

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
	return d.fs.openDevice(c, d.rdev, flags, d)
}

// socketNode is the node of a path to which a socket is or was bound, or that mknod(2) has
// made. It cannot be opened.
type socketNode struct {
	inode
	bound atomic.Pointer[uipc.Socket] // nil: no socket is bound to it
}

func (*socketNode) open(call, int) (handle, error) { return nil, syscall.ENXIO }
