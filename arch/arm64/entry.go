//go:build tamago && arm64

package arm64

import (
	"unsafe"

	"grim/arch"
)

// defined in entry.s; translateEL0 in mmu.s

// run enters user mode, and returns after a trap. The frame is then stored; Trap.Kind is
// the vector, Trap.Code ESR_EL1 and Trap.Addr FAR_EL1.
//
//go:noescape
func run(u *arch.UArea)

// translateEL0 returns PAR_EL1 after AT S1E0R. Bit 0 is set if there is no translation.
func translateEL0(va uint64) uint64

// installVectors sets VBAR_EL1 to this package's vectors, and SP_EL1 to the exception stack
// of this CPU. The stack with the faultBlock at its top ends at end. gp and top are the g
// and the stack on which Go code handles faults.
func installVectors(gp, top, end uintptr)

// openSErrors unmasks SErrors.
func openSErrors()

// exceptionStackBase returns the start of the memory of the exception stack. The first
// whole page in it is the guard.
func exceptionStackBase() uintptr

// clearHistory installs the vectors that clear the branch history in the way how.
func clearHistory(how clearing, loops, smc uint64)

// OverflowStack writes beyond the end of this CPU's system stack, for crash tests.
func OverflowStack()

// InitUser implements arch.Machine.
func (m *Machine) InitUser(u *arch.UArea, pc, sp arch.VA) {
	u.Frame = arch.Frame{}
	u.Frame[slotPC], u.Frame[slotSP] = uint64(pc), uint64(sp)
	clear(u.FPU[:fpuSize])
}

// fpuSize is the size of q0-q31, FPCR and FPSR, which entry.s keeps in UArea.FPU.
const fpuSize = 32*16 + 16

// CopyUser implements arch.Machine.
func (m *Machine) CopyUser(dst, src *arch.UArea) {
	dst.Frame = src.Frame
	copy(dst.FPU[:fpuSize], src.FPU[:fpuSize])
}

// ABI implements arch.Machine.
func (m *Machine) ABI() *arch.ABI { return &ABI }

// Run implements arch.Machine. A trapped read of an identification register is
// answered here and not seen above.
func (m *Machine) Run(u *arch.UArea) {
	run(u)
	// System calls are the most frequent traps, so they return here. Everything is in place
	// for them already, as fromSync is arch.Syscall.
	if u.Trap.Kind != fromSync || ec(u.Trap.Code) != ecSVC {
		m.trapped(u)
	}
}

// trapped is the rest of Run, for all traps but a system call as the first one.
func (m *Machine) trapped(u *arch.UArea) {
	for {
		t := &u.Trap
		*t = decode(uint64(t.Kind), t.Code, uint64(t.Addr), u.Frame[slotSP])
		if t.Kind != arch.Illegal || !m.emulate(u) {
			if t.Kind == arch.Interrupt {
				thisCPU().userPC = u.Frame[slotPC]
			}
			return
		}
		run(u)
	}
}

// emulate executes the trapped instruction in place of the CPU, if user code may use it.
func (m *Machine) emulate(u *arch.UArea) bool {
	iss := u.Trap.Code
	switch ec(iss) {
	case ecMSR:
	case ecUnknown:
		instruction, ok := m.userInstruction(u.Frame[slotPC])
		if !ok {
			return false
		}
		if iss, ok = mrsSyndrome(instruction); !ok {
			return false
		}
	default:
		return false
	}
	return emulateMRS(&u.Frame, iss, readID) || m.rules.differ && emulateCTR(&u.Frame, iss, m.rules.shown())
}

// userInstruction reads the instruction at pc in the active address space. It lets the CPU
// translate pc as for EL0, which cannot fault, and reads through the direct map.
func (m *Machine) userInstruction(pc uint64) (uint32, bool) {
	if pc%4 != 0 || pc >= uint64(arch.UserMax) {
		return 0, false
	}
	par := translateEL0(pc)
	if par&1 != 0 {
		return 0, false
	}
	pa := arch.PA(par)&arch.PA(pteAdr) | arch.PA(pc%arch.PageSize)
	for _, r := range m.ram {
		if uint64(pa) >= r.Base && uint64(pa)-r.Base < r.Size {
			return *(*uint32)(Ptr(pa)), true
		}
	}
	return 0, false
}

// HWCap returns AT_HWCAP and AT_HWCAP2 for user programs.
func (m *Machine) HWCap() (caps, caps2 uint64) { return hwcap(readID) }

// faultBlock has the data of a CPU that the vectors need. It is at the top of the CPU's
// exception stack, and TPIDR_EL1 points to it.
type faultBlock struct {
	g, stack uintptr // of the runtime's fault handler
	depth    uint64  // how many entries of it have not returned
	_        uint64  // a multiple of 16, as SP must be
}

// exceptionStackSize is EXCSTACK of entry.s. A faultBlock is 32 bytes there.
const exceptionStackSize = 12288

var _ = [1]struct{}{}[unsafe.Sizeof(faultBlock{})-32]

// kernelFrame has the registers of interrupted kernel code, which the vectors store.
type kernelFrame struct {
	R              [31]uint64
	SP, PC, PSTATE uint64
	ESR, FAR       uint64
	Vector         uint64 // offset in the vector table
	_              uint64 // a multiple of 16, as SP must be
}

// entry.s contains the size of a kernelFrame.
var _ = [1]struct{}{}[unsafe.Sizeof(kernelFrame{})-38*8]
