package proc

import (
	"syscall"

	"grim/arch"
)

// NumSignals is the highest signal number, SIGRTMIN the first real-time signal. The
// standard signals have their names in package syscall.
const (
	NumSignals = 64
	SIGRTMIN   = syscall.Signal(32)
)

// Sigset is a set of signals: bit n-1 is signal n, as in Linux's kernel.
type Sigset uint64

// SigBit returns the set of one signal.
func SigBit(s syscall.Signal) Sigset { return 1 << (uint(s) - 1) }

// Has reports whether s is in the set.
func (m Sigset) Has(s syscall.Signal) bool { return m&SigBit(s) != 0 }

const (
	// unblockable are the signals that can be neither blocked, caught nor ignored.
	unblockable = Sigset(1<<(syscall.SIGKILL-1) | 1<<(syscall.SIGSTOP-1))
	stopSignals = Sigset(1<<(syscall.SIGSTOP-1) | 1<<(syscall.SIGTSTP-1) |
		1<<(syscall.SIGTTIN-1) | 1<<(syscall.SIGTTOU-1))
	// harmless are the signals whose default action is to do nothing (signal(7)).
	harmless = Sigset(1<<(syscall.SIGCHLD-1) | 1<<(syscall.SIGCONT-1) |
		1<<(syscall.SIGURG-1) | 1<<(syscall.SIGWINCH-1))
	// synchronous signals are delivered before others, because they belong to the
	// instruction that the thread is at.
	synchronous = Sigset(1<<(syscall.SIGSEGV-1) | 1<<(syscall.SIGBUS-1) | 1<<(syscall.SIGILL-1) |
		1<<(syscall.SIGTRAP-1) | 1<<(syscall.SIGFPE-1) | 1<<(syscall.SIGSYS-1))
)

// Codes of Siginfo (sigaction(2), asm-generic/siginfo.h). Those of exceptions come from
// arch.ABI's Cause.
const (
	SI_USER                                 = 0
	SI_KERNEL                               = arch.CodeKernel
	SI_QUEUE                                = -1
	SI_TIMER                                = -2
	SI_TKILL                                = -6
	SEGV_MAPERR, SEGV_ACCERR                = 1, 2
	BUS_ADRERR                              = 2
	CLD_EXITED, CLD_KILLED, CLD_DUMPED      = 1, 2, 3
	CLD_TRAPPED, CLD_STOPPED, CLD_CONTINUED = 4, 5, 6
)

// Siginfo is what a handler is told. As in siginfo_t, Signo and Code determine which fields
// have a meaning.
type Siginfo struct {
	Signo  syscall.Signal
	Code   int32
	Errno  int32
	PID    int32   // sender, or the child
	UID    uint32  // its real user
	Child  bool    // it is about a child: SIGCHLD, or another signal given to clone(2)
	Status int32   // with Child: exit code or signal
	Addr   arch.VA // SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP
	Value  uint64  // sigqueue(3), timers
	UTime  int64   // with Child: the child's CPU times, nanoseconds
	STime  int64

	timer *Timer // timer that sent the signal; nil: none
}

// Values of Handler that are not addresses (signal(2)).
const (
	SIG_DFL arch.VA = 0
	SIG_IGN arch.VA = 1
)

// Flags of Sigaction (sigaction(2), asm-generic/signal-defs.h).
const (
	SA_NOCLDSTOP = 1
	SA_NOCLDWAIT = 2
	SA_SIGINFO   = 4
	SA_ONSTACK   = 0x08000000
	SA_RESTART   = 0x10000000
	SA_NODEFER   = 0x40000000
	SA_RESETHAND = 0x80000000
)

// Sigaction is the kernel's struct sigaction.
type Sigaction struct {
	Handler  arch.VA
	Flags    uint64
	Restorer arch.VA // amd64; SA_RESTORER
	Mask     Sigset
}

// AltStack is an alternate signal stack as the program has set it (sigaltstack(2)). Size is
// 0 if there is none.
type AltStack struct {
	SP    arch.VA
	Flags int32
	Size  uint64
}

// Flags of AltStack (sigaltstack(2)).
const (
	SS_ONSTACK    = 1
	SS_DISABLE    = 2
	SS_AUTODISARM = -1 << 31
)

// SignalABI builds signal frames; the system-call layer implements it.
type SignalABI interface {
	// Push saves t's registers and oldMask in a frame on its user stack, or on the
	// alternate stack, and sets the registers to enter act.Handler. An error (EFAULT,
	// ENOMEM) means that nothing has changed; the process then gets SIGSEGV.
	// rt_sigreturn(2) undoes it, with Thread.SetMask(oldMask).
	Push(t *Thread, info *Siginfo, act *Sigaction, oldMask Sigset) error
}
