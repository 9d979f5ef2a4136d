package fs

import (
	"grim/arch"
	"sync"
	"syscall"
)

type Object any
type Pages interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Size() int64
	Ref()
	Unref()
}
type dir struct{}

// New makes the tree: root, /dev, /proc, /tmp.
func New(c Config) (*FS, error) { return nil, syscall.ENOSYS }

// Unpack fills the tree from an uncompressed newc cpio archive.
func (s *FS) Unpack(archive []byte) error { return syscall.ENOSYS }

// TTY is the console.
func (s *FS) TTY() *TTY { return nil }

type TTY struct{}

// Input hands typed bytes to the line discipline.
func (y *TTY) Input(p []byte) {}

// Place is a process's view: working directory and umask. CLONE_FS shares it.
type Place struct{ mu sync.Mutex }

func (s *FS) NewPlace() *Place                  { return nil }
func (p *Place) Fork() *Place                   { return nil }
func (p *Place) Umask(mask uint32) (old uint32) { return 0 }
func (p *Place) Getcwd() (string, error)        { return "", syscall.ENOSYS }

// At is where a path starts: Dir (of dirfd) or, when nil, the working directory.
type At struct {
	Task  Task
	Place *Place
	Dir   *File
}

// Stat is the union of what stat(2) and statx(2) tell. Times: ns since 1970.
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

// Statfs is what statfs(2) tells.
type Statfs struct {
	Type, Bsize                         int64
	Blocks, Bfree, Bavail, Files, Ffree uint64
	Namelen                             int64
}

func (s *FS) Open(at At, path string, flags int, mode uint32) (*File, error) {
	return nil, syscall.ENOSYS
}

// flags: AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH.
func (s *FS) Stat(at At, path string, flags int) (Stat, error)        { return Stat{}, syscall.ENOSYS }
func (s *FS) Statfs(at At, path string) (Statfs, error)               { return Statfs{}, syscall.ENOSYS }
func (s *FS) Chdir(at At, path string) error                          { return syscall.ENOSYS } // fchdir: At.Dir and ""
func (s *FS) Mkdir(at At, path string, mode uint32) error             { return syscall.ENOSYS }
func (s *FS) Mknod(at At, path string, mode uint32, dev uint64) error { return syscall.ENOSYS }
func (s *FS) Symlink(target string, at At, path string) error         { return syscall.ENOSYS }
func (s *FS) Link(oldAt At, oldPath string, newAt At, newPath string, flags int) error {
	return syscall.ENOSYS
}

// flags: AT_REMOVEDIR.
func (s *FS) Unlink(at At, path string, flags int) error { return syscall.ENOSYS }

// flags: RENAME_NOREPLACE, RENAME_EXCHANGE.
func (s *FS) Rename(oldAt At, oldPath string, newAt At, newPath string, flags uint) error {
	return syscall.ENOSYS
}
func (s *FS) Readlink(at At, path string) (string, error)                    { return "", syscall.ENOSYS }
func (s *FS) Chmod(at At, path string, mode uint32, flags int) error         { return syscall.ENOSYS }
func (s *FS) Chown(at At, path string, uid, gid int, flags int) error        { return syscall.ENOSYS }
func (s *FS) Utimes(at At, path string, atime, mtime int64, flags int) error { return syscall.ENOSYS } // ns; UTIME_NOW/OMIT as TimeNow/TimeOmit
func (s *FS) Access(at At, path string, mode uint32, flags int) error        { return syscall.ENOSYS }
func (s *FS) Truncate(at At, path string, size int64) error                  { return syscall.ENOSYS }

const (
	TimeNow  int64 = -1 << 63
	TimeOmit int64 = -1<<63 + 1
)

// File is an open file description.
type File struct{}

func (f *File) Ref() *File                                      { return f }
func (f *File) Release()                                        {}
func (f *File) Read(t Task, p []byte) (int, error)              { return 0, syscall.ENOSYS }
func (f *File) Write(t Task, p []byte) (int, error)             { return 0, syscall.ENOSYS }
func (f *File) Pread(t Task, p []byte, off int64) (int, error)  { return 0, syscall.ENOSYS }
func (f *File) Pwrite(t Task, p []byte, off int64) (int, error) { return 0, syscall.ENOSYS }
func (f *File) Seek(off int64, whence int) (int64, error)       { return 0, syscall.ENOSYS }

// Getdents fills buf with linux_dirent64 records.
func (f *File) Getdents(t Task, buf []byte) (int, error) { return 0, syscall.ENOSYS }
func (f *File) Stat() Stat                               { return Stat{} }
func (f *File) Statfs() Statfs                           { return Statfs{} }
func (f *File) Truncate(size int64) error                { return syscall.ENOSYS }
func (f *File) Allocate(mode uint32, off, n int64) error { return syscall.ENOSYS }
func (f *File) Sync() error                              { return syscall.ENOSYS }
func (f *File) Chmod(mode uint32) error                  { return syscall.ENOSYS }
func (f *File) Chown(uid, gid int) error                 { return syscall.ENOSYS }
func (f *File) Utimes(atime, mtime int64) error          { return syscall.ENOSYS }

// Object is what mmap maps, with a reference for the caller.
func (f *File) Object() (Object, error) { return nil, syscall.ENODEV }
func (f *File) Flags() int              { return 0 }

// SetFlags is fcntl(F_SETFL).
func (f *File) SetFlags(flags int) error   { return nil }
func (f *File) Path() string               { return "" }
func (f *File) Flock(t Task, op int) error { return syscall.ENOSYS }

// UserMemory is the caller's memory, for the ioctl requests that carry a pointer.
type UserMemory interface {
	CopyIn(dst []byte, src arch.VA) error
	CopyOut(dst arch.VA, src []byte) error
}

func (f *File) Ioctl(t Task, mem UserMemory, req uint32, arg uint64) (uint64, error) {
	return 0, syscall.ENOTTY
}

// Readiness is the EPOLL* bits that hold now.
func (f *File) Readiness() uint32 { return 0 }

// FDTable: descriptor table.
type FDTable struct{}

func NewFDTable(limit int) *FDTable { return nil }

// Get takes a reference; Release it.
func (d *FDTable) Get(fd int) (*File, error) { return nil, syscall.EBADF }

// Install puts f (its reference is consumed, on error too) at the lowest free number >= min. EMFILE.
func (d *FDTable) Install(f *File, min int, cloexec bool) (int, error) { return 0, syscall.EMFILE }
func (d *FDTable) Close(fd int) error                                  { return syscall.EBADF }
func (d *FDTable) Dup(fd, min int, cloexec bool) (int, error)          { return 0, syscall.EBADF }

// DupTo is dup2/dup3 less dup3's EINVAL for equal numbers.
func (d *FDTable) DupTo(fd, to int, cloexec bool) error      { return syscall.EBADF }
func (d *FDTable) Cloexec(fd int) (bool, error)              { return false, syscall.EBADF }
func (d *FDTable) SetCloexec(fd int, on bool) error          { return syscall.EBADF }
func (d *FDTable) CloseRange(first, last uint, cloexec bool) {}
func (d *FDTable) SetLimit(n int)                            {}
func (d *FDTable) Limit() int                                { return 0 }

// Share adds a user (CLONE_FILES). Fork copies.
func (d *FDTable) Share() *FDTable         { return d }
func (d *FDTable) Fork() (*FDTable, error) { return nil, syscall.ENOMEM }
func (d *FDTable) CloseOnExec()            {}

// CloseAll ends one use; the last closes every descriptor.
func (d *FDTable) CloseAll() {}

// FDs lists open numbers, ascending.
func (d *FDTable) FDs() []int { return nil }

func (s *FS) Pipe(flags int) (r, w *File, err error)           { return nil, nil, syscall.ENOSYS }
func (s *FS) Socketpair(typ int) (a, b *File, err error)       { return nil, nil, syscall.ENOSYS }
func (s *FS) Eventfd(initial uint64, flags int) (*File, error) { return nil, syscall.ENOSYS }
func (s *FS) Memfd(name string, flags int) (*File, error)      { return nil, syscall.ENOSYS }
func (s *FS) Epoll() *File                                     { return nil }
func (s *FS) Timerfd(clock int, flags int) (*File, error)      { return nil, syscall.ENOSYS }

// TimerfdSet: value, interval in ns; abs: TFD_TIMER_ABSTIME. Returns the old ones.
func (f *File) TimerfdSet(value, interval int64, abs bool) (oldValue, oldInterval int64, err error) {
	return 0, 0, syscall.EINVAL
}
func (f *File) TimerfdGet() (value, interval int64, err error) { return 0, 0, syscall.EINVAL }

// EpollEvent: EPOLL* bits and user data.
type EpollEvent struct {
	Events uint32
	Data   uint64
}

func (f *File) EpollCtl(op int, fd int, target *File, ev EpollEvent) error { return syscall.EINVAL }

// EpollWait waits until the monotonic deadline (0: not at all, Never).
func (f *File) EpollWait(t Task, evs []EpollEvent, deadline int64) (int, error) {
	return 0, syscall.EINVAL
}

// PollFD: a nil File with Events: POLLNVAL is the caller's to set.
type PollFD struct {
	File    *File
	Events  uint32
	Revents uint32
}

// Poll waits until a file is ready: count of those with Revents; 0 at the deadline.
func Poll(t Task, fds []PollFD, deadline int64) (int, error) { return 0, syscall.ENOSYS }

// PidTarget is the process a pidfd names.
type PidTarget interface {
	PID() int
	// Ended is closed (or becomes receivable) when the process is a zombie.
	Exited() bool
	// OnExit calls fn once when the process has ended (NOTE_EXIT); cancel forgets it.
	OnExit(fn func()) (cancel func())
}

func (s *FS) Pidfd(target PidTarget, flags int) *File { return nil }

// Pid is the target of a pidfd; EBADF if f is none.
func (f *File) Pid() (PidTarget, error) { return nil, syscall.EBADF }

// ProcSource is what procfs shows.
type ProcSource interface {
	PIDs() []int
	Process(pid int) (ProcInfo, bool)
	// Exits is the text of /proc/exits.
	Exits() []byte
	// MemInfo, CPUInfo, Version: the text of these files.
	MemInfo() []byte
	CPUInfo() []byte
	Version() string
	Uptime() (up, idle int64)
}

// ProcInfo is a snapshot of one process.
type ProcInfo struct {
	PID, PPID, PGID, SID                          int
	Threads                                       []int
	Name                                          string // comm, up to 15 bytes
	State                                         byte   // R S T Z X
	UID, GID                                      int
	Args, Env, Auxv                               []byte
	Exe                                           *File // borrowed; nil: none
	Place                                         *Place
	Files                                         *FDTable
	Maps                                          func() []MapInfo // nil for a zombie
	VSize, RSS, Data, Tables                      uint64           // bytes
	MinFlt, MajFlt                                uint64
	UTime, STime, Start                           int64 // ns
	SigPending, SigBlocked, SigIgnored, SigCaught uint64
	ExitStatus                                    int
}

// MapInfo is a line of /proc/self/maps.
type MapInfo struct {
	Start, End arch.VA
	Prot       arch.Prot
	Shared     bool
	Offset     int64
	Dev, Ino   uint64
	Name       string
}
