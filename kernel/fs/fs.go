// Package fs is everything that file descriptors lead to: the file system in memory, the
// file systems that stores keep (store.go; ext2.go for disks), devices, pipes, sockets
// (sock.go), event descriptors, procfs, and the descriptor table itself.
//
// The package knows neither processes nor system-call numbers. A caller passes a Task (its
// thread, for blocking and for its credentials) and a Place (working directory and umask).
// procfs asks a ProcSource for the things that it shows. permission.go has the access
// rules.
//
// Lock order, outermost first:
//
//	FDTable.mu              descriptor numbers; no file is closed under it
//	File.watchMu            epoll items on a description, changes of its flags
//	    async.mu            who gets the signals of a description
//	lock.System             record locks; taken alone
//	FS.watchMu              the watches of inodes; also inside the locks of names
//	    inotify.mu          events of one inotify
//	    WaitQueue.mu        its readers
//	File.posMu              offset of one open file description
//	    regular.writeMu     one writer or truncation of a regular file at a time
//	        VM object locks (package mm/vm)
//	FS.mountMu              which volumes there are
//	    volume.mu           names: directory entries, parents, link counts
//	        volume.work     what the store is told of inodes later
//	            volume.nodesMu  what a volume with a store remembers
//	inode.attrMu            mode and owner
//	    volume.work, volume.nodesMu
//	Place.mu                working directory, umask; taken alone
//	FS.ptyMu                numbers of pseudo-terminals
//	    volume.mu
//	FS.jobMu                which session has which terminal
//	    pty.mu              open files of a slave
//	nestMu                  which epoll instance watches which
//	    epoll.ctlMu         set of items
//	epoll.scanMu            the one look through the ready list; an outer instance's first
//	    uipc.System.mu, Socket.in.mu     sockets
//	    pipe.mu, TTY.mu ... state of one stream
//	        pty.mu          what waits for the master
//	    WaitQueue.mu        who waits for it
//	        epoll.mu        ready list of one epoll instance
//	        WaitQueue.mu    of that instance, and so on outwards (no cycles:
//	                        EpollCtl refuses them)
//
// No thread sleeps while it holds any of these, with two exceptions. A volume's mu and
// work, attrMu and mountMu are held while its store works, which may wait for a disk. posMu and
// writeMu are held across reads and writes of seekable files, which may wait for memory and
// let other threads run. So two threads that share an offset do not read the same bytes,
// and writes do not interleave (read(2); write(2), "BUGS" of Linux before 3.14). Streams
// have no offset and take neither. A write to the terminal has the token TTY.writer;
// threads wait for the token as for any event.
//
// Errors are syscall.Errno values throughout. The caller sends SIGPIPE if a Write returns
// EPIPE.
package fs

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"grim/arch"
	"grim/kernel/fs/lock"
	"grim/kernel/uipc"
	"grim/mm/charge"
	"grim/mm/phys"
	"grim/mm/vm"
	"grim/proc/cred"
)

// Never is the deadline of a wait without a deadline, in monotonic nanoseconds.
const Never int64 = math.MaxInt64

// Task is the calling thread as this package sees it.
type Task interface {
	// Sleep blocks until ch can be received from (nil), until a signal or exit asks the
	// thread to leave the kernel (EINTR, or the caller's restart error), or until the
	// monotonic clock passes deadline (ETIMEDOUT). A nil ch is never ready.
	Sleep(ch <-chan struct{}, deadline int64) error
	// Pause lets other threads run in the middle of a long call. The caller must hold no
	// lock. An error (EINTR, or the caller's restart error) means that the process has been
	// killed: the call must end, and returns the result so far.
	Pause() error
	// FileLimit returns RLIMIT_FSIZE. TooLarge sends the signal for a file that would
	// become larger (SIGXFSZ).
	FileLimit() int64
	TooLarge()
	// OpenLimit returns RLIMIT_NOFILE.
	OpenLimit() int
	// IDs returns the numbers of the process (thread group) and the thread, for /proc/self.
	IDs() (pid, tid int)
	// Cred returns the thread's credentials.
	Cred() *cred.Cred
	// Payer returns the user to charge for new objects.
	Payer() *charge.User
}

// Jobs answers the terminal's questions about job control.
type Jobs interface {
	// SessionOf returns the session of a process, or 0 if there is none or it has ended.
	SessionOf(pid int) int
	// GroupSession returns the session of a process group, or 0 if there is no such
	// group.
	GroupSession(pgid int) int
	// GroupOf returns the process group of a process, or 0 if it has ended.
	GroupOf(pid int) int
	// Background sends SIGTTIN or SIGTTOU to the group of a thread that uses its terminal
	// from the background. It returns nil if the thread blocks or ignores the signal, and
	// nothing was sent; EIO if no parent would continue the group; otherwise the error with
	// which the call begins again.
	Background(t Task, sig syscall.Signal) error
}

// Config has everything that the file system needs from the rest of the kernel. Every
// function may be called from any goroutine. Unless its comment says so, it must not block,
// nor call back into this package.
type Config struct {
	// NewPages makes the page cache of a new, empty regular file. Required.
	NewPages func(name string, payer *charge.User) (Pages, error)
	// NewStored makes the page cache of a regular file that a store keeps. nil: there are
	// no volumes with a store.
	NewStored func(name string, st vm.Store, size int64) (*vm.FileObject, error)
	// VolumeBytes is how much kernel heap each volume with a store may use for its nodes
	// and names. 0: 4 MB.
	VolumeBytes int64
	// Frames is the memory from which pipes get their pages. Required.
	Frames *phys.Memory
	// Now returns the wall clock, in nanoseconds since 1970. nil: time.Now.
	Now func() int64
	// Monotonic returns the clock of deadlines, in nanoseconds. nil: the time since New.
	Monotonic func() int64
	// Console takes the console's output. nil: the output is thrown away. When Console has
	// room for more, TTY.Sent must be called.
	Console Output
	// Yield lets other threads run in the middle of long work that is done for no Task.
	// nil: runtime.Gosched.
	Yield func()
	// Interrupt is called when the console's VINTR, VQUIT or VSUSP character is typed. It
	// gets the foreground process group (0: none is set) and the signal.
	Interrupt func(pgid int, sig syscall.Signal)
	// HangUp is called when the terminal of a session is gone. The session's leader must
	// get SIGHUP and SIGCONT.
	HangUp func(sid int)
	// Random fills p with unpredictable bytes; nil: getrandom(2).
	Random func(p []byte)
	// Proc provides the processes for /proc. nil: none.
	Proc ProcSource
	// SignalIO sends the signal of O_ASYNC. It may take locks of other packages. nil:
	// nothing.
	SignalIO func(IOSignal)
	// Jobs knows the sessions and process groups. nil: every process may use the terminal
	// as if the terminal were its session's.
	Jobs Jobs
	// Memory returns the total and the free bytes, for statfs and /proc/meminfo.
	Memory func() (total, free uint64)
	// Charges is the machine's account of kernel memory; nil: no limits.
	Charges *charge.System
}

// Output takes bytes. It does not wait until they are sent.
type Output interface {
	// Write takes all of p, or nothing and returns false if there is no room for it.
	Write(p []byte) bool
	// Room returns how many bytes it can take, Pending how many are not sent yet.
	Room() int
	Pending() int
}

// OutputFunc is an Output that always has room.
type OutputFunc func(p []byte)

func (f OutputFunc) Write(p []byte) bool { f(p); return true }
func (f OutputFunc) Room() int           { return math.MaxInt }
func (f OutputFunc) Pending() int        { return 0 }

// FS is the machine's single file tree, with its devices.
type FS struct {
	cfg  Config
	root *dir    // the root of all; [I] after start-up
	mem  *volume // the tree in memory
	tty  *TTY
	proc *procfs
	sys  *procfs

	mountMu sync.Mutex // outside of volume.mu
	mounts  []*volume  // [mountMu]
	lastDev atomic.Uint64

	jobMu    sync.Mutex
	sessions map[int]*TTY // [jobMu] the terminal of each session that has one

	pts     *dir // [I] /dev/pts
	ptyMu   sync.Mutex
	ptys    []*pty      // [ptyMu] by number
	records lock.System // record locks of all files

	watchMu   sync.Mutex           // the watches of inodes
	watchers  atomic.Int32         // how many watches there are
	inotifies map[*charge.User]int // [watchMu] how many each user has
	lastMove  atomic.Uint32

	lastIno  atomic.Uint64
	inodes   atomic.Int64
	files    atomic.Int64
	unix     *uipc.System
	families map[int]Family // [I] after start-up
	netTexts []netText      // [I] after start-up
	netIoctl func(t Task, mem UserMemory, req uint32, arg uint64) (uint64, error)
	size     vm.Quota // pages of the tree's regular files, and others (CountPages)
	named    vm.Quota // inodes of the tree
}

// Stats counts live objects, for leak checks.
type Stats struct {
	Inodes int64 // nodes with a name or an open file, without /proc
	Files  int64 // open file descriptions
}

// Stats returns the present numbers.
func (s *FS) Stats() Stats {
	return Stats{Inodes: s.inodes.Load(), Files: s.files.Load()}
}

// New makes the tree: an empty root with /dev, /proc, /sys and /tmp. It fails only if c
// lacks something that is required.
func New(c Config) (*FS, error) {
	if c.NewPages == nil || c.Frames == nil {
		return nil, syscall.EINVAL
	}
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixNano() }
	}
	if c.Monotonic == nil {
		start := time.Now()
		c.Monotonic = func() int64 { return int64(time.Since(start)) }
	}
	if c.Console == nil {
		c.Console = OutputFunc(func([]byte) {})
	}
	if c.Yield == nil {
		c.Yield = runtime.Gosched
	}
	if c.Interrupt == nil {
		c.Interrupt = func(int, syscall.Signal) {}
	}
	if c.HangUp == nil {
		c.HangUp = func(int) {}
	}
	if c.SignalIO == nil {
		c.SignalIO = func(IOSignal) {}
	}
	if c.Random == nil {
		c.Random = func(p []byte) {
			// crypto/rand is not used: its DRBG's tables would take 32 MB in a kernel.
			for len(p) > 0 {
				n, err := unix.Getrandom(p, 0)
				if err != nil {
					panic("fs: getrandom: " + err.Error())
				}
				p = p[n:]
			}
		}
	}
	if c.Charges == nil {
		c.Charges = charge.Unlimited()
	}
	if c.Memory == nil {
		c.Memory = func() (uint64, uint64) { return 0, 0 }
	}
	s := &FS{cfg: c, inotifies: map[*charge.User]int{}, sessions: map[int]*TTY{}, families: map[int]Family{}, unix: uipc.NewSystem(c.Frames, c.Yield)}
	s.AddFamily(unix.AF_UNIX, s.unixFamily)
	s.firstNetTexts()
	s.mem = &volume{fs: s, dev: devRoot}
	s.lastDev.Store(firstDisk)
	s.size.SetLimit(math.MaxInt64) // until Limit is called
	s.named.SetLimit(math.MaxInt64)
	s.root = sure(s.newDir(boot, 0o755))
	s.root.nlink.Add(1) // for its own ".."
	newborn(s.root)
	s.root.up = s.root
	s.mem.root = s.root
	s.tty = newTTY(s, devConsole, nil)
	s.tty.setWinsize(24, 80)
	s.mountDev()
	s.mountProc()
	s.mountSys()
	s.root.give("tmp", sure(s.newDir(boot, 0o1777)))
	return s, nil
}

// Limit bounds the tree from now on, in pages of data and in inodes; beyond that ENOSPC is
// returned. The present files count too, and are the kernel's.
func (s *FS) Limit(pages, inodes int64) {
	s.size.SetLimit(pages)
	s.named.SetLimit(inodes)
	// The pages and inodes that are still free are shared out among users by the rule of
	// package charge.
	s.cfg.Charges.SetFileLimits((pages-s.size.Used())<<arch.PageShift, inodes-s.named.Used())
}

// Limits returns the limits that the kernel sets when the initramfs is unpacked: half of
// the memory that is then free, and an inode for each of these pages, as tmpfs(5) does. The
// present files come on top.
func (s *FS) Limits() (pages, inodes int64) {
	_, free := s.cfg.Memory()
	half := int64(free / arch.PageSize / 2)
	return s.size.Used() + half, s.named.Used() + half
}

// TTY returns the console's line discipline.
func (s *FS) TTY() *TTY { return s.tty }
