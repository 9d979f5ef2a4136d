//go:build grim_overlay

// From the loader to the Go runtime on arm64.
//
// A loader that follows the Linux boot protocol for arm64 ("Booting AArch64 Linux" in the
// kernel's documentation) enters at _rt0_arm64_linux. The image may be anywhere in RAM, but
// link address less load address is a multiple of 2 MB (see boot/image). The CPU is at EL1
// or EL2, MMU and data cache are off, the instruction cache is on or off, interrupts are
// masked, and R0 is the address of the device tree. All code up to rt0high makes addresses
// relative to the PC, so they are physical addresses.
//
// From here on, the kernel always runs at EL1t, that is with SPSel = 0 and SP_EL0 as the
// stack of Go code. SP_EL1 is then free for exceptions. An exception that kernel code
// causes arrives on an exception stack of its own, even when the Go stack is bad. User mode
// runs with SP_EL1 at the u-area, so that a trap finds its frame without a free register.
// Interrupts stay masked at EL1; WFI wakes up for a masked interrupt too.
//
// Registers kept until rt0_go: R20 device tree, R21 link less load address,
// R22 early tables (physical).

#include "go_asm.h"
#include "textflag.h"

#define PAGE		4096
#define TABLES		8	// pages of early tables
#define T_ROOT		0	// both halves: TTBR0 walks entries 0-255, TTBR1 256-511
#define T_KERNEL1	1	// level 1 of the kernel window
#define T_KERNEL2	2	// level 2: 1 GB of it in 2 MB blocks
#define T_IDENT1	3	// identity map of this code, for the switch only
#define T_IDENT2	4
#define T_DIRECT1	5	// direct map of the device tree
#define T_DIRECT2	6	// and 7: it may cross a 1 GB boundary

// The size of the first Go heap, which is behind the BSS. The constant is the overlay
// generator's.
#define HEAP		const_grimInitialHeap
#define STACK		(64<<10)	// the size that rt0_go assumes for g0's stack
#define EXCSTACK	(32<<10)

// A block of normal memory (attribute index 0 of MAIR), inner shareable,
// accessed; and without EL0 and EL1 execution (Arm ARM D8.3, block descriptors).
#define BLOCK		0x701
#define BLOCKNX		0x60000000000701
#define TABLE		3

// MAIR_EL1: index 0 normal write-back memory, index 1 Device-nGnRnE, index 2 normal
// non-cacheable memory, as in grim/arch/arm64's format.go.
#define MAIR		0x4400ff

// TCR_EL1: T0SZ = T1SZ = 17 (47-bit halves), 4 KB granules, walks inner
// shareable write-back write-allocate; IPS and AS are added below.
#define TCR		0xb5113511

// SCTLR_EL1: the RES1 bits of Armv8.0 (SPAN too: grim/arch/arm64 clears it where
// there is PAN), and then, with MMU and caches on, SA, SA0, SED, DZE, UCT, nTWI,
// nTWE, UCI: what EL0 may do under Linux, but no AArch32.
#define SCTLR_OFF	0x30d00800
#define SCTLR_ON	0x34d5d91d

// VECTORS1 has EL1's exceptions told. TPIDR_EL1, which counts them, is unknown after reset.
#define VECTORS1 \
	MSR	ZR, TPIDR_EL1; \
	MOVD	$runtime·rt0Vectors(SB), R0; \
	MSR	R0, VBAR_EL1; \
	ISB	$15

GLOBL	runtime·earlyTables(SB), NOPTR, $((TABLES+1)*PAGE)
// Below the stack there is a page to leave unmapped, wherever page bounds lie (see
// StackGuards). rt0_go subtracts some words from the top before it calculates the end of
// the stack, hence the 128 bytes. Without them, for a stack 32 bytes into a page, the guard
// page began before the stack, where other variables are.
GLOBL	runtime·rt0Stack(SB), NOPTR, $(STACK+8192+128)
GLOBL	runtime·exceptionStack(SB), NOPTR, $EXCSTACK
GLOBL	runtime·rt0Argv(SB), NOPTR, $64

// Link addresses of symbols for code before the MMU is on, which needs physical ones too.
DATA	rt0Link<>+0(SB)/8, $rt0Link<>(SB)
GLOBL	rt0Link<>(SB), NOPTR, $8
DATA	rt0HighLink<>+0(SB)/8, $rt0high<>(SB)
GLOBL	rt0HighLink<>(SB), NOPTR, $8
DATA	rt0Bounds<>+0(SB)/8, $rt0Bounds<>(SB)
DATA	rt0Bounds<>+8(SB)/8, $runtime·text(SB)
DATA	rt0Bounds<>+16(SB)/8, $runtime·edata(SB)
GLOBL	rt0Bounds<>(SB), NOPTR, $24

// The state of refuseNext: the reason, how to call PSCI, the number of steps taken.
GLOBL	runtime·refusal(SB), NOPTR, $24

// The port for early output, which boot/image stores here (Early): its kind, physical address
// and register shift; kind 0 is none. The first word is for boot/image to know the place.
DATA	runtime·earlyFixed+0(SB)/8, $"GRIMEARL"
DATA	runtime·earlyFixed+8(SB)/8, $0
DATA	runtime·earlyFixed+16(SB)/8, $0
DATA	runtime·earlyFixed+24(SB)/8, $0
GLOBL	runtime·earlyFixed(SB), NOPTR, $32

TEXT _rt0_arm64_linux(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
start:	MSR	$0xf, DAIFSet
	MOVD	R0, R20
	// The assembler's code makes addresses of symbols from the page of the PC. They are
	// right only if the image is on a page boundary.
	ADR	start, R0
	MOVD	$_rt0_arm64_linux(SB), R1
	SUBS	R1, R0, R2
	BNE	slide
	MOVD	$runtime·refuseGranule(SB), R1
	MRS	ID_AA64MMFR0_EL1, R0
	UBFX	$28, R0, $4, R0			// TGran4: no 4 KB pages
	CMP	$15, R0
	BEQ	refuse
	// The header's page is the one before the text.
	MOVD	$runtime·text(SB), R0
	SUB	$PAGE, R0
	AND	$0x1fffff, R0, R2
	CBNZ	R2, misplaced
	LSR	$47, R0				// for the identity map
	CBNZ	R0, misplaced
	MRS	CurrentEL, R0
	UBFX	$2, R0, $2, R0
	CMP	$1, R0
	BEQ	at1
	CMP	$2, R0
	BEQ	el2
	MOVD	$runtime·refuseEL3(SB), R1
	B	refuse
at1:	VECTORS1
	MOVD	$'1', R0
	BL	rt0mark<>(SB)
	B	el1
misplaced:
	MOVD	$runtime·refusePlace(SB), R1
refuse:	MOVD	ZR, R25
	B	rt0refuse<>(SB)
	B	runtime·efiEntry(SB)	// never executed: the image's header refers to it
	B	runtime·erratumStubs(SB)	// never executed: boot/image fills it

slide:	// To a page boundary above, into the memory behind the image that the header
	// The image is not on a page boundary. It is moved up to a page boundary, into the
	// memory behind the image that the header asks for, only to print what is wrong. R4 is
	// the distance from the page boundary below. The address in R1 is too low by R4, and a
	// page too high if the distance moved the instruction over a page boundary.
	AND	$(PAGE-1), R2, R4
	ADR	bounds, R0
bounds:	MOVD	$rt0Bounds<>(SB), R1
	ADD	R4, R1
	AND	$(PAGE-1), R0
	CMP	R4, R0
	BHS	place
	SUB	$PAGE, R1
place:	MOVWU	0(R1), R5			// link addresses: of rt0Bounds, of the text,
	MOVWU	8(R1), R6			// and of the end of the file's contents
	MOVWU	16(R1), R7
	SUB	R5, R1, R5
	ADD	R5, R6				// their addresses in memory
	ADD	R5, R7
	SUB	$PAGE, R6
	ADD	$3, R7
	AND	$~3, R7
	MOVD	$(2*PAGE), R8			// move by over a page. The upper part is moved
	SUB	R4, R8				// first, and does not overwrite the code that moves
	ADR	slide, R9
	ADR	moved, R10
move:	MOVD	R7, R0
word:	MOVWU.W	-4(R0), R1			// from the end: old and new place overlap
	MOVW	R1, (R0)(R8)
	CMP	R9, R0
	BHI	word
	MOVD	R6, R11
	ADD	R8, R9, R6
	ADD	R8, R7
	BL	rt0drop<>(SB)			// drop cache lines of the new place
	WORD	$0xd508751f			// ic iallu
	DSB	$15
	ISB	$15
	ADD	R8, R10
	JMP	(R10)
moved:	MOVD	R9, R7				// this is the new place: now move the lower part
	MOVD	R11, R6
	MOVD	R11, R9
	ADR	misplaced, R10
	SUB	R8, R10
	B	move

el2:	MOVD	$runtime·rt0Vectors(SB), R0
	WORD	$0xd51cc000			// msr vbar_el2, x0
	WORD	$0xd51cd05f			// msr tpidr_el2, xzr
	ISB	$15
	MOVD	$'2', R0
	BL	rt0mark<>(SB)
	BL	runtime·rt0EL2(SB)
	CBNZ	R1, refuse
	VECTORS1
	MOVD	$'d', R0
	BL	rt0mark<>(SB)
el1:	MOVD	$SCTLR_OFF, R0
	MSR	R0, SCTLR_EL1
	ISB	$15
	MSR	$1, SPSel

	// Early tables. The CPU's walks will be cacheable and these stores are not:
	// lines that the loader left must be gone before, and after, they are made.
	MOVD	$rt0Link<>(SB), R0
	MOVD	rt0Link<>(SB), R21
	SUB	R0, R21, R21
	MOVD	$runtime·earlyTables+(PAGE-1)(SB), R22
	AND	$~(PAGE-1), R22
	BL	rt0invalidate<>(SB)
	MOVD	R22, R0
	ADD	$(TABLES*PAGE), R22, R1
zero:	STP.P	(ZR, ZR), 16(R0)
	CMP	R1, R0
	BLO	zero

	// Kernel window: root entry 511, level 1 entry 510, then blocks.
	ADD	$(T_KERNEL1*PAGE|TABLE), R22, R0
	MOVD	R0, (T_ROOT*PAGE+511*8)(R22)
	ADD	$(T_KERNEL2*PAGE|TABLE), R22, R0
	MOVD	R0, (T_KERNEL1*PAGE+510*8)(R22)
	MOVD	$runtime·text(SB), R0
	AND	$~(0x1fffff), R0
	MOVD	$runtime·end(SB), R1
	ADD	$HEAP, R1
	ADD	R21, R0, R2
	UBFX	$21, R2, $9, R2			// index of the first block
	ADD	$(T_KERNEL2*PAGE), R22, R3
	ADD	R2<<3, R3, R3
	MOVD	$BLOCK, R4
kernel:	ORR	R4, R0, R2
	MOVD.P	R2, 8(R3)
	ADD	$0x200000, R0
	CMP	R1, R0
	BLO	kernel

	// The 2 MB around the code that turns the MMU on, where it is.
	ADR	on, R0
	ADD	$(T_IDENT1*PAGE|TABLE), R22, R1
	UBFX	$39, R0, $8, R2
	ADD	R2<<3, R22, R23			// its root entry, to undo it
	MOVD	R1, (R23)
	ADD	$(T_IDENT2*PAGE|TABLE), R22, R1
	UBFX	$30, R0, $9, R2
	ADD	$(T_IDENT1*PAGE), R22, R3
	MOVD	R1, (R3)(R2<<3)
	AND	$~(0x1fffff), R0, R1
	ORR	$1, R1
	ORR	R4, R1
	UBFX	$21, R0, $9, R2
	ADD	$(T_IDENT2*PAGE), R22, R3
	MOVD	R1, (R3)(R2<<3)

	// Direct map of the 2 MB block in which the device tree begins, never executable. The
	// size of the tree is not known yet, and addresses behind it may be no memory.
	// rt0high maps the next block if the tree continues there.
	UBFX	$39, R20, $8, R2
	ADD	$256, R2
	ADD	$(T_DIRECT1*PAGE|TABLE), R22, R1
	MOVD	R1, (R22)(R2<<3)
	MOVD	$BLOCKNX, R4
	AND	$~(0x1fffff), R20, R0
	ADD	$(T_DIRECT1*PAGE), R22, R5
	ADD	$(T_DIRECT2*PAGE), R22, R3
	UBFX	$30, R0, $9, R2
	ADD	$TABLE, R3, R1
	MOVD	R1, (R5)(R2<<3)
	UBFX	$21, R0, $9, R2
	ORR	R4, R0, R1
	MOVD	R1, (R3)(R2<<3)
	DSB	$15
	BL	rt0invalidate<>(SB)
	MOVD	$'t', R0
	BL	rt0mark<>(SB)

	MOVD	$MAIR, R0
	MSR	R0, MAIR_EL1
	MOVD	$TCR, R0
	MRS	ID_AA64MMFR0_EL1, R1
	UBFX	$0, R1, $4, R2			// PARange; over 48 bits needs other tables
	CMP	$5, R2
	BLS	ips
	MOVD	$5, R2
ips:	ORR	R2<<32, R0, R0
	UBFX	$4, R1, $4, R2			// ASIDBits: 2 is 16 bits
	CMP	$2, R2
	BNE	as
	ORR	$(1<<36), R0
as:	MSR	R0, TCR_EL1
	MSR	R22, TTBR0_EL1
	ADD	$2048, R22, R0
	MSR	R0, TTBR1_EL1
	ISB	$15
	TLBI	VMALLE1
	WORD	$0xd508751f			// ic iallu
	DSB	$15
	ISB	$15
	MOVD	rt0HighLink<>(SB), R1
	MOVD	$SCTLR_ON, R0
on:	MSR	R0, SCTLR_EL1
	ISB	$15
	JMP	(R1)

// rt0EL2 returns at EL1 with R1 = 0, and with nothing trapped or virtualised: EL1 has the
// whole machine. If that is not possible, it returns at EL2 with the address of the reason
// in R1. It runs at its physical address, without a stack, on each CPU, and changes R0 and
// R1 only. The caller has set VBAR_EL2.
TEXT runtime·rt0EL2(SB),NOSPLIT|NOFRAME,$0
	// The assembler does not know the EL2 registers; Arm ARM D19.2 has the encodings.
	MOVD	$(1<<31 | 3<<40), R0	// RW: EL1 is AArch64; APK, API: no traps
	WORD	$0xd51c1100		// msr hcr_el2, x0
	ISB	$15
	WORD	$0xd53c1100		// mrs x0, hcr_el2
	MOVD	$runtime·refuseE2H(SB), R1
	TBNZ	$34, R0, refused	// E2H cannot be cleared: the registers below would be others
	MOVD	$3, R0			// EL1PCTEN, EL1PCEN
	WORD	$0xd51ce100		// msr cnthctl_el2, x0
	WORD	$0xd51ce07f		// msr cntvoff_el2, xzr
	MOVD	$0x33ff, R0		// RES1 bits; FP, SIMD not trapped
	WORD	$0xd51c1140		// msr cptr_el2, x0
	WORD	$0xd51c117f		// msr hstr_el2, xzr
	WORD	$0xd51c211f		// msr vttbr_el2, xzr
	MRS	MIDR_EL1, R0
	WORD	$0xd51c0000		// msr vpidr_el2, x0
	MRS	MPIDR_EL1, R0
	WORD	$0xd51c00a0		// msr vmpidr_el2, x0
	MRS	ID_AA64DFR0_EL1, R1	// MDCR_EL2.HPMN: all counters to EL1, if there are any
	UBFX	$8, R1, $4, R1		// PMUVer
	MOVD	$0, R0
	CBZ	R1, nopmu
	CMP	$15, R1
	BEQ	nopmu
	MRS	PMCR_EL0, R0
	UBFX	$11, R0, $5, R0
nopmu:
	WORD	$0xd51c1120		// msr mdcr_el2, x0
	MRS	ID_AA64MMFR0_EL1, R0	// fine-grained traps (FEAT_FGT)
	UBFX	$56, R0, $4, R0
	CBZ	R0, nofgt
	WORD	$0xd51c119f		// msr hfgrtr_el2, xzr
	WORD	$0xd51c11bf		// msr hfgwtr_el2, xzr
	WORD	$0xd51c11df		// msr hfgitr_el2, xzr
	WORD	$0xd51c319f		// msr hdfgrtr_el2, xzr
	WORD	$0xd51c31bf		// msr hdfgwtr_el2, xzr
nofgt:
	MRS	ID_AA64MMFR1_EL1, R0	// FEAT_HCX
	UBFX	$40, R0, $4, R0
	CBZ	R0, nohcx
	WORD	$0xd51c125f		// msr hcrx_el2, xzr
nohcx:
	MRS	ID_AA64PFR0_EL1, R0	// GICv3's system registers, and its virtual half off
	UBFX	$24, R0, $4, R0
	CBZ	R0, nogic
	WORD	$0xd53cc9a0		// mrs x0, icc_sre_el2
	ORR	$9, R0			// Enable, SRE
	WORD	$0xd51cc9a0		// msr icc_sre_el2, x0
	ISB	$15
	WORD	$0xd53cc9a0		// mrs x0, icc_sre_el2
	TBZ	$0, R0, nogic		// SRE stays 0: the machine has a GICv2
	WORD	$0xd51ccb1f		// msr ich_hcr_el2, xzr
nogic:
	MOVD	$SCTLR_OFF, R0
	MSR	R0, SCTLR_EL1
	// Exceptions to EL2 must stop the CPU. Without this, its vectors are the boot loader's.
	MOVD	$runtime·parkVectors(SB), R0
	WORD	$0xd51cc000		// msr vbar_el2, x0
	MOVD	$0x3c5, R0		// EL1h, all masked
	WORD	$0xd51c4000		// msr spsr_el2, x0
	WORD	$0xd51c403e		// msr elr_el2, x30
	MOVD	ZR, R1
	ISB	$15
	ERET
refused:
	RET


// rt0mark puts the letter in R0 on the port for early output, if the image has one. The MMU
// is off. It changes R0 to R19, and RSP, which nothing else uses here.
TEXT rt0mark<>(SB),NOSPLIT|NOFRAME,$0
	MOVD	runtime·earlyFixed+8(SB), R2
	CBZ	R2, done
	MOVD	R0, R9
	MOVD	R30, R10
	MOVD	$(3<<20 | 0x33ff), R4		// FP and SIMD on, as in rt0refuse
	MRS	CurrentEL, R3
	CMP	$(2<<2), R3
	BNE	fp1
	WORD	$0xd51c1144			// msr cptr_el2, x4
	B	fp
fp1:	MOVD	$(3<<20), R4
	MSR	R4, CPACR_EL1
fp:	ISB	$15
	// What caches have of the stack must not be written back over it.
	MOVD	$runtime·rt0Stack+(STACK+8192+128)(SB), R7
	AND	$~15, R7
	SUB	$2048, R7, R6
	BL	rt0drop<>(SB)
	SUB	$96, R7
	MOVD	R7, RSP
	STP	(R20, R21), 48(RSP)
	STP	(R22, R23), 64(RSP)
	MOVD	R10, 80(RSP)
	MOVD	R9, 8(RSP)
	BL	runtime·earlyMarkOff(SB)
	LDP	48(RSP), (R20, R21)
	LDP	64(RSP), (R22, R23)
	MOVD	80(RSP), R30
done:	RET

// rt0refuse ends a machine that cannot be started. R1 is the address of the reason. If R25
// is not 0, the reason is an exception at the address R25 with syndrome R26 and fault
// address R19.
TEXT rt0refuse<>(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	// The reason is printed on the device tree's console, or by a debugger if there is no
	// console. Then the machine is turned off, or stops.
	MOVD	$runtime·refusal(SB), R3
	MOVD	$const_noConsole, R0
	STP	(R1, R0), (R3)
	MOVD	ZR, 16(R3)
	MOVD	$runtime·refuseVectors(SB), R0
	MOVD	$(3<<20 | 0x33ff), R4		// FP and SIMD on, with or without E2H
	MRS	CurrentEL, R2
	UBFX	$2, R2, $2, R2
	CMP	$2, R2
	BLO	fp1
	BEQ	fp2
	WORD	$0xd51ec000			// msr vbar_el3, x0
	WORD	$0xd51e115f			// msr cptr_el3, xzr
	B	fp
fp2:	WORD	$0xd51cc000			// msr vbar_el2, x0
	WORD	$0xd51c1144			// msr cptr_el2, x4
	B	fp
fp1:	MSR	R0, VBAR_EL1
	MOVD	$(3<<20), R4
	MSR	R4, CPACR_EL1
fp:	ISB	$15
	MOVD	$runtime·rt0Stack+(STACK+8192+128)(SB), R0
	AND	$~15, R0
	SUB	$64, R0
	MOVD	R0, RSP
	MOVD	R20, 8(RSP)
	MOVD	R1, 16(RSP)
	MOVD	R25, 24(RSP)
	MOVD	R26, 32(RSP)
	MOVD	R19, 40(RSP)
	BL	runtime·earlyRefuse(SB)
	MOVWU	48(RSP), R0
	MOVD	$runtime·refusal(SB), R3
	MOVD	R0, 8(R3)
	B	refuseNext<>(SB)

// rt0Vectors are for exceptions of the entry code, at its physical address. The MMU may be
// on already, with only the code mapped that turned it on, so the vectors turn it off.
// TPIDR_EL1 or TPIDR_EL2 counts the exceptions: the second one stops the CPU.
TEXT runtime·rt0Vectors(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
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
	BEQ	fault2
	MRS	TPIDR_EL1, R0
	CBNZ	R0, stop
	MOVD	$1, R0
	MSR	R0, TPIDR_EL1
	MRS	ELR_EL1, R25
	MRS	ESR_EL1, R26
	MRS	FAR_EL1, R19
	MOVD	$SCTLR_OFF, R0
	MSR	R0, SCTLR_EL1
	B	say
fault2:	WORD	$0xd53cd040			// mrs x0, tpidr_el2
	CBNZ	R0, stop
	MOVD	$1, R0
	WORD	$0xd51cd040			// msr tpidr_el2, x0
	WORD	$0xd53c4039			// mrs x25, elr_el2
	WORD	$0xd53c521a			// mrs x26, esr_el2
	WORD	$0xd53c6013			// mrs x19, far_el2
say:	ISB	$15
	MOVD	$runtime·refuseFault(SB), R1
	B	rt0refuse<>(SB)
stop:	WFI
	B	stop

// parkVectors stop a CPU that takes an exception to EL2 after the kernel has gone to EL1.
TEXT runtime·parkVectors(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	PCALIGN	$2048
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)
	PCALIGN	$128
	WFI
	B	-1(PC)

// refuseNext takes the next step to end a machine that is refused. Exceptions enter it too:
// after a step that is not possible here, the next step is taken.
TEXT refuseNext<>(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
next:	MOVD	$runtime·refusal(SB), R3
	LDP	(R3), (R1, R4)			// reason, how to call PSCI
	MOVD	16(R3), R5			// steps taken
	ADD	$1, R5
	MOVD	R5, 16(R3)
	CMP	$2, R5
	BEQ	exit
	BHI	off
	CMP	$const_noConsole, R4
	BNE	exit
	MOVD	$4, R0				// SYS_WRITE0
	WORD	$0xd45e0000			// hlt #0xf000
	B	next
exit:	MOVD	$2, R5
	MOVD	R5, 16(R3)
	MOVD	$runtime·earlyExit(SB), R1
	MOVD	$0x20, R0			// SYS_EXIT_EXTENDED
	WORD	$0xd45e0000
	B	next
off:	CMP	$3, R5
	BNE	stop
	MRS	CurrentEL, R2			// EL3 has no firmware to call, and EL2 no hypervisor
	MOVD	$0x84000008, R0			// SYSTEM_OFF (DEN 0022, section 5.1.9)
	CMP	$const_earlySMC, R4
	BEQ	smc
	CMP	$const_earlyHVC, R4
	BNE	stop
	CMP	$(1<<2), R2
	BNE	stop
	HVC	$0
	B	stop
smc:	CMP	$(3<<2), R2
	BEQ	stop
	SMC	$0
stop:	WFI
	B	stop

TEXT runtime·refuseVectors(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	PCALIGN	$2048
	B	refuseNext<>(SB)
	PCALIGN	$128
	B	refuseNext<>(SB)
	PCALIGN	$128
	B	refuseNext<>(SB)
	PCALIGN	$128
	B	refuseNext<>(SB)
	PCALIGN	$128
	B	refuseNext<>(SB)
	PCALIGN	$128
	B	refuseNext<>(SB)
	PCALIGN	$128
	B	refuseNext<>(SB)
	PCALIGN	$128
	B	refuseNext<>(SB)

// rt0invalidate is rt0drop for the early tables at R22.
TEXT rt0invalidate<>(SB),NOSPLIT|NOFRAME,$0
	MOVD	R22, R6
	ADD	$(TABLES*PAGE), R22, R7
	B	rt0drop<>(SB)

// rt0drop drops the data cache lines of [R6, R7) without writing them back: the contents
// were stored with the cache off. It changes R0, R1 and R6.
TEXT rt0drop<>(SB),NOSPLIT|NOFRAME,$0
	MRS	CTR_EL0, R0
	UBFX	$16, R0, $4, R0			// DminLine, log2 of words
	MOVD	$4, R1
	LSL	R0, R1, R1
line:	DC	IVAC, R6
	ADD	R1, R6
	CMP	R7, R6
	BLO	line
	DSB	$15
	RET

// rt0high runs at its link address, so symbols are virtual now.
TEXT rt0high<>(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVD	$runtime·earlyVectors(SB), R0
	MSR	R0, VBAR_EL1
	MOVD	$runtime·exceptionStack+EXCSTACK(SB), R0
	MOVD	R0, RSP				// SP_EL1
	ADD	R21, R22, R22
	ADD	R21, R23, R23
	MOVD	ZR, (R23)			// remove the identity map
	DSB	$15
	TLBI	VMALLE1
	DSB	$15
	ISB	$15
	MOVD	$(3<<20), R0			// CPACR_EL1.FPEN: FP and SIMD; SVE and SME stay off
	MSR	R0, CPACR_EL1
	ISB	$15

	// Zero the BSS and the first heap, but not the early tables between them.
	MOVD	$runtime·bss(SB), R0
	MOVD	R22, R1
	BL	rt0zero<>(SB)
	ADD	$(TABLES*PAGE), R22, R0
	MOVD	$runtime·end(SB), R1
	ADD	$HEAP, R1
	BL	rt0zero<>(SB)

	MOVD	R20, runtime·bootArg(SB)
	MOVD	$0xffffffff80000000, R0		// physBase: the physical address of KernelBase
	SUB	R21, R0, R0
	MOVD	R0, runtime·physBase(SB)
	BL	rt0tree<>(SB)
	MSR	$0, SPSel
	MOVD	$runtime·rt0Stack+(STACK+8192+128)(SB), R0
	AND	$~15, R0
	SUB	$32, R0, R1
	MOVD	R1, RSP
	MOVD	$'m', R1
	MOVD	R1, 8(RSP)
	BL	runtime·EarlyMark(SB)
	ADD	$32, RSP
	MOVD	$0, R0				// argc. argv has NULLs that end it, environment and auxv
	MOVD	$runtime·rt0Argv(SB), R1
	JMP	runtime·rt0_go(SB)

// rt0tree maps the second block of a device tree that crosses a 2 MB boundary. A read of
// the tree may fault if the loader gave a wrong address; earlyVectors are there.
TEXT rt0tree<>(SB),NOSPLIT|NOFRAME,$0
	CBZ	R20, done
	TST	$7, R20
	BNE	done
	MOVD	$0xffff800000000000, R0
	ADD	R20, R0
	MOVWU	(R0), R1
	REVW	R1, R1
	MOVD	$0xd00dfeed, R2
	CMP	R2, R1
	BNE	done				// the EFI stub's block, or no tree
	MOVWU	4(R0), R1			// totalsize
	REVW	R1, R1
	MOVD	$0x200000, R2
	CMP	R2, R1
	BHI	done				// will be refused later
	AND	$0x1fffff, R20, R3
	ADD	R1, R3
	CMP	R2, R3
	BLS	done
	AND	$~(0x1fffff), R20, R0
	ADD	R2, R0				// the next block
	ADD	$(T_DIRECT2*PAGE), R22, R3	// the level 2 table, by its virtual address
	UBFX	$21, R0, $9, R2
	CBNZ	R2, same
	UBFX	$30, R0, $9, R4
	CBZ	R4, done			// in the next 512 GB: no loader puts a tree there
	ADD	$PAGE, R3
	SUB	R21, R3, R1
	ADD	$TABLE, R1
	ADD	$(T_DIRECT1*PAGE), R22, R5
	MOVD	R1, (R5)(R4<<3)
same:	MOVD	$BLOCKNX, R4
	ORR	R4, R0, R1
	MOVD	R1, (R3)(R2<<3)
	DSB	$15
	ISB	$15
done:	RET

// rt0zero zeroes [R0, R1), both multiples of 8. It changes R0.
TEXT rt0zero<>(SB),NOSPLIT|NOFRAME,$0
	SUB	$64, R1, R2
fast:	CMP	R2, R0
	BHI	slow
	STP	(ZR, ZR), (R0)
	STP	(ZR, ZR), 16(R0)
	STP	(ZR, ZR), 32(R0)
	STP	(ZR, ZR), 48(R0)
	ADD	$64, R0
	B	fast
slow:	CMP	R1, R0
	BHS	done
	MOVD.P	ZR, 8(R0)
	B	slow
done:	RET

// The reasons for which the entry code refuses a machine.
DATA	runtime·refuseEL3+0(SB)/8, $"grim: en"
DATA	runtime·refuseEL3+8(SB)/8, $"tered at"
DATA	runtime·refuseEL3+16(SB)/8, $" EL3: bo"
DATA	runtime·refuseEL3+24(SB)/8, $"ot throu"
DATA	runtime·refuseEL3+32(SB)/8, $"gh firmw"
DATA	runtime·refuseEL3+40(SB)/8, $"are that"
DATA	runtime·refuseEL3+48(SB)/8, $" enters "
DATA	runtime·refuseEL3+56(SB)/8, $"at EL2 o"
DATA	runtime·refuseEL3+64(SB)/8, $"r EL1\n\x00\x00"
GLOBL	runtime·refuseEL3(SB), RODATA|NOPTR, $72
DATA	runtime·refusePlace+0(SB)/8, $"grim: th"
DATA	runtime·refusePlace+8(SB)/8, $"e image "
DATA	runtime·refusePlace+16(SB)/8, $"is not o"
DATA	runtime·refusePlace+24(SB)/8, $"n a 2 MB"
DATA	runtime·refusePlace+32(SB)/8, $" boundar"
DATA	runtime·refusePlace+40(SB)/8, $"y below "
DATA	runtime·refusePlace+48(SB)/8, $"128 TB: "
DATA	runtime·refusePlace+56(SB)/8, $"load it "
DATA	runtime·refusePlace+64(SB)/8, $"at one\n\x00"
GLOBL	runtime·refusePlace(SB), RODATA|NOPTR, $72
DATA	runtime·refuseFault+0(SB)/8, $"grim: ex"
DATA	runtime·refuseFault+8(SB)/8, $"ception "
DATA	runtime·refuseFault+16(SB)/8, $"in the e"
DATA	runtime·refuseFault+24(SB)/8, $"ntry cod"
DATA	runtime·refuseFault+32(SB)/8, $"e\x00\x00\x00\x00\x00\x00\x00"
GLOBL	runtime·refuseFault(SB), RODATA|NOPTR, $40
DATA	runtime·refuseGranule+0(SB)/8, $"grim: th"
DATA	runtime·refuseGranule+8(SB)/8, $"is CPU h"
DATA	runtime·refuseGranule+16(SB)/8, $"as no 4 "
DATA	runtime·refuseGranule+24(SB)/8, $"KB pages"
DATA	runtime·refuseGranule+32(SB)/8, $"\n\x00\x00\x00\x00\x00\x00\x00"
GLOBL	runtime·refuseGranule(SB), RODATA|NOPTR, $40
DATA	runtime·refuseE2H+0(SB)/8, $"grim: en"
DATA	runtime·refuseE2H+8(SB)/8, $"tered at"
DATA	runtime·refuseE2H+16(SB)/8, $" EL2 on "
DATA	runtime·refuseE2H+24(SB)/8, $"a CPU th"
DATA	runtime·refuseE2H+32(SB)/8, $"at is al"
DATA	runtime·refuseE2H+40(SB)/8, $"ways in "
DATA	runtime·refuseE2H+48(SB)/8, $"VHE mode"
DATA	runtime·refuseE2H+56(SB)/8, $": enter "
DATA	runtime·refuseE2H+64(SB)/8, $"at EL1\n\x00"
GLOBL	runtime·refuseE2H(SB), RODATA|NOPTR, $72

// erratumStubs is the room for the stubs of boot/image/errata.go: 64 stubs of two
// instructions. An unused stub has BRK #1.
#define BRK4	WORD $0xd4200020; WORD $0xd4200020; WORD $0xd4200020; WORD $0xd4200020
#define BRK16	BRK4; BRK4; BRK4; BRK4
TEXT runtime·erratumStubs(SB),NOSPLIT|NOFRAME,$0
	BRK16; BRK16; BRK16; BRK16; BRK16; BRK16; BRK16; BRK16
