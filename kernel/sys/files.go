package sys

import (
	"sync"
	"syscall"

	"grim/kernel/fs"
	"grim/mm/charge"
	"grim/proc"
)

// files is what a process holds beside memory (proc.Files): descriptors,
// working directory and umask, and what /proc tells of its program.
type files struct {
	fds   *fs.FDTable
	place *fs.Place

	mu      sync.Mutex // guards program
	program program

	// What fds and place point to unless they are another's: a fork is one
	// allocation.
	ownFDs   fs.FDTable
	ownPlace fs.Place
}

// program is what execve(2) was given.
type program struct {
	exe       *fs.File // holds a reference; nil: not from a file
	argv, env []byte   // strings, a NUL after each; cut at maxShown bytes
}

// maxShown is how much of the arguments and of the environment /proc shows: the
// kernel keeps it for every process.
const maxShown = 4096

// joined is strings with a NUL after each, as in /proc/PID/cmdline.
func joined(list []string) []byte {
	var b []byte
	for _, s := range list {
		b = append(append(b, s...), 0)
		if len(b) >= maxShown {
			return append([]byte(nil), b[:maxShown]...)
		}
	}
	return b
}

// NewFiles is an empty descriptor table in the root directory, for a process
// that no program file stands behind.
func (s *System) NewFiles() (proc.Files, error) {
	return s.newFiles(), nil
}

// newFiles is NewFiles. The kernel pays until a process has it.
func (s *System) newFiles() *files {
	fds := fs.NewFDTable(fdLimit, s.cfg.VM.Charges().Kernel())
	fds.GiveWay(s.cfg.Yield)
	return &files{fds: fds, place: s.fs.NewPlace()}
}

// PayFor implements proc.Files.
func (f *files) PayFor(u *charge.User) { f.fds.PayFor(u) }

// Fork implements proc.Files.
func (f *files) Fork(flags proc.CloneFlags, owner *charge.User) (proc.Files, error) {
	n := new(files)
	if flags&proc.CloneFiles != 0 {
		n.fds = f.fds.Share()
	} else {
		if n.fds = f.fds.Fork(&n.ownFDs, owner); n.fds == nil {
			return nil, syscall.ENOMEM
		}
	}
	if flags&proc.CloneFS != 0 {
		n.place = f.place
	} else {
		n.place = f.place.Fork(&n.ownPlace)
	}
	n.program = f.getProgram()
	return n, nil
}

// CloseAll implements proc.Files: at exit, while user memory is still there.
func (f *files) CloseAll() {
	f.fds.CloseAll()
	f.setProgram(program{})
}

// Shared implements proc.Files.
func (f *files) Shared() bool { return f.fds.Shared() }

// CloseOnExec implements proc.Files.
func (f *files) CloseOnExec() { f.fds.CloseOnExec() }

// getProgram returns a copy with a reference of the file.
func (f *files) getProgram() program {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.program
	if p.exe != nil {
		p.exe = p.exe.Ref()
	}
	return p
}

// setProgram consumes the reference in p.
func (f *files) setProgram(p program) {
	f.mu.Lock()
	old := f.program.exe
	f.program = p
	f.mu.Unlock()
	if old != nil {
		old.Release()
	}
}

// files are the caller's.
func (c ctx) files() *files { return c.t.Files().(*files) }
