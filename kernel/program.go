//go:build tamago

package kernel

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"grim/arch"
	"grim/kernel/fs"
	"grim/kernel/sys"
	"grim/proc"
	"grim/proc/cred"
	"grim/proc/exit"
)

// Program describes a process that a kernel task starts. Only Path or Image is required.
type Program struct {
	// Path is the program's file, and Image the program itself: a static ELF file. With
	// Image, Path is only the name that the process gets.
	Path  string
	Image []byte
	// Args are the arguments after the program's name. Env is the environment; nil: PATH,
	// HOME and TERM. Dir is the working directory; "": /.
	Args []string
	Env  []string
	Dir  string
	// Stdin, Stdout and Stderr are descriptors 0, 1 and 2; nil: /dev/null. A *File is passed
	// on as it is. For others there is a pipe, and a goroutine that copies: one for both if
	// Stdout and Stderr are equal. Files are the descriptors from 3 on.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Files          []*File
	// Limits are resource limits by RLIMIT_ number, for example {syscall.RLIMIT_AS: {Cur:
	// 64 << 20, Max: 64 << 20}}. The others have the kernel's defaults.
	Limits map[int]proc.Rlimit
	// Timeout is the time after which the process is killed; 0: never.
	Timeout time.Duration
	// UID is the user and the group that the process belongs to; 0 is the superuser. What
	// the process makes the kernel hold is charged to this user (package charge).
	UID uint32
	// Design is how the process and its children end; nil: the design of exit= on the
	// kernel command line. Separate gives it page tables without the kernel's half, as
	// layout=separate does for all.
	Design   *exit.Design
	Separate bool
}

// Step is one step of an exit: when, whose, what, in which context, on which CPU, and what
// it has freed. Package grim/proc/exit has the names.
type Step = proc.Event

// Process is a process that a kernel task has started.
type Process struct {
	PID  int
	k    *Kernel
	p    *proc.Process
	done chan struct{}
	end  Result // [I] once done is closed

	steps       []Step // [Kernel.mu]
	gone, freed bool   // [Kernel.mu] no more steps will come if both hold
}

// keptSteps bounds the steps that are kept for each process. An exit takes some 20, and
// each thread before it 2 or 3.
const keptSteps = 4096

// Start starts a program in a process of its own, a child of the kernel. The errors are
// those of execve(2); EAGAIN or ENOMEM if there can be no more processes; EINVAL for a limit
// that does not exist.
func (k *Kernel) Start(a Program) (*Process, error) {
	c := copies{k: k}
	files, err := c.open(&a)
	if err != nil {
		c.abort()
		return nil, err
	}
	args := sys.StartArgs{
		Path: a.Path, Image: a.Image, Env: a.Env, Dir: a.Dir, Design: a.Design, Layout: k.s.opts.Layout, Limits: a.Limits, Files: files,
	}
	if args.Path == "" {
		args.Path = "program"
	}
	args.Argv = append([]string{args.Path}, a.Args...)
	if a.Env == nil {
		args.Env = environment
	}
	if a.Separate {
		args.Layout = arch.Separate
	}
	if a.UID != 0 {
		args.Cred = &cred.Cred{UID: a.UID, EUID: a.UID, SUID: a.UID, FSUID: a.UID, GID: a.UID, EGID: a.UID, SGID: a.UID, FSGID: a.UID, Bounding: cred.All}
	}
	p := &Process{k: k, done: make(chan struct{})}
	args.Started = func(made *proc.Process) {
		p.p, p.PID = made, made.PID()
		k.follow(p)
	}
	if _, err := k.s.sys.Start(args); err != nil {
		c.abort()
		if p.p != nil {
			k.unfollow(p)
		}
		return nil, err
	}
	c.run()
	var late *time.Timer
	if a.Timeout > 0 {
		late = time.AfterFunc(a.Timeout, func() { _ = p.Signal(syscall.SIGKILL) })
		k.s.proc.TimerMoved()
	}
	go func() {
		r := p.p.Wait()
		if late != nil {
			late.Stop()
		}
		p.end = Result{
			Status: r.Status, User: time.Duration(r.Usage.UserTime), System: time.Duration(r.Usage.SystemTime),
			MaxRSS: int64(r.Usage.MaxRSS), Faults: r.Usage.Faults, Output: c.wait(),
		}
		close(p.done)
	}()
	return p, nil
}

// Wait waits until the process has ended, and all bytes of its Stdout and Stderr are
// copied. A child of it that goes on with these descriptors prolongs the wait.
func (p *Process) Wait() Result {
	<-p.done
	return p.end
}

// Done is closed when Wait would return.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the process. ESRCH: it has ended.
func (p *Process) Signal(s syscall.Signal) error {
	select {
	case <-p.done:
		return syscall.ESRCH
	default:
		return p.p.Signal(&proc.Siginfo{Signo: s})
	}
}

// Steps returns the steps of the process's exit up to now, in the order in which they
// happened. With a design that goes on after the process is gone (exit.Eager), some may
// follow after Wait has returned.
func (p *Process) Steps() []Step {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	return slices.Clone(p.steps)
}

// OnExitStep calls f at every exit step of every process from now on, in place of an
// earlier f; nil: no more. f runs inside the exit, with locks held: it must not block, nor
// call this package.
func (k *Kernel) OnExitStep(f func(Step)) {
	k.mu.Lock()
	k.watch = f
	k.mu.Unlock()
	k.s.proc.SetTrace(k.step)
}

// follow makes k keep the steps of p's exit.
func (k *Kernel) follow(p *Process) {
	k.mu.Lock()
	k.procs[int32(p.PID)] = p // a process that had this number is gone
	k.mu.Unlock()
	k.s.proc.SetTrace(k.step)
}

func (k *Kernel) unfollow(p *Process) {
	k.mu.Lock()
	delete(k.procs, int32(p.PID))
	k.mu.Unlock()
}

// step is proc.Config.Trace.
func (k *Kernel) step(e *proc.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.procs[e.PID]; p != nil {
		if len(p.steps) < keptSteps {
			p.steps = append(p.steps, *e)
		}
		p.gone = p.gone || e.Step == exit.StepGone
		p.freed = p.freed || e.Step == exit.StepSpaceFreed
		if p.gone && p.freed {
			delete(k.procs, e.PID)
		}
	}
	if k.watch != nil {
		k.watch(*e)
	}
}

// copies are the pipes between a process and the readers and writers of a kernel task.
type copies struct {
	k     *Kernel
	mine  []*File // closed when the process has its descriptors
	jobs  []func() error
	ends  []*File // what the jobs close
	group sync.WaitGroup
	mu    sync.Mutex
	err   error
}

// open opens the descriptors of a process.
func (c *copies) open(a *Program) (list []*fs.File, err error) {
	add := func(f *File, err2 error) {
		if err == nil {
			err = err2
		}
		if f == nil {
			list = append(list, nil)
			return
		}
		list = append(list, f.f)
	}
	add(c.input(a.Stdin))
	add(c.output(a.Stdout))
	if a.Stderr != nil && a.Stderr == a.Stdout { // one pipe, so that the writer is called by one goroutine
		list = append(list, list[1])
	} else {
		add(c.output(a.Stderr))
	}
	for _, f := range a.Files {
		add(f, nil)
	}
	return list, err
}

// input returns the end from which the process reads what r has.
func (c *copies) input(r io.Reader) (*File, error) {
	if f, ok := r.(*File); ok {
		return f, nil
	}
	if r == nil {
		return c.keep(c.k.Open("/dev/null", os.O_RDONLY, 0))
	}
	in, out, err := c.k.Pipe()
	if err != nil {
		return nil, err
	}
	c.job(out, func() error {
		_, err := io.Copy(out, r)
		if errors.Is(err, syscall.EPIPE) { // the process has read what it wanted
			err = nil
		}
		return err
	})
	return c.keep(in, nil)
}

// output returns the end to which the process writes what w gets.
func (c *copies) output(w io.Writer) (*File, error) {
	if f, ok := w.(*File); ok {
		return f, nil
	}
	if w == nil {
		return c.keep(c.k.Open("/dev/null", os.O_WRONLY, 0))
	}
	in, out, err := c.k.Pipe()
	if err != nil {
		return nil, err
	}
	c.job(in, func() error {
		_, err := io.Copy(w, in)
		return err
	})
	return c.keep(out, nil)
}

func (c *copies) keep(f *File, err error) (*File, error) {
	if f != nil {
		c.mine = append(c.mine, f)
	}
	return f, err
}

func (c *copies) job(end *File, copy func() error) {
	c.ends = append(c.ends, end)
	c.jobs = append(c.jobs, copy)
}

// run starts the copying. The process has descriptors of its own now.
func (c *copies) run() {
	closeAll(c.mine)
	for i, job := range c.jobs {
		c.group.Go(func() {
			err := job()
			c.ends[i].Close()
			if err != nil {
				c.mu.Lock()
				c.err = errors.Join(c.err, err)
				c.mu.Unlock()
			}
		})
	}
}

func (c *copies) abort() {
	closeAll(c.mine)
	closeAll(c.ends)
}

// wait waits until all is copied.
func (c *copies) wait() error {
	c.group.Wait()
	return c.err
}

func closeAll(list []*File) {
	for _, f := range list {
		f.Close()
	}
}
