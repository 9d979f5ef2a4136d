// Package sys is the Linux system-call layer. It has a table per architecture with number,
// name, arguments and function of each call. Both architectures share the handlers. The
// package also has the signal frames, program start, and the processes' data for /proc.
//
// A handler decodes and checks all its arguments first, then acts. It runs in the calling
// thread's goroutine. It may block in proc.Thread.Sleep and in those methods of vm and fs
// that may block, and holds no lock of this package while it blocks. Its error, a
// syscall.Errno, becomes the negative result of the call. Package proc replaces its own
// ERESTART errors before user mode sees them.
//
// The package has no locks but files.mu, System.execMu and names.mu, which are taken alone.
//
// The manuals are section 2 of man-pages for the meaning of the calls, and include/uapi of
// Linux 6.1 for layouts and numbers. The notes in the table describe the differences.
package sys

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"

	"grim/arch"
	"grim/arch/amd64"
	"grim/kernel/fs"
	"grim/kernel/ipc"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/elf"
)

// Config has the parts of the kernel on which the layer is built. ABI, VM, Wall, Memory,
// Random and Reboot are required.
type Config struct {
	ABI *arch.ABI
	VM  *vm.System

	Wall    func() int64                // wall clock, nanoseconds since 1970
	SetWall func(ns int64)              // sets it; nil: it cannot be set
	Memory  func() (total, free uint64) // bytes
	Random  func(p []byte)              // fills p with unpredictable bytes
	// OpenDisk opens the file system of a block device for mount(2). nil: there are no
	// disks.
	OpenDisk func(rdev uint64, readOnly bool) (fs.Store, error)
	Reboot   func(restart bool) // reboot(2): stops the machine
	Yield    func()             // lets others run in long work; nil: does nothing
	Version  string             // uname(2)'s version
	CPU      elf.CPU            // for the auxiliary vector
	CPUs     int                // processors; 0: one
	ASLR     bool               // programs get random addresses (package elf says which)
	FPU      amd64.FPU          // amd64: how the CPU keeps the FPU state
	// OnlySeparate forbids a process to choose the shared layout, with which it could read
	// kernel memory.
	OnlySeparate bool

	// Trace, if set, is called when a system call returns (strace).
	Trace func(t *proc.Thread, name string, args []uint64, ret uint64, err error)
}

// handler is the function of one system call. It returns the result, or an errno.
type handler func(c ctx) (uint64, error)

// System is the system-call layer of one machine.
type System struct {
	cfg Config
	k   *proc.Kernel
	fs  *fs.FS
	abi *arch.ABI
	tab *table

	// Used by every call: the slot of the system-call number, and the handlers.
	number int
	fn     [maxNumber]handler

	order [kcmpKinds]orderKey // [I]
	uts   names
	ipc   *ipc.System

	unknown [maxNumber]atomic.Uint32
	beyond  atomic.Uint32 // numbers beyond the table

	execMu sync.Mutex    // taken alone
	execs  []*executable // for the next execve(2); see getExecutable

	sigPage vm.Object // code to which a handler returns if the program does not provide it
}

// New makes the layer. proc.New gets its Syscall, and the System itself as SignalABI.
// fs.New gets its ProcSource. Then Attach gives the layer both kernel and file system,
// before the first process starts.
func New(cfg Config) (*System, error) {
	if cfg.ABI == nil || cfg.VM == nil || cfg.Wall == nil || cfg.Memory == nil ||
		cfg.Random == nil || cfg.Reboot == nil {
		return nil, errors.New("sys: New: Config.ABI, VM, Wall, Memory, Random and Reboot are required")
	}
	if cfg.Yield == nil {
		cfg.Yield = func() {}
	}
	if cfg.CPUs == 0 {
		cfg.CPUs = 1
	}
	tab, err := newTable(&cfg)
	if err != nil {
		return nil, err
	}
	cfg.CPU.MinSigStack = uint64(tab.frame.size())
	s := &System{cfg: cfg, abi: cfg.ABI, tab: tab, number: cfg.ABI.Number}
	s.ipc = new(ipc.System)
	s.order = newOrderKeys(cfg.Random)
	s.uts.host, s.uts.domain = "grim", "(none)"
	for n, e := range tab.ent {
		switch {
		case e == nil:
			s.fn[n] = sysUnknown
		case cfg.Trace != nil:
			s.fn[n] = e.traced
		default:
			s.fn[n] = e.fn
		}
	}
	if tab.sigPage != nil {
		o := vm.NewFileObject(cfg.VM, "[sigpage]", nil)
		if _, err := o.WriteAt(tab.sigPage, 0); err != nil {
			return nil, err
		}
		s.sigPage = o
	}
	return s, nil
}

// Attach gives the layer the processes and the files that it serves.
func (s *System) Attach(k *proc.Kernel, f *fs.FS) {
	s.k, s.fs = k, f
	s.kernelTexts()
	s.ipcTexts()
}

// now returns the monotonic clock, in nanoseconds.
func (s *System) now() int64 { return s.k.Now() }

// Syscall handles the system call in t's registers (proc.Config.Syscall). The cost of a
// call that does nothing is an index, an indirect call and a store.
func (s *System) Syscall(t *proc.Thread) {
	f := &t.U.Frame
	fn := handler(sysUnknown)
	if n := f[s.number]; n < maxNumber {
		// The mask does not change n, except when the CPU speculates on the branch before
		// it knows n. Then the mask keeps it from loading a handler from beyond the table
		// that user code has chosen, and from jumping to it (Spectre v1). It also replaces
		// Go's bounds check.
		fn = s.fn[n&(maxNumber-1)]
	}
	v, err := fn(ctx{s, t, f})
	if err != nil {
		for again := false; (err == syscall.ENOMEM || err == syscall.ENOSPC) && t.MemoryBack(again); again = true {
			v, err = fn(ctx{s, t, f})
		}
		v = result(v, err)
	}
	f[arch.RetSlot] = v
}

// result returns the value for the result register: -errno for an error.
func result(v uint64, err error) uint64 {
	if err == nil {
		return v
	}
	e, ok := err.(syscall.Errno)
	if !ok {
		// Errors of the layers below are errnos. User code gets an errno in any case.
		e = syscall.EIO
	}
	return -uint64(e)
}

// traced calls e.fn and then Config.Trace.
func (e *sysent) traced(c ctx) (uint64, error) {
	var args [6]uint64
	for i := range args {
		args[i] = c.arg(i)
	}
	v, err := e.fn(c)
	c.s.cfg.Trace(c.t, e.name, args[:e.nargs], v, err)
	return v, err
}

// sysUnknown is the handler of numbers that are not offered. It counts them.
func sysUnknown(c ctx) (uint64, error) {
	if n := c.f[c.s.number]; n < maxNumber {
		c.s.unknown[n&(maxNumber-1)].Add(1)
	} else {
		c.s.beyond.Add(1)
	}
	return 0, syscall.ENOSYS
}

// Unknown is a system call that programs have made and that this layer does not have.
type Unknown struct {
	Number int    // -1: beyond every number that Linux uses
	Name   string // Linux's name; empty if Linux has no such call
	Count  uint32
}

// UnknownCalls returns the unknown calls, for the report at power-off.
func (s *System) UnknownCalls() []Unknown {
	var out []Unknown
	for n := range s.unknown {
		if c := s.unknown[n].Load(); c > 0 {
			out = append(out, Unknown{n, s.tab.name(n), c})
		}
	}
	if c := s.beyond.Load(); c > 0 {
		out = append(out, Unknown{-1, "", c})
	}
	return out
}
