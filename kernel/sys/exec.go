package sys

import (
	delf "debug/elf"
	"fmt"
	"path"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/charge"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/cred"
	"grim/proc/elf"
	"grim/proc/exit"
)

const (
	// maxExecStrings bounds argv and envp together, maxExecString each string. elf.Load
	// checks the first limit too, but the limit must hold before the strings are copied to
	// kernel memory (execve(2), "Limits on size of arguments").
	maxExecStrings = elf.StackSize / 4
	maxExecString  = 128<<10 - 1
)

// executable is the state of an execve(2): a program that is being loaded into an address
// space. It is reused by later calls (getExecutable), so that a start allocates nothing.
type executable struct {
	s *System

	// The strings of argv and envp, the number of strings of argv, and the start of envp.
	text  elf.Strings
	argc  int
	envAt int

	before []string // interpreters of scripts: elf.Args.Before
	path   string   // the path given to execve(2), for AT_EXECFN and the process's name
	// unreachable says that path uses a descriptor that execve(2) closes, so no interpreter
	// could open a script with this path.
	unreachable bool

	file  *fs.File  // holds a reference
	obj   vm.Object // the file's pages, with a reference
	image *elf.Image

	// The interpreter of a dynamic program.
	interp      *fs.File  // has a reference until the program is loaded, so that it cannot be written
	interpObj   vm.Object // with a reference
	interpImage *elf.Image

	limits  *proc.Process // the process whose memory limits the new space gets; nil: none
	cred    *proc.Cred
	secure  bool // AT_SECURE
	fixed   bool // no random addresses (personality(2))
	args    elf.Args
	max     int             // how many bytes the strings may take
	size    int             // how many bytes they take, as execve(2) counts them
	account *charge.Account // pays for pieces of text beyond keptPieces
	paid    int             // bytes charged to account
	loadFor func(vs *vm.VMSpace) (pc, sp arch.VA, err error)
}

// keptExecutables is how many executables are kept for later execve(2) calls. keptPieces is
// how many pieces of text each of them keeps: most commands have far less than 16 KB of
// arguments and environment. Further pieces are charged to the caller.
const (
	keptExecutables = 4
	keptPieces      = 2
)

// room returns the last piece of text, with room for at least one byte. Error: ENOMEM.
func (x *executable) room() ([]byte, error) {
	p := x.text.Pieces
	if n := len(p); n > 0 && len(p[n-1]) < cap(p[n-1]) {
		return p[n-1], nil
	}
	if n := len(p); n < cap(p) && p[:n+1][n] != nil { // a piece that put has kept
		x.text.Pieces = p[:n+1]
		return x.text.Pieces[n], nil
	}
	if len(p) >= keptPieces {
		if !x.account.Take(charge.Call, elf.PieceSize) {
			return nil, syscall.ENOMEM
		}
		x.paid += elf.PieceSize
	}
	b := make([]byte, 0, elf.PieceSize)
	x.text.Pieces = append(p, b)
	return b, nil
}

// keptText returns a text without strings, which has the first pieces of x's text to be
// filled again.
func (x *executable) keptText() elf.Strings {
	p := x.text.Pieces[:cap(x.text.Pieces)]
	for i, b := range p {
		if p[i] = b[:0]; i >= keptPieces {
			p[i] = nil
		}
	}
	return elf.Strings{Pieces: p[:0]}
}

// maxStrings returns how many bytes of arguments and environment a process may pass to
// execve(2): a quarter of its RLIMIT_STACK, at least 128 KB (execve(2), "Limits on size of
// arguments"). Linux allows up to 6 MB. Here maxExecStrings is the maximum, because the
// strings are in kernel memory for some time.
func maxStrings(p *proc.Process) int {
	l, err := p.Limit(unix.RLIMIT_STACK)
	if err != nil {
		return maxExecStrings
	}
	return int(min(maxExecStrings, max(l.Cur/4, maxExecString+1)))
}

// getExecutable returns an empty executable. The caller must put it.
func (s *System) getExecutable() *executable {
	s.execMu.Lock()
	if n := len(s.execs); n > 0 {
		x := s.execs[n-1]
		s.execs = s.execs[:n-1]
		s.execMu.Unlock()
		return x
	}
	s.execMu.Unlock()
	x := &executable{s: s}
	x.loadFor = x.load
	return x
}

// put releases everything that x holds, except the file, and x itself.
func (x *executable) put() {
	s := x.s
	if x.paid > 0 {
		x.account.Give(charge.Call, int64(x.paid))
	}
	if x.obj != nil {
		x.obj.Unref()
	}
	x.closeInterpreter()
	*x = executable{s: s, loadFor: x.loadFor, text: x.keptText(), args: elf.Args{Window: x.args.Window}}
	s.execMu.Lock()
	if len(s.execs) < keptExecutables {
		s.execs = append(s.execs, x)
	}
	s.execMu.Unlock()
}

// read copies argv and envp from the caller's memory. The caller is charged for long ones.
// Errors: E2BIG, EFAULT, ENOMEM.
func (x *executable) read(c ctx, argv, envp arch.VA) error {
	x.account = c.t.Process().Account()
	x.max = maxStrings(c.t.Process())
	if err := x.readArray(c, argv); err != nil {
		return err
	}
	if x.text.N == 0 { // no program gets argc 0 (Linux 5.18)
		x.text.Add("")
	}
	x.argc, x.envAt = x.text.N, x.text.Len()
	return x.readArray(c, envp)
}

// readArray adds the strings of a NULL-terminated array to text. As on Linux, a null array
// counts as an empty one.
func (x *executable) readArray(c ctx, va arch.VA) error {
	if va == 0 {
		return nil
	}
	for {
		// Read only the pointers in this page: the array may end at the end of the page,
		// and the next page may be unmapped.
		var p [16]uint64
		n := min(uint64(len(p)), max(uint64(arch.PageSize-va&(arch.PageSize-1))/8, 1))
		if err := c.mem().CopyIn(bytesOf(&p)[:8*n], va); err != nil {
			return err
		}
		for _, at := range p[:n] {
			if at == 0 {
				return nil
			}
			if err := x.readString(c, arch.VA(at)); err != nil {
				return err
			}
		}
		va += arch.VA(8 * n)
	}
}

// stringStep is how many bytes of a string are copied between two pauses, for some 10 000
// instructions.
const stringStep = 6 << 10

func (x *executable) readString(c ctx, va arch.VA) error {
	n := 0 // bytes
	for {
		b, err := x.room()
		if err != nil {
			return err
		}
		room := min(cap(b)-len(b), maxExecString+1-n, stringStep) // including the NUL
		text, err := c.mem().AppendString(b, va, room-1)
		if err == nil {
			text = append(text, 0)
		}
		n += len(text) - len(b)
		x.text.Pieces[len(x.text.Pieces)-1] = text
		if err == nil {
			break
		}
		if err != syscall.ENAMETOOLONG {
			return err
		}
		if n > maxExecString {
			return syscall.E2BIG
		}
		if err := c.t.Pause(); err != nil {
			return err
		}
		va += arch.VA(room)
	}
	x.text.N++
	if x.size += n + 8; x.size > x.max {
		return syscall.E2BIG
	}
	if n >= arch.PageSize {
		return c.t.Pause()
	}
	return c.pauseEvery(x.text.N)
}

// program returns what /proc keeps of x. It takes a reference on x's file. Error: ENOMEM.
func (x *executable) program(payer *charge.User) (*program, error) {
	var argv []byte
	from := 0
	if len(x.before) > 0 {
		argv, from = joined(x.before), x.text.First()
	}
	return newProgram(x.file, x.shown(argv, from, x.envAt), x.shown(nil, x.envAt, x.text.Len()), payer)
}

// shown returns before followed by the bytes of text in [from, to), cut to the length that
// /proc shows. The result is valid until put.
func (x *executable) shown(before []byte, from, to int) []byte {
	to = min(to, from+maxShown-len(before))
	if p := x.text.Pieces; len(before) == 0 && len(p) > 0 && to <= len(p[0]) {
		return p[0][from:to]
	}
	return x.text.Append(before, from, to)
}

// open opens the program at a path and parses it. If it is a script, open opens the
// script's interpreter instead. In case of an error x has no file.
//
// While the program is being loaded and while it runs, no process can write to its file.
//
// EACCES: not a regular file, or not executable. ETXTBSY: open for writing. ELOOP: too many
// scripts as interpreters of scripts. ENOENT: the file, or its interpreter, does not exist.
// ENOEXEC: no program. ELIBBAD, EIO: the interpreter is no program.
func (x *executable) open(at fs.At, name string, flags int) error {
	if x.path == "" {
		x.path = name
	}
	asked := x.path // the script's path, which its interpreter gets
	for depth := 0; ; depth++ {
		f, err := x.s.fs.OpenExec(at, name, flags)
		if err != nil {
			return err
		}
		script, is, err := x.parse(f, at.Task)
		if err == nil && !is && x.image.Dynamic {
			err = x.openInterpreter(at)
		}
		switch {
		case err != nil || !is:
		case depth == elf.MaxScripts:
			err = syscall.ELOOP
		case x.unreachable:
			err = syscall.ENOENT
		}
		if err == nil && !is {
			x.file = f
			return nil
		}
		f.Release()
		if err != nil {
			return err
		}
		args := []string{script.Interpreter}
		if script.HasArg {
			args = append(args, script.Arg)
		}
		args = append(args, asked)
		if len(x.before) > 0 {
			args = append(args, x.before[1:]...)
		}
		x.before = args
		asked, name, flags = script.Interpreter, script.Interpreter, 0
		at.Dir, x.unreachable = nil, false
	}
}

// parse determines whether an opened file is a script, or an executable, which becomes x's
// image and object.
func (x *executable) parse(f *fs.File, t fs.Task) (script elf.Script, is bool, err error) {
	if x.obj != nil { // of a script
		x.obj.Unref()
		x.obj = nil
	}
	if x.obj, err = f.Object(); err == nil {
		if x.image = parsed(x.obj); x.image != nil {
			return script, false, nil
		}
	}
	r := fileReader{f, t}
	if script, is, err = elf.ParseScript(r, f.Stat().Size); err != nil || is {
		return script, is, err
	}
	x.image, err = x.s.parse(r, x.obj)
	return script, false, err
}

// parsed returns the image of a file that has been parsed before and has not changed since,
// or nil. Images are kept with the page cache, because programs are started again and
// again, and parsing takes as long as the rest of execve(2).
func parsed(obj vm.Object) *elf.Image {
	if cache, _ := obj.(*vm.FileObject); cache != nil {
		v, _ := cache.Derived()
		im, _ := v.(*elf.Image)
		return im
	}
	return nil
}

// parse reads the headers of a file. obj has the file's pages; it is nil if there are none.
func (s *System) parse(r fileReader, obj vm.Object) (*elf.Image, error) {
	cache, _ := obj.(*vm.FileObject)
	version := uint64(0)
	if cache != nil {
		_, version = cache.Derived()
	}
	im, err := elf.Parse(r, r.f.Stat().Size, delf.Machine(s.abi.Machine))
	if err == nil && cache != nil {
		cache.SetDerived(im, version)
	}
	return im, err
}

// openInterpreter opens and parses the interpreter that x's image names. Errors are those
// of opening a program, and ELIBBAD: it is not for this machine; EIO: it has no ELF header
// (execve(2)). In case of an error x has no interpreter.
func (x *executable) openInterpreter(at fs.At) error {
	at.Dir = nil
	f, err := x.s.fs.OpenExec(at, x.image.Interp, 0)
	if err != nil {
		return err
	}
	x.interp = f
	if x.interpObj, err = f.Object(); err == nil {
		if x.interpImage = parsed(x.interpObj); x.interpImage == nil {
			x.interpImage, err = x.s.parse(fileReader{f, at.Task}, x.interpObj)
		}
	}
	if err != nil {
		if err == syscall.ENOEXEC {
			err = syscall.ELIBBAD
			if f.Stat().Size < elf.HeaderSize {
				err = syscall.EIO
			}
		}
		x.closeInterpreter()
	}
	return err
}

func (x *executable) closeInterpreter() {
	if x.interpObj != nil {
		x.interpObj.Unref()
	}
	if x.interp != nil {
		x.interp.Release()
	}
	x.interp, x.interpObj, x.interpImage = nil, nil, nil
}

// fileReader implements io.ReaderAt with a file.
type fileReader struct {
	f *fs.File
	t fs.Task
}

func (r fileReader) ReadAt(p []byte, off int64) (int, error) { return r.f.Pread(r.t, p, off) }

// load loads the program into an empty address space.
func (x *executable) load(vs *vm.VMSpace) (pc, sp arch.VA, err error) {
	s := x.s
	if x.limits != nil {
		setMemoryLimits(vs, x.limits, x.cred)
	}
	if x.obj == nil {
		return 0, 0, syscall.ENOEXEC // the file cannot be mapped
	}
	a := &x.args
	a.Yield = x.s.cfg.Yield
	a.Strings, a.Argc, a.Before, a.ExecFn, a.CPU = &x.text, x.argc, x.before, x.path, s.cfg.CPU
	a.Interp, a.InterpObject = x.interpImage, x.interpObj
	a.ID = elf.Identity{UID: x.cred.UID, EUID: x.cred.EUID, GID: x.cred.GID, EGID: x.cred.EGID,
		Secure: x.secure}
	a.Low = x.cred.EUID == 0
	s.cfg.Random(a.Random[:])
	if a.Randomize = s.cfg.ASLR && !x.fixed; a.Randomize {
		s.cfg.Random(a.Draw[:])
	}
	if pc, sp, err = elf.Load(vs, x.image, x.obj, a); err != nil {
		return 0, 0, err
	}
	if s.sigPage != nil {
		_, err = vs.Map(vs.Marks().SigPage, arch.PageSize, arch.Read|arch.Exec, vm.Fixed|vm.Private, s.sigPage, 0)
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
	x := c.s.getExecutable()
	defer x.put()
	if err := x.read(c, argv, envp); err != nil {
		return 0, err
	}
	if at.Dir != nil { // the file is named by a descriptor
		if x.path = fmt.Sprintf("/dev/fd/%d", c.int(0)); name != "" {
			x.path += "/" + name
		}
		x.unreachable, _ = c.files().fds.Cloexec(c.int(0))
	}
	if err := x.open(at, name, flags); err != nil {
		return 0, err
	}
	p := c.t.Process()
	x.limits, x.fixed = p, p.Personality()&addrNoRandomize != 0
	x.cred, x.secure = execCred(c.t, x.file)
	defer x.file.Release() // the users of the file have their own references
	prog, err := x.program(p.Account().User())
	if err != nil {
		return 0, err
	}
	if err := c.t.Exec(path.Base(x.path), x.cred, x.loadFor); err != nil {
		prog.release()
		return 0, err
	}
	c.files().setProgram(prog)
	setMemoryLimits(c.mem(), p, x.cred) // another thread may have changed them, for the old space
	// The registers are already the new program's, so return its initial result register.
	return c.f[arch.RetSlot], nil
}

// execCred returns the credentials that t has after an execve(2) of f, which may be
// set-user-ID or set-group-ID. secure says that they include more rights than t's user has.
func execCred(t *proc.Thread, f *fs.File) (n *proc.Cred, secure bool) {
	mode, owner, group := f.ProgramIDs()
	var uid, gid *uint32
	if !t.NoNewPrivs() {
		if mode&unix.S_ISUID != 0 {
			uid = &owner
		}
		if mode&(unix.S_ISGID|unix.S_IXGRP) == unix.S_ISGID|unix.S_IXGRP {
			gid = &group
		}
	}
	return t.Cred().Exec(uid, gid)
}

// StartArgs describes a process that the kernel starts.
type StartArgs struct {
	Path      string
	Image     []byte   // the program itself, an ELF file; nil: the file at Path
	Argv, Env []string // Argv empty: only the path
	Dir       string   // the working directory; "": /
	Layout    arch.Layout
	Init      bool         // it is process 1
	Design    *exit.Design // nil: the kernel's
	// Files are the descriptors from 0 on; no file is open at the number of a nil. Start
	// takes references of its own. If Files is nil, Console is opened as descriptors 0, 1
	// and 2. Empty: /dev/console.
	Files   []*fs.File
	Console string
	Limits  map[int]proc.Rlimit // by RLIMIT_ number; the others are the kernel's
	Cred    *proc.Cred          // nil: the superuser's
	// Started is called with the process before it runs. It may be nil.
	Started func(p *proc.Process)
}

// Start runs a program as a child of the kernel, in a new session. The caller must call
// Wait on the process in the end. Errors are those of execve(2) and of proc.Kernel.Spawn;
// EINVAL for a limit.
func (s *System) Start(a StartArgs) (*proc.Process, error) {
	if a.Console == "" {
		a.Console = "/dev/console"
	}
	if a.Path == "" {
		a.Path = "program"
	}
	if len(a.Argv) == 0 {
		a.Argv = []string{a.Path}
	}
	if a.Cred == nil {
		a.Cred = cred.Root()
	}
	fl := s.newFiles()
	p, err := s.start(&a, fl, fs.At{Task: kernelTask{s}, Place: fl.place})
	if err != nil {
		fl.CloseAll()
		return nil, err
	}
	return p, nil
}

// fdLimit is RLIMIT_NOFILE of the processes that the kernel starts.
var fdLimit = int(proc.DefaultLimits()[unix.RLIMIT_NOFILE].Cur)

// startFiles fills the descriptor table, and sets the working directory.
func (s *System) startFiles(a *StartArgs, fl *files, at fs.At) error {
	if a.Dir != "" {
		if err := s.fs.Chdir(at, a.Dir); err != nil {
			return err
		}
	}
	list := a.Files
	if list == nil {
		tty, err := s.fs.Open(at, a.Console, unix.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer tty.Release()
		list = []*fs.File{tty, tty, tty}
	}
	for i, f := range list {
		if f == nil {
			continue
		}
		if _, err := fl.fds.Install(f.Ref(), i, false); err != nil {
			return err
		}
	}
	return nil
}

// openStart opens the program of a for x.
func (s *System) openStart(x *executable, a *StartArgs, at fs.At) error {
	if a.Image == nil {
		return x.open(at, a.Path, 0)
	}
	f, err := s.fs.Memfd(at.Task, path.Base(a.Path), 0)
	if err != nil {
		return err
	}
	defer f.Release()
	if n, err := f.Pwrite(at.Task, a.Image, 0); err != nil || n < len(a.Image) {
		return syscall.ENOMEM
	}
	at.Dir = f
	x.path, x.unreachable = a.Path, true
	return x.open(at, "", unix.AT_EMPTY_PATH)
}

// checkLimits returns EINVAL if a limit cannot be set.
func (a *StartArgs) checkLimits() error {
	for which, l := range a.Limits {
		if which < 0 || which >= proc.NumLimits || l.Cur > l.Max || which == unix.RLIMIT_NOFILE && l.Max > fs.MaxFDs {
			return syscall.EINVAL
		}
	}
	return nil
}

func (s *System) start(a *StartArgs, fl *files, at fs.At) (*proc.Process, error) {
	if err := a.checkLimits(); err != nil {
		return nil, err
	}
	if err := s.startFiles(a, fl, at); err != nil {
		return nil, err
	}
	x := s.getExecutable()
	defer x.put()
	for _, s := range a.Argv {
		x.text.Add(s)
	}
	x.argc, x.envAt = x.text.N, x.text.Len()
	for _, s := range a.Env {
		x.text.Add(s)
	}
	x.cred = a.Cred
	if err := s.openStart(x, a, at); err != nil {
		return nil, err
	}
	name := path.Base(x.path)
	defer x.file.Release()
	prog, err := x.program(s.cfg.VM.Charges().Kernel())
	if err != nil {
		return nil, err
	}
	fl.setProgram(prog)
	vs, err := vm.New(s.cfg.VM, a.Layout, s.cfg.VM.Charges().Kernel())
	if err != nil {
		return nil, err
	}
	pc, sp, err := x.load(vs)
	if err == nil {
		var p *proc.Process
		p, err = s.k.Spawn(proc.SpawnArgs{
			Name: name, VM: vs, PC: pc, SP: sp, Files: fl, Init: a.Init, Design: a.Design, Cred: a.Cred,
			Setup: func(t *proc.Thread) { setUp(t.Process(), a, fl, vs, t.Cred()) },
		})
		if err == nil {
			if a.Init {
				s.fs.TTY().Control(p.PID(), p.PID())
			}
			return p, nil
		}
	}
	vs.Purge(nil)
	vs.Release()
	return nil, err
}

// setUp sets the limits of a process that does not run yet, and tells a.Started of it.
func setUp(p *proc.Process, a *StartArgs, fl *files, vs *vm.VMSpace, c *proc.Cred) {
	for which, l := range a.Limits {
		if err := p.SetLimit(which, l, true); err != nil {
			panic("sys: Start: a limit that was checked is refused: " + err.Error())
		}
		if which == unix.RLIMIT_NOFILE {
			fl.fds.SetLimit(int(l.Cur))
		}
	}
	setMemoryLimits(vs, p, c)
	if a.Started != nil {
		a.Started(p)
	}
}

// KernelTask returns the fs.Task of the kernel's own goroutines: the superuser's.
func (s *System) KernelTask() fs.Task { return kernelTask{s} }

// kernelTask implements fs.Task for the kernel's own goroutines, which nothing interrupts.
type kernelTask struct{ s *System }

// IDs implements fs.Task: 0, as there is no process.
func (kernelTask) IDs() (pid, tid int) { return 0, 0 }

// FileLimit implements fs.Task: no limit.
func (kernelTask) FileLimit() int64 { return fs.Never }

// TooLarge implements fs.Task.
func (kernelTask) TooLarge() {}

// OpenLimit implements fs.Task.
func (kernelTask) OpenLimit() int { return fs.MaxFDs }

// Cred implements fs.Task.
func (kernelTask) Cred() *proc.Cred { return cred.Root() }

// Pause implements fs.Task. It does nothing, as the kernel's own calls are short.
func (kernelTask) Pause() error { return nil }

// Payer implements fs.Task: the kernel.
func (k kernelTask) Payer() *charge.User { return k.s.cfg.VM.Charges().Kernel() }

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
