package amd64

import "grim/arch"

// Vectors. The entry code has stubs for the first 64. An INT instruction with a larger
// number raises a general protection fault.
const (
	vecDivide      = 0
	vecDebug       = 1
	vecNMI         = 2
	vecBreakpoint  = 3
	vecInvalid     = 6
	vecDoubleFault = 8
	vecPageFault   = 14
	vecX87         = 16
	vecAlignment   = 17
	vecMachine     = 18
	vecSIMD        = 19
	vecIRQ         = 32 // I/O APIC inputs 0..27
	irqLines       = 28
	vecTimer       = vecIRQ + irqLines // 60
	vecWake        = 61                // from another CPU: there is work (Wake)
	vecShoot       = 62                // from another CPU: leave user mode (Interrupt)
	vecSpurious    = 63                // the low four bits are set: SDM volume 3, 10.9
	vectors        = 64
)

// kinds maps exception vectors (SDM volume 3, table 6-1) to trap kinds. Vectors that cannot
// come from user mode are Protection.
var kinds = [vecIRQ]arch.TrapKind{
	0:  arch.Arithmetic, // divide
	1:  arch.Breakpoint, // single step, ICEBP
	2:  arch.Protection,
	3:  arch.Breakpoint, // INT3
	4:  arch.Protection, // INTO: not in 64-bit mode
	5:  arch.Protection, // BOUND: not in 64-bit mode
	6:  arch.Illegal,
	7:  arch.Protection, // CR0.TS and EM are never set
	8:  arch.Protection,
	9:  arch.Protection,
	10: arch.Protection,
	11: arch.Alignment, // segment not present: SIGBUS, as on Linux
	12: arch.Alignment, // stack access through a non-canonical address: SIGBUS
	13: arch.Protection,
	14: arch.PageFault,
	15: arch.Protection,
	16: arch.Arithmetic, // x87
	17: arch.Alignment,
	18: arch.MachineCheck,
	19: arch.Arithmetic, // SIMD
	20: arch.Protection,
	21: arch.Protection, 22: arch.Protection, 23: arch.Protection,
	24: arch.Protection, 25: arch.Protection, 26: arch.Protection,
	27: arch.Protection, 28: arch.Protection, 29: arch.Protection,
	30: arch.Protection, 31: arch.Protection,
}

// undecoded marks a trap of which the entry code has filled in Code and Addr only. It is
// not an arch.TrapKind.
const undecoded = 0xff

// suspicious marks a frame that was not entered: its PC or a base lies outside the lower
// half, and enterable has not checked it yet. It is not an arch.TrapKind.
const suspicious = 0xfe

// trapSyscall is arch.Syscall for the assembly.
const trapSyscall = uint64(arch.Syscall)

// trapStep is a bit of Trap.Code for vecDebug. It means a single step (DR6.BS), and not an
// instruction that raises the exception.
const trapStep = 1 << 40

// Page-fault error code, SDM volume 3, 4.7.
const (
	pfPresent = 1 << 0
	pfWrite   = 1 << 1
	pfUser    = 1 << 2
	pfFetch   = 1 << 4
)

// decodeTrap completes what the entry code left in t for all traps but system calls: Code
// is error code | vector<<32, and Addr is CR2 whatever the vector.
func decodeTrap(t *arch.Trap) {
	vector := uint8(t.Code >> 32)
	if vector >= vecIRQ {
		t.Kind, t.Addr = arch.Interrupt, 0
		return
	}
	t.Kind = kinds[vector]
	if vector != vecPageFault {
		t.Addr = 0
		return
	}
	if t.Code&pfUser == 0 {
		// User code ran, but the access counts as one by the supervisor. Either the CPU
		// accessed its own tables, or it was a far return or IRET under QEMU's TCG, which
		// with SMAP fails on good user memory too and would fail for ever.
		t.Kind = arch.Protection
		return
	}
	access := arch.Read
	switch {
	case t.Code&pfFetch != 0:
		access = arch.Exec
	case t.Code&pfWrite != 0:
		access = arch.Write
	}
	t.Code |= uint64(access) << 56
	if t.Addr >= arch.UserMax {
		t.Code |= pfPresent // a signal handler must not learn what the kernel has mapped
	}
}

// Codes of siginfo_t (sigaction(2), asm-generic/siginfo.h).
const (
	illIllOpn  = 2 // not 1, as on x86 Linux
	fpeIntDiv  = 1
	fpeFltDiv  = 3
	fpeFltOvf  = 4
	fpeFltUnd  = 5
	fpeFltRes  = 6
	fpeFltInv  = 7
	busAdrAln  = 1
	busObjErr  = 3
	trapBrkpt  = 1
	trapTrace  = 2
	fpInvalid  = 1 << 0 // bits of exceptions
	fpDenormal = 1 << 1
	fpDivide   = 1 << 2
	fpOverflow = 1 << 3
	fpUnder    = 1 << 4
)

// cause is arch.ABI's Cause. Linux reports the address of the instruction with a few
// vectors only, and most vectors have no code of their own.
func cause(u *arch.UArea) (code int32, addr arch.VA) {
	pc := arch.VA(u.Frame[slotPC])
	switch vector := uint8(u.Trap.Code >> 32); vector {
	case vecDivide:
		return fpeIntDiv, pc
	case vecDebug:
		if u.Trap.Code&trapStep != 0 {
			return trapTrace, pc
		}
		return trapBrkpt, pc
	case vecInvalid:
		return illIllOpn, pc
	case vecX87, vecSIMD:
		return floatCause(exceptions(u, vector == vecSIMD)), pc
	case vecAlignment:
		return busAdrAln, 0
	case vecMachine:
		return busObjErr, u.Trap.Addr
	}
	return arch.CodeKernel, 0
}

// floatCause returns the code for the raised exceptions, in Linux's order. It is 0 if no
// exception is unmasked, as when an x87 exception is reported late.
func floatCause(raised uint32) int32 {
	switch {
	case raised&fpInvalid != 0:
		return fpeFltInv
	case raised&fpDivide != 0:
		return fpeFltDiv
	case raised&fpOverflow != 0:
		return fpeFltOvf
	case raised&(fpUnder|fpDenormal) != 0:
		return fpeFltUnd
	case raised != 0:
		return fpeFltRes
	}
	return 0
}
