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
	esrIL           = 1 << 25
	esrTFV          = 1 << 23 // in ecFP: the syndrome names the trapped exceptions
	esrWnR          = 1 << 6  // a write
	esrCM           = 1 << 8  // the access was cache maintenance, which needs only read access
	esrFnV          = 1 << 10
	accessShift     = 56 // of arch.Trap.Code
	faultStatusMask = 0x3f
	statusNoLevel0  = 0x04 // translation fault, level 0
	statusAlignment = 0x21
	statusExclusive = 0x35
)

// Vectors that lead out of user mode, as entry.s stores them in Trap.Kind.
const (
	fromSync = iota // must be arch.Syscall, see Run
	fromIRQ
	fromFIQ
	fromSError
)

func ec(esr uint64) uint64 { return esr >> 26 & 0x3f }

// decode determines the kind of a trap from EL0 through a vector. sp is the user's SP.
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
		// FAR_EL1 is not set by this exception.
		t.Kind, t.Addr = arch.Alignment, arch.VA(sp)
	case ecFP:
		t.Kind = arch.Arithmetic
	case ecBreakLower, ecStepLower, ecWatchLower, ecBRK:
		t.Kind = arch.Breakpoint
	default:
		// Unallocated and trapped instructions, and the classes that later architectures
		// add: this kernel offers none of them.
		t.Kind = arch.Illegal
	}
	return t
}

// decodeAbort decides by the fault status code which aborts are page faults, for package
// pmap (Arm ARM D24.2.40, ISS encoding for an exception from a data abort).
func decodeAbort(t *arch.Trap, far uint64, access arch.Prot) {
	t.Addr = arch.VA(far)
	switch s := t.Code & faultStatusMask; {
	case s>>2 == 1, s>>2 == 2, s>>2 == 3: // translation, access flag, permission
		t.Kind = arch.PageFault
		if t.Addr >= arch.UserMax {
			// A signal handler must not learn what the kernel has mapped.
			t.Code = t.Code&(0x3f<<26|esrIL|esrCM|esrWnR) | statusNoLevel0
		}
		t.Code |= uint64(access) << accessShift
	case s == statusAlignment, s == statusExclusive: // misaligned; exclusive or atomic on unsuitable memory
		t.Kind = arch.Alignment
	default: // external aborts, ECC, address size, TLB conflict
		t.Kind = arch.MachineCheck
		if t.Code&esrFnV != 0 {
			t.Addr = 0
		}
	}
}

// Codes of siginfo_t (sigaction(2), asm-generic/siginfo.h).
const (
	illIllOpc = 1
	fpeFltUnk = 14
	busAdrAln = 1
	busObjErr = 3
	trapBrkpt = 1
	trapTrace = 2
	trapHW    = 4
)

// floatCodes are the codes of a trapped floating-point exception, by bit of the syndrome:
// invalid, divide by zero, overflow, underflow, inexact.
var floatCodes = [...]int32{7, 3, 4, 5, 6}

// cause implements Cause of arch.ABI.
func cause(u *arch.UArea) (code int32, addr arch.VA) {
	pc := arch.VA(u.Frame[slotPC])
	esr := u.Trap.Code
	switch u.Trap.Kind {
	case arch.Illegal:
		return illIllOpc, pc
	case arch.Alignment:
		if ec(esr) == ecDataLower && esr&faultStatusMask == statusExclusive {
			return busObjErr, u.Trap.Addr
		}
		return busAdrAln, u.Trap.Addr
	case arch.MachineCheck:
		return busObjErr, u.Trap.Addr
	case arch.Breakpoint:
		switch ec(esr) {
		case ecStepLower:
			return trapTrace, pc
		case ecBreakLower, ecWatchLower:
			return trapHW, pc
		}
		return trapBrkpt, pc
	case arch.Arithmetic:
		if esr&esrTFV != 0 {
			for bit, code := range floatCodes {
				if esr>>bit&1 != 0 {
					return code, pc
				}
			}
		}
		return fpeFltUnk, pc
	}
	return arch.CodeKernel, 0
}
