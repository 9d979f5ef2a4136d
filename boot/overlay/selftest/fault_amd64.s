//go:build tamago

#include "textflag.h"

// Offsets of the fields of runtime.FaultContext.
#define G 0
#define PC_ 8
#define SP_ 16
#define FP_ 32

// func pretendFault()
//
// It is the function that "faults". It does nothing else, because a traceback ends at a
// function that changes the stack pointer.
TEXT ·pretendFault(SB),NOSPLIT|NOFRAME,$0-0
	JMP	·takeFault(SB)

// takeFault is the exception handler's entry.
TEXT ·takeFault(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	TLS, CX
	MOVQ	0(CX)(TLS*1), AX
	MOVQ	AX, ·pretend+G(SB)
	LEAQ	·pretendFault(SB), AX
	INCQ	AX			// "the instruction" that faults
	MOVQ	AX, ·pretend+PC_(SB)
	MOVQ	SP, ·pretend+SP_(SB)
	MOVQ	BP, ·pretend+FP_(SB)

	MOVQ	·faultG(SB), AX
	MOVQ	AX, 0(CX)(TLS*1)
	MOVQ	AX, R14
	MOVQ	·faultTop(SB), SP
	CALL	·handleFault(SB)

	MOVQ	TLS, CX
	MOVQ	·pretend+G(SB), AX
	MOVQ	AX, 0(CX)(TLS*1)
	MOVQ	·pretend+SP_(SB), SP
	MOVQ	·pretend+FP_(SB), BP
	MOVQ	·pretend+PC_(SB), AX
	JMP	AX
