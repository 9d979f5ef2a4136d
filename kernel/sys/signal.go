package sys

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/proc"
	"grim/proc/elf"
)

// saRestorer is the flag that says that Sigaction.Restorer is valid.
const saRestorer = 0x04000000

// userSigaction is the kernel's struct sigaction, the same on both
// architectures (arm64 has the restorer field too).
type userSigaction struct {
	Handler, Flags, Restorer, Mask uint64
}

func sysRtSigaction(c ctx) (uint64, error) {
	if c.arg(3) != 8 {
		return 0, syscall.EINVAL
	}
	var act *proc.Sigaction
	if va := c.va(1); va != 0 {
		u, err := get[userSigaction](c, va)
		if err != nil {
			return 0, err
		}
		act = &proc.Sigaction{
			Handler: arch.VA(u.Handler), Flags: u.Flags, Restorer: arch.VA(u.Restorer), Mask: proc.Sigset(u.Mask),
		}
	}
	old, err := c.t.Process().Sigaction(syscall.Signal(c.int(0)), act)
	if err != nil || c.va(2) == 0 {
		return 0, err
	}
	return 0, put(c, c.va(2), &userSigaction{
		uint64(old.Handler), old.Flags, uint64(old.Restorer), uint64(old.Mask),
	})
}

func sysRtSigprocmask(c ctx) (uint64, error) {
	if c.arg(3) != 8 {
		return 0, syscall.EINVAL
	}
	old := c.t.Mask()
	if va := c.va(1); va != 0 {
		m, err := get[proc.Sigset](c, va)
		if err != nil {
			return 0, err
		}
		switch c.int(0) {
		case unix.SIG_BLOCK:
			m |= old
		case unix.SIG_UNBLOCK:
			m = old &^ m
		case unix.SIG_SETMASK:
		default:
			return 0, syscall.EINVAL
		}
		c.t.SetMask(m)
	}
	if c.va(2) == 0 {
		return 0, nil
	}
	return 0, put(c, c.va(2), &old)
}

func sysRtSigpending(c ctx) (uint64, error) {
	if c.arg(1) > 8 {
		return 0, syscall.EINVAL
	}
	m := c.t.Pending()
	return 0, put(c, c.va(0), &m)
}

func sysRtSigsuspend(c ctx) (uint64, error) {
	if c.arg(1) != 8 {
		return 0, syscall.EINVAL
	}
	m, err := get[proc.Sigset](c, c.va(0))
	if err != nil {
		return 0, err
	}
	return 0, c.t.Suspend(m)
}

func sysPause(c ctx) (uint64, error) { return 0, c.t.Suspend(c.t.Mask()) }

func sysRtSigtimedwait(c ctx) (uint64, error) {
	if c.arg(3) != 8 {
		return 0, syscall.EINVAL
	}
	set, err := get[proc.Sigset](c, c.va(0))
	if err != nil {
		return 0, err
	}
	deadline, err := c.deadline(c.va(2))
	if err != nil {
		return 0, err
	}
	info, err := c.t.WaitSignal(set, deadline)
	if err != nil {
		return 0, err
	}
	if va := c.va(1); va != 0 {
		b := encodeSiginfo(&info)
		if err := c.mem().CopyOut(va, b[:]); err != nil {
			return 0, err
		}
	}
	return uint64(info.Signo), nil
}

// encodeSiginfo returns siginfo_t, which is the same on both architectures
// (include/uapi/asm-generic/siginfo.h): number, errno and code; the meaning of the rest,
// from offset 16 on, depends on the code.
func encodeSiginfo(i *proc.Siginfo) (b siginfo) {
	le.PutUint32(b[0:], uint32(i.Signo))
	le.PutUint32(b[4:], uint32(i.Errno))
	le.PutUint32(b[8:], uint32(i.Code))
	if i.Child {
		const tick = second / elf.ClockTicks
		le.PutUint32(b[16:], uint32(i.PID))
		le.PutUint32(b[20:], i.UID)
		le.PutUint32(b[24:], uint32(i.Status))
		le.PutUint64(b[32:], uint64(i.UTime/tick))
		le.PutUint64(b[40:], uint64(i.STime/tick))
		return b
	}
	switch i.Signo {
	case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE, syscall.SIGTRAP:
		if i.Code > 0 {
			le.PutUint64(b[16:], uint64(i.Addr))
			return b
		}
	}
	le.PutUint32(b[16:], uint32(i.PID))
	le.PutUint32(b[20:], i.UID)
	le.PutUint64(b[24:], i.Value)
	return b
}

// decodeSiginfo decodes the siginfo_t of rt_sigqueueinfo(2).
func decodeSiginfo(b *siginfo, sig syscall.Signal) proc.Siginfo {
	return proc.Siginfo{
		Signo: sig,
		Errno: int32(le.Uint32(b[4:])),
		Code:  int32(le.Uint32(b[8:])),
		PID:   int32(le.Uint32(b[16:])),
		UID:   le.Uint32(b[20:]),
		Value: le.Uint64(b[24:]),
	}
}

// sender returns the siginfo of a signal sent by the caller.
func (c ctx) sender(sig int, code int32) *proc.Siginfo {
	p := c.t.Process()
	return &proc.Siginfo{Signo: syscall.Signal(sig), Code: code, PID: int32(p.PID()), UID: c.t.Cred().UID}
}

func sysKill(c ctx) (uint64, error) {
	pid := c.int(0)
	if pid == math.MinInt32 {
		return 0, syscall.ESRCH
	}
	return 0, c.t.Kill(pid, c.sender(c.int(1), proc.SI_USER))
}

func sysTkill(c ctx) (uint64, error) {
	if c.int(0) <= 0 {
		return 0, syscall.EINVAL
	}
	return 0, c.t.Tgkill(0, c.int(0), c.sender(c.int(1), proc.SI_TKILL))
}

func sysTgkill(c ctx) (uint64, error) {
	if c.int(0) <= 0 || c.int(1) <= 0 {
		return 0, syscall.EINVAL
	}
	return 0, c.t.Tgkill(c.int(0), c.int(1), c.sender(c.int(2), proc.SI_TKILL))
}

// queued reads the siginfo argument at va, for a signal to the thread, or the process of
// the thread, with number tid. Only to itself a thread may send a signal that pretends to
// come from the kernel or kill(2).
func (c ctx) queued(tid, sig int, va arch.VA) (*proc.Siginfo, error) {
	var b siginfo
	if err := c.mem().CopyIn(b[:], va); err != nil {
		return nil, err
	}
	info := decodeSiginfo(&b, syscall.Signal(sig))
	if (info.Code >= 0 || info.Code == proc.SI_TKILL) && tid != c.t.TID() {
		return nil, syscall.EPERM
	}
	return &info, nil
}

func sysRtSigqueueinfo(c ctx) (uint64, error) {
	info, err := c.queued(c.int(0), c.int(1), c.va(2))
	if err != nil {
		return 0, err
	}
	if c.int(0) <= 0 {
		return 0, syscall.ESRCH
	}
	return 0, c.t.Kill(c.int(0), info)
}

func sysRtTgsigqueueinfo(c ctx) (uint64, error) {
	if c.int(0) <= 0 || c.int(1) <= 0 {
		return 0, syscall.EINVAL
	}
	info, err := c.queued(c.int(1), c.int(2), c.va(3))
	if err != nil {
		return 0, err
	}
	return 0, c.t.Tgkill(c.int(0), c.int(1), info)
}

func (c ctx) sp() arch.VA { return arch.VA(c.f[c.s.abi.SP]) }

// altStack returns the alternate stack in the form of signal frames.
func altStack(t *proc.Thread) sigStack {
	a := t.AltStack()
	if a.Size == 0 {
		a.Flags |= proc.SS_DISABLE
	}
	return sigStack{SP: uint64(a.SP), Flags: a.Flags, Size: a.Size}
}

// setAltStack implements the setting part of sigaltstack(2), for a thread whose stack
// pointer is sp. EPERM: the present one is in use. EINVAL: bad flags. ENOMEM: too small.
// The address of the stack is not checked until a frame is put on it.
func (s *System) setAltStack(t *proc.Thread, u sigStack, sp arch.VA) error {
	if t.OnAltStack(sp) {
		return syscall.EPERM
	}
	set := proc.AltStack{SP: arch.VA(u.SP), Flags: u.Flags, Size: u.Size}
	switch u.Flags &^ proc.SS_AUTODISARM {
	case proc.SS_DISABLE:
		set.SP, set.Size = 0, 0
	case 0, proc.SS_ONSTACK:
		if u.Size < s.tab.minSigStack {
			return syscall.ENOMEM
		}
	default:
		return syscall.EINVAL
	}
	t.SetAltStack(set)
	return nil
}

func sysSigaltstack(c ctx) (uint64, error) {
	a := c.t.AltStack()
	old := sigStack{SP: uint64(a.SP), Flags: a.Flags & proc.SS_AUTODISARM, Size: a.Size}
	switch {
	case a.Size == 0:
		old.Flags |= proc.SS_DISABLE
	case c.t.OnAltStack(c.sp()):
		old.Flags |= proc.SS_ONSTACK
	}
	if va := c.va(0); va != 0 {
		u, err := get[sigStack](c, va)
		if err != nil {
			return 0, err
		}
		if err := c.s.setAltStack(c.t, u, c.sp()); err != nil {
			return 0, err
		}
	}
	if c.va(1) == 0 {
		return 0, nil
	}
	return 0, put(c, c.va(1), &old)
}

// Push implements proc.SignalABI.
func (s *System) Push(t *proc.Thread, info *proc.Siginfo, act *proc.Sigaction, oldMask proc.Sigset) error {
	si := encodeSiginfo(info)
	sp := arch.VA(t.U.Frame[s.abi.SP])
	d := delivery{
		sig: int(info.Signo), info: &si, handler: act.Handler,
		top: sp - s.tab.redZone, mask: uint64(oldMask), stack: altStack(t),
	}
	switch {
	case act.Flags&saRestorer != 0:
		d.restorer = act.Restorer
	case s.tab.sigPage != nil:
		d.restorer = t.VM().Marks().SigPage
	default:
		return syscall.EFAULT // sa_restorer is required on amd64
	}
	d.code, d.fault = t.LastFault()
	// A handler starts at the top of the alternate stack, unless the thread is on that
	// stack already. Its frame must stay on that stack: the memory below belongs to
	// something else, and for a thread that has left the stack, the next handler would
	// start at the top again.
	alt := t.AltStack()
	if t.OnAltStack(sp) {
		d.within = &alt
	}
	if act.Flags&proc.SA_ONSTACK != 0 && alt.Size != 0 && !t.OnAltStack(d.top) {
		d.top, d.within = alt.SP+arch.VA(alt.Size), &alt
	}
	if err := s.tab.frame.push(t.VM(), t.U, &d); err != nil {
		return err
	}
	if alt.Flags&proc.SS_AUTODISARM != 0 {
		t.SetAltStack(proc.AltStack{Flags: proc.SS_DISABLE})
	}
	return nil
}

// sysRtSigreturn undoes Push. It returns the restored result register.
func sysRtSigreturn(c ctx) (uint64, error) {
	mask, stack, err := c.s.tab.frame.restore(c.mem(), c.t.U)
	if err != nil {
		info := proc.Siginfo{Signo: syscall.SIGSEGV, Code: proc.SI_KERNEL}
		if c.s.tab.blameSP {
			info.Code, info.Addr = proc.SEGV_ACCERR, c.sp()
		}
		c.t.Force(&info)
		return c.f[arch.RetSlot], nil
	}
	c.t.SetMask(proc.Sigset(mask))
	// As on Linux, a setting that is not possible any more is ignored.
	_ = c.s.setAltStack(c.t, stack, c.sp())
	return c.f[arch.RetSlot], nil
}

// raise sends a signal from the calling thread to itself (SIGPIPE).
func (c ctx) raise(sig syscall.Signal) {
	// The only error is a full queue of real-time signals.
	_ = c.t.Tgkill(0, c.t.TID(), c.sender(int(sig), proc.SI_USER))
}
