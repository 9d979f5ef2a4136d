package arm64

import "grim/arch"

// An MRS of an identification register is undefined at EL0. Linux emulates it
// with the fields that user code can make use of (kernel documentation, "ARM64
// CPU Feature Registers"), and programs rely on that where AT_HWCAP has
// HWCAP_CPUID. So do we, with the same fields, less those of extensions that are
// off here. Anything else in the range reads as zero, as there.

// idTrap is the mrs of op0 3, op1 0, CRn 0, CRm 0 or 4 to 7 in an ESR_EL1 with
// EC 0x18 (Arm ARM D24.2.40, "trapped MSR, MRS or System instruction").
const (
	issDirection = 1 << 0 // read
	issRtShift   = 5
	issRegMask   = 3<<20 | 7<<17 | 7<<14 | 15<<10 | 15<<1 // op0, op2, op1, CRn, CRm
)

func issReg(op0, op1, crn, crm, op2 uint64) uint64 {
	return op0<<20 | op2<<17 | op1<<14 | crn<<10 | crm<<1
}

// idReg is one register and the mask of the fields shown.
type idReg struct {
	crm, op2 uint64
	show     uint64
	set      uint64 // fixed bits
}

// Register numbers for readID, in the order of idRegs.
const (
	idMIDR = iota
	idMPIDR
	idREVIDR
	idPFR0
	idPFR1
	idISAR0
	idISAR1
	idMMFR0
	idMMFR2
	idCount
)

// field is the mask of a 4-bit field.
func field(shift ...uint) (m uint64) {
	for _, s := range shift {
		m |= 0xf << s
	}
	return m
}

var idRegs = [idCount]idReg{
	idMIDR:   {0, 0, ^uint64(0), 0},
	idMPIDR:  {0, 5, 0, 1 << 31}, // hidden, as the CPU can change under the reader
	idREVIDR: {0, 6, ^uint64(0), 0},
	idPFR0:   {4, 0, field(16, 20, 48), 0x11}, // FP, AdvSIMD, DIT; EL0 and EL1 are AArch64 only
	idPFR1:   {4, 1, field(4), 0},             // SSBS
	// AES, SHA1, SHA2, CRC32, Atomic, RDM, SHA3, SM3, SM4, DP, FHM, TS, RNDR
	idISAR0: {6, 0, field(4, 8, 12, 16, 20, 28, 32, 36, 40, 44, 48, 52, 60), 0},
	// DPB, JSCVT, FCMA, LRCPC, FRINTTS, SB, BF16, I8MM, without pointer authentication
	idISAR1: {6, 1, field(0, 12, 16, 20, 32, 36, 44, 52), 0},
	idMMFR0: {7, 0, 0, 0},
	idMMFR2: {7, 2, field(32), 0}, // AT: unaligned single-copy atomicity
}

// emulateMRS answers the trapped instruction of esr and steps over it, if it is
// a read of an identification register. read gives the CPU's own value of the
// register with that index in idRegs.
func emulateMRS(f *arch.Frame, esr uint64, read func(i int) uint64) bool {
	if ec(esr) != ecMSR || esr&issDirection == 0 {
		return false
	}
	crm := esr >> 1 & 15
	if esr&issRegMask&^(15<<1)&^(7<<17) != issReg(3, 0, 0, 0, 0) || crm != 0 && (crm < 4 || crm > 7) {
		return false
	}
	op2 := esr >> 17 & 7
	var v uint64
	known := crm != 0
	for i, r := range idRegs {
		if r.crm == crm && r.op2 == op2 {
			v, known = read(i)&r.show|r.set, true
		}
	}
	if !known { // CRm 0 has undefined encodings, and ones of AArch32
		return false
	}
	if rt := esr >> issRtShift & 31; rt != 31 {
		f[rt] = v
	}
	f[slotPC] += 4
	return true
}
