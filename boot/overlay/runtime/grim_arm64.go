//go:build grim_overlay

package runtime

import (
	"internal/abi"
	"internal/cpu"
	"internal/goarch"
	"internal/runtime/sys"
	"unsafe"
)

// Linux system-call numbers, generic table.
const (
	_SYS_write      = 64
	_SYS_exit_group = 94
	_SYS_getpid     = 172
	_SYS_getrandom  = 278
)

// Registers that Go code needs at start-up; in sys_grim_arm64.s.
func counterHz() uint64 // CNTFRQ_EL0
func readISAR0() uint64 // ID_AA64ISAR0_EL1
func readPFR0() uint64  // ID_AA64PFR0_EL1

// rt0EL2 is not called from Go; see systemstack in grim_os.go.
//
//go:linkname rt0EL2
func rt0EL2()

// semihostCall is not called from Go. The assembly of package grim/arch/arm64 calls it.
//
//go:linkname semihostCall
func semihostCall()

// archinit takes the counter's frequency from CNTFRQ_EL0, if firmware has set it, and gives
// package internal/cpu the value that Linux would have in AT_HWCAP.
func archinit() {
	EarlyMark('r')
	if hz := counterHz(); hz != 0 {
		SetClock(hz)
	}
	cpu.HWCap = hwcap(readISAR0(), readPFR0())
}

// hwcap returns the bits that internal/cpu and others use, made from the two registers as
// the Arm Architecture Reference Manual describes them. HWCAP_CPUID is left out, because it
// says that user code may read the registers.
func hwcap(isar0, pfr0 uint64) (caps uint) {
	field := func(reg uint64, shift uint) uint64 { return reg >> shift & 15 }
	set := func(have bool, bit uint) {
		if have {
			caps |= 1 << bit
		}
	}
	set(field(pfr0, 16) != 15, 0)  // FP
	set(field(pfr0, 20) != 15, 1)  // ASIMD
	set(field(isar0, 4) >= 1, 3)   // AES
	set(field(isar0, 4) >= 2, 4)   // PMULL
	set(field(isar0, 8) >= 1, 5)   // SHA1
	set(field(isar0, 12) >= 1, 6)  // SHA2
	set(field(isar0, 16) >= 1, 7)  // CRC32
	set(field(isar0, 20) >= 2, 8)  // ATOMICS
	set(field(isar0, 12) >= 2, 21) // SHA512
	set(field(pfr0, 48) == 1, 24)  // DIT
	return caps
}

func cputicks() int64 { return int64(counter()) }

// injectCall sets LR and PC as if the faulting function had called sigpanic itself. It
// always stores LR on the stack, so that faults in leaf functions unwind. That destroys a
// frame to which no code returns.
func injectCall(c *FaultContext, gp *g) {
	lr := c.LR
	c.SP -= sys.StackAlign
	*(*uintptr)(unsafe.Pointer(c.SP)) = lr
	// A valid frame pointer below, for the checks during copies of stacks.
	*(*uintptr)(unsafe.Pointer(c.SP - goarch.PtrSize)) = c.FP
	if shouldPushCall(c.PC, lr) {
		c.LR = c.PC
	}
	c.PC = abi.FuncPCABIInternal(sigpanic)
}
