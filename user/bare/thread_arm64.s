#include "textflag.h"

#define SYS_exit 93
#define SYS_futex 98
#define SYS_clone 220

// READ reads the counter, not before the instructions in front of it are complete.
#define READ(r) ISB $15; MRS CNTVCT_EL0, r

// func ShortThread(flags uintptr, stack unsafe.Pointer, tid *int32) (ret int, t0, t1 uint64)
TEXT ·ShortThread(SB),NOSPLIT,$0-48
	MOVD	flags+0(FP), R0
	MOVD	stack+8(FP), R1
	MOVD	tid+16(FP), R21
	READ(R19)
	MOVD	R21, R2
	MOVD	ZR, R3
	MOVD	R21, R4
	MOVD	$SYS_clone, R8
	SVC
	MOVD	R0, R22
	CBZ	R0, child
	TBNZ	$63, R0, done
wait:
	MOVWU	(R21), R2
	CBZW	R2, done
	MOVD	R21, R0
	MOVD	ZR, R1	// FUTEX_WAIT
	MOVD	ZR, R3
	MOVD	$SYS_futex, R8
	SVC
	B	wait
done:
	READ(R20)
	MOVD	R22, ret+24(FP)
	MOVD	R19, t0+32(FP)
	MOVD	R20, t1+40(FP)
	RET
child:
	MOVD	$SYS_exit, R8
	SVC
	BRK

#define SYS_ppoll 73

// func SleepingThread(flags uintptr, stack unsafe.Pointer) int
TEXT ·SleepingThread(SB),NOSPLIT,$0-24
	MOVD	flags+0(FP), R0
	MOVD	stack+8(FP), R1
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	ZR, R4
	MOVD	$SYS_clone, R8
	SVC
	CBZ	R0, sleep
	MOVD	R0, ret+16(FP)
	RET
sleep:
	MOVD	ZR, R0
	MOVD	ZR, R1
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	$SYS_ppoll, R8
	SVC
	B	sleep

// func SpinningThread(flags uintptr, stack unsafe.Pointer, count *uint64) int
TEXT ·SpinningThread(SB),NOSPLIT,$0-32
	MOVD	flags+0(FP), R0
	MOVD	stack+8(FP), R1
	MOVD	count+16(FP), R19
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	ZR, R4
	MOVD	$SYS_clone, R8
	SVC
	CBZ	R0, begin
	MOVD	R0, ret+24(FP)
	RET
begin:
	LDAXR	(R19), R1
	ADD	$1, R1
	STLXR	R1, (R19), R2
	CBNZ	R2, begin
spin:
	YIELD
	B	spin

// func Pause()
TEXT ·Pause(SB),NOSPLIT,$0-0
	YIELD
	RET

// func Add(p *uint64, n uint64)
TEXT ·Add(SB),NOSPLIT,$0-16
	MOVD	p+0(FP), R0
	MOVD	n+8(FP), R1
again:
	LDAXR	(R0), R2
	ADD	R1, R2
	STLXR	R2, (R0), R3
	CBNZ	R3, again
	RET
