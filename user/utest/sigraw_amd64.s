#include "go_asm.h"
#include "textflag.h"

// The kernel enters rawHandler with the signal's number in DI, siginfo in SI and
// ucontext in DX. It has no g and no goroutine's stack.
TEXT ·rawHandler(SB),NOSPLIT|NOFRAME,$0
	LEAQ	·sigRec(SB), AX
	ADDQ	$1, sigRecord_n(AX)
	MOVQ	SP, sigRecord_sp(AX)
	MOVQ	DX, sigRecord_context(AX)
	STMXCSR	sigRecord_control(AX)
	FSTCW	(sigRecord_control+4)(AX)
	MOVOU	X3, sigRecord_vector(AX)
	MOVQ	$0, CX
copy:
	MOVQ	(SI)(CX*8), R8
	MOVQ	R8, sigRecord_info(AX)(CX*8)
	ADDQ	$1, CX
	CMPQ	CX, $16
	JNE	copy
	PXOR	X3, X3
	MOVQ	sigRecord_editAt(AX), CX
	TESTQ	CX, CX
	JEQ	skip
	MOVQ	sigRecord_editValue(AX), R8
	MOVQ	R8, (DX)(CX*1)
skip:
	MOVQ	sigRecord_pcAt(AX), CX
	MOVQ	sigRecord_skip(AX), R8
	ADDQ	R8, (DX)(CX*1)
	CMPQ	sigRecord_fault(AX), $0
	JEQ	done
	MOVQ	$0, CX
	MOVQ	(CX), CX
done:
	RET

// rawReturn is rt_sigreturn(2).
TEXT ·rawReturn(SB),NOSPLIT|NOFRAME,$0
	MOVL	$15, AX
	SYSCALL

// func fpuKill(pid, tid, sig uintptr, state *fpuState)
//
// It loads the state, sends the signal to the thread, and stores the state.
TEXT ·fpuKill(SB),NOSPLIT,$8-32
	MOVQ	state+24(FP), R12
	STMXCSR	0(SP)
	FSTCW	4(SP)
	LDMXCSR	fpuState_control(R12)
	FLDCW	(fpuState_control+4)(R12)
	MOVOU	fpuState_vector(R12), X3
	MOVQ	pid+0(FP), DI
	MOVQ	tid+8(FP), SI
	MOVQ	sig+16(FP), DX
	MOVL	$234, AX // tgkill
	SYSCALL
	STMXCSR	fpuState_control(R12)
	FSTCW	(fpuState_control+4)(R12)
	MOVOU	X3, fpuState_vector(R12)
	LDMXCSR	0(SP)
	FLDCW	4(SP)
	RET

// func rawAddresses() (handler, restorer uintptr)
TEXT ·rawAddresses(SB),NOSPLIT,$0-16
	LEAQ	·rawHandler(SB), AX
	MOVQ	AX, handler+0(FP)
	LEAQ	·rawReturn(SB), AX
	MOVQ	AX, restorer+8(FP)
	RET

// func callWith(fn, arg uintptr)
//
// It calls fn, machine code, with an argument in DI.
TEXT ·callWith(SB),NOSPLIT,$0-16
	MOVQ	fn+0(FP), AX
	MOVQ	arg+8(FP), DI
	CALL	AX
	RET

// func callSys(sp, nr, a, b uintptr) int
//
// It makes a system call on another stack.
TEXT ·callSys(SB),NOSPLIT,$0-40
	MOVQ	nr+8(FP), AX
	MOVQ	a+16(FP), DI
	MOVQ	b+24(FP), SI
	MOVQ	SP, BX
	MOVQ	sp+0(FP), SP
	SYSCALL
	MOVQ	BX, SP
	MOVQ	AX, ret+32(FP)
	RET
