package arm64

import "grim/arch"

// Exception classes, ESR_EL1.EC (Arm ARM D24.2.40).
const (
	ecUnknown       = 0x00
	ecIllegalState  = 0x0e
	ecSVC           = 0x15
	ecMSR           = 0x18
	ecInstrLower    = 0x20
	ecInstrSame     = 0x21
	ecPCAlign       = 0x22
	ecDataLower     = 0x24
	ecDataSame      = 0x25
	ecSPAlign       = 0x26
	ecFP            = 0x2c
	ecSError        = 0x2f
	ecBreakLower    = 0x30
	ecBreakSame     = 0x31
	ecStepLower     = 0x32
	ecStepSame      = 0x33
	ecWatchLower    = 0x34
	ecWatchSame     = 0x35
	ecBRK           = 0x3c
	esrWnR          = 1 << 6 // a write
	esrCM           = 1 << 8 // by cache maintenance, which needs read access only
	esrFnV          = 1 << 10
	accessShift     = 56 // of arch.Trap.Code
	faultStatusMask = 0x3f
)

// Vectors that lead out of user mode, as entry.s stores them in Trap.Kind.
const (
	fromSync = iota // must be arch.Syscall, see Run
	fromIRQ
	fromFIQ
	fromSError
)

func ec(esr uint64) uint64 { return esr >> 26 & 0x3f }

// decode says what a trap from EL0 through a vector was. sp is the user's.
func decode(vector, esr, far, sp uint64) arch.Trap {
	t := arch.Trap{Code: esr}
	switch vector {
	case fromIRQ, fromFIQ:
		t.Kind = arch.Interrupt
		return t
	case fromSError:
		t.Kind = arch.MachineCheck
		return t
	}
	switch ec(esr) {
	case ecSVC:
		t.Kind = arch.Syscall
	case ecDataLower:
		access := arch.Read
		if esr&(esrWnR|esrCM) == esrWnR {
			access = arch.Write
		}
		decodeAbort(&t, far, access)
	case ecInstrLower:
		decodeAbort(&t, far, arch.Exec)
	case ecPCAlign:
		t.Kind, t.Addr = arch.Alignment, arch.VA(far)
	case ecSPAlign:
		// FAR_EL1 is not set by this one.
		t.Kind, t.Addr = arch.Alignment, arch.VA(sp)
	case ecFP:
		t.Kind = arch.Arithmetic
	case ecBreakLower, ecStepLower, ecWatchLower, ecBRK:
		t.Kind = arch.Breakpoint
	default:
		// Unallocated and trapped instructions, and whatever later
		// architectures add: nothing that this kernel offers.
		t.Kind = arch.Illegal
	}
	return t
}

// decodeAbort tells by the fault status code (Arm ARM D24.2.40, ISS encoding for
// an exception from a data abort) what is pmap's business and what is not.
func decodeAbort(t *arch.Trap, far uint64, access arch.Prot) {
	t.Addr = arch.VA(far)
	switch s := t.Code & faultStatusMask; {
	case s>>2 == 1, s>>2 == 2, s>>2 == 3: // translation, access flag, permission
		t.Kind = arch.PageFault
		t.Code |= uint64(access) << accessShift
	case s == 0x21, s == 0x35: // misaligned; exclusive or atomic on memory that has none
		t.Kind = arch.Alignment
	default: // external aborts, ECC, address size, TLB conflict
		t.Kind = arch.MachineCheck
		if t.Code&esrFnV != 0 {
			t.Addr = 0
		}
	}
}
