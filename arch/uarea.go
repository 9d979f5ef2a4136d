package arch

// UArea is a user thread's page-backed machine state. It lives in one frame of
// its own, reached through the direct map, never on the Go heap, and holds no
// Go pointers. Machine code knows the offsets of Frame and FPU.
//
// Owned by its thread while that lives, by the reaper afterwards; a CPU that is
// in, or returning from, user mode stands on it.
type UArea struct {
	Frame Frame     // offset 0
	Trap  Trap      // why Run returned
	Mach  [8]uint64 // for grim/arch/ARCH alone (roots for the trampoline, saved kernel stack)
	_     [512 - (FrameRegs+3+8)*8]byte
	FPU   [PageSize - 512]byte // offset 512, 64-byte aligned: XSAVE area; q0-q31, FPCR, FPSR
}

// FrameRegs is the number of register slots in a Frame.
const FrameRegs = 40

// Frame holds a user thread's general registers; ABI says which is where.
type Frame [FrameRegs]uint64

// RetSlot is the slot of a system call's result, RAX or X0, on every architecture:
// a constant, for each call needs it twice.
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

	// Cause is what Linux tells a signal handler of the exception in u.Trap, whose
	// kind is one of Illegal to MachineCheck: si_code and si_addr. Code 0: there is
	// no cause any more, and the thread goes on.
	Cause func(u *UArea) (code int32, addr VA)
}

// CodeKernel is SI_KERNEL: a cause without a code of its own.
const CodeKernel = 0x80

// TrapKind says why user mode was left.
type TrapKind uint64

const (
	Syscall      TrapKind = iota // the registers hold number and arguments; PC is after the instruction
	PageFault                    // Addr and Access say what; Code is the raw error code or ESR
	Interrupt                    // nothing is wrong with the thread; call Dispatch
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

// Access tells what a PageFault wanted, from the architecture's code; it is set
// by arch/ARCH in the low bits of Code's top byte so that portable code need
// not decode: bits 56..58 are Read, Write, Exec.
func (t *Trap) Access() Prot { return Prot(t.Code>>56) & (Read | Write | Exec) }
