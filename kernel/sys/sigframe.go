package sys

//lint:file-ignore U1000 padding has names here, so that it is copied out as zeros; nothing reads it

import (
	"grim/arch"
	"grim/proc"
)

// userMemory is the caller's memory: *vm.VMSpace, or a fake in tests.
type userMemory interface {
	CopyIn(dst []byte, src arch.VA) error
	CopyOut(dst arch.VA, src []byte) error
}

// sigStack is the user's stack_t (sigaltstack(2)): 24 bytes, the same on both
// architectures.
type sigStack struct {
	SP    uint64
	Flags int32
	pad   int32
	Size  uint64
}

// siginfo is the user's siginfo_t.
type siginfo [128]byte

// delivery has everything for a signal frame except the registers.
type delivery struct {
	sig      int
	info     *siginfo
	handler  arch.VA
	restorer arch.VA        // the address to which the handler returns
	top      arch.VA        // the frame is put below this address
	within   *proc.AltStack // the frame must not leave this stack; nil: none
	mask     uint64         // the set of blocked signals to restore on return
	stack    sigStack       // the settings of the alternate stack to restore on return
	fault    arch.VA        // fault address and code, when a trap caused the signal
	code     uint64
}

// sigframe builds and undoes the signal frame of one architecture. Its methods work on a
// u-area that is not in user mode, in host tests as well as in the kernel.
type sigframe interface {
	// size returns the maximum size of a frame: AT_MINSIGSTKSZ.
	size() int
	// push writes the frame. Only if that succeeds it sets the registers to start the
	// handler, with the FPU state that handlers start with. EFAULT: no room on the user's
	// stack.
	push(mem userMemory, u *arch.UArea, d *delivery) error
	// restore reads the frame at the stack pointer and replaces the registers. It keeps
	// every bit that user mode must not choose. EFAULT or EINVAL: the frame is bad, and u
	// is unchanged.
	restore(mem userMemory, u *arch.UArea) (mask uint64, stack sigStack, err error)
}

// fits reports whether a frame may be at va.
func (d *delivery) fits(va arch.VA) bool { return d.within == nil || d.within.Holds(va) }

func putSigStack(b []byte, s sigStack) {
	le.PutUint64(b, s.SP)
	le.PutUint32(b[8:], uint32(s.Flags))
	le.PutUint32(b[12:], 0)
	le.PutUint64(b[16:], s.Size)
}

func getSigStack(b []byte) sigStack {
	return sigStack{SP: le.Uint64(b), Flags: int32(le.Uint32(b[8:])), Size: le.Uint64(b[16:])}
}
