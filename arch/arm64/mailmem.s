//go:build tamago && arm64

#include "textflag.h"

// func flushLines(p unsafe.Pointer, n uintptr)
TEXT ·flushLines(SB),NOSPLIT,$0-16
	MOVD	p+0(FP), R0
	MOVD	n+8(FP), R1
	ADD	R0, R1
	MRS	CTR_EL0, R2
	UBFX	$16, R2, $4, R2			// DminLine, log2 of words
	MOVD	$4, R3
	LSL	R2, R3, R3
	SUB	$1, R3, R2
	BIC	R2, R0
line:	WORD	$0xd50b7e20			// dc civac, x0
	ADD	R3, R0
	CMP	R1, R0
	BLO	line
	DSB	$15
	RET
