//go:build tamago && arm64

#include "textflag.h"

// func rndr() (v uint64, ok bool)
TEXT ·rndr(SB),NOSPLIT,$0-9
	MOVD	$10, R1
again:	MRS	RNDR, R0	// Z set: no number at present (Arm ARM C5.2.15)
	BNE	have
	SUB	$1, R1
	CBNZ	R1, again
	MOVD	ZR, v+0(FP)
	MOVB	ZR, ok+8(FP)
	RET
have:	MOVD	R0, v+0(FP)
	MOVD	$1, R0
	MOVB	R0, ok+8(FP)
	RET
