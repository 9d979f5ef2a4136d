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

// files has the things of a process that are not memory (proc.Files): descriptors, working
// directory and umask, and the data of its program for /proc.
type files struct {
	fds   *fs.FDTable
	place *fs.Place

	mu      sync.Mutex // protects program
	program program

	// fds and place point to these, unless they are shared with another process. So a fork
	// needs only one allocation.
	ownFDs   fs.FDTable
	ownPlace fs.Place
}

// program has the arguments of execve(2). It has a reference on exe and on text. The zero
// value is no program.
type program struct {
	exe       *fs.File
	argv, env []byte // in text: strings with a NUL after each; cut to maxShown bytes
	text      *programText
}

// programText has the arguments and the environment that /proc shows. A process and its
// forked children share it.
type programText struct {
	refs  atomic.Int32
	payer *charge.User // [I]
	size  int          // [I] of arguments and environment together
	few   [192]byte    // holds both if there is room: most commands are short
}

// newProgram makes a program that payer pays for. It takes a reference on exe, and copies
// the strings. Error: ENOMEM.
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

// ref returns p with new references, for another holder.
func (p program) ref() program {
	if p.text != nil {
		p.text.refs.Add(1)
		p.exe.Ref()
	}
	return p
}

// release drops the holder's references.
func (p program) release() {
	if p.text == nil {
		return
	}
	p.exe.Release()
	if p.text.refs.Add(-1) == 0 {
		p.text.payer.Give(charge.Process, p.text.cost())
	}
}

// maxShown is how much of the arguments and of the environment /proc shows. The kernel
// keeps that much for every process.
const maxShown = 4096

// joined returns the strings of list with a NUL after each, as in /proc/PID/cmdline.
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

// NewFiles makes an empty descriptor table and a place in the root directory, for a process
// without a program file.
func (s *System) NewFiles() (proc.Files, error) {
	return s.newFiles(), nil
}

// newFiles is NewFiles. The kernel pays until a process owns the result.
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

// CloseAll implements proc.Files. It is called at exit, while user memory still exists.
func (f *files) CloseAll() {
	f.fds.CloseAll()
	f.setProgram(program{})
}

// Shared implements proc.Files.
func (f *files) Shared() bool { return f.fds.Shared() }

// CloseOnExec implements proc.Files.
func (f *files) CloseOnExec() { f.fds.CloseOnExec() }

// getProgram returns the program with new references.
func (f *files) getProgram() program {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.program.ref()
}

// setProgram replaces the program. f takes over the references of p.
func (f *files) setProgram(p program) {
	f.mu.Lock()
	old := f.program
	f.program = p
	f.mu.Unlock()
	old.release()
}

// files returns the caller's files.
func (c ctx) files() *files { return c.t.Files().(*files) }
