//go:build tamago && arm64

#include "textflag.h"

// Offsets in startBlock.
#define B_CONDUIT	64
#define B_MPIDR		80
#define B_ALIVE		128
#define B_FN		144
#define B_SP		152
#define B_MIDR		168
#define B_CTR		176
#define B_FAULT		192

// SCTLR_EL1 with MMU and caches off: the RES1 bits of Armv8.0, as in the entry code.
#define SCTLR_OFF	0x30d00800

// The physical address of the startBlock of the CPU that is being started.
GLOBL	·startBlockPA(SB), NOPTR, $64

// secondaryEntry is the first code of a CPU. It runs at its physical address, at EL1 or
// EL2, with the MMU and the data cache off. Addresses of symbols are relative to the PC, so
// they are physical.
//
// A CPU waits here until startBlockPA names the block that is for this CPU. One word of a
// spin table may release several CPUs, and a CPU that came too late may arrive while another
// CPU is being started.
TEXT ·secondaryEntry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MSR	$0xf, DAIFSet
	MRS	CurrentEL, R0
	CMP	$(2<<2), R0
	BNE	el1
	MOVD	$·secondaryVectors(SB), R0
	WORD	$0xd51cc000		// msr vbar_el2, x0
	WORD	$0xd51cd05f		// msr tpidr_el2, xzr
	ISB	$15
	BL	runtime·rt0EL2(SB)
	CBNZ	R1, lost
el1:	MSR	ZR, TPIDR_EL1
	MOVD	$·secondaryVectors(SB), R0
	MSR	R0, VBAR_EL1
	MOVD	$SCTLR_OFF, R0
	MSR	R0, SCTLR_EL1
	ISB	$15
	MRS	MPIDR_EL1, R1
	MOVD	$0xff00ffffff, R0
	AND	R0, R1
pen:	MOVD	·startBlockPA(SB), R20
	MOVD	B_MPIDR(R20), R0
	CMP	R0, R1
	BEQ	mine
	WFE
	B	pen
mine:	MSR	R20, TPIDR_EL1
	B	·secondaryMap(SB)
lost:	WFI
	B	lost

// secondaryMap turns the MMU on. R20 is the startBlock's physical address.
TEXT ·secondaryMap(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	LDP	(R20), (R0, R1)
	LDP	16(R20), (R2, R3)
	LDP	32(R20), (R4, R5)
	LDP	48(R20), (R21, R6)
	MSR	R0, MAIR_EL1
	MSR	R1, TCR_EL1
	MSR	R2, TTBR0_EL1
	MSR	R3, TTBR1_EL1
	ISB	$15
	TLBI	VMALLE1
	WORD	$0xd508751f	// ic iallu
	DSB	$15
	ISB	$15
	MSR	R4, SCTLR_EL1
	ISB	$15
	JMP	(R5)

// secondaryVectors handle exceptions before the CPU runs Go code. They store the exception
// in the block to which TPIDR_EL1 points, for awaitAlive, and stop the CPU. The identity map
// contains them, because the MMU is turned on while VBAR_EL1 is still a physical address.
TEXT ·secondaryVectors(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	PCALIGN	$2048
	B	fault
	PCALIGN	$128
	B	fault
	PCALIGN	$128
	B	fault
	PCALIGN	$128
	B	fault
	PCALIGN	$128
	B	fault
	PCALIGN	$128
	B	fault
	PCALIGN	$128
	B	fault
	PCALIGN	$128
	B	fault
	PCALIGN	$128
fault:	MRS	CurrentEL, R0
	CMP	$(2<<2), R0
	BEQ	stop			// rt0EL2: there is no block yet
	MRS	TPIDR_EL1, R0
	CBZ	R0, stop
	MSR	ZR, TPIDR_EL1		// a second one stores nothing
	MRS	ESR_EL1, R1
	MRS	FAR_EL1, R2
	MRS	ELR_EL1, R3
	MOVD	$1, R4
	ADD	$B_FAULT, R0
	STP	(R1, R2), (R0)
	STP	(R3, R4), 16(R0)
	DSB	$15
stop:	WFI
	B	stop

// secondaryHigh continues at its link address. R21 is the startBlock's virtual address, R6
// the kernel root.
TEXT ·secondaryHigh(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MSR	R21, TPIDR_EL1
	MOVD	$·secondaryVectors(SB), R0
	MSR	R0, VBAR_EL1
	ISB	$15
	MSR	R6, TTBR0_EL1		// removes the identity map
	ISB	$15
	TLBI	VMALLE1
	DSB	$15
	ISB	$15
	MOVD	$(3<<20), R0		// CPACR_EL1.FPEN, as the boot CPU has it
	MSR	R0, CPACR_EL1
	ISB	$15
	MRS	MIDR_EL1, R0		// for coreRules
	MRS	CTR_EL0, R1
	MOVD	R0, B_MIDR(R21)
	MOVD	R1, B_CTR(R21)
	MOVD	$1, R0
	ADD	$B_ALIVE, R21, R1
	STLR	R0, (R1)
	ADD	$B_FN, R21, R1
task:	LDAR	(R1), R2
	CBNZ	R2, run
	MOVD	B_CONDUIT(R21), R3
	CBZ	R3, spin
	MOVD	$0x84000002, R0		// CPU_OFF (DEN 0022, section 5.1.3)
	CMP	$1, R3
	BNE	smc
	HVC	$0
	B	off
smc:	SMC	$0
off:	WFI				// CPU_OFF was refused
	B	off
spin:	WFE
	B	task

run:	MSR	$0, SPSel
	LDP	B_SP(R21), (R0, g)
	MOVD	R0, RSP
	MSR	ZR, FPCR
	MOVD	ZR, R29
	SUB	$32, RSP
	MOVD	R21, 8(RSP)
	MOVD	R21, 16(RSP)
	BL	·secondary(SB)
	MOVD	16(RSP), R21
	ADD	$32, RSP
	MOVD	B_FN(R21), R1
	BL	(R1)
	B	off			// it does not return

DATA	secondaryAt<>+0(SB)/8, $·secondaryEntry(SB)
DATA	secondaryAt<>+8(SB)/8, $·secondaryHigh(SB)
DATA	secondaryAt<>+16(SB)/8, $·secondaryVectors(SB)
GLOBL	secondaryAt<>(SB), RODATA, $24

// func secondaryAddress() (entry, high, vectors uintptr)
TEXT ·secondaryAddress(SB),NOSPLIT,$0-24
	MOVD	secondaryAt<>+0(SB), R0
	MOVD	secondaryAt<>+8(SB), R1
	MOVD	secondaryAt<>+16(SB), R2
	MOVD	R0, entry+0(FP)
	MOVD	R1, high+8(FP)
	MOVD	R2, vectors+16(FP)
	RET

// func readStartRegs() (mair, tcr, sctlr uint64)
TEXT ·readStartRegs(SB),NOSPLIT,$0-24
	MRS	MAIR_EL1, R0
	MRS	TCR_EL1, R1
	MRS	SCTLR_EL1, R2
	MOVD	R0, mair+0(FP)
	MOVD	R1, tcr+8(FP)
	MOVD	R2, sctlr+16(FP)
	RET

// func cleanLine(va uintptr)
//
// The line is also invalidated, so that a later store with the cache off is seen.
TEXT ·cleanLine(SB),NOSPLIT,$0-8
	MOVD	va+0(FP), R0
	DC	CIVAC, R0
	DSB	$15
	RET

// func sendEvent()
TEXT ·sendEvent(SB),NOSPLIT,$0-0
	DSB	$10	// ISHST
	SEV
	RET

// func startBlockWord() *uint64
TEXT ·startBlockWord(SB),NOSPLIT,$0-8
	MOVD	$·startBlockPA(SB), R0
	MOVD	R0, ret+0(FP)
	RET

// func smccc3(function, a, b, c uint64, smc bool) int64
TEXT ·smccc3(SB),NOSPLIT,$0-48
	MOVD	function+0(FP), R0
	MOVD	a+8(FP), R1
	MOVD	b+16(FP), R2
	MOVD	c+24(FP), R3
	MOVBU	smc+32(FP), R4
	CBNZ	R4, smc
	HVC	$0
	MOVD	R0, ret+40(FP)
	RET
smc:	SMC	$0
	MOVD	R0, ret+40(FP)
	RET
