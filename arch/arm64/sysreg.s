//go:build tamago && arm64

#include "textflag.h"

// func readCTR() uint64
TEXT ·readCTR(SB),NOSPLIT,$0-8
	MRS	CTR_EL0, R0
	MOVD	R0, ret+0(FP)
	RET

// func readMIDR() uint64
TEXT ·readMIDR(SB),NOSPLIT,$0-8
	MRS	MIDR_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func readMPIDR() uint64
TEXT ·readMPIDR(SB),NOSPLIT,$0-8
	MRS	MPIDR_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func readREVIDR() uint64
TEXT ·readREVIDR(SB),NOSPLIT,$0-8
	MRS	REVIDR_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func readPFR0() uint64
TEXT ·readPFR0(SB),NOSPLIT,$0-8
	MRS	ID_AA64PFR0_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func readPFR1() uint64
TEXT ·readPFR1(SB),NOSPLIT,$0-8
	MRS	ID_AA64PFR1_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func readDFR0() uint64
TEXT ·readDFR0(SB),NOSPLIT,$0-8
	MRS	ID_AA64DFR0_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func readISAR0() uint64
TEXT ·readISAR0(SB),NOSPLIT,$0-8
	MRS	ID_AA64ISAR0_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func readISAR1() uint64
TEXT ·readISAR1(SB),NOSPLIT,$0-8
	MRS	ID_AA64ISAR1_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func readMMFR0() uint64
TEXT ·readMMFR0(SB),NOSPLIT,$0-8
	MRS	ID_AA64MMFR0_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func readMMFR1() uint64
TEXT ·readMMFR1(SB),NOSPLIT,$0-8
	MRS	ID_AA64MMFR1_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func readMMFR2() uint64
TEXT ·readMMFR2(SB),NOSPLIT,$0-8
	MRS	ID_AA64MMFR2_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func readTTBR1() uint64
TEXT ·readTTBR1(SB),NOSPLIT,$0-8
	MRS	TTBR1_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func readISAR2() uint64
//
// ID_AA64ISAR2_EL1 reads as zero on CPUs without it (Arm ARM D17.1.3).
TEXT ·readISAR2(SB),NOSPLIT,$0-8
	WORD	$0xd5380640	// mrs x0, id_aa64isar2_el1
	MOVD	R0, ret+0(FP)
	RET
