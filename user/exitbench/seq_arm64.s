#include "textflag.h"

#define SYS_exit_group 94
#define SYS_clone 220
#define SYS_execve 221
#define SYS_wait4 260
#define SIGCHLD 17
#define EINTR 4

// READ reads the counter, not before the instructions in front of it are complete.
#define READ(r) ISB $15; MRS CNTVCT_EL0, r

// func timedNothing() (t0, t1 uint64)
TEXT ·timedNothing(SB),NOSPLIT,$0-16
	READ(R19)
	READ(R20)
	MOVD	R19, t0+0(FP)
	MOVD	R20, t1+8(FP)
	RET

// func timedCall(c *call) (t0, t1 uint64, ret int)
TEXT ·timedCall(SB),NOSPLIT,$0-32
	MOVD	c+0(FP), R9
	MOVD	0(R9), R8
	MOVD	8(R9), R0
	MOVD	16(R9), R1
	MOVD	24(R9), R2
	MOVD	32(R9), R3
	MOVD	40(R9), R4
	MOVD	48(R9), R5
	READ(R19)
	SVC
	READ(R20)
	MOVD	R19, t0+8(FP)
	MOVD	R20, t1+16(FP)
	MOVD	R0, ret+24(FP)
	RET

// func timedStore(p unsafe.Pointer) (t0, t1 uint64)
TEXT ·timedStore(SB),NOSPLIT,$0-24
	MOVD	p+0(FP), R9
	MOVD	$1, R10
	READ(R19)
	MOVB	R10, (R9)
	READ(R20)
	MOVD	R19, t0+8(FP)
	MOVD	R20, t1+16(FP)
	RET

// func timedFork(status *uint32, path *byte, argv, envp **byte) (pid, ret int, t0, t1 uint64)
TEXT ·timedFork(SB),NOSPLIT,$0-64
	MOVD	status+0(FP), R21
	MOVD	path+8(FP), R22
	READ(R19)
	MOVD	$SIGCHLD, R0
	MOVD	ZR, R1
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	ZR, R4
	MOVD	$SYS_clone, R8
	SVC
	MOVD	R0, R23
	CBZ	R0, child
	TBNZ	$63, R0, done
wait:
	MOVD	R23, R0
	MOVD	R21, R1
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	$SYS_wait4, R8
	SVC
	CMN	$EINTR, R0
	BEQ	wait
done:
	READ(R20)
	MOVD	R23, pid+32(FP)
	MOVD	R0, ret+40(FP)
	MOVD	R19, t0+48(FP)
	MOVD	R20, t1+56(FP)
	RET
child:
	CBZ	R22, exit
	MOVD	R22, R0
	MOVD	argv+16(FP), R1
	MOVD	envp+24(FP), R2
	MOVD	$SYS_execve, R8
	SVC
	MOVD	$20, R0
exit:
	MOVD	$SYS_exit_group, R8
	SVC
	BRK

// func stampAndExit(stamp *uint64)
TEXT ·stampAndExit(SB),NOSPLIT,$0-8
	MOVD	stamp+0(FP), R9
	READ(R19)
	MOVD	R19, (R9)
	MOVD	ZR, R0
	MOVD	$SYS_exit_group, R8
	SVC
	BRK

// func spin(n int)
TEXT ·spin(SB),NOSPLIT,$0-8
	MOVD	n+0(FP), R0
again:
	SUBS	$1, R0, R0
	BNE	again
	RET
