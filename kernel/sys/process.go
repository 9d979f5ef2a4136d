package sys

import (
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/arch/amd64"
	"grim/kernel/fs"
	"grim/proc"
)

func sysGetpid(c ctx) (uint64, error)  { return uint64(c.t.Process().PID()), nil }
func sysGettid(c ctx) (uint64, error)  { return uint64(c.t.TID()), nil }
func sysGetppid(c ctx) (uint64, error) { return uint64(c.t.Process().PPID()), nil }

func sysGetpgrp(c ctx) (uint64, error) { return uint64(c.t.Process().GroupID()), nil }

func sysGetpgid(c ctx) (uint64, error) {
	p, err := c.process(c.int(0))
	if err != nil {
		return 0, err
	}
	return uint64(p.GroupID()), nil
}

func sysGetsid(c ctx) (uint64, error) {
	p, err := c.process(c.int(0))
	if err != nil {
		return 0, err
	}
	return uint64(p.SessionID()), nil
}

func sysSetpgid(c ctx) (uint64, error) { return 0, c.t.Setpgid(c.int(0), c.int(1)) }

func sysSetsid(c ctx) (uint64, error) {
	sid, err := c.t.Setsid()
	return uint64(sid), err
}

// fork implements all five calls. The pidfd, if one is requested, is made before the child
// runs, so that there is no child if this fails.
func (c ctx) fork(a proc.ForkArgs, pidfdAt arch.VA) (uint64, error) {
	var pidfd *fs.File // nil: none is installed
	number := 0
	if a.Flags&proc.ClonePidfd != 0 {
		a.OnChild = func(child *proc.Thread) error {
			f, err := c.s.fs.Pidfd(c.task(), pidTarget{child.Process()}, 0)
			if err != nil {
				return err
			}
			if number, err = c.files().fds.Install(f, 0, true); err != nil {
				return err
			}
			pidfd = f
			n := int32(number)
			return put(c, pidfdAt, &n)
		}
	}
	tid, err := c.t.Fork(a)
	if err != nil && pidfd != nil {
		c.files().fds.Remove(number, pidfd)
	}
	return uint64(tid), err
}

func sysFork(c ctx) (uint64, error) {
	return c.fork(proc.ForkArgs{ExitSignal: syscall.SIGCHLD}, 0)
}

func sysVfork(c ctx) (uint64, error) {
	return c.fork(proc.ForkArgs{Flags: proc.CloneVM | proc.CloneVfork, ExitSignal: syscall.SIGCHLD}, 0)
}

// exitSignalMask is CSIGNAL: the low byte of clone(2)'s flags.
const exitSignalMask = 0xff

// sysClone implements clone(2). The order of the last two arguments depends on the
// architecture.
func sysClone(c ctx) (uint64, error) {
	flags, tls, ctid := c.arg(0), c.arg(4), c.va(3)
	if c.s.tab.tlsBeforeTID {
		tls, ctid = c.arg(3), c.va(4)
	}
	a := proc.ForkArgs{
		Flags:      proc.CloneFlags(uint32(flags) &^ exitSignalMask),
		Stack:      c.va(1),
		TLS:        tls,
		ParentTID:  c.va(2),
		ChildTID:   ctid,
		ExitSignal: syscall.Signal(flags & exitSignalMask),
	}
	// clone(2) stores the pidfd at the address for the parent's copy of the number.
	if a.Flags&proc.ClonePidfd != 0 && a.Flags&proc.CloneParentSetTID != 0 {
		return 0, syscall.EINVAL
	}
	if err := checkTLS(&a); err != nil {
		return 0, err
	}
	return c.fork(a, a.ParentTID)
}

// checkTLS refuses a thread pointer outside of the user half: EPERM, as arch_prctl(2)
// returns.
func checkTLS(a *proc.ForkArgs) error {
	if a.Flags&proc.CloneSetTLS != 0 && a.TLS >= uint64(arch.UserMax) {
		return syscall.EPERM
	}
	return nil
}

// cloneArgs is struct clone_args of clone3(2), version 2 (Linux 5.7).
type cloneArgs struct {
	Flags, Pidfd, ChildTID, ParentTID, ExitSignal     uint64
	Stack, StackSize, TLS, SetTID, SetTIDSize, Cgroup uint64
}

// cloneArgsV0 is the minimum size of the structure: up to TLS.
const cloneArgsV0 = 64

func sysClone3(c ctx) (uint64, error) {
	var u cloneArgs
	size := c.arg(1)
	if size > arch.PageSize {
		return 0, syscall.E2BIG
	}
	if size < cloneArgsV0 {
		return 0, syscall.EINVAL
	}
	b := bytesOf(&u)
	if err := c.mem().CopyIn(b[:min(size, uint64(len(b)))], c.va(0)); err != nil {
		return 0, err
	}
	if size > uint64(len(b)) { // fields that this kernel does not know must be zero
		rest := make([]byte, size-uint64(len(b)))
		if err := c.mem().CopyIn(rest, c.va(0)+arch.VA(len(b))); err != nil {
			return 0, err
		}
		for _, x := range rest {
			if x != 0 {
				return 0, syscall.E2BIG
			}
		}
	}
	stack := u.Stack + u.StackSize
	if u.Flags&exitSignalMask != 0 || u.ExitSignal > proc.NumSignals || u.SetTIDSize != 0 || u.SetTID != 0 ||
		(u.Stack == 0) != (u.StackSize == 0) || stack < u.Stack {
		return 0, syscall.EINVAL
	}
	if u.Flags&uint64(proc.CloneThread|proc.CloneParent) != 0 && u.ExitSignal != 0 {
		return 0, syscall.EINVAL
	}
	a := proc.ForkArgs{
		Flags: proc.CloneFlags(u.Flags), Stack: arch.VA(stack), TLS: u.TLS,
		ParentTID: arch.VA(u.ParentTID), ChildTID: arch.VA(u.ChildTID), ExitSignal: syscall.Signal(u.ExitSignal),
	}
	if err := checkTLS(&a); err != nil {
		return 0, err
	}
	return c.fork(a, arch.VA(u.Pidfd))
}

func sysExit(c ctx) (uint64, error) {
	c.t.Exit(c.int(0))
	return 0, nil
}

func sysExitGroup(c ctx) (uint64, error) {
	c.t.ExitGroup(c.int(0))
	return 0, nil
}

func sysWait4(c ctx) (uint64, error) {
	r, err := c.t.Wait4(c.int(0), c.uint32(2))
	if err != nil || r.PID == 0 {
		return 0, err
	}
	if va := c.va(1); va != 0 {
		status := uint32(r.Status)
		err = c.mem().WriteUint32(va, status)
		if err == syscall.EINVAL { // misaligned
			err = put(c, va, &status)
		}
		if err != nil {
			return 0, err
		}
	}
	if va := c.va(3); va != 0 {
		ru := rusageOf(r.Usage)
		if err := put(c, va, &ru); err != nil {
			return 0, err
		}
	}
	return uint64(r.PID), nil
}

func sysWaitid(c ctx) (uint64, error) {
	what, id := proc.IDType(c.int(0)), c.int(1)
	options := c.uint32(3)
	if what == unix.P_PIDFD {
		f, err := c.files().fds.Get(id)
		if err != nil {
			return 0, err
		}
		target, err := f.Pid()
		nonblock := f.Flags()&unix.O_NONBLOCK != 0
		f.Release()
		if err != nil {
			return 0, err
		}
		var none error
		if nonblock && options&proc.WNOHANG == 0 {
			options |= proc.WNOHANG
			none = syscall.EAGAIN
		}
		r, err := c.t.WaitProcess(target.(pidTarget).Process, options)
		return c.waited(r, err, none)
	}
	r, err := c.t.Waitid(what, id, options)
	return c.waited(r, err, nil)
}

// waited stores the siginfo and the usage of a child. It returns none if there was no child
// to report.
func (c ctx) waited(r proc.WaitResult, err, none error) (uint64, error) {
	if err != nil {
		return 0, err
	}
	if r.PID == 0 && none != nil {
		return 0, none
	}
	if va := c.va(4); va != 0 && r.PID != 0 {
		ru := rusageOf(r.Usage)
		if err := put(c, va, &ru); err != nil {
			return 0, err
		}
	}
	if va := c.va(2); va != 0 {
		var b siginfo
		if r.PID != 0 {
			b = encodeSiginfo(&proc.Siginfo{
				Signo: syscall.SIGCHLD, Child: true, Code: r.Code, PID: int32(r.PID), UID: r.UID, Status: r.Value,
			})
		}
		return 0, c.mem().CopyOut(va, b[:])
	}
	return 0, nil
}

// pidTarget implements fs.PidTarget with a process.
type pidTarget struct{ *proc.Process }

var _ fs.PidTarget = pidTarget{}

func sysPidfdOpen(c ctx) (uint64, error) {
	pid, flags := c.int(0), c.int(1)
	if pid <= 0 || flags&^unix.O_NONBLOCK != 0 {
		return 0, syscall.EINVAL
	}
	p := c.s.k.Process(pid)
	if p == nil {
		if c.s.k.Thread(pid) != nil { // a thread that is not the leader of its process
			return 0, syscall.EINVAL
		}
		return 0, syscall.ESRCH
	}
	return c.installNew(true)(c.s.fs.Pidfd(c.task(), pidTarget{p}, flags))
}

func sysPidfdSendSignal(c ctx) (uint64, error) {
	if c.arg(3) != 0 {
		return 0, syscall.EINVAL
	}
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	target, err := f.Pid()
	if err != nil {
		return 0, err
	}
	info := c.sender(c.int(1), proc.SI_USER)
	if va := c.va(2); va != 0 {
		if info, err = c.queued(target.PID(), c.int(1), va); err != nil {
			return 0, err
		}
	}
	return 0, c.t.SendTo(target.(pidTarget).Process, info)
}

func sysSetTidAddress(c ctx) (uint64, error) {
	c.t.SetClearTID(c.va(0))
	return uint64(c.t.TID()), nil
}

// robustListHead is sizeof(struct robust_list_head).
const robustListHead = 24

func sysSetRobustList(c ctx) (uint64, error) {
	if c.arg(1) != robustListHead {
		return 0, syscall.EINVAL
	}
	c.t.SetRobustList(c.va(0))
	return 0, nil
}

func sysGetRobustList(c ctx) (uint64, error) {
	if tid := c.int(0); tid != 0 && tid != c.t.TID() {
		if c.s.k.Thread(tid) == nil {
			return 0, syscall.ESRCH
		}
		return 0, syscall.EPERM
	}
	head, size := uint64(c.t.RobustList()), uint64(robustListHead)
	if err := put(c, c.va(1), &head); err != nil {
		return 0, err
	}
	return 0, put(c, c.va(2), &size)
}

func sysRseq(c ctx) (uint64, error) {
	const unregister = 1 // RSEQ_FLAG_UNREGISTER
	at, size, sig := c.va(0), c.uint32(1), c.uint32(3)
	switch c.int(2) {
	case 0:
		return 0, c.t.Rseq(at, size, sig)
	case unregister:
		return 0, c.t.Unrseq(at, size, sig)
	}
	return 0, syscall.EINVAL
}

func sysSchedYield(c ctx) (uint64, error) {
	c.t.Yield()
	return 0, nil
}

// Codes of arch_prctl(2).
const (
	archSetGS = 0x1001
	archSetFS = 0x1002
	archGetFS = 0x1003
	archGetGS = 0x1004
)

// sysArchPrctl reads and sets the segment bases. It exists only on amd64. EPERM: the
// address is outside of the user half.
func sysArchPrctl(c ctx) (uint64, error) {
	slot := amd64.FSBase
	if code := c.int(0); code == archSetGS || code == archGetGS {
		slot = amd64.GSBase
	}
	switch c.int(0) {
	case archSetFS, archSetGS:
		if c.va(1) >= arch.UserMax {
			return 0, syscall.EPERM
		}
		c.f[slot] = c.arg(1)
		return 0, nil
	case archGetFS, archGetGS:
		return 0, put(c, c.va(1), &c.f[slot])
	}
	return 0, syscall.EINVAL
}
