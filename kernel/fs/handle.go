package fs

import (
	"grim/arch"
	"syscall"
)

// call has what a handle may need to know of a request.
type call struct {
	task     Task
	nonblock bool // O_NONBLOCK
	append   bool // O_APPEND
}

// pause lets other threads run in the middle of a long call. If it returns an error, the
// call must end.
func (c call) pause() error {
	if c.task == nil {
		return nil
	}
	return c.task.Pause()
}

// handle is the part of an open file description that depends on the kind of file. read,
// write and ioctl are called without any lock of the File, except that posMu is held for
// seekable files. off has no meaning for streams.
type handle interface {
	read(c call, p []byte, off int64) (int, error)
	write(c call, p []byte, off int64) (int, error)
	ioctl(c call, mem UserMemory, req uint32, arg uint64) (uint64, error)
	// ready returns the EPOLL* bits that hold now. queue is the queue on which changes are
	// announced; nil if the file is always ready (epoll_ctl: EPERM).
	ready() uint32
	queue() *WaitQueue
	// close is called once, when the last reference to the File is dropped.
	close()
}

// seekable is a handle with an offset. SEEK_END counts from size.
type seekable interface{ size() int64 }

// appender is a handle whose writes do not interleave, and whose file has an end.
type appender interface {
	// beginWrite keeps other writes out until endWrite. It returns the offset of this
	// write: off, or the end of the file (O_APPEND).
	beginWrite(c call, off int64) int64
	endWrite()
}

// UserMemory is the caller's memory, for the ioctl requests that carry a
// pointer; *vm.VMSpace is one.
type UserMemory interface {
	CopyIn(dst []byte, src arch.VA) error
	CopyOut(dst arch.VA, src []byte) error
}

// alwaysReady is the poll(2) answer of a file that never blocks.
const alwaysReady = EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM

// plain has the default answers for operations that a kind of file does not have. Handles
// embed it.
type plain struct{}

func (plain) ioctl(call, UserMemory, uint32, uint64) (uint64, error) { return 0, syscall.ENOTTY }
func (plain) ready() uint32                                          { return alwaysReady }
func (plain) queue() *WaitQueue                                      { return nil }
func (plain) close()                                                 {}

// unreadable is plain, for a handle without data.
type unreadable struct{ plain }

func (unreadable) read(call, []byte, int64) (int, error)  { return 0, syscall.EINVAL }
func (unreadable) write(call, []byte, int64) (int, error) { return 0, syscall.EINVAL }

// pathHandle is an O_PATH handle: it only names a file for the *at calls.
type pathHandle struct{ plain }

func (pathHandle) read(call, []byte, int64) (int, error)  { return 0, syscall.EBADF }
func (pathHandle) write(call, []byte, int64) (int, error) { return 0, syscall.EBADF }
func (pathHandle) ioctl(call, UserMemory, uint32, uint64) (uint64, error) {
	return 0, syscall.EBADF
}
