#include "textflag.h"

#define SYS_clone 56
#define SYS_execve 59
#define SYS_wait4 61
#define SYS_exit_group 231
#define SIGCHLD 17
#define EINTR 4

// READ reads the counter into AX and clobbers DX. SYSCALL itself clobbers only CX and R11.
#define READ RDTSC; SHLQ $32, DX; ORQ DX, AX

// func timedNothing() (t0, t1 uint64)
TEXT ·timedNothing(SB),NOSPLIT,$0-16
	READ
	MOVQ	AX, R12
	READ
	MOVQ	R12, t0+0(FP)
	MOVQ	AX, t1+8(FP)
	RET

// func timedCall(c *call) (t0, t1 uint64, ret int)
TEXT ·timedCall(SB),NOSPLIT,$0-32
	MOVQ	c+0(FP), BX
	MOVQ	8(BX), DI
	MOVQ	16(BX), SI
	MOVQ	24(BX), R13
	MOVQ	32(BX), R10
	MOVQ	40(BX), R8
	MOVQ	48(BX), R9
	MOVQ	0(BX), BX
	READ
	MOVQ	AX, R12
	MOVQ	R13, DX
	MOVQ	BX, AX
	SYSCALL
	MOVQ	AX, BX
	READ
	MOVQ	R12, t0+8(FP)
	MOVQ	AX, t1+16(FP)
	MOVQ	BX, ret+24(FP)
	RET

// func timedStore(p unsafe.Pointer) (t0, t1 uint64)
TEXT ·timedStore(SB),NOSPLIT,$0-24
	MOVQ	p+0(FP), BX
	READ
	MOVQ	AX, R12
	MOVB	$1, (BX)
	READ
	MOVQ	R12, t0+8(FP)
	MOVQ	AX, t1+16(FP)
	RET

// func timedFork(status *uint32, path *byte, argv, envp **byte) (pid, ret int, t0, t1 uint64)
TEXT ·timedFork(SB),NOSPLIT,$0-64
	MOVQ	status+0(FP), R15
	MOVQ	path+8(FP), BX
	READ
	MOVQ	AX, R12
	MOVL	$SIGCHLD, DI
	XORL	SI, SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	MOVL	$SYS_clone, AX
	SYSCALL
	MOVQ	AX, R13
	TESTQ	AX, AX
	JZ	child
	JS	done
wait:
	MOVQ	R13, DI
	MOVQ	R15, SI
	XORL	DX, DX
	XORL	R10, R10
	MOVL	$SYS_wait4, AX
	SYSCALL
	CMPQ	AX, $-EINTR
	JEQ	wait
done:
	MOVQ	AX, BX
	READ
	MOVQ	R13, pid+32(FP)
	MOVQ	BX, ret+40(FP)
	MOVQ	R12, t0+48(FP)
	MOVQ	AX, t1+56(FP)
	RET
child:
	XORL	DI, DI
	TESTQ	BX, BX
	JZ	exit
	MOVQ	BX, DI
	MOVQ	argv+16(FP), SI
	MOVQ	envp+24(FP), DX
	MOVL	$SYS_execve, AX
	SYSCALL
	MOVL	$20, DI
exit:
	MOVL	$SYS_exit_group, AX
	SYSCALL
	INT	$3

// func stampAndExit(stamp *uint64)
TEXT ·stampAndExit(SB),NOSPLIT,$0-8
	MOVQ	stamp+0(FP), BX
	READ
	MOVQ	AX, (BX)
	XORL	DI, DI
	MOVL	$SYS_exit_group, AX
	SYSCALL
	INT	$3

// func spin(n int)
TEXT ·spin(SB),NOSPLIT,$0-8
	MOVQ	n+0(FP), AX
again:
	DECQ	AX
	JNZ	again
	RET
