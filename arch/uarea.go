package arch

// UArea is the machine state of a user thread. It fills a frame of its own, is reached
// through the direct map, is never on the Go heap, and holds no Go pointers. Machine code
// knows the offsets of Frame and FPU.
//
// Its thread owns it while the thread lives, the reaper afterwards. A CPU in user mode, or
// on its way back from it, uses the area as its stack.
type UArea struct {
	Frame Frame     // offset 0
	Trap  Trap      // why Run returned
	Mach  [8]uint64 // for grim/arch/ARCH alone (roots for the trampoline, saved kernel stack)
	_     [512 - (FrameRegs+3+8)*8]byte
	FPU   [PageSize - 512]byte // offset 512, 64-byte aligned: XSAVE area; q0-q31, FPCR, FPSR
}

// FrameRegs is the number of register slots in a Frame.
const FrameRegs = 40

// Frame holds the general registers of a user thread; ABI says which slot is which
// register.
type Frame [FrameRegs]uint64

// RetSlot is the slot of a system call's result, RAX or X0, on every architecture. It is a
// constant because each system call needs it twice.
const RetSlot = 0

// ABI gives the Frame slots that portable code needs, by the Linux ABI of the
// architecture (syscall(2), "Architecture calling conventions").
type ABI struct {
	Name         string // GOARCH
	Machine      uint16 // ELF e_machine
	PC, SP       int
	Number       int    // system-call number, as user mode passes it; may be RetSlot
	Arg          [6]int // system-call arguments
	TLS          int    // thread pointer: FS base, TPIDR_EL0
	SyscallBytes uint64 // length of the system-call instruction, to restart it

	// Cause returns what Linux tells a signal handler about the exception in u.Trap, whose
	// kind is one of Illegal to MachineCheck: si_code and si_addr. If code is 0 the cause
	// has gone, and the thread goes on.
	Cause func(u *UArea) (code int32, addr VA)
}

// CodeKernel is SI_KERNEL, for a cause that has no code of its own.
const CodeKernel = 0x80

// TrapKind says why user mode was left.
type TrapKind uint64

const (
	Syscall      TrapKind = iota // the registers hold number and arguments; PC is after the instruction
	PageFault                    // Addr is the address, Access() the access; Code is the raw error code or ESR
	Interrupt                    // not caused by the thread; call Dispatch
	Illegal                      // undefined or privileged instruction -> SIGILL
	Protection                   // general protection, non-canonical address -> SIGSEGV
	Alignment                    // -> SIGBUS
	Arithmetic                   // integer divide, SIMD or x87 exception -> SIGFPE
	Breakpoint                   // BRK, INT3 -> SIGTRAP
	MachineCheck                 // uncorrected hardware error blamed on the user access -> SIGBUS
)

// Trap describes the last return from user mode.
type Trap struct {
	Kind TrapKind
	Code uint64 // amd64: error code | vector<<32; arm64: ESR_EL1
	Addr VA     // the faulting address (CR2, FAR_EL1) where there is one
}

// Access returns the access that caused a PageFault. arch/ARCH sets it in the low bits of
// Code's top byte (bits 56..58 are Read, Write, Exec), so that portable code need not
// decode the rest.
func (t *Trap) Access() Prot { return Prot(t.Code>>56) & (Read | Write | Exec) }
