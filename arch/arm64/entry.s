//go:build tamago && arm64

#include "textflag.h"

// Offsets in arch.UArea (arch.TestUAreaOffsets) and kernelFrame.
#define U_SP		248
#define U_PSTATE	264
#define U_LR		240
#define U_KIND		320
#define U_ADDR		336
#define U_KSP		344	// Mach: the kernel's registers while in user mode
#define U_KFP		360
#define U_KEXC		376
#define U_FPU		512
#define U_FPCR		1024
#define K_SIZE		304
#define F_G		0	// in faultBlock
#define F_DEPTH		16
#define F_SIZE		32
// SP -= K_SIZE and back, as words: the linker would count instructions as a change of a
// goroutine's stack, but this stack is not a goroutine's.
#define PUSH_FRAME	WORD $0xd104c3ff
#define POP_FRAME	WORD $0x9104c3ff

// The bits of PSTATE that user code may choose: NZCV, DIT, SSBS. The rest is fixed: EL0t,
// AArch64, FIQ masked (no device here sends one), IRQ, SError and debug unmasked.
#define PSTATE_USER	0xf1001000
#define PSTATE_FIXED	0x40

// EXCSTACK has room for a whole unmapped page below the used part, wherever the page
// boundaries are (mmu.init). The used part is at most three frames.
#define EXCSTACK	12288
// This is the boot CPU's stack. exceptionStackOf (start.go) maps those of the other CPUs.
GLOBL	·exceptionStack(SB), NOPTR, $EXCSTACK
GLOBL	·historyLoops(SB), NOPTR, $8
GLOBL	·historySMC(SB), NOPTR, $8

// func run(u *arch.UArea)
//
// Across a call, Go code preserves no registers but SP, R29, g and LR. run keeps them in
// the u-area. It keeps the kernel's SP_EL1 there too, and sets SP_EL1 to the u-area's
// address until the next trap.
TEXT ·run(SB),NOSPLIT|NOFRAME,$0-8
	MOVD	u+0(FP), R0
	MOVD	RSP, R1
	STP	(R1, R30), U_KSP(R0)
	STP	(R29, g), U_KFP(R0)
	MOVD	U_FPCR(R0), R1
	MOVD	(U_FPCR+8)(R0), R2
	MSR	R1, FPCR
	MSR	R2, FPSR
	MSR	$4, DAIFSet	// an SError from here on would overwrite ELR_EL1
	ADD	$U_FPU, R0, R3	// four registers per instruction
	VLD1.P	64(R3), [V0.D2, V1.D2, V2.D2, V3.D2]
	VLD1.P	64(R3), [V4.D2, V5.D2, V6.D2, V7.D2]
	VLD1.P	64(R3), [V8.D2, V9.D2, V10.D2, V11.D2]
	VLD1.P	64(R3), [V12.D2, V13.D2, V14.D2, V15.D2]
	VLD1.P	64(R3), [V16.D2, V17.D2, V18.D2, V19.D2]
	VLD1.P	64(R3), [V20.D2, V21.D2, V22.D2, V23.D2]
	VLD1.P	64(R3), [V24.D2, V25.D2, V26.D2, V27.D2]
	VLD1.P	64(R3), [V28.D2, V29.D2, V30.D2, V31.D2]
	MSR	$1, SPSel
	MOVD	RSP, R1
	MOVD	R1, U_KEXC(R0)
	MOVD	R0, RSP
	LDP	U_SP(RSP), (R1, R2)	// SP, PC
	LDP	U_PSTATE(RSP), (R3, R4)	// PSTATE, TPIDR
	MOVD	$PSTATE_USER, R5
	AND	R5, R3
	ORR	$PSTATE_FIXED, R3
	MSR	R1, SP_EL0
	MSR	R2, ELR_EL1
	MSR	R3, SPSR_EL1
	MSR	R4, TPIDR_EL0
	LDP	16(RSP), (R2, R3)
	LDP	32(RSP), (R4, R5)
	LDP	48(RSP), (R6, R7)
	LDP	64(RSP), (R8, R9)
	LDP	80(RSP), (R10, R11)
	LDP	96(RSP), (R12, R13)
	LDP	112(RSP), (R14, R15)
	LDP	128(RSP), (R16, R17)
	LDP	144(RSP), (R18_PLATFORM, R19)
	LDP	160(RSP), (R20, R21)
	LDP	176(RSP), (R22, R23)
	LDP	192(RSP), (R24, R25)
	LDP	208(RSP), (R26, R27)
	LDP	224(RSP), (g, R29)
	MOVD	U_LR(RSP), R30
	LDP	(RSP), (R0, R1)
	ERET

// trap is the common part of the vectors from EL0, and the end of run. On entry SP_EL1 is
// the u-area, R0 is the vector, and the user's R0 and R1 are stored. It returns from run.
TEXT ·trap(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	STP	(R2, R3), 16(RSP)
	STP	(R4, R5), 32(RSP)
	STP	(R6, R7), 48(RSP)
	STP	(R8, R9), 64(RSP)
	STP	(R10, R11), 80(RSP)
	STP	(R12, R13), 96(RSP)
	STP	(R14, R15), 112(RSP)
	STP	(R16, R17), 128(RSP)
	STP	(R18_PLATFORM, R19), 144(RSP)
	STP	(R20, R21), 160(RSP)
	STP	(R22, R23), 176(RSP)
	STP	(R24, R25), 192(RSP)
	STP	(R26, R27), 208(RSP)
	STP	(g, R29), 224(RSP)
	MOVD	R30, U_LR(RSP)
	MRS	SP_EL0, R1
	MRS	ELR_EL1, R2
	MRS	SPSR_EL1, R3
	MRS	TPIDR_EL0, R4
	STP	(R1, R2), U_SP(RSP)
	STP	(R3, R4), U_PSTATE(RSP)
	MRS	ESR_EL1, R1
	MRS	FAR_EL1, R2
	STP	(R0, R1), U_KIND(RSP)
	MOVD	R2, U_ADDR(RSP)
	MOVD	RSP, R0
	ADD	$U_FPU, R0, R3
	VST1.P	[V0.D2, V1.D2, V2.D2, V3.D2], 64(R3)
	VST1.P	[V4.D2, V5.D2, V6.D2, V7.D2], 64(R3)
	VST1.P	[V8.D2, V9.D2, V10.D2, V11.D2], 64(R3)
	VST1.P	[V12.D2, V13.D2, V14.D2, V15.D2], 64(R3)
	VST1.P	[V16.D2, V17.D2, V18.D2, V19.D2], 64(R3)
	VST1.P	[V20.D2, V21.D2, V22.D2, V23.D2], 64(R3)
	VST1.P	[V24.D2, V25.D2, V26.D2, V27.D2], 64(R3)
	VST1.P	[V28.D2, V29.D2, V30.D2, V31.D2], 64(R3)
	MRS	FPCR, R1
	MRS	FPSR, R2
	MSR	ZR, FPCR		// Go code expects the default rounding
	MOVD	R1, U_FPCR(R0)
	MOVD	R2, (U_FPCR+8)(R0)
	MOVD	U_KEXC(R0), R1
	MOVD	R1, RSP
	MSR	$0, SPSel
	MSR	$4, DAIFClr	// SErrors, as in all kernel code
	LDP	U_KSP(R0), (R1, R30)
	LDP	U_KFP(R0), (R29, g)
	MOVD	R1, RSP
	RET

// A vector from EL0; see decode for the numbers.
#define USER(n) \
	PCALIGN	$128 \
	STP	(R0, R1), (RSP) \
	MOVD	$n, R0 \
	B	·trap(SB)

// A vector for exceptions of kernel code at EL1t. It runs on the exception stack. SP_EL1
// stays below the frame, so that a fault in the fault handler stores its frame there.
#define KERNEL(off) \
	PCALIGN	$128 \
	PUSH_FRAME \
	STP	(R0, R1), (RSP) \
	MOVD	$off, R0 \
	B	·kernelTrap(SB)

// A vector for faults on the way into or out of user mode, or in the code above. SP_EL1
// may be wrong, so it is not used. TPIDRRO_EL0 is free: it is used only here.
#define BROKEN(off) \
	PCALIGN	$128 \
	MSR	R0, TPIDRRO_EL0 \
	MRS	TPIDR_EL1, R0 \
	SUB	$K_SIZE, R0 \
	MOVD	R0, RSP \
	MRS	TPIDRRO_EL0, R0 \
	STP	(R0, R1), (RSP) \
	MOVD	$off, R0 \
	B	·kernelTrap(SB)

// Vectors from EL0 that clear the branch history before the first branch whose target is
// predicted, in three ways (speculation.go). Only R0 to R3 are free, and not even the
// assembler's register, so addresses and loads are separate instructions. 0x14000001 is B
// to the next instruction, 0xd50322df is CLRBHB.
#define USER_LOOP(n) \
	PCALIGN	$128 \
	STP	(R0, R1), (RSP) \
	MOVD	$·historyLoops(SB), R0 \
	MOVD	(R0), R0 \
	WORD	$0x14000001 \
	SUBS	$1, R0 \
	BNE	-2(PC) \
	DSB	$7 \
	ISB	$15 \
	MOVD	$n, R0 \
	B	·trap(SB)

#define USER_CLRBHB(n) \
	PCALIGN	$128 \
	WORD	$0xd50322df \
	ISB	$15 \
	STP	(R0, R1), (RSP) \
	MOVD	$n, R0 \
	B	·trap(SB)

// SMCCC 1.1: a workaround changes only X0 to X3.
#define USER_FIRMWARE(n) \
	PCALIGN	$128 \
	STP	(R0, R1), (RSP) \
	STP	(R2, R3), 16(RSP) \
	MOVD	$·historySMC(SB), R1 \
	MOVD	(R1), R1 \
	MOVD	$0x80003fff, R0 \
	CBNZ	R1, 3(PC) \
	HVC	$0 \
	B	2(PC) \
	SMC	$0 \
	LDP	16(RSP), (R2, R3) \
	MOVD	$n, R0 \
	B	·trap(SB)

#define EL1 \
	PCALIGN	$2048 \
	KERNEL(0x000) \
	KERNEL(0x080) \
	KERNEL(0x100) \
	KERNEL(0x180) \
	BROKEN(0x200) \
	BROKEN(0x280) \
	BROKEN(0x300) \
	BROKEN(0x380)

// Traps of EL0 in AArch32, which does not exist here.
#define EL0_32 \
	BROKEN(0x600) \
	BROKEN(0x680) \
	BROKEN(0x700) \
	BROKEN(0x780)

TEXT ·vectors(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	EL1
	USER(0)
	USER(1)
	USER(2)
	USER(3)
	EL0_32

TEXT ·vectorsLoop(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	EL1
	USER_LOOP(0)
	USER_LOOP(1)
	USER_LOOP(2)
	USER_LOOP(3)
	EL0_32

TEXT ·vectorsCLRBHB(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	EL1
	USER_CLRBHB(0)
	USER_CLRBHB(1)
	USER_CLRBHB(2)
	USER_CLRBHB(3)
	EL0_32

TEXT ·vectorsFirmware(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	EL1
	USER_FIRMWARE(0)
	USER_FIRMWARE(1)
	USER_FIRMWARE(2)
	USER_FIRMWARE(3)
	EL0_32

// func clearHistory(how clearing, loops, smc uint64)
TEXT ·clearHistory(SB),NOSPLIT,$0-24
	MOVD	how+0(FP), R0
	MOVD	loops+8(FP), R1
	MOVD	R1, ·historyLoops(SB)
	MOVD	smc+16(FP), R1
	MOVD	R1, ·historySMC(SB)
	MOVD	$·vectors(SB), R1
	CBZ	R0, set
	MOVD	$·vectorsLoop(SB), R1
	SUB	$1, R0
	CBZ	R0, set
	MOVD	$·vectorsCLRBHB(SB), R1
	SUB	$1, R0
	CBZ	R0, set
	MOVD	$·vectorsFirmware(SB), R1
set:	MSR	R1, VBAR_EL1
	ISB	$15
	RET

// kernelTrap stores the rest of a kernelFrame and calls kernelFault on the runtime's fault
// stack. If that returns, the interrupted code continues with the registers in the frame.
// A semihosting call that no debugger has taken is answered here.
//
// At a depth of 2 it calls lastResort instead, and at 3 nothing.
TEXT ·kernelTrap(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	STP	(R2, R3), 16(RSP)
	CBNZ	R0, store
	MRS	ELR_EL1, R1
	MOVD	$runtime·semihostCall(SB), R2
	CMP	R1, R2
	BNE	store
	ADD	$4, R1
	MSR	R1, ELR_EL1
	LDP	16(RSP), (R2, R3)
	LDP	(RSP), (R0, R1)
	MOVD	$-1, R0
	POP_FRAME
	ERET
store:
	STP	(R4, R5), 32(RSP)
	STP	(R6, R7), 48(RSP)
	STP	(R8, R9), 64(RSP)
	STP	(R10, R11), 80(RSP)
	STP	(R12, R13), 96(RSP)
	STP	(R14, R15), 112(RSP)
	STP	(R16, R17), 128(RSP)
	STP	(R18_PLATFORM, R19), 144(RSP)
	STP	(R20, R21), 160(RSP)
	STP	(R22, R23), 176(RSP)
	STP	(R24, R25), 192(RSP)
	STP	(R26, R27), 208(RSP)
	STP	(g, R29), 224(RSP)
	MRS	SP_EL0, R1
	STP	(R30, R1), 240(RSP)
	MRS	ELR_EL1, R1
	MRS	SPSR_EL1, R2
	STP	(R1, R2), 256(RSP)
	MRS	ESR_EL1, R1
	MRS	FAR_EL1, R2
	STP	(R1, R2), 272(RSP)
	MOVD	R0, 288(RSP)

	MOVD	RSP, R1
	MRS	TPIDR_EL1, R4
	MOVD	F_DEPTH(R4), R2
	ADD	$1, R2
	MOVD	R2, F_DEPTH(R4)
	CMP	$2, R2
	BHI	stop
	LDP	F_G(R4), (g, R3)
	MSR	$0, SPSel
	SUB	$32, R3
	MOVD	R3, RSP
	MOVD	ZR, R29
	MOVD	R1, 8(RSP)
	BEQ	again
	BL	·kernelFault(SB)
	MSR	$1, SPSel
	MRS	TPIDR_EL1, R4
	MOVD	F_DEPTH(R4), R2
	SUB	$1, R2
	MOVD	R2, F_DEPTH(R4)
	LDP	256(RSP), (R1, R2)
	MSR	R1, ELR_EL1
	MSR	R2, SPSR_EL1
	LDP	240(RSP), (R30, R1)
	MSR	R1, SP_EL0
	LDP	16(RSP), (R2, R3)
	LDP	32(RSP), (R4, R5)
	LDP	48(RSP), (R6, R7)
	LDP	64(RSP), (R8, R9)
	LDP	80(RSP), (R10, R11)
	LDP	96(RSP), (R12, R13)
	LDP	112(RSP), (R14, R15)
	LDP	128(RSP), (R16, R17)
	LDP	144(RSP), (R18_PLATFORM, R19)
	LDP	160(RSP), (R20, R21)
	LDP	176(RSP), (R22, R23)
	LDP	192(RSP), (R24, R25)
	LDP	208(RSP), (R26, R27)
	LDP	224(RSP), (g, R29)
	LDP	(RSP), (R0, R1)
	POP_FRAME
	ERET
again:
	BL	·lastResort(SB)
stop:	WFI
	B	stop

// func installVectors(gp, top, end uintptr)
TEXT ·installVectors(SB),NOSPLIT|NOFRAME,$0-24
	MOVD	end+16(FP), R0
	SUB	$F_SIZE, R0
	MOVD	gp+0(FP), R1
	MOVD	R1, F_G(R0)
	MOVD	top+8(FP), R1
	MOVD	R1, (F_G+8)(R0)
	MOVD	ZR, F_DEPTH(R0)
	MSR	R0, TPIDR_EL1
	MSR	ZR, TPIDRRO_EL0
	MSR	$1, SPSel
	MOVD	R0, RSP
	MSR	$0, SPSel
	MOVD	$·vectors(SB), R0
	MSR	R0, VBAR_EL1
	ISB	$15
	RET

// func openSErrors()
//
// It returns after a pending SError has been taken.
TEXT ·openSErrors(SB),NOSPLIT|NOFRAME,$0-0
	DSB	$15
	ISB	$15
	MSR	$4, DAIFClr
	ISB	$15
	RET

// func exceptionStackBase() uintptr
TEXT ·exceptionStackBase(SB),NOSPLIT,$0-8
	MOVD	$·exceptionStack(SB), R0
	MOVD	R0, ret+0(FP)
	RET

// eat overflows its stack. The store is written as a word, because the linker counts the
// pushes that it knows.
TEXT eat<>(SB),NOSPLIT|NOFRAME,$0-0
again:	WORD	$0xf81f0fff	// str xzr, [sp, #-16]!
	B	again

DATA	eatFunc<>+0(SB)/8, $eat<>(SB)
GLOBL	eatFunc<>(SB), RODATA, $8

// func OverflowStack()
TEXT ·OverflowStack(SB),NOSPLIT,$16-0
	MOVD	$eatFunc<>(SB), R0
	MOVD	R0, 8(RSP)
	BL	runtime·systemstack(SB)
	RET

// func semihosting(op uintptr, arg unsafe.Pointer) uintptr
//
// There is one HLT for the runtime and for this package: kernelTrap knows its address.
TEXT ·semihosting(SB),NOSPLIT,$16-24
	MOVD	op+0(FP), R0
	MOVD	arg+8(FP), R1
	BL	runtime·semihostCall(SB)
	MOVD	R0, ret+16(FP)
	RET
