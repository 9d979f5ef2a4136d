#include "textflag.h"

#define SYS_arch_prctl 158
#define ARCH_SET_FS 0x1002

// func start()
//
// The kernel enters it with argc at SP. A call from assembly to Go takes g from
// the word below FS, so FS has to point somewhere first.
TEXT ·start(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ	SP, ·vector(SB)
	ANDQ	$~15, SP
	LEAQ	·g(SB), AX
	MOVQ	AX, ·tls(SB)
	LEAQ	·tls+8(SB), SI
	MOVL	$ARCH_SET_FS, DI
	MOVL	$SYS_arch_prctl, AX
	SYSCALL
	CALL	·run(SB)
	INT	$3
