#include "textflag.h"

#define SYS_clone 56
#define SYS_exit 60
#define SYS_futex 202

// READ reads the counter into AX and clobbers DX. SYSCALL itself clobbers only CX and R11.
#define READ RDTSC; SHLQ $32, DX; ORQ DX, AX

// func ShortThread(flags uintptr, stack unsafe.Pointer, tid *int32) (ret int, t0, t1 uint64)
TEXT ·ShortThread(SB),NOSPLIT,$0-48
	MOVQ	flags+0(FP), DI
	MOVQ	stack+8(FP), SI
	MOVQ	tid+16(FP), R15
	READ
	MOVQ	AX, R12
	MOVQ	R15, DX
	MOVQ	R15, R10
	XORL	R8, R8
	MOVL	$SYS_clone, AX
	SYSCALL
	MOVQ	AX, BX
	TESTQ	AX, AX
	JZ	child
	JS	done
wait:
	MOVL	(R15), DX
	TESTL	DX, DX
	JZ	done
	MOVQ	R15, DI
	XORL	SI, SI	// FUTEX_WAIT
	XORL	R10, R10
	MOVL	$SYS_futex, AX
	SYSCALL
	JMP	wait
done:
	READ
	MOVQ	BX, ret+24(FP)
	MOVQ	R12, t0+32(FP)
	MOVQ	AX, t1+40(FP)
	RET
child:
	XORL	DI, DI
	MOVL	$SYS_exit, AX
	SYSCALL
	INT	$3

#define SYS_ppoll 271

// func SleepingThread(flags uintptr, stack unsafe.Pointer) int
TEXT ·SleepingThread(SB),NOSPLIT,$0-24
	MOVQ	flags+0(FP), DI
	MOVQ	stack+8(FP), SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	MOVL	$SYS_clone, AX
	SYSCALL
	TESTQ	AX, AX
	JZ	sleep
	MOVQ	AX, ret+16(FP)
	RET
sleep:
	XORL	DI, DI
	XORL	SI, SI
	XORL	DX, DX
	XORL	R10, R10
	MOVL	$SYS_ppoll, AX
	SYSCALL
	JMP	sleep

// func SpinningThread(flags uintptr, stack unsafe.Pointer, count *uint64) int
TEXT ·SpinningThread(SB),NOSPLIT,$0-32
	MOVQ	flags+0(FP), DI
	MOVQ	stack+8(FP), SI
	MOVQ	count+16(FP), R15
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	MOVL	$SYS_clone, AX
	SYSCALL
	TESTQ	AX, AX
	JZ	begin
	MOVQ	AX, ret+24(FP)
	RET
begin:
	MOVL	$1, AX
	LOCK
	XADDQ	AX, (R15)
spin:
	PAUSE
	JMP	spin

// func Pause()
TEXT ·Pause(SB),NOSPLIT,$0-0
	PAUSE
	RET

// func Add(p *uint64, n uint64)
TEXT ·Add(SB),NOSPLIT,$0-16
	MOVQ	p+0(FP), BX
	MOVQ	n+8(FP), AX
	LOCK
	XADDQ	AX, (BX)
	RET
