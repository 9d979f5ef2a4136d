//go:build tamago

#include "go_asm.h"
#include "textflag.h"

// secondaryEntry is jumped to from the trampoline. RDI is cpuArea, paging is on with the
// trampoline's root, and there is no stack. If there is a task, the CPU loads what Go code
// relies on, sets itself up, and runs the task. Otherwise it stops.
TEXT ·secondaryEntry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ cpuArea_kernelRoot(DI), AX
	MOVQ AX, CR3
	RDTSC
	SHLQ $32, DX
	ORQ DX, AX
	MOVQ AX, cpuArea_tsc(DI)
	MOVQ $1, AX
	XCHGQ AX, cpuArea_alive(DI)
	MOVQ cpuArea_taskFn(DI), AX
	TESTQ AX, AX
	JEQ stop
	MOVQ cpuArea_kernelFS(DI), AX
	MOVQ AX, DX
	SHRQ $32, DX
	MOVL $const_msrFSBase, CX
	WRMSR
	BYTE $0xdb; BYTE $0xe3 // FNINIT
	LDMXCSR cpuArea_mxcsr(DI)
	MOVQ cpuArea_taskSP(DI), SP
	MOVQ cpuArea_taskG(DI), R14
	MOVQ R14, (TLS)
	BYTE $0x31; BYTE $0xed // XORL BP, BP; go vet takes it for a frame pointer that is lost
	SUBQ $32, SP
	MOVQ DI, 0(SP)
	MOVQ DI, 16(SP)
	CALL ·secondary(SB)
	MOVQ 16(SP), DI
	ADDQ $32, SP
	MOVQ cpuArea_taskFn(DI), AX
	CALL AX
	INT $3 // it does not return
stop:
	CLI
	HLT
	JMP stop

// func secondaryAddress() uint64
TEXT ·secondaryAddress(SB),NOSPLIT,$0-8
	LEAQ ·secondaryEntry(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func sleepAddress() uintptr
TEXT ·sleepAddress(SB),NOSPLIT,$0-8
	LEAQ ·sleep(SB), AX
	MOVQ AX, ret+0(FP)
	RET
