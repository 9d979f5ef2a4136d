//go:build tamago && arm64

#include "textflag.h"

// DSB options (Arm ARM C6.2.92).
#define ISHST	$10
#define ISH	$11
#define SY	$15

// func setRoots(ttbr0, ttbr1 uint64)
//
// Both roots map the kernel in the same way, and kernel entries are global. So the order of
// the writes does not matter.
TEXT ·setRoots(SB),NOSPLIT,$0-16
	MOVD	ttbr0+0(FP), R0
	MOVD	ttbr1+8(FP), R1
	DSB	ISHST
	MSR	R0, TTBR0_EL1
	MSR	R1, TTBR1_EL1
	ISB	SY
	RET

// func replaceRoots(identity, empty, ttbr0, ttbr1 uint64, code uintptr)
//
// It replaces the kernel half in which this code itself runs. The old and the new half may
// have different block sizes and rights, so for an instant there must be no kernel half at
// all (break before make, Arm ARM D8.16.1). During that time the CPU runs replaceCode at
// its physical address code, through the identity map in TTBR0_EL1. It uses no stack, and
// cannot take exceptions.
TEXT ·replaceRoots(SB),NOSPLIT|NOFRAME,$0-40
	MOVD	identity+0(FP), R0
	MOVD	empty+8(FP), R1
	MOVD	ttbr0+16(FP), R2
	MOVD	ttbr1+24(FP), R3
	MOVD	code+32(FP), R4
	MSR	$4, DAIFSet
	DSB	ISHST
	MSR	R0, TTBR0_EL1
	ISB	SY
	ADR	back, R5
	JMP	(R4)
back:	MSR	R2, TTBR0_EL1
	ISB	SY
	TLBI	VMALLE1
	DSB	ISH
	ISB	SY
	MSR	$4, DAIFClr
	RET

// replaceCode is the part of replaceRoots that runs without a kernel half.
TEXT ·replaceCode(SB),NOSPLIT|NOFRAME,$0-0
	MSR	R1, TTBR1_EL1
	ISB	SY
	TLBI	VMALLE1
	DSB	ISH
	ISB	SY
	MSR	R3, TTBR1_EL1
	ISB	SY
	JMP	(R5)

DATA	replaceCodeAt<>+0(SB)/8, $·replaceCode(SB)
GLOBL	replaceCodeAt<>(SB), RODATA, $8

// func replaceCodeVA() uintptr
TEXT ·replaceCodeVA(SB),NOSPLIT,$0-8
	MOVD	replaceCodeAt<>(SB), R0
	MOVD	R0, ret+0(FP)
	RET

// func getRoots() (ttbr0, ttbr1 uint64)
TEXT ·getRoots(SB),NOSPLIT,$0-16
	MRS	TTBR0_EL1, R0
	MRS	TTBR1_EL1, R1
	MOVD	R0, ttbr0+0(FP)
	MOVD	R1, ttbr1+8(FP)
	RET

// func flushVA(arg uint64, twice bool)
TEXT ·flushVA(SB),NOSPLIT,$0-9
	MOVD	arg+0(FP), R0
	MOVBU	twice+8(FP), R1
	DSB	ISHST
	TLBI	VAE1IS, R0
	CBZ	R1, once
	DSB	ISH
	TLBI	VAE1IS, R0
once:	DSB	ISH
	ISB	SY
	RET

// func flushASID(arg uint64, twice bool)
TEXT ·flushASID(SB),NOSPLIT,$0-9
	MOVD	arg+0(FP), R0
	MOVBU	twice+8(FP), R1
	DSB	ISHST
	TLBI	ASIDE1IS, R0
	CBZ	R1, once
	DSB	ISH
	TLBI	ASIDE1IS, R0
once:	DSB	ISH
	ISB	SY
	RET

// func flushAll(twice bool)
TEXT ·flushAll(SB),NOSPLIT,$0-1
	MOVBU	twice+0(FP), R1
	DSB	ISHST
	TLBI	VMALLE1IS
	CBZ	R1, once
	DSB	ISH
	TLBI	VMALLE1IS
once:	DSB	ISH
	ISB	SY
	RET

// func barrier()
TEXT ·barrier(SB),NOSPLIT,$0-0
	DSB	SY
	ISB	SY
	RET

// func syncInstructions(va, n, line uintptr, civac bool)
TEXT ·syncInstructions(SB),NOSPLIT,$0-25
	MOVD	va+0(FP), R0
	MOVD	n+8(FP), R1
	MOVD	line+16(FP), R2
	ADD	R0, R1
	SUB	$1, R2, R3
	BIC	R3, R0
	MOVBU	civac+24(FP), R3
	CBNZ	R3, both
clean:	DC	CVAU, R0
	ADD	R2, R0
	CMP	R1, R0
	BLO	clean
	B	fetch
both:	DC	CIVAC, R0
	ADD	R2, R0
	CMP	R1, R0
	BLO	both
fetch:	DSB	ISH
	WORD	$0xd508711f	// ic ialluis
	DSB	ISH
	ISB	SY
	RET

// func enablePAN()
//
// Kernel code accesses user memory only through the direct map, so PAN stays set.
TEXT ·enablePAN(SB),NOSPLIT,$0-0
	MRS	SCTLR_EL1, R0
	AND	$~(1<<23), R0
	MSR	R0, SCTLR_EL1
	WORD	$0xd500419f	// msr pan, #1
	ISB	SY
	RET

// func enableE0PD()
TEXT ·enableE0PD(SB),NOSPLIT,$0-0
	MRS	TCR_EL1, R0
	ORR	$(1<<56), R0
	MSR	R0, TCR_EL1
	ISB	SY
	RET

// func trapCTR()
TEXT ·trapCTR(SB),NOSPLIT,$0-0
	MRS	SCTLR_EL1, R0
	AND	$~(1<<15), R0
	MSR	R0, SCTLR_EL1
	ISB	SY
	RET

// func hardenEL0(pmu, amu bool)
TEXT ·hardenEL0(SB),NOSPLIT,$0-2
	MOVBU	pmu+0(FP), R0
	CBZ	R0, nopmu
	MSR	ZR, PMUSERENR_EL0
nopmu:
	MOVBU	amu+1(FP), R0
	CBZ	R0, noamu
	MSR	ZR, AMUSERENR_EL0
noamu:
	MSR	ZR, MDSCR_EL1
	MOVD	$2, R0		// EL0VCTEN: CNTVCT_EL0 and CNTFRQ_EL0, as Linux
	MSR	R0, CNTKCTL_EL1
	ISB	SY
	RET

// func translateEL0(va uint64) uint64
TEXT ·translateEL0(SB),NOSPLIT,$0-16
	MOVD	va+0(FP), R0
	WORD	$0xd5087840	// at s1e0r, x0
	ISB	SY
	MRS	PAR_EL1, R0
	MOVD	R0, ret+8(FP)
	RET

// func yield()
TEXT ·yield(SB),NOSPLIT,$0-0
	YIELD
	RET
