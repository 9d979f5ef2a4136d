// Package fs is what file descriptors lead to: the in-memory root file system,
// devices, pipes, event descriptors, procfs, and the descriptor table itself.
//
// It knows neither processes nor system-call numbers. A caller brings a Task
// (its thread, for blocking) and a Place (working directory and umask); procfs
// asks a ProcSource for what it shows.
//
// Lock order, outermost first:
//
//	FDTable.mu              descriptor numbers; no file is closed under it
//	Place.mu                working directory, umask
//	File.mu                 offset of one open file description
//	    FS.tree             names: every directory entry, link counts, parents
//	        node locks      times and mode of one inode; size and data of a
//	                        regular file (dataMu)
//	    pipe.mu, tty.mu ... state of one stream
//	        WaitQueue.mu    who waits for it
//	            epoll.mu    ready list of one epoll instance
//
// A wait queue is woken with the stream's lock held or not; what it calls takes
// epoll.mu only. Nothing sleeps while it holds any of these, with one exception:
// File.mu is held across a read or write of a seekable file (which may wait
// for memory), so that two threads sharing an offset do not read the same
// bytes (read(2) since Linux 3.14). Streams have no offset and skip it.
//
// Errors are syscall.Errno values throughout.
package fs

import (
	"math"
	"sync"
)

// Never is the deadline of a wait without one, in monotonic nanoseconds.
const Never int64 = math.MaxInt64

// Task is the calling thread as this package sees it.
type Task interface {
	// Sleep blocks until ch can be received from (nil), a signal or exit asks
	// the thread to leave the kernel (EINTR, or the caller's restart error), or
	// the monotonic clock passes deadline (ETIMEDOUT).
	Sleep(ch <-chan struct{}, deadline int64) error
	// IDs are the process (thread group) and thread numbers, for /proc/self.
	IDs() (pid, tid int)
}

// Config is what the file system needs from the rest of the kernel. Every
// function may be called from any goroutine and must not block.
type Config struct {
	// NewPages makes the page cache of a new, empty regular file.
	NewPages func(name string) (Pages, error)
	// Now is the wall clock, nanoseconds since 1970; nil: time.Now.
	Now func() int64
	// Monotonic is the clock of deadlines; nil: the Go runtime's.
	Monotonic func() int64
	// Console prints bytes on the console; nil: nowhere.
	Console func(p []byte)
	// Interrupt is called when the console's VINTR, VQUIT or VSUSP character is
	// typed, with the foreground process group (0: none set) and the signal.
	Interrupt func(pgid int, sig int)
	// Random fills p with unpredictable bytes; nil: crypto/rand.
	Random func(p []byte)
	// Proc is what /proc shows; nil: no /proc.
	Proc ProcSource
	// Memory tells total and free bytes, for statfs and /proc/meminfo.
	Memory func() (total, free uint64)
}

// FS is the machine's one file tree with its devices.
type FS struct {
	cfg  Config
	tree sync.RWMutex
	root *dir
}
