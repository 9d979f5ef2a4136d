//go:build tamago

#include "textflag.h"

// Secondary CPUs of QEMU's virt machine.

// func cpuOn(cpu, entry, context uint64) int64
//
// It calls PSCI's CPU_ON (DEN 0022, section 5.1.4).
TEXT ·cpuOn(SB),NOSPLIT,$0-32
	MOVD	$0xc4000003, R0
	MOVD	cpu+0(FP), R1
	MOVD	entry+8(FP), R2
	MOVD	context+16(FP), R3
	HVC	$0
	MOVD	R0, ret+24(FP)
	RET

// func systemRegisters(r *registers)
TEXT ·systemRegisters(SB),NOSPLIT,$0-8
	MOVD	r+0(FP), R0
	MRS	TTBR1_EL1, R1
	MRS	TCR_EL1, R2
	STP	(R1, R2), 0(R0)
	MRS	MAIR_EL1, R1
	MRS	SCTLR_EL1, R2
	STP	(R1, R2), 16(R0)
	MRS	VBAR_EL1, R1
	MOVD	R1, 32(R0)
	MOVD	$·arrived(SB), R1
	MOVD	R1, 40(R0)
	MOVD	$·secondary(SB), R1
	MOVD	R1, 48(R0)
	RET

// A CPU enters secondary with the MMU off and the physical address of its registers struct
// in R0.
TEXT ·secondary(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MSR	$0xf, DAIFSet
	MOVD	56(R0), R1			// identity map
	MSR	R1, TTBR0_EL1
	LDP	0(R0), (R1, R2)
	MSR	R1, TTBR1_EL1
	MSR	R2, TCR_EL1
	LDP	16(R0), (R1, R2)
	MSR	R1, MAIR_EL1
	ISB	$15
	TLBI	VMALLE1
	DSB	$15
	ISB	$15
	MSR	R2, SCTLR_EL1
	ISB	$15
	MOVD	40(R0), R1
	JMP	(R1)

TEXT ·arrived(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVD	32(R0), R1
	MSR	R1, VBAR_EL1
	MOVD	$(3<<20), R1			// CPACR_EL1.FPEN
	MSR	R1, CPACR_EL1
	MSR	$1, SPSel
	MOVD	64(R0), R1			// SP_EL1 is the top of the M's stack; exceptions arrive there
	MOVD	R1, RSP
	MSR	$0, SPSel
	SUB	$4096, R1
	MOVD	R1, RSP
	ISB	$15
	MOVD	72(R0), g
	MOVD	80(R0), R1
	JMP	(R1)
