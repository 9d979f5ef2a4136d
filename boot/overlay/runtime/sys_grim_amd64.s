//go:build grim_overlay

#include "go_asm.h"
#include "textflag.h"

// func counter() uint64
TEXT runtime·counter(SB),NOSPLIT,$0-8
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+0(FP)
	RET

// NANOTIME is timeOffset + (counter-timeBase)*timeMult>>32, in AX. The shift is a constant
// of grim_clock.go. It clobbers DX.
#define NANOTIME \
	RDTSC; \
	SHLQ	$32, DX; \
	ORQ	DX, AX; \
	SUBQ	runtime·timeBase(SB), AX; \
	MULQ	runtime·timeMult(SB); \
	SHRQ	$const_timeShift, DX, AX; \
	ADDQ	runtime·timeOffset(SB), AX

// func nanotime1() int64
TEXT runtime·nanotime1<ABIInternal>(SB),NOSPLIT,$0-8
	NANOTIME
	RET

// func Nanotime() int64
TEXT runtime·Nanotime<ABIInternal>(SB),NOSPLIT,$0-8
	NANOTIME
	RET

// func hwseed() uint64
//
// It returns RDRAND's number where the CPU has it (CPUID.1:ECX bit 30), else the counter.
// RDRAND is tried ten times, as Intel advises.
TEXT runtime·hwseed(SB),NOSPLIT,$0-8
	MOVL	$1, AX
	XORL	CX, CX
	CPUID
	BTL	$30, CX
	JCC	none
	MOVL	$10, CX
again:
	RDRANDQ	AX
	JCS	done
	DECL	CX
	JNZ	again
none:
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
done:
	MOVQ	AX, ret+0(FP)
	RET

// func earlyPutc(c byte)
//
// It writes to COM1. Without a UART the status port reads 0xff, which means ready.
TEXT runtime·earlyPutc(SB),NOSPLIT,$0-1
	MOVL	$100000, CX
wait:
	MOVW	$0x3fd, DX
	INB
	TESTB	$0x20, AX
	JNZ	ready
	DECL	CX
	JNZ	wait
ready:
	MOVB	c+0(FP), AX
	MOVW	$0x3f8, DX
	OUTB
	RET

// func haltCPU(code int32)
//
// QEMU's isa-debug-exit at 0xf4, where it exists, ends QEMU with status code<<1|1.
TEXT runtime·haltCPU(SB),NOSPLIT,$0-4
	MOVL	code+0(FP), AX
	MOVW	$0xf4, DX
	OUTL
	CLI
halt:
	HLT
	JMP	halt

// rt0_go calls settls with the address of m0.tls in DI. In an ELF binary the linker makes
// code that finds g at -8(FS).
TEXT runtime·settls(SB),NOSPLIT,$0
	LEAQ	8(DI), AX
	MOVQ	AX, DX
	SHRQ	$32, DX
	MOVL	$0xc0000100, CX	// IA32_FS_BASE
	WRMSR
	RET
