//go:build tamago

package arm64

import (
	"unsafe"

	"grim/arch"
)

// defined in entry.s

// run enters user mode and comes back with the frame stored, Trap.Kind the
// vector, Trap.Code ESR_EL1 and Trap.Addr FAR_EL1.
//
//go:noescape
func run(u *arch.UArea)

// installVectors points VBAR_EL1 at this package's vectors, and SP_EL1 at this
// package's exception stack. gp and top are where Go code handles faults.
func installVectors(gp, top uintptr)

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
	for {
		run(u)
		t := &u.Trap
		// The short way for what comes most often.
		if t.Kind == fromSync && ec(t.Code) == ecSVC {
			t.Kind = arch.Syscall
			return
		}
		*t = decode(uint64(t.Kind), t.Code, uint64(t.Addr), u.Frame[slotSP])
		if t.Kind == arch.Illegal && emulateMRS(&u.Frame, t.Code, readID) {
			continue
		}
		return
	}
}

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
