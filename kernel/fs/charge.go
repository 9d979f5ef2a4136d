package fs

import (
	"strings"
	"syscall"
	"unsafe"

	"grim/mm/charge"
)

// What the objects of this package are charged, in bytes of kernel heap. The user
// who made an object pays for it until it is gone, whoever else holds it then.
const (
	// nodeCost is of an inode of any type but a regular file's pages, which package
	// vm charges, and a symbolic link's text.
	nodeCost = int64(max(unsafe.Sizeof(regular{}), unsafe.Sizeof(dir{})+mapCost, unsafe.Sizeof(pipeNode{})))
	// fileCost is of an open file description with its handle.
	fileCost = int64(unsafe.Sizeof(File{}) + max(unsafe.Sizeof(regHandle{}), unsafe.Sizeof(socket{})+unsafe.Sizeof(unixSock{}), unsafe.Sizeof(epoll{})+mapCost, unsafe.Sizeof(timerfd{})+timerCost))
	// nameCost is of a name in a directory, without its text.
	nameCost = int64(unsafe.Sizeof(slot{})) + mapSlot
	// itemCost is of a file that an epoll instance watches.
	itemCost = int64(unsafe.Sizeof(epollItem{})) + 2*mapSlot

	mapCost   = 256 // of a small map
	mapSlot   = 64  // of an element of a map of pointers
	timerCost = 128 // of a timer of the runtime
)

// payer is the user whom a task's objects are charged to; without a task it is the
// kernel.
func (s *FS) payer(t Task) *charge.User {
	if t == nil {
		return s.cfg.Charges.Kernel()
	}
	return t.Payer()
}

// boot is the task of start-up: the kernel pays, nothing interrupts.
var boot Task

// sure gives what the kernel made for itself, which cannot fail.
func sure[T any](v T, err error) T {
	if err != nil {
		panic("fs: start-up: " + err.Error())
	}
	return v
}

// pay charges for a new inode with extra bytes beside it: ENOSPC.
func (i *inode) pay(payer *charge.User, extra int) error {
	cost := nodeCost + int64(extra)
	if !payer.Take(charge.Inode, cost) {
		return syscall.ENOSPC
	}
	i.payer, i.cost = payer, cost
	return nil
}

// takeNode charges for a new inode of the tree: false if that is more than the payer's
// share of them.
func (i *inode) takeNode() bool {
	if i.payer == nil {
		return true
	}
	i.shared = i.payer.Take(charge.FileNodes, 1)
	return i.shared
}

// newSlot is a name that attach can put into a directory: ENOSPC.
func (s *FS) newSlot(t Task, name string) (*slot, error) {
	payer := s.payer(t)
	if !payer.Take(charge.Name, nameCost+int64(len(name))) {
		return nil, syscall.ENOSPC
	}
	// A clone: the name may be a part of a long path.
	return &slot{payer: payer, name: strings.Clone(name)}, nil
}

// free gives back what newSlot has charged.
func (e *slot) free() {
	if e.payer != nil {
		e.payer.Give(charge.Name, nameCost+int64(len(e.name)))
	}
}
