//go:build tamago && arm64

package arm64

import (
	"unsafe"

	"grim/arch"
)

// defined in entry.s; translateEL0 in mmu.s

// run enters user mode and comes back with the frame stored, Trap.Kind the
// vector, Trap.Code ESR_EL1 and Trap.Addr FAR_EL1.
//
//go:noescape
func run(u *arch.UArea)

// translateEL0 is PAR_EL1 after AT S1E0R: bit 0 set means no translation.
func translateEL0(va uint64) uint64

// installVectors points VBAR_EL1 at this package's vectors, and SP_EL1 at the exception
// stack of this CPU, with the faultBlock, which ends at the address given. gp and top are
// where Go code handles faults.
func installVectors(gp, top, end uintptr)

// openSErrors lets SErrors through from now on.
func openSErrors()

// exceptionStackBase is where the memory of the exception stack begins, and the
// first whole page in it is its guard.
func exceptionStackBase() uintptr

// clearHistory installs the vectors that clear the branch history so.
func clearHistory(how clearing, loops, smc uint64)

// OverflowStack writes over the end of the boot stack, for crash tests.
func OverflowStack()

// InitUser is arch.Machine's.
func (m *Machine) InitUser(u *arch.UArea, pc, sp arch.VA) {
	u.Frame = arch.Frame{}
	u.Frame[slotPC], u.Frame[slotSP] = uint64(pc), uint64(sp)
	clear(u.FPU[:fpuSize])
}

// fpuSize is q0-q31, FPCR and FPSR: what entry.s keeps in UArea.FPU.
const fpuSize = 32*16 + 16

// CopyUser is arch.Machine's.
func (m *Machine) CopyUser(dst, src *arch.UArea) {
	dst.Frame = src.Frame
	copy(dst.FPU[:fpuSize], src.FPU[:fpuSize])
}

// ABI is arch.Machine's.
func (m *Machine) ABI() *arch.ABI { return &ABI }

// Run is arch.Machine's. A trapped read of an identification register is
// answered here and not seen above.
func (m *Machine) Run(u *arch.UArea) {
	run(u)
	// The short way for what comes most often: of a system call everything is
	// in place, fromSync being arch.Syscall.
	if u.Trap.Kind != fromSync || ec(u.Trap.Code) != ecSVC {
		m.trapped(u)
	}
}

// trapped is Run for all but system calls that come first.
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

// emulate does the instruction that trapped in place of the CPU, if it may.
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
	return emulateMRS(&u.Frame, iss, readID)
}

// userInstruction reads the instruction at pc in the active address space. It
// has the CPU translate, as EL0 would, which cannot fault, and reads through the
// direct map.
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

// HWCap is AT_HWCAP and AT_HWCAP2 for user programs.
func (m *Machine) HWCap() (caps, caps2 uint64) { return hwcap(readID) }

// faultBlock is what the vectors need to know of a CPU: it is at the top of the CPU's
// exception stack, and TPIDR_EL1 points to it.
type faultBlock struct {
	g, stack uintptr // of the runtime's fault handler
	depth    uint64  // how often it was entered and not left
	_        uint64  // a multiple of 16, as SP must be
}

// exceptionStackSize is entry.s's EXCSTACK, and a faultBlock is 32 bytes there.
const exceptionStackSize = 12288

var _ = [1]struct{}{}[unsafe.Sizeof(faultBlock{})-32]

// kernelFrame is what the vectors store of interrupted kernel code.
type kernelFrame struct {
	R              [31]uint64
	SP, PC, PSTATE uint64
	ESR, FAR       uint64
	Vector         uint64 // offset in the vector table
	_              uint64 // a multiple of 16, as SP must be
}

// entry.s has the size of a kernelFrame built in.
var _ = [1]struct{}{}[unsafe.Sizeof(kernelFrame{})-38*8]
