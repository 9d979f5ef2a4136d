//go:build tamago && amd64

package amd64

import (
	"sync/atomic"
	"unsafe"

	"grim/arch"
)

// enter enters user mode, and returns when the CPU has left it. It is in run_amd64.s. It
// overwrites what user code may not choose: CS, SS and some flags. If the frame may not be
// enterable it does not enter, and makes a suspicious trap, unless u.Mach says that the
// frame has been checked. area is the address of cpuArea in the entry area, relative to
// which the interrupt stacks lie.
func enter(u *arch.UArea, area uint64)

// Run implements arch.Machine.
//
// The null system call comes through here, so the path is short. Whether a frame may be
// entered is tested by one comparison, and what user code may not choose is overwritten
// unread. The function needs so little stack that it does without the check for room.
//
//go:nosplit
func (m *Machine) Run(u *arch.UArea) {
	c := thisCPU()
	if at := uintptr(unsafe.Pointer(u)); at != atomic.LoadUintptr(&c.last) {
		atomic.StoreUintptr(&c.last, at)
		c.area.uarea = uint64(at) // where the entry code finds it
		clearSegments(c.area.kernelFS)
	}
	enter(u, c.areaVA)
	if u.Trap.Kind != arch.Syscall {
		m.trapped(u)
	}
}

// trapped is the rest of Run for all traps but system calls.
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
		// The CPU sets bits of DR6 and never clears them.
		if getDR6()&dr6BS != 0 {
			u.Trap.Code |= trapStep
		}
		setDR6(dr6Reset)
	}
	if u.Trap.Kind == arch.Interrupt {
		c.area.pending |= 1 << (uint8(u.Trap.Code>>32) - vecIRQ)
	}
}
