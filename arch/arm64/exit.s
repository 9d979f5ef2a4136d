//go:build tamago && arm64

#include "textflag.h"

// func psci(function uint64, smc bool) int64
//
// SMCCC: X0 to X17 may change (DEN 0028, section 2.6).
TEXT ·psci(SB),NOSPLIT,$0-24
	MOVD	function+0(FP), R0
	MOVBU	smc+8(FP), R4
	MOVD	ZR, R1
	MOVD	ZR, R2
	MOVD	ZR, R3
	CBNZ	R4, smc
	HVC	$0
	MOVD	R0, ret+16(FP)
	RET
smc:	SMC	$0
	MOVD	R0, ret+16(FP)
	RET

// func halt()
TEXT ·halt(SB),NOSPLIT,$0-0
stop:	WFI
	B	stop
