package sys

import (
	delf "debug/elf"
	"path"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/elf"
)

const (
	// maxExecStrings bounds argv and envp together, maxExecString each string;
	// elf.Load has the same limits, but they must hold before the strings are
	// in kernel memory (execve(2), "Limits on size of arguments").
	maxExecStrings = elf.StackSize / 4
	maxExecString  = 128<<10 - 1
)

// strings reads a NULL-terminated array of strings; size counts what it and the
// list before it take, out of the budget of kernel memory. A null array is an
// empty one, as on Linux. E2BIG, EFAULT, ENOMEM.
func (c ctx) strings(va arch.VA, size *int) ([]string, error) {
	var out []string
	if va == 0 {
		return nil, nil
	}
	for ; ; va += 8 {
		p, err := get[uint64](c, va)
		if err != nil {
			return nil, err
		}
		if p == 0 {
			return out, nil
		}
		s, err := c.mem().CopyInString(arch.VA(p), maxExecString)
		if err == syscall.ENAMETOOLONG {
			err = syscall.E2BIG
		}
		if err != nil {
			return nil, err
		}
		n := len(s) + 1 + 8
		if *size+n > maxExecStrings {
			return nil, syscall.E2BIG
		}
		if !c.s.transient.take(n) {
			return nil, syscall.ENOMEM
		}
		*size += n
		out = append(out, s)
	}
}

// executable is an opened program, ready to load.
type executable struct {
	file  *fs.File // holds a reference
	image *elf.Image
	argv  []string // with what scripts put before
	path  string   // as /proc/self/exe and AT_EXECFN have it
}

// openExecutable opens the program at a path, or the interpreter that it names
// as a script, and parses it. It gives up nothing else on error.
//
// EACCES: not a regular file, or not executable. ELOOP: scripts upon scripts.
// ENOENT: there is none, or an interpreter it names is missing. ENOEXEC.
func (s *System) openExecutable(at fs.At, name string, flags int, argv []string) (*executable, error) {
	x := &executable{argv: argv, path: name}
	for depth := 0; ; depth++ {
		f, err := s.openExec(at, name, flags)
		if err != nil {
			return nil, err
		}
		script, is, err := s.parse(x, f, at.Task)
		if err == nil && !is && x.image.Interp != "" {
			err = s.noInterpreter(at, x.image.Interp)
		}
		if err == nil && is && depth == elf.MaxScripts {
			err = syscall.ELOOP
		}
		if err == nil && !is {
			x.file = f
			return x, nil
		}
		f.Release()
		if err != nil {
			return nil, err
		}
		args := []string{script.Interpreter}
		if script.HasArg {
			args = append(args, script.Arg)
		}
		args = append(args, name)
		if len(x.argv) > 0 {
			args = append(args, x.argv[1:]...)
		}
		x.argv, x.path, name, flags = args, script.Interpreter, script.Interpreter, 0
		at.Dir = nil
	}
}

// parse tells what an opened program is: a script, or an executable, which becomes
// x's image. Images are kept with the page cache as long as the file does not
// change: programs are started again and again, and parsing costs as much as all
// else that execve(2) does.
func (s *System) parse(x *executable, f *fs.File, t fs.Task) (script elf.Script, is bool, err error) {
	var cache *vm.FileObject
	var version uint64
	if o, err := f.Object(); err == nil {
		defer o.Unref()
		if cache, _ = o.(*vm.FileObject); cache != nil {
			var v any
			v, version = cache.Derived()
			if im, ok := v.(*elf.Image); ok {
				x.image = im
				return script, false, nil
			}
		}
	}
	r := fileReader{f, t}
	size := f.Stat().Size
	if script, is, err = elf.ParseScript(r, size); err != nil || is {
		return script, is, err
	}
	if x.image, err = elf.Parse(r, size, delf.Machine(s.abi.Machine)); err == nil && cache != nil {
		cache.SetDerived(x.image, version)
	}
	return script, false, err
}

// noInterpreter is the answer to a dynamically linked program: execve(2) has
// ENOENT for an interpreter that does not exist; one that does is not loaded.
func (s *System) noInterpreter(at fs.At, interp string) error {
	at.Dir = nil
	if _, err := s.fs.Stat(at, interp, 0); err != nil {
		return err
	}
	return syscall.ENOEXEC
}

// openExec opens a file to run it.
func (s *System) openExec(at fs.At, name string, flags int) (*fs.File, error) {
	var f *fs.File
	var err error
	if name == "" && flags&unix.AT_EMPTY_PATH != 0 && at.Dir != nil {
		f = at.Dir.Ref()
	} else {
		open := unix.O_RDONLY | unix.O_CLOEXEC
		if flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
			open |= unix.O_NOFOLLOW
		}
		if f, err = s.fs.Open(at, name, open, 0); err != nil {
			return nil, err
		}
	}
	if st := f.Stat(); st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		f.Release()
		return nil, syscall.EACCES
	}
	return f, nil
}

// fileReader makes a file an io.ReaderAt.
type fileReader struct {
	f *fs.File
	t fs.Task
}

func (r fileReader) ReadAt(p []byte, off int64) (int, error) { return r.f.Pread(r.t, p, off) }

// load fills an empty address space with the program.
func (s *System) load(x *executable, vs *vm.VMSpace, env []string, cred *proc.Cred) (pc, sp arch.VA, err error) {
	obj, err := x.file.Object()
	if err != nil {
		return 0, 0, syscall.ENOEXEC // nothing that could be mapped
	}
	defer obj.Unref()
	args := elf.Args{
		Argv: x.argv, Envp: env, ExecFn: x.path, CPU: s.cfg.CPU,
		ID: elf.Identity{UID: cred.UID, EUID: cred.EUID, GID: cred.GID, EGID: cred.EGID,
			Secure: cred.UID != cred.EUID || cred.GID != cred.EGID},
	}
	s.cfg.Random(args.Random[:])
	if pc, sp, err = elf.Load(vs, x.image, obj, &args); err != nil {
		return 0, 0, err
	}
	if s.sigPage != nil {
		_, err = vs.Map(elf.SigPage, arch.PageSize, arch.Read|arch.Exec, vm.Fixed|vm.Private, s.sigPage, 0)
	}
	return pc, sp, err
}

func sysExecve(c ctx) (uint64, error) {
	name, err := c.path(0)
	if err != nil {
		return 0, err
	}
	return c.exec(c.cwd(), name, c.va(1), c.va(2), 0)
}

func sysExecveat(c ctx) (uint64, error) {
	flags := c.int(4)
	if err := onlyFlags(flags, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, err
	}
	name, err := c.path(1)
	if err != nil {
		return 0, err
	}
	at, err := c.at(0, name)
	if err != nil {
		return 0, err
	}
	defer releaseAt(at)
	return c.exec(at, name, c.va(2), c.va(3), flags)
}

func (c ctx) exec(at fs.At, name string, argv, envp arch.VA, flags int) (uint64, error) {
	size := 0
	defer func() { c.s.transient.give(size) }()
	args, err := c.strings(argv, &size)
	if err != nil {
		return 0, err
	}
	env, err := c.strings(envp, &size)
	if err != nil {
		return 0, err
	}
	if len(args) == 0 {
		args = []string{""} // no program sees argc 0 (Linux 5.18)
	}
	x, err := c.s.openExecutable(at, name, flags, args)
	if err != nil {
		return 0, err
	}
	p := c.t.Process()
	err = c.t.Exec(path.Base(x.path), func(vs *vm.VMSpace) (pc, sp arch.VA, err error) {
		setMemoryLimits(vs, p)
		return c.s.load(x, vs, env, p.Cred())
	})
	if err != nil {
		x.file.Release()
		return 0, err
	}
	c.files().setProgram(program{x.file, joined(x.argv), joined(env)})
	// The registers are the new program's: the result is the one it starts with.
	return c.f[arch.RetSlot], nil
}

// StartArgs describe a process that the kernel starts from a file.
type StartArgs struct {
	Path      string
	Argv, Env []string // Argv empty: the path alone
	Layout    arch.Layout
	Init      bool             // it is process 1
	Policy    *proc.ExitPolicy // nil: the kernel's
	// Console is opened as descriptors 0, 1 and 2; empty: /dev/console.
	Console string
}

// Start runs a program as a child of the kernel, in a session of its own. The
// caller calls Wait on the process in the end. Errors are execve(2)'s, and
// proc.Kernel.Spawn's.
func (s *System) Start(a StartArgs) (*proc.Process, error) {
	if a.Console == "" {
		a.Console = "/dev/console"
	}
	if len(a.Argv) == 0 {
		a.Argv = []string{a.Path}
	}
	fl := &files{fds: fs.NewFDTable(fdLimit), place: s.fs.NewPlace()}
	at := fs.At{Task: kernelTask{s}, Place: fl.place}
	p, err := s.start(&a, fl, at)
	if err != nil {
		fl.CloseAll()
		return nil, err
	}
	return p, nil
}

// fdLimit is RLIMIT_NOFILE of processes that the kernel starts.
var fdLimit = int(proc.DefaultLimits()[unix.RLIMIT_NOFILE].Cur)

func (s *System) start(a *StartArgs, fl *files, at fs.At) (*proc.Process, error) {
	tty, err := s.fs.Open(at, a.Console, unix.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	for range 2 {
		if _, err := fl.fds.Install(tty.Ref(), 0, false); err != nil {
			tty.Release()
			return nil, err
		}
	}
	if _, err := fl.fds.Install(tty, 0, false); err != nil {
		return nil, err
	}
	x, err := s.openExecutable(at, a.Path, 0, a.Argv)
	if err != nil {
		return nil, err
	}
	fl.setProgram(program{x.file, joined(x.argv), joined(a.Env)})
	vs, err := vm.New(s.cfg.VM, a.Layout)
	if err != nil {
		return nil, err
	}
	pc, sp, err := s.load(x, vs, a.Env, &proc.Cred{})
	if err == nil {
		var p *proc.Process
		p, err = s.k.Spawn(proc.SpawnArgs{
			Name: path.Base(x.path), VM: vs, PC: pc, SP: sp, Files: fl, Init: a.Init, Policy: a.Policy,
			Setup: func(t *proc.Thread) { setMemoryLimits(vs, t.Process()) },
		})
		if err == nil {
			return p, nil
		}
	}
	vs.Purge(nil)
	vs.Release()
	return nil, err
}

// kernelTask is a fs.Task for the kernel's own goroutines: nothing interrupts.
type kernelTask struct{ s *System }

// IDs are 0: no process.
func (kernelTask) IDs() (pid, tid int) { return 0, 0 }

// Sleep implements fs.Task.
func (k kernelTask) Sleep(ch <-chan struct{}, deadline int64) error {
	if deadline == proc.Forever {
		<-ch
		return nil
	}
	timer := time.NewTimer(time.Duration(max(deadline-k.s.now(), 0)))
	defer timer.Stop()
	select {
	case <-ch:
		return nil
	case <-timer.C:
		return syscall.ETIMEDOUT
	}
}
