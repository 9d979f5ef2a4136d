//go:build grim_overlay

package runtime

import (
	"unsafe"
)

// Numbers of Linux, because the runtime's messages and package syscall use them.
const (
	_EBADF  = 9
	_ENOSYS = 38

	_SIGILL  = 4
	_SIGTRAP = 5
	_SIGBUS  = 7
	_SIGFPE  = 8
	_SIGSEGV = 11

	_SEGV_MAPERR = 1
	_SEGV_ACCERR = 2
	_BUS_ADRERR  = 2
	_FPE_INTDIV  = 1
	_FPE_INTOVF  = 2
)

// FaultKind is the kind of a CPU exception in kernel code.
type FaultKind uint32

const (
	FaultMap     FaultKind = iota // page fault, nothing there
	FaultAccess                   // page fault, not allowed
	FaultBus                      // misaligned or machine error
	FaultDivide                   // integer division by zero
	FaultFloat                    // floating-point exception
	FaultIllegal                  // undefined instruction
	FaultTrap                     // breakpoint
	FaultOther                    // general protection and the rest
)

// FaultContext has the registers of the interrupted kernel code. An exception handler fills
// it in. The runtime changes it to make the code panic.
type FaultContext struct {
	G    uintptr // g register (R28) or TLS slot at the time of the fault
	PC   uintptr
	SP   uintptr
	LR   uintptr // arm64 only
	FP   uintptr // frame pointer: R29, RBP
	Kind FaultKind
	Addr uintptr // faulting address, if there is one
}

// FaultStack returns the g that an exception handler in Go must run on and the
// top of its stack: the handler's assembly sets the g register (and, on amd64,
// the TLS slot) and the stack pointer to these, and restores g before it
// returns. A fault while g is already this one must not use it again.
func FaultStack() (gp, top uintptr) {
	gs := getg().m.gsignal
	return uintptr(unsafe.Pointer(gs)), gs.stack.hi
}

// InjectPanic changes c so that the interrupted code calls sigpanic when it continues with
// c's G, PC, SP and LR. The fault becomes an ordinary Go panic, as with a signal. If the
// code is in no state to panic (in the scheduler, in a nosplit section, or dying) it
// returns false and changes nothing. Then call FatalFault.
//
// It runs on FaultStack and does not allocate.
//
//go:nowritebarrierrec
func InjectPanic(c *FaultContext) bool {
	gp := (*g)(unsafe.Pointer(c.G))
	mp := getg().m
	if gp == nil || gp == mp.gsignal || gp.throwsplit || mp.dying != 0 || isAbortPC(c.PC) {
		return false
	}
	if c.Kind == FaultIllegal || c.Kind == FaultTrap {
		return false
	}
	if c.SP < gp.stack.lo+injectRoom || c.SP > gp.stack.hi {
		return false
	}
	gp.sig, gp.sigcode0 = c.Kind.signal()
	gp.sigcode1 = c.Addr
	gp.sigpc = c.PC
	if c.Kind == FaultOther {
		// A nonzero address that is not taken for a nil dereference.
		gp.sigcode1 = ^uintptr(0)
	}
	injectCall(c, gp)
	return true
}

// injectRoom is more than what injectCall pushes. A stack without that room has overflowed.
const injectRoom = 64

// signal returns the signal and code that the runtime's sigpanic knows.
func (k FaultKind) signal() (sig uint32, code uintptr) {
	switch k {
	case FaultMap:
		return _SIGSEGV, _SEGV_MAPERR
	case FaultAccess:
		return _SIGSEGV, _SEGV_ACCERR
	case FaultBus:
		return _SIGBUS, _BUS_ADRERR
	case FaultDivide:
		return _SIGFPE, _FPE_INTDIV
	case FaultFloat:
		return _SIGFPE, 0
	case FaultIllegal:
		return _SIGILL, 0
	case FaultTrap:
		return _SIGTRAP, 0
	}
	return _SIGSEGV, _SEGV_MAPERR
}

// FatalFault prints why the kernel cannot continue and where it was, and ends the machine
// with status 2. It runs on FaultStack and does not return. A fault inside it calls it
// again and ends the machine with less output.
func FatalFault(c *FaultContext) {
	gp := (*g)(unsafe.Pointer(c.G))
	mp := getg().m
	if mp.dying >= 2 {
		exit(5)
	}
	mp.throwing = throwTypeRuntime
	startpanic_m()
	sig, _ := c.Kind.signal()
	print("fatal fault in kernel code: ", signame(sig), " addr=", hex(c.Addr), " pc=", hex(c.PC), " sp=", hex(c.SP), "\n")
	if gp != nil {
		goroutineheader(gp)
		tracebacktrap(c.PC, c.SP, c.LR, gp)
		if gp == mp.g0 && mp.curg != nil {
			goroutineheader(mp.curg)
			traceback(^uintptr(0), ^uintptr(0), 0, mp.curg)
		}
	}
	exit(2)
}

// shouldPushCall reports whether the faulting PC should be in the traceback as the caller
// of sigpanic. If not, the return address is used: a call of a bad function pointer has
// left its caller there.
func shouldPushCall(pc, lr uintptr) bool {
	if pc == 0 {
		return false
	}
	if findfunc(pc).valid() {
		return true
	}
	return !findfunc(lr).valid()
}

// sigpanic runs in place of the faulting instruction; see InjectPanic. Not
// nosplit: the linker does not know where calls to it are injected.
//
//go:linkname sigpanic
func sigpanic() {
	gp := getg()
	if !canpanic() {
		throw("unexpected fault during runtime execution")
	}
	switch gp.sig {
	case _SIGFPE:
		switch gp.sigcode0 {
		case _FPE_INTDIV:
			panicdivide()
		case _FPE_INTOVF:
			panicoverflow()
		}
		panicfloat()
	case _SIGSEGV, _SIGBUS:
		// The first page is never mapped: an address inside is a nil pointer
		// plus the offset of a field.
		if gp.sigcode1 < _PAGESIZE {
			panicmem()
		}
		if gp.paniconfault {
			panicmemAddr(gp.sigcode1)
		}
		print("unexpected fault address ", hex(gp.sigcode1), "\n")
		throw("fault")
	}
	panic(errorString(signame(gp.sig)))
}

func signame(sig uint32) string {
	switch sig {
	case _SIGILL:
		return "SIGILL: illegal instruction"
	case _SIGTRAP:
		return "SIGTRAP: trace trap"
	case _SIGBUS:
		return "SIGBUS: bus error"
	case _SIGFPE:
		return "SIGFPE: floating-point exception"
	case _SIGSEGV:
		return "SIGSEGV: segmentation violation"
	}
	return ""
}
