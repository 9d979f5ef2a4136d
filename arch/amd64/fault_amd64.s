//go:build tamago

#include "go_asm.h"
#include "textflag.h"

// faultEntry is jumped to after an exception in kernel mode, or a fatal exception in any
// mode. RSP is on an interrupt stack and points at vector, error code, RIP, CS, RFLAGS,
// RSP, SS. CR3 is a kernel root. The registers are pushed to make a faultRegs. The handler
// runs on the stack that the runtime keeps for it. If the handler itself has faulted,
// nestedFault runs on this stack.
TEXT ·faultEntry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	PUSHQ AX
	PUSHQ BX
	PUSHQ CX
	PUSHQ DX
	PUSHQ SI
	PUSHQ DI
	PUSHQ BP
	PUSHQ R8
	PUSHQ R9
	PUSHQ R10
	PUSHQ R11
	PUSHQ R12
	PUSHQ R13
	PUSHQ R14
	PUSHQ R15
	PUSHQ $const_flagFixed // DF and AC are clear, as Go code expects
	POPFQ
	MOVQ SP, BX

	// A machine check may have come in user mode, with the user's FS base.
	MOVQ SP, DI
	ANDQ $~(const_areaStride-1), DI
	MOVQ (const_cpuPage+cpuArea_kernelFS)(DI), AX
	MOVQ AX, DX
	SHRQ $32, DX
	MOVL $const_msrFSBase, CX
	WRMSR
	LDMXCSR (const_cpuPage+cpuArea_mxcsr)(DI)

	MOVQ (TLS), R12
	MOVQ (const_cpuPage+cpuArea_faultG)(DI), R14
	TESTQ R14, R14
	JEQ nested
	CMPQ R12, R14
	JEQ nested
	MOVQ R14, (TLS)
	MOVQ (const_cpuPage+cpuArea_faultTop)(DI), SP
	SUBQ $64, SP
	MOVQ BX, 0(SP)
	MOVQ R12, 8(SP)
	MOVQ BX, 16(SP) // our own copies: the callee may overwrite its argument slots
	MOVQ R12, 24(SP)
	CALL ·kernelFault(SB)
	MOVQ 24(SP), R12
	MOVQ R12, (TLS)
	MOVQ 16(SP), SP
	POPQ R15
	POPQ R14
	POPQ R13
	POPQ R12
	POPQ R11
	POPQ R10
	POPQ R9
	POPQ R8
	POPQ BP
	POPQ DI
	POPQ SI
	POPQ DX
	POPQ CX
	POPQ BX
	POPQ AX
	ADDQ $16, SP
	IRETQ

nested:
	SUBQ $16, SP
	ANDQ $~15, SP
	MOVQ BX, 0(SP)
	CALL ·nestedFault(SB)
	INT $3 // it does not return

// eat overflows the stack that it is on, a word at a time. The push is spelled in bytes
// because the linker counts the pushes that it knows.
TEXT eat<>(SB),NOSPLIT|NOFRAME,$0-0
again:
	BYTE $0x6a; BYTE $0x00 // PUSHQ $0
	JMP again

DATA eatFunc<>+0(SB)/8, $eat<>(SB)
GLOBL eatFunc<>(SB), RODATA, $8

// func OverflowStack()
TEXT ·OverflowStack(SB),NOSPLIT,$8-0
	LEAQ eatFunc<>(SB), AX
	MOVQ AX, 0(SP)
	CALL runtime·systemstack(SB)
	RET
