#include "textflag.h"

// func start()
//
// The kernel enters it with argc at SP. Compiled code keeps g in R28.
TEXT ·start(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVD	RSP, R0
	MOVD	R0, ·vector(SB)
	AND	$~15, R0
	SUB	$32, R0
	MOVD	R0, RSP
	MOVD	$·g(SB), g
	CALL	·run(SB)
	BRK
