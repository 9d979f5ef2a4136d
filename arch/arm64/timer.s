//go:build tamago && arm64

#include "textflag.h"

// func readCNTFRQ() uint64
TEXT ·readCNTFRQ(SB),NOSPLIT,$0-8
	MRS	CNTFRQ_EL0, R0
	MOVD	R0, ret+0(FP)
	RET

// func readCNTVCT() uint64
TEXT ·readCNTVCT(SB),NOSPLIT,$0-8
	ISB	$15
	MRS	CNTVCT_EL0, R0
	MOVD	R0, ret+0(FP)
	RET

// func setCNTV(cval, ctl uint64)
TEXT ·setCNTV(SB),NOSPLIT,$0-16
	MOVD	cval+0(FP), R0
	MOVD	ctl+8(FP), R1
	MSR	R0, CNTV_CVAL_EL0
	MSR	R1, CNTV_CTL_EL0
	ISB	$15
	RET

// func waitForInterrupt()
//
// Interrupts are masked, but WFI returns as soon as an interrupt is pending (Arm ARM
// D1.6.2). So an interrupt between the caller's last look and the WFI is not lost.
TEXT ·waitForInterrupt(SB),NOSPLIT,$0-0
	DSB	$15
	WFI
	RET
