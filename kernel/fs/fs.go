// Package fs is what file descriptors lead to: the file system in memory, those that
// stores keep (store.go; ext2.go has the disks'), devices, pipes, sockets (sock.go),
// event descriptors, procfs, and the descriptor table itself.
//
// It knows neither processes nor system-call numbers. A caller brings a Task
// (its thread, for blocking and for its credentials) and a Place (working directory
// and umask); procfs asks a ProcSource for what it shows. permission.go has the rules of
// who may do what.
//
// Lock order, outermost first:
//
//	FDTable.mu              descriptor numbers; no file is closed under it
//	async.mu                who gets the signals of a description
//	lock.System             record locks; taken alone
//	FS.watchMu              the watches of inodes; also inside the locks of names
//	    inotify.mu          events of one inotify
//	File.posMu              offset of one open file description
//	    regular.writeMu     one writer or truncation of a regular file at a time
//	        VM object locks (package mm/vm)
//	FS.mountMu              which volumes there are
//	    volume.mu           names: directory entries, parents, link counts
//	        volume.work     what the store is told of inodes later
//	            volume.nodesMu  what a volume with a store remembers
//	Place.mu                working directory, umask; taken alone
//	FS.ptyMu                numbers of pseudo-terminals
//	    volume.mu
//	FS.jobMu                which session has which terminal; taken alone
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
// Nothing sleeps while it holds any of these, with two exceptions. A volume's mu and work,
// and mountMu, are held while its store works, which may wait for a disk. posMu and
// writeMu are held across reads and writes of seekable files, which may wait for
// memory and give way; so two threads that share an offset do not read the same
// bytes, and writes do not interleave (read(2), write(2), "BUGS" of Linux before
// 3.14). Streams have no offset and take neither. A write to the terminal has the
// token TTY.writer, which is waited for as for any event.
//
// Errors are syscall.Errno values throughout. EPIPE from a Write is the caller's
// cue to send SIGPIPE.
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

// Never is the deadline of a wait without one, in monotonic nanoseconds.
const Never int64 = math.MaxInt64

// Task is the calling thread as this package sees it.
type Task interface {
	// Sleep blocks until ch can be received from (nil), a signal or exit asks
	// the thread to leave the kernel (EINTR, or the caller's restart error), or
	// the monotonic clock passes deadline (ETIMEDOUT). A nil ch never is ready.
	Sleep(ch <-chan struct{}, deadline int64) error
	// Pause gives way to other threads in the middle of a long call, which holds
	// no lock then. An error (EINTR, or the caller's restart error) says that the
	// process has been killed: the call ends with what it has done.
	Pause() error
	// FileLimit is RLIMIT_FSIZE, and TooLarge sends the signal for a file that would
	// become larger (SIGXFSZ).
	FileLimit() int64
	TooLarge()
	// OpenLimit is RLIMIT_NOFILE.
	OpenLimit() int
	// IDs are the process (thread group) and thread numbers, for /proc/self.
	IDs() (pid, tid int)
	// Cred are the thread's credentials.
	Cred() *cred.Cred
	// Payer is the user whom new objects are charged to.
	Payer() *charge.User
}

// Jobs is what the terminal must know of job control.
type Jobs interface {
	// SessionOf is the session of a process; 0 if there is none or it has ended.
	SessionOf(pid int) int
	// GroupSession is the session of a process group; 0 if there is no such group.
	GroupSession(pgid int) int
	// GroupOf is the process group of a process; 0 if it has ended.
	GroupOf(pid int) int
	// Background sends SIGTTIN or SIGTTOU to the group of a thread that uses its
	// terminal from the background. nil: the thread blocks or ignores the signal, and
	// nothing was sent; EIO: no parent would continue the group; otherwise the error
	// with which the call begins again.
	Background(t Task, sig syscall.Signal) error
}

// Config is what the file system needs from the rest of the kernel. Every
// function may be called from any goroutine and must not block, nor call back
// into this package, unless it says so.
type Config struct {
	// NewPages makes the page cache of a new, empty regular file. Required.
	NewPages func(name string, payer *charge.User) (Pages, error)
	// NewStored makes the page cache of a regular file that a store keeps; nil: there are
	// no volumes with a store.
	NewStored func(name string, st vm.Store, size int64) (*vm.FileObject, error)
	// VolumeBytes is how much of the kernel's heap each volume with a store may take for
	// what it remembers; 0: 4 MB.
	VolumeBytes int64
	// Frames is where pipes get their memory. Required.
	Frames *phys.Memory
	// Now is the wall clock, nanoseconds since 1970; nil: time.Now.
	Now func() int64
	// Monotonic is the clock of deadlines, nanoseconds; nil: since New.
	Monotonic func() int64
	// TimerMoved is called when a timer has been started that its maker may not
	// wait for (proc.Kernel.TimerMoved); nil: nothing needs to know.
	TimerMoved func()
	// Console is where the console's output goes; nil: nowhere. Room for more is
	// told to TTY.Sent.
	Console Output
	// Yield lets other threads run in the middle of long work that no Task stands
	// behind; nil: runtime.Gosched.
	Yield func()
	// Interrupt is called when the console's VINTR, VQUIT or VSUSP character is
	// typed, with the foreground process group (0: none set) and the signal.
	Interrupt func(pgid int, sig syscall.Signal)
	// HangUp is called when the terminal of a session is gone: its leader gets SIGHUP
	// and SIGCONT.
	HangUp func(sid int)
	// Random fills p with unpredictable bytes; nil: getrandom(2).
	Random func(p []byte)
	// Proc is what /proc shows of processes; nil: none.
	Proc ProcSource
	// SignalIO sends the signal of O_ASYNC; it may take locks of other packages. nil:
	// nothing.
	SignalIO func(IOSignal)
	// Jobs tells of sessions and process groups; nil: every process may use the
	// terminal as if its session had it.
	Jobs Jobs
	// Memory tells total and free bytes, for statfs and /proc/meminfo.
	Memory func() (total, free uint64)
	// Charges is the machine's account of kernel memory; nil: no limits.
	Charges *charge.System
}

// Output takes bytes without waiting until they are out.
type Output interface {
	// Write takes all of p, or nothing: then there is no room for it.
	Write(p []byte) bool
	// Room is how many bytes it can take; Pending how many are not out yet.
	Room() int
	Pending() int
}

// OutputFunc is an Output that has always room.
type OutputFunc func(p []byte)

func (f OutputFunc) Write(p []byte) bool { f(p); return true }
func (f OutputFunc) Room() int           { return math.MaxInt }
func (f OutputFunc) Pending() int        { return 0 }

// FS is the machine's one file tree with its devices.
type FS struct {
	cfg  Config
	root *dir    // of all; [I] after start-up
	mem  *volume // the tree in memory
	tty  *TTY
	proc *procfs
	sys  *procfs

	mountMu sync.Mutex // outside of volume.mu
	mounts  []*volume  // [mountMu]
	lastDev atomic.Uint64

	jobMu    sync.Mutex
	sessions map[int]*TTY // jobMu: the terminal of each session that has one

	pts     *dir // [I] /dev/pts
	ptyMu   sync.Mutex
	ptys    []*pty      // ptyMu: by number
	records lock.System // record locks of all files

	watchMu  sync.Mutex   // the watches of inodes
	watchers atomic.Int32 // how many there are
	lastMove atomic.Uint32

	lastIno  atomic.Uint64
	inodes   atomic.Int64
	files    atomic.Int64
	unix     *uipc.System
	families map[int]Family // [I] after start-up
	netTexts []netText      // [I] after start-up
	size     vm.Quota       // of the tree's regular files
	named    vm.Quota       // inodes of the tree
}

// Stats counts live objects, for leak checks.
type Stats struct {
	Inodes int64 // nodes with a name or an open file, /proc aside
	Files  int64 // open file descriptions
}

// Stats counts what is alive now.
func (s *FS) Stats() Stats {
	return Stats{Inodes: s.inodes.Load(), Files: s.files.Load()}
}

// New makes the tree: an empty root with /dev, /proc and /tmp. It fails only if
// c cannot serve.
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
	if c.TimerMoved == nil {
		c.TimerMoved = func() {}
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
			// Not crypto/rand: its DRBG's tables are 32 MB in a kernel.
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
	s := &FS{cfg: c, sessions: map[int]*TTY{}, families: map[int]Family{}, unix: uipc.NewSystem(c.Frames, c.Yield)}
	s.AddFamily(unix.AF_UNIX, s.unixFamily)
	s.firstNetTexts()
	s.mem = &volume{fs: s, dev: devRoot}
	s.lastDev.Store(firstDisk)
	s.size.SetLimit(math.MaxInt64) // until Limit
	s.named.SetLimit(math.MaxInt64)
	s.root = sure(s.newDir(boot, 0o755))
	s.root.nlink.Add(1) // its own ".."
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

// Limit bounds the tree from now on, in pages of data and in inodes: ENOSPC. What
// is there counts, and is the kernel's.
func (s *FS) Limit(pages, inodes int64) {
	s.size.SetLimit(pages)
	s.named.SetLimit(inodes)
	// The pages and inodes that are still free are shared out among users by the rule of
	// package charge.
	s.cfg.Charges.SetFileLimits((pages-s.size.Used())<<arch.PageShift, inodes-s.named.Used())
}

// Limits is what the kernel gives to Limit when the initramfs is unpacked: half of
// the memory that is left beside that, and an inode for each of those pages, as
// tmpfs(5) has it.
func (s *FS) Limits() (pages, inodes int64) {
	_, free := s.cfg.Memory()
	half := int64(free / arch.PageSize / 2)
	return s.size.Used() + half, s.named.Used() + half
}

// TTY is the console's line discipline.
func (s *FS) TTY() *TTY { return s.tty }
