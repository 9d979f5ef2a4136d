package sys

import (
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

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

// program is what execve(2) was given. It holds a reference of exe and of text; the
// zero value is no program.
type program struct {
	exe       *fs.File
	argv, env []byte // of text: strings, a NUL after each; cut at maxShown bytes
	text      *programText
}

// programText is the arguments and the environment that /proc shows, once for a
// process and all that it has forked.
type programText struct {
	refs  atomic.Int32
	payer *charge.User // [I]
	size  int          // [I] of both
	few   [192]byte    // holds them, if there is room: most commands are short
}

// newProgram is a program that payer pays for; it takes a reference of exe, and
// copies the strings: ENOMEM.
func newProgram(exe *fs.File, argv, env []byte, payer *charge.User) (program, error) {
	argv, env = argv[:min(len(argv), maxShown)], env[:min(len(env), maxShown)]
	t := &programText{payer: payer, size: len(argv) + len(env)}
	if !payer.Take(charge.Process, t.cost()) {
		return program{}, syscall.ENOMEM
	}
	t.refs.Store(1)
	b := t.few[:]
	if t.size > len(b) {
		b = make([]byte, t.size)
	}
	n := copy(b, argv)
	copy(b[n:], env)
	return program{exe.Ref(), b[:n:n], b[n:t.size], t}, nil
}

func (t *programText) cost() int64 { return int64(unsafe.Sizeof(*t)) + int64(t.size) }

// ref is p for another holder.
func (p program) ref() program {
	if p.text != nil {
		p.text.refs.Add(1)
		p.exe.Ref()
	}
	return p
}

// release is the end of a holder's use.
func (p program) release() {
	if p.text == nil {
		return
	}
	p.exe.Release()
	if p.text.refs.Add(-1) == 0 {
		p.text.payer.Give(charge.Process, p.text.cost())
	}
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

// getProgram returns the program, for another holder.
func (f *files) getProgram() program {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.program.ref()
}

// setProgram replaces the program; f becomes the holder of p.
func (f *files) setProgram(p program) {
	f.mu.Lock()
	old := f.program
	f.program = p
	f.mu.Unlock()
	old.release()
}

// files are the caller's.
func (c ctx) files() *files { return c.t.Files().(*files) }
