//go:build tamago

#include "textflag.h"

// func raiseBound()
TEXT ·raiseBound(SB), NOSPLIT, $0-0
	MOVD 8(g), R0  // g.stack.hi
	MOVD R0, 16(g) // g.stackguard0
	RET
