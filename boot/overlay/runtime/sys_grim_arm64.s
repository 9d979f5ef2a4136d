//go:build grim_overlay

// What the runtime needs of the CPU on arm64, and the end of a kernel that dies before
// grim/arch/arm64 has taken over.

#include "go_asm.h"
#include "textflag.h"

// func counter() uint64
//
// It returns CNTVCT_EL0. The barrier keeps the CPU from reading it early (Arm ARM D12.2.2).
TEXT runtime·counter(SB),NOSPLIT,$0-8
	ISB	$15
	MRS	CNTVCT_EL0, R0
	MOVD	R0, ret+0(FP)
	RET

// NANOTIME is timeOffset + (counter-timeBase)*timeMult>>timeShift, with a 128-bit
// product, in R0. It clobbers R1 to R5.
#define NANOTIME \
	ISB	$15; \
	MRS	CNTVCT_EL0, R0; \
	MOVD	runtime·timeBase(SB), R1; \
	MOVD	runtime·timeMult(SB), R2; \
	MOVD	runtime·timeOffset(SB), R3; \
	SUB	R1, R0; \
	MUL	R2, R0, R4; \
	UMULH	R2, R0, R5; \
	EXTR	$const_timeShift, R4, R5, R0; \
	ADD	R3, R0

// func nanotime1() int64
TEXT runtime·nanotime1<ABIInternal>(SB),NOSPLIT,$0-8
	NANOTIME
	RET

// func Nanotime() int64
TEXT runtime·Nanotime<ABIInternal>(SB),NOSPLIT,$0-8
	NANOTIME
	RET

// func counterHz() uint64
TEXT runtime·counterHz(SB),NOSPLIT,$0-8
	MRS	CNTFRQ_EL0, R0
	MOVD	R0, ret+0(FP)
	RET

// func readISAR0() uint64
TEXT runtime·readISAR0(SB),NOSPLIT,$0-8
	MRS	ID_AA64ISAR0_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func readPFR0() uint64
TEXT runtime·readPFR0(SB),NOSPLIT,$0-8
	MRS	ID_AA64PFR0_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func hwseed() uint64
//
// It returns RNDR where the CPU has it (FEAT_RNG), else the counter. RNDR is tried ten
// times, because it may have no random number for a moment.
TEXT runtime·hwseed(SB),NOSPLIT,$0-8
	MRS	ID_AA64ISAR0_EL1, R0
	LSR	$60, R0
	CBZ	R0, none
	MOVD	$10, R1
again:	MRS	RNDR, R0		// sets Z when there is no number
	BNE	done
	SUB	$1, R1
	CBNZ	R1, again
none:	ISB	$15
	MRS	CNTVCT_EL0, R0
done:	MOVD	R0, ret+0(FP)
	RET

// semihostCall asks the debugger for operation R0 with argument R1. The result is in R0; it
// is -1 when there is no debugger (see earlyVectors). See "Semihosting for AArch32 and
// AArch64", section 3.
TEXT runtime·semihostCall(SB),NOSPLIT|NOFRAME,$0
	WORD	$0xd45e0000		// hlt #0xf000; must stay the first instruction
	RET

// func semihostPutc(c byte)
TEXT runtime·semihostPutc(SB),NOSPLIT,$16-1
	MOVD	$c+0(FP), R1
	MOVD	$3, R0			// SYS_WRITEC
	BL	runtime·semihostCall(SB)
	RET

// func powerOff(psci uint32)
TEXT runtime·powerOff(SB),NOSPLIT,$0-4
	MOVWU	psci+0(FP), R4
	MOVD	$0x84000008, R0		// SYSTEM_OFF (DEN 0022, section 5.1.9)
	CMP	$const_earlyHVC, R4
	BNE	smc
	HVC	$0
	RET
smc:	CMP	$const_earlySMC, R4
	BNE	none
	SMC	$0
none:	RET

// func fixedPort() (kind, base, shift uint64)
TEXT runtime·fixedPort(SB),NOSPLIT,$0-24
	MOVD	runtime·earlyFixed+8(SB), R0
	MOVD	runtime·earlyFixed+16(SB), R1
	MOVD	runtime·earlyFixed+24(SB), R2
	MOVD	R0, kind+0(FP)
	MOVD	R1, base+8(FP)
	MOVD	R2, shift+16(FP)
	RET

// func tableRoot() uint64
TEXT runtime·tableRoot(SB),NOSPLIT,$0-8
	MRS	TTBR1_EL1, R0
	MOVD	R0, ret+0(FP)
	RET

// func publish()
TEXT runtime·publish(SB),NOSPLIT,$0-0
	DSB	$15
	ISB	$15
	RET

// func haltCPU(code int32)
//
// SYS_EXIT_EXTENDED ends QEMU with the code under -semihosting. Without a debugger,
// earlyEnd may turn the machine off by PSCI.
TEXT runtime·haltCPU(SB),NOSPLIT,$32-4
	MOVD	$0x20026, R0		// ADP_Stopped_ApplicationExit
	MOVD	R0, block-16(SP)
	MOVW	code+0(FP), R0
	MOVD	R0, code-8(SP)
	MOVD	$block-16(SP), R1
	MOVD	$0x20, R0
	BL	runtime·semihostCall(SB)
	BL	runtime·earlyEnd(SB)
stop:	WFI
	B	stop

// earlyVectors serve until grim/arch/arm64 installs its own vectors. A HLT without a
// debugger returns -1. Every other exception ends the kernel with status 3. TPIDR_EL1
// counts these: at the second one earlyFault uses no console, the third stops the CPU.
TEXT runtime·earlyVectors(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	PCALIGN	$2048
	B	sync
	PCALIGN	$128
	B	fault
	PCALIGN	$128
	B	fault
	PCALIGN	$128
	B	fault
	PCALIGN	$128
	B	sync
	PCALIGN	$128
	B	fault
	PCALIGN	$128
	B	fault
	PCALIGN	$128
	B	fault
	PCALIGN	$128
	B	fault		// no code runs at EL0 yet
	PCALIGN	$128
sync:	MRS	ELR_EL1, R2
	MOVD	$runtime·semihostCall(SB), R3
	CMP	R3, R2
	BNE	fault
	ADD	$4, R2
	MSR	R2, ELR_EL1
	MOVD	$-1, R0
	ERET
fault:	MRS	TPIDR_EL1, R0
	CMP	$2, R0
	BHS	stop
	ADD	$1, R0, R1
	MSR	R1, TPIDR_EL1
	SUB	$48, RSP			// R0 is the argument "again" of earlyFault
	MRS	ESR_EL1, R1
	MRS	FAR_EL1, R2
	MRS	ELR_EL1, R3
	MOVD	R0, 8(RSP)
	MOVD	R1, 16(RSP)
	MOVD	R2, 24(RSP)
	MOVD	R3, 32(RSP)
	BL	runtime·earlyFault(SB)
stop:	WFI
	B	stop

DATA	runtime·earlyExit+0(SB)/8, $0x20026
DATA	runtime·earlyExit+8(SB)/8, $3
GLOBL	runtime·earlyExit(SB), RODATA|NOPTR, $16
