package fs

import (
	"strings"
	"syscall"
	"unsafe"

	"grim/mm/charge"
)

// The charges for the objects of this package, in bytes of kernel heap. The user who made
// an object pays for it until it is gone, even if only others still use it.
const (
	// nodeCost is the charge for an inode of any type. It does not include a regular file's
	// pages, which package vm charges, nor a symbolic link's text.
	nodeCost = int64(max(unsafe.Sizeof(regular{}), unsafe.Sizeof(dir{})+mapCost, unsafe.Sizeof(pipeNode{})))
	// fileCost is the charge for an open file description with its handle.
	fileCost = int64(unsafe.Sizeof(File{}) + max(unsafe.Sizeof(regHandle{}), unsafe.Sizeof(socket{})+unsafe.Sizeof(unixSock{}), unsafe.Sizeof(epoll{})+mapCost, unsafe.Sizeof(timerfd{})+timerCost))
	// nameCost is the charge for a name in a directory, without its text.
	nameCost = int64(unsafe.Sizeof(slot{})) + mapSlot
	// itemCost is the charge for a file that an epoll instance watches.
	itemCost = int64(unsafe.Sizeof(epollItem{}))

	mapCost   = 256 // a small map
	mapSlot   = 64  // an element of a map of pointers
	timerCost = 128 // a timer of the runtime
)

// payer returns the user to charge for objects that t makes. Without a task the kernel
// pays.
func (s *FS) payer(t Task) *charge.User {
	if t == nil {
		return s.cfg.Charges.Kernel()
	}
	return t.Payer()
}

// boot is the task of start-up: the kernel pays, and nothing interrupts. It is nil.
var boot Task

// sure returns v. It panics if there is an error: it is for objects that the kernel makes
// for itself at start-up, which cannot fail.
func sure[T any](v T, err error) T {
	if err != nil {
		panic("fs: start-up: " + err.Error())
	}
	return v
}

// pay charges for a new inode and for extra bytes that belong to it. It returns ENOSPC if
// the payer may not have them.
func (i *inode) pay(payer *charge.User, extra int) error {
	cost := nodeCost + int64(extra)
	if !payer.Take(charge.Inode, cost) {
		return syscall.ENOSPC
	}
	i.payer, i.cost = payer, cost
	return nil
}

// takeNode charges for a new inode of the tree. It returns false if the payer already has
// its share of the tree's inodes.
func (i *inode) takeNode() bool {
	if i.payer == nil {
		return true
	}
	i.shared = i.payer.Take(charge.FileNodes, 1)
	return i.shared
}

// newSlot makes and charges a name that attach can put into a directory. It returns ENOSPC
// if the payer may not have it.
func (s *FS) newSlot(t Task, name string) (*slot, error) {
	payer := s.payer(t)
	if !payer.Take(charge.Name, nameCost+int64(len(name))) {
		return nil, syscall.ENOSPC
	}
	// Clone the name: it may be a part of a long path, which would stay in memory.
	return &slot{payer: payer, name: strings.Clone(name)}, nil
}

// free returns the charge that newSlot made.
func (e *slot) free() {
	if e.payer != nil {
		e.payer.Give(charge.Name, nameCost+int64(len(e.name)))
	}
}
