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
	program *program   // nil: none

	// fds and place point to these, unless they are shared with another process. So a fork
	// needs only one allocation.
	ownFDs   fs.FDTable
	ownPlace fs.Place
}

// program has the arguments of execve(2). A process and its forked children share it.
type program struct {
	refs      atomic.Int32
	exe       *fs.File     // [I] with a reference
	argv, env []byte       // [I] for /proc: strings with a NUL after each; cut to maxShown bytes
	payer     *charge.User // [I]
	few       [192]byte    // holds argv and env if there is room: most commands are short
}

// newProgram makes a program that payer pays for. It takes a reference on exe, and copies
// the strings. Error: ENOMEM.
func newProgram(exe *fs.File, argv, env []byte, payer *charge.User) (*program, error) {
	argv, env = argv[:min(len(argv), maxShown)], env[:min(len(env), maxShown)]
	n, size := len(argv), len(argv)+len(env)
	if !payer.Take(charge.Process, programCost(size)) {
		return nil, syscall.ENOMEM
	}
	p := &program{exe: exe.Ref(), payer: payer}
	p.refs.Store(1)
	b := p.few[:]
	if size > len(b) {
		b = make([]byte, size)
	}
	copy(b, argv)
	copy(b[n:], env)
	p.argv, p.env = b[:n:n], b[n:size]
	return p, nil
}

// programCost is the charge for a program with size bytes of arguments and environment.
func programCost(size int) int64 { return int64(unsafe.Sizeof(program{})) + int64(size) }

// ref adds a holder to p, which may be nil, and returns p.
func (p *program) ref() *program {
	if p != nil {
		p.refs.Add(1)
	}
	return p
}

// release removes a holder of p, which may be nil.
func (p *program) release() {
	if p != nil && p.refs.Add(-1) == 0 {
		p.exe.Release()
		p.payer.Give(charge.Process, programCost(len(p.argv)+len(p.env)))
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
	f.setProgram(nil)
}

// Shared implements proc.Files.
func (f *files) Shared() bool { return f.fds.Shared() }

// CloseOnExec implements proc.Files.
func (f *files) CloseOnExec() { f.fds.CloseOnExec() }

// getProgram returns the program, of which the caller is a new holder.
func (f *files) getProgram() *program {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.program.ref()
}

// setProgram replaces the program. f becomes a holder of p in the caller's place.
func (f *files) setProgram(p *program) {
	f.mu.Lock()
	old := f.program
	f.program = p
	f.mu.Unlock()
	old.release()
}

// files returns the caller's files.
func (c ctx) files() *files { return c.t.Files().(*files) }
