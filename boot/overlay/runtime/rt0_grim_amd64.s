//go:build grim_overlay

#include "textflag.h"

// STACK is the size that rt0_go assumes for g0's stack.
#define STACK (64<<10)

// Below the stack there is a page to leave unmapped, wherever page bounds lie (see
// StackGuards). rt0_go subtracts some words from the top before it calculates the end of
// the stack, hence the 128 bytes. Without them, for a stack 32 bytes into a page, the guard
// page began before the stack, where other variables are.
GLOBL runtime·rt0Stack(SB), NOPTR, $(STACK+8192+128)

// boot/image's code enters _rt0_amd64_linux in 64-bit mode, with interrupts off, the image
// at its link address, the BSS zeroed by the loader, DI = physical address of the PVH start
// info, and no stack.
//
// SSE is switched on, because Go code needs it from the first instruction on. AVX stays
// off, so kernel code never touches the upper halves of user registers.
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
