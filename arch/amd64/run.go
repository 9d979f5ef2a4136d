//go:build tamago && amd64

package amd64

import (
	"sync/atomic"
	"unsafe"

	"grim/arch"
)

// enter is the way to user mode and back; in run_amd64.s. It overwrites what user
// code may not choose: CS, SS and the flags that are not its own. Of a frame that
// may not be enterable it makes a suspicious trap, unless u.Mach says that somebody
// has looked. area is the address in the entry area, where the interrupt stacks
// find it too.
func enter(u *arch.UArea, area uint64)

// Run implements arch.Machine.
//
// The null system call comes through here, so the path is short: what can be
// wrong with a frame is tested at once, what user code may not choose is
// overwritten without looking. It needs so little stack that it does not look for room.
//
//go:nosplit
func (m *Machine) Run(u *arch.UArea) {
	c := thisCPU()
	if at := uintptr(unsafe.Pointer(u)); at != atomic.LoadUintptr(&c.last) {
		atomic.StoreUintptr(&c.last, at)
		c.area.uarea = uint64(at) // where traps find it
		clearSegments(c.area.kernelFS)
	}
	enter(u, c.areaVA)
	if u.Trap.Kind != arch.Syscall {
		m.trapped(u)
	}
}

// trapped is Run for all but system calls.
func (m *Machine) trapped(u *arch.UArea) {
	c := thisCPU()
	if u.Trap.Kind == suspicious {
		if !enterable(&u.Frame) {
			u.Trap = arch.Trap{Kind: arch.Protection, Code: 13 << 32}
			return
		}
		u.Mach[machChecked] = 1
		enter(u, c.areaVA)
		if u.Trap.Kind == arch.Syscall {
			return
		}
	}
	decodeTrap(&u.Trap)
	if uint8(u.Trap.Code>>32) == vecDebug {
		// The CPU sets the bits of DR6 and never clears one.
		if getDR6()&dr6BS != 0 {
			u.Trap.Code |= trapStep
		}
		setDR6(dr6Reset)
	}
	if u.Trap.Kind == arch.Interrupt {
		c.area.pending |= 1 << (uint8(u.Trap.Code>>32) - vecIRQ)
	}
}
