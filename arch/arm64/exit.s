//go:build tamago && arm64

#include "textflag.h"

// func smccc(function, arg uint64, smc bool) int64
//
// By SMCCC, X0 to X17 may change (DEN 0028, section 2.6).
TEXT ·smccc(SB),NOSPLIT,$0-32
	MOVD	function+0(FP), R0
	MOVD	arg+8(FP), R1
	MOVBU	smc+16(FP), R4
	MOVD	ZR, R2
	MOVD	ZR, R3
	CBNZ	R4, smc
	HVC	$0
	MOVD	R0, ret+24(FP)
	RET
smc:	SMC	$0
	MOVD	R0, ret+24(FP)
	RET

// func halt()
TEXT ·halt(SB),NOSPLIT,$0-0
stop:	WFI
	B	stop
