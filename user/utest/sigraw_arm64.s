#include "go_asm.h"
#include "textflag.h"

// The kernel enters rawHandler with the signal's number in R0, siginfo in R1 and
// ucontext in R2. It has no g and no goroutine's stack.
TEXT ·rawHandler(SB),NOSPLIT|NOFRAME,$0
	MOVD	$·sigRec(SB), R9
	MOVD	sigRecord_n(R9), R10
	ADD	$1, R10
	MOVD	R10, sigRecord_n(R9)
	MOVD	RSP, R10
	MOVD	R10, sigRecord_sp(R9)
	MOVD	R2, sigRecord_context(R9)
	MRS	FPCR, R10
	MOVW	R10, sigRecord_control(R9)
	MRS	FPSR, R10
	MOVW	R10, (sigRecord_control+4)(R9)
	ADD	$sigRecord_vector, R9, R10
	VST1	[V3.B16], (R10)
	ADD	$sigRecord_info, R9, R10
	MOVD	$16, R11
copy:
	MOVD.P	8(R1), R12
	MOVD.P	R12, 8(R10)
	SUB	$1, R11
	CBNZ	R11, copy
	VEOR	V3.B16, V3.B16, V3.B16
	MOVD	sigRecord_editAt(R9), R10
	CBZ	R10, skip
	MOVD	sigRecord_editValue(R9), R11
	MOVD	R11, (R2)(R10)
skip:
	MOVD	sigRecord_pcAt(R9), R10
	MOVD	sigRecord_skip(R9), R11
	MOVD	(R2)(R10), R12
	ADD	R11, R12
	MOVD	R12, (R2)(R10)
	MOVD	sigRecord_fault(R9), R10
	CBZ	R10, done
	MOVD	$0, R10
	MOVD	(R10), R10
done:
	RET

// func fpuKill(pid, tid, sig uintptr, state *fpuState)
//
// It loads the state, sends the signal to the thread, and stores the state.
TEXT ·fpuKill(SB),NOSPLIT,$0-32
	MOVD	state+24(FP), R9
	MRS	FPCR, R13
	MRS	FPSR, R14
	MOVWU	fpuState_control(R9), R10
	MSR	R10, FPCR
	MOVWU	(fpuState_control+4)(R9), R10
	MSR	R10, FPSR
	ADD	$fpuState_vector, R9, R10
	VLD1	(R10), [V3.B16]
	MOVD	pid+0(FP), R0
	MOVD	tid+8(FP), R1
	MOVD	sig+16(FP), R2
	MOVD	$131, R8 // tgkill
	SVC
	MRS	FPCR, R10
	MOVW	R10, fpuState_control(R9)
	MRS	FPSR, R10
	MOVW	R10, (fpuState_control+4)(R9)
	ADD	$fpuState_vector, R9, R10
	VST1	[V3.B16], (R10)
	MSR	R13, FPCR
	MSR	R14, FPSR
	RET

// func rawAddresses() (handler, restorer uintptr)
TEXT ·rawAddresses(SB),NOSPLIT,$0-16
	MOVD	$·rawHandler(SB), R0
	MOVD	R0, handler+0(FP)
	MOVD	ZR, restorer+8(FP)
	RET

// func callWith(fn, arg uintptr)
//
// It calls fn, machine code, with an argument in R0.
TEXT ·callWith(SB),NOSPLIT,$16-16
	MOVD	fn+0(FP), R2
	MOVD	arg+8(FP), R0
	CALL	(R2)
	RET

// func callSys(sp, nr, a, b uintptr) int
//
// It makes a system call on another stack.
TEXT ·callSys(SB),NOSPLIT,$0-40
	MOVD	nr+8(FP), R8
	MOVD	a+16(FP), R0
	MOVD	b+24(FP), R1
	MOVD	sp+0(FP), R2
	MOVD	RSP, R9
	MOVD	R2, RSP
	SVC
	MOVD	R9, RSP
	MOVD	R0, ret+32(FP)
	RET
