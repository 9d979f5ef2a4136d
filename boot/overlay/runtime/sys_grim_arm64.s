//go:build grim_overlay

#include "go_asm.h"
#include "textflag.h"

// func counter() uint64
TEXT runtime·counter(SB),NOSPLIT,$0-8
	MRS	CNTVCT_EL0, R0
	MOVD	R0, ret+0(FP)
	RET

// func counterHz() uint64
TEXT runtime·counterHz(SB),NOSPLIT,$0-8
	MRS	CNTFRQ_EL0, R0
	MOVD	R0, ret+0(FP)
	RET

// func readISAR0() uint64
TEXT runtime·readISAR0(SB),NOSPLIT,$0-8
	MRS	ID_AA64ISAR0_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func readPFR0() uint64
TEXT runtime·readPFR0(SB),NOSPLIT,$0-8
	MRS	ID_AA64PFR0_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func nanotime1() int64
//
// timeOffset + (counter-timeBase)*timeMult>>32.
TEXT runtime·nanotime1(SB),NOSPLIT,$0-8
	MRS	CNTVCT_EL0, R0
	MOVD	runtime·timeBase(SB), R1
	SUB	R1, R0, R0
	MOVD	runtime·timeMult(SB), R1
	MUL	R0, R1, R2
	UMULH	R0, R1, R3
	EXTR	$const_timeShift, R2, R3, R0
	MOVD	runtime·timeOffset(SB), R1
	ADD	R1, R0, R0
	MOVD	R0, ret+0(FP)
	RET

// func hwseed() uint64
//
// RNDR (ID_AA64ISAR0_EL1.RNDR, bits 63:60), else the counter.
TEXT runtime·hwseed(SB),NOSPLIT,$0-8
	MRS	ID_AA64ISAR0_EL1, R1
	LSR	$60, R1, R1
	CBZ	R1, none
	WORD	$0xd53b2400 // MRS RNDR, R0; sets EQ on failure
	BNE	done
none:
	MRS	CNTVCT_EL0, R0
done:
	MOVD	R0, ret+0(FP)
	RET

// func earlyPutc(c byte)
//
// No UART address is known before the device tree has been read, but a debugger
// may listen to semihosting calls ("Semihosting for AArch32 and AArch64",
// SYS_WRITEC). Where none does, the call is an exception: TPIDR_EL1 tells
// earlyVectors to stop there, the kernel being dead anyhow.
TEXT runtime·earlyPutc(SB),NOSPLIT,$0-1
	MOVD	$1, R0
	MSR	R0, TPIDR_EL1
	MOVD	$c+0(FP), R1
	MOVD	$3, R0
	WORD	$0xd45e0000	// HLT #0xf000
	RET

// func haltCPU(code int32)
//
// SYS_EXIT_EXTENDED first, for a debugger that may be there; see earlyPutc.
TEXT runtime·haltCPU(SB),NOSPLIT,$16-4
	MSR	$15, DAIFSet
	MOVD	$1, R0
	MSR	R0, TPIDR_EL1
	MOVD	$0x20026, R0	// ADP_Stopped_ApplicationExit
	MOVW	code+0(FP), R1
	MOVD	R0, block-16(SP)
	MOVD	R1, block-8(SP)
	MOVD	$block-16(SP), R1
	MOVD	$0x20, R0
	WORD	$0xd45e0000	// HLT #0xf000
halt:
	WFI
	B	halt
