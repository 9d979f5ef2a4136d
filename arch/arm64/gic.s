//go:build tamago && arm64

#include "textflag.h"

// func iccInit() bool
//
// System registers on, all priorities let through, EOI drops priority and
// deactivates, group 1 enabled (IHI 0069 section 12.2).
TEXT ·iccInit(SB),NOSPLIT,$0-1
	MOVB	ZR, ret+0(FP)
	MRS	ICC_SRE_EL1, R0
	ORR	$1, R0
	MSR	R0, ICC_SRE_EL1
	ISB	$15
	MRS	ICC_SRE_EL1, R0
	TBZ	$0, R0, none
	MOVD	$0xff, R0
	MSR	R0, ICC_PMR_EL1
	MSR	ZR, ICC_BPR1_EL1
	MSR	ZR, ICC_CTLR_EL1
	MOVD	$1, R0
	MSR	R0, ICC_IGRPEN1_EL1
	ISB	$15
	MOVB	R0, ret+0(FP)
none:	RET

// func iccAcknowledge() uint64
TEXT ·iccAcknowledge(SB),NOSPLIT,$0-8
	MRS	ICC_IAR1_EL1, R0
	DSB	$15
	MOVD	R0, ret+0(FP)
	RET

// func iccDone(intid uint64)
TEXT ·iccDone(SB),NOSPLIT,$0-8
	MOVD	intid+0(FP), R0
	DSB	$15
	MSR	R0, ICC_EOIR1_EL1
	ISB	$15
	RET
