package arm64

import "grim/arch"

// An MRS of an identification register is undefined at EL0. Linux emulates it with the
// fields that user code can use (kernel documentation, "ARM64 CPU Feature Registers"), and
// programs rely on that if AT_HWCAP has HWCAP_CPUID. This kernel does so too, with the same
// fields except those of extensions that are off here. Other registers of the range read as
// zero, as on Linux.

// The syndrome of a trapped MRS, MSR or System instruction (Arm ARM D24.2.40,
// EC 0x18), which emulateMRS takes.
const (
	issRead    = 1 << 0
	issCRmAt   = 1
	issRtAt    = 5
	issCRnAt   = 10
	issOp1At   = 14
	issOp2At   = 17
	issOp0At   = 20
	issIDMask  = 3<<issOp0At | 7<<issOp1At | 15<<issCRnAt | issRead
	issIDValue = 3<<issOp0At | issRead // op0 3, op1 0, CRn 0: the ID registers
)

// mrsSyndrome makes the syndrome of an MRS instruction (Arm ARM C6.2.228). It is needed on
// CPUs without FEAT_IDST, which report an undefined MRS with EC 0.
func mrsSyndrome(instruction uint32) (iss uint64, ok bool) {
	if instruction>>20 != 0xd53 {
		return 0, false
	}
	at := func(lsb, bits uint) uint64 { return uint64(instruction) >> lsb & (1<<bits - 1) }
	return at(19, 2)<<issOp0At | at(5, 3)<<issOp2At | at(16, 3)<<issOp1At | at(12, 4)<<issCRnAt |
		at(0, 5)<<issRtAt | at(8, 4)<<issCRmAt | issRead, true
}

// idReg is a register with the mask of the fields shown.
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

// field returns the mask of 4-bit fields at the given shifts.
func field(shift ...uint) (m uint64) {
	for _, s := range shift {
		m |= 0xf << s
	}
	return m
}

var idRegs = [idCount]idReg{
	idMIDR:   {0, 0, ^uint64(0), 0},
	idMPIDR:  {0, 5, 0, 1 << 31}, // not shown, as the reading thread can move to another CPU
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

// emulateMRS executes a trapped instruction and steps over it, if it is a read of an
// identification register. read returns the CPU's value of register i of idRegs.
func emulateMRS(f *arch.Frame, iss uint64, read func(i int) uint64) bool {
	crm, op2 := iss>>issCRmAt&15, iss>>issOp2At&7
	if iss&issIDMask != issIDValue || crm != 0 && (crm < 4 || crm > 7) {
		return false
	}
	known := crm != 0 // CRm 0 has undefined encodings besides ours
	var v uint64
	for i, r := range idRegs {
		if r.crm == crm && r.op2 == op2 {
			v, known = read(i)&r.show|r.set, true
		}
	}
	if !known {
		return false
	}
	if rt := iss >> issRtAt & 31; rt != 31 {
		f[rt] = v
	}
	f[slotPC] += 4
	return true
}

// emulateCTR answers a trapped read of CTR_EL0 with the value that holds for all CPUs.
func emulateCTR(f *arch.Frame, iss, value uint64) bool {
	const ctr = 3<<issOp0At | 3<<issOp1At | 1<<issOp2At | issRead
	if iss&(issIDMask|7<<issOp2At|15<<issCRmAt) != ctr {
		return false
	}
	if rt := iss >> issRtAt & 31; rt != 31 {
		f[rt] = value
	}
	f[slotPC] += 4
	return true
}

// hwcap returns AT_HWCAP and AT_HWCAP2 for the fields that user code is shown (Linux UAPI,
// asm/hwcap.h; "ARM64 ELF hwcaps" in the kernel's documentation).
func hwcap(read func(i int) uint64) (caps, caps2 uint64) {
	have := func(reg int, shift uint, least uint64) bool {
		v := read(reg)&idRegs[reg].show | idRegs[reg].set
		return v>>shift&15 >= least
	}
	pfr0 := read(idPFR0)
	// In these two fields 15 means absent, and 0 present.
	fp, simd := pfr0>>16&15, pfr0>>20&15
	for _, c := range []struct {
		bit  uint
		have bool
	}{
		{0, fp != 15}, {1, simd != 15}, {9, fp == 1}, {10, simd == 1}, {11, true}, // CPUID: emulated
		{3, have(idISAR0, 4, 1)}, {4, have(idISAR0, 4, 2)}, // AES, PMULL
		{5, have(idISAR0, 8, 1)}, {6, have(idISAR0, 12, 1)}, {21, have(idISAR0, 12, 2)}, // SHA1, SHA2, SHA512
		{7, have(idISAR0, 16, 1)}, {8, have(idISAR0, 20, 2)}, {12, have(idISAR0, 28, 1)}, // CRC32, ATOMICS, ASIMDRDM
		{17, have(idISAR0, 32, 1)}, {18, have(idISAR0, 36, 1)}, {19, have(idISAR0, 40, 1)}, // SHA3, SM3, SM4
		{20, have(idISAR0, 44, 1)}, {23, have(idISAR0, 48, 1)}, {27, have(idISAR0, 52, 1)}, // ASIMDDP, ASIMDFHM, FLAGM
		{16, have(idISAR1, 0, 1)}, {13, have(idISAR1, 12, 1)}, {14, have(idISAR1, 16, 1)}, // DCPOP, JSCVT, FCMA
		{15, have(idISAR1, 20, 1)}, {26, have(idISAR1, 20, 2)}, {29, have(idISAR1, 36, 1)}, // LRCPC, ILRCPC, SB
		{24, have(idPFR0, 48, 1)}, {28, have(idPFR1, 4, 2)}, {25, have(idMMFR2, 32, 1)}, // DIT, SSBS, USCAT
	} {
		if c.have {
			caps |= 1 << c.bit
		}
	}
	for _, c := range []struct {
		bit  uint
		have bool
	}{
		{0, have(idISAR1, 0, 2)}, {7, have(idISAR0, 52, 2)}, {8, have(idISAR1, 32, 1)}, // DCPODP, FLAGM2, FRINT
		{13, have(idISAR1, 52, 1)}, {14, have(idISAR1, 44, 1)}, {16, have(idISAR0, 60, 1)}, // I8MM, BF16, RNG
	} {
		if c.have {
			caps2 |= 1 << c.bit
		}
	}
	return caps, caps2
}
