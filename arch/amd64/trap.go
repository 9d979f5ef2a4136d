package amd64

import "grim/arch"

// Vectors. The entry code has stubs for vectors of them; an INT instruction
// beyond the last is a general protection fault.
const (
	vecDebug       = 1
	vecNMI         = 2
	vecBreakpoint  = 3
	vecDoubleFault = 8
	vecPageFault   = 14
	vecMachine     = 18
	vecIRQ         = 32 // I/O APIC inputs 0..27
	irqLines       = 28
	vecTimer       = vecIRQ + irqLines // 60
	vecSpurious    = 63                // low four bits set: SDM volume 3, 10.9
	vectors        = 64
)

// kinds maps exception vectors (SDM volume 3, table 6-1) to what portable code
// does about them. Vectors that cannot come from user mode are Protection.
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

// undecoded marks a trap of which the entry code has filled in Code and Addr
// only. It is no arch.TrapKind.
const undecoded = 0xff

// suspicious marks a frame that was not entered: its PC or a base lies outside of
// the lower half, and enterable has not been asked. It is no arch.TrapKind.
const suspicious = 0xfe

// trapSyscall is arch.Syscall for the assembly.
const trapSyscall = uint64(arch.Syscall)

// Page-fault error code, SDM volume 3, 4.7.
const (
	pfWrite = 1 << 1
	pfUser  = 1 << 2
	pfFetch = 1 << 4
)

// decodeTrap completes what the entry code left in t for anything but a system
// call: Code holds error code | vector<<32, Addr holds CR2 whatever the vector.
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
		// User code ran, but the access counts as the supervisor's: one of the
		// CPU to its own tables, or a far return or IRET under QEMU's TCG, which
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
}
