//go:build tamago

#include "textflag.h"

// func raiseBound()
TEXT ·raiseBound(SB), NOSPLIT, $0-0
	MOVQ (TLS), AX
	MOVQ 8(AX), CX  // g.stack.hi
	MOVQ CX, 16(AX) // g.stackguard0
	RET
