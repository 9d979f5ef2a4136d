package main

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tests of a handler's circumstances install rawHandler in a child process. It records the
// circumstances in sigRec and changes its own frame as sigRec says. It does not use the
// runtime's handlers, and needs no goroutine.

// sigRecord has the records of rawHandler, and its instructions.
type sigRecord struct {
	n       uint64 // how often it ran
	sp      uintptr
	context uintptr   // of the ucontext
	info    [16]int64 // siginfo_t
	control [2]uint32 // amd64: MXCSR and x87's control word; arm64: FPCR and FPSR
	vector  [2]uint64 // vector register 3

	editAt    uintptr // not 0: overwrite the word at this offset in the ucontext
	editValue uint64
	pcAt      uintptr // offset of the PC in the ucontext
	skip      uint64  // added to the PC
	fault     uint64  // not 0: the handler reads address 0 at its end
}

var sigRec sigRecord

// fpuState is the part of the FPU state that the tests look at.
type fpuState struct {
	control [2]uint32
	vector  [2]uint64
}

// Defined in sigraw_*.s.
func fpuKill(pid, tid, sig uintptr, state *fpuState)
func rawAddresses() (handler, restorer uintptr)
func callWith(fn, arg uintptr)
func callSys(sp, nr, a, b uintptr) int

// Offsets in ucontext.
var (
	contextPC    = map[string]uintptr{"amd64": 40 + 16*8, "arm64": 176 + 8 + 31*8 + 8}[runtime.GOARCH]
	contextFlags = contextPC + 8 // RFLAGS, PSTATE
)

// Flags of sigaction(2).
const (
	saSiginfo   = 4
	saRestorer  = 0x04000000
	saOnstack   = 0x08000000
	saRestart   = 0x10000000
	saNodefer   = 0x40000000
	saResethand = 0x80000000
)

// rawAction sets rawHandler as the handler of a signal, in a child.
func rawAction(sig unix.Signal, flags, mask uint64) syscall.Errno {
	h, r := rawAddresses()
	act := [4]uintptr{h, uintptr(flags | saSiginfo | saRestorer), r, uintptr(mask)}
	if runtime.GOARCH == "arm64" {
		act[1] &^= saRestorer
	}
	sigRec.pcAt = contextPC
	return rawSys(unix.SYS_RT_SIGACTION, uintptr(sig), ptr(&act), 0, 8)
}

// rawGetAction returns a signal's action: handler, flags, restorer, mask.
func rawGetAction(sig unix.Signal) (act [4]uintptr) {
	rawSys(unix.SYS_RT_SIGACTION, uintptr(sig), 0, ptr(&act), 8)
	return act
}

// rawSys makes a system call in a child.
func rawSys(nr uintptr, args ...uintptr) syscall.Errno {
	_, errno := rawSys2(nr, args...)
	return errno
}

func rawSys2(nr uintptr, args ...uintptr) (uintptr, syscall.Errno) {
	var a [6]uintptr
	copy(a[:], args)
	r, _, errno := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	return r, errno
}

// raise sends a signal to the calling thread, in a child.
func raise(sig unix.Signal) {
	pid, _ := rawSys2(unix.SYS_GETPID)
	tid, _ := rawSys2(unix.SYS_GETTID)
	rawSys(unix.SYS_TGKILL, pid, tid, uintptr(sig))
}

// infoCode and infoAddr return si_code and si_addr of the latest signal.
func infoCode() int32   { return int32(sigRec.info[1]) }
func infoAddr() uintptr { return uintptr(sigRec.info[2]) }

// stack_t of sigaltstack(2).
type stackT struct {
	sp    uintptr
	flags int32
	_     int32
	size  uintptr
}

const (
	ssOnstack    = 1
	ssDisable    = 2
	ssAutodisarm = -1 << 31
)

func sigaltstack(set, old *stackT) syscall.Errno {
	return rawSys(unix.SYS_SIGALTSTACK, uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)))
}

// child runs f in a child process, which must exit with 0. f returns a different number for
// each possible failure.
func child(what string, f func() int) {
	if ws := wait(fork(f)); !ws.Exited() || ws.ExitStatus() != 0 {
		fail("%s: status %#x (exit %d)", what, uint32(ws), ws.ExitStatus())
	}
}
