//go:build grim_overlay

#include "textflag.h"

// STACK is what rt0_go takes to be the size of g0's stack.
#define STACK (64<<10)

// Below it there is a page to leave unmapped, wherever page bounds lie: StackGuards.
// rt0_go takes some words off the top before it reckons where the stack ends, hence the
// 128 bytes: without them a stack 32 bytes into a page had the guard page begin before it,
// where other variables are.
GLOBL runtime·rt0Stack(SB), NOPTR, $(STACK+8192+128)

// _rt0_amd64_linux is entered by boot/image's code: 64-bit mode, interrupts
// off, the image at its link address, BSS zeroed by the loader, DI = physical
// address of the PVH start info, no stack.
//
// SSE is switched on, as Go code needs it from the first instruction on. AVX is
// not: kernel code then never touches the upper halves of user registers.
TEXT _rt0_amd64_linux(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ	$runtime·rt0Stack+(STACK+8192+128)(SB), SP
	MOVQ	CR0, AX
	ANDQ	$~(1<<2|1<<3), AX	// EM, TS
	ORQ	$(1<<1), AX		// MP
	MOVQ	AX, CR0
	MOVQ	CR4, AX
	ORQ	$(1<<9|1<<10), AX	// OSFXSR, OSXMMEXCPT
	MOVQ	AX, CR4
	MOVQ	DI, runtime·bootArg(SB)
	XORL	DI, DI			// argc, argv: sysargs replaces both
	XORL	SI, SI
	JMP	runtime·rt0_go(SB)
