//go:build tamago && arm64

#include "textflag.h"

// func iccInit() bool
//
// It turns the system registers on, clears the active priorities that firmware has left,
// lets all priorities through, makes EOI drop the priority and deactivate, and enables
// group 1 (IHI 0069 section 12.2). The number of ICC_AP1Rn_EL1 depends on
// ICC_CTLR_EL1.PRIbits: with 7 bits of priority there are four, with 6 two, with fewer one.
TEXT ·iccInit(SB),NOSPLIT,$0-1
	MOVB	ZR, ret+0(FP)
	MRS	ICC_SRE_EL1, R0
	ORR	$1, R0
	MSR	R0, ICC_SRE_EL1
	ISB	$15
	MRS	ICC_SRE_EL1, R0
	TBZ	$0, R0, none
	MRS	ICC_CTLR_EL1, R0
	UBFX	$8, R0, $3, R0
	CMP	$5, R0
	BLO	one
	BEQ	two
	MSR	ZR, ICC_AP1R3_EL1
	MSR	ZR, ICC_AP1R2_EL1
two:	MSR	ZR, ICC_AP1R1_EL1
one:	MSR	ZR, ICC_AP1R0_EL1
	ISB	$15
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

// func iccSend(v uint64)
TEXT ·iccSend(SB),NOSPLIT,$0-8
	MOVD	v+0(FP), R0
	MSR	R0, ICC_SGI1R_EL1
	ISB	$15
	RET
