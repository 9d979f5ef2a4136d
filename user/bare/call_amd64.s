#include "textflag.h"

// func call6(nr, a0, a1, a2, a3, a4, a5 uintptr) int
TEXT ·call6(SB),NOSPLIT,$0-64
	MOVQ	nr+0(FP), AX
	MOVQ	a0+8(FP), DI
	MOVQ	a1+16(FP), SI
	MOVQ	a2+24(FP), DX
	MOVQ	a3+32(FP), R10
	MOVQ	a4+40(FP), R8
	MOVQ	a5+48(FP), R9
	SYSCALL
	MOVQ	AX, ret+56(FP)
	RET
