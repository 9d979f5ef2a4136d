//go:build tamago

#include "textflag.h"

// Offsets of the fields of runtime.FaultContext.
#define G 0
#define PC_ 8
#define SP_ 16
#define LR_ 24
#define FP_ 32

// func pretendFault()
//
// It is the function that "faults". It does nothing else, because a traceback ends at a
// function that changes the stack pointer.
TEXT ·pretendFault(SB),NOSPLIT|NOFRAME,$0-0
	B	·takeFault(SB)

// takeFault is the exception handler's entry.
TEXT ·takeFault(SB),NOSPLIT|NOFRAME,$0-0
	MOVD	g, ·pretend+G(SB)
	MOVD	$·pretendFault(SB), R0
	ADD	$4, R0			// "the instruction" that faults
	MOVD	R0, ·pretend+PC_(SB)
	MOVD	RSP, R0
	MOVD	R0, ·pretend+SP_(SB)
	MOVD	R30, ·pretend+LR_(SB)
	MOVD	R29, ·pretend+FP_(SB)

	MOVD	·faultG(SB), g
	MOVD	·faultTop(SB), R0
	SUB	$64, R0			// room that the callee may use for its arguments
	MOVD	R0, RSP
	BL	·handleFault(SB)

	MOVD	·pretend+G(SB), g
	MOVD	·pretend+SP_(SB), R0
	MOVD	R0, RSP
	MOVD	·pretend+LR_(SB), R30
	MOVD	·pretend+FP_(SB), R29
	MOVD	·pretend+PC_(SB), R0
	B	(R0)
