//go:build grim_overlay

// From UEFI to the Linux arm64 boot protocol. The image's header is also the header of an
// EFI application (boot/image), whose entry point is efiEntry. efiEntry runs in the state
// in which UEFI left the CPU, with the MMU on, wherever UEFI put the image, and does not
// touch the kernel's data. It collects what the kernel needs into one block of memory
// (grim/boot/machine, efi.go, has the layout) and copies the image to a 2 MB boundary. Then
// it leaves UEFI's boot services, turns MMU and caches off, and enters the copy with that
// block in place of the device tree.
//
// Offsets are from the UEFI specification 2.10: sections 4.3 (system table), 4.4
// (boot services), 9.1 (loaded image), 12.9 (graphics output), 13.5 (files),
// 12.4.3 (text output).
// UEFI keeps R19 to R28; R27 is the assembler's.
//
// R19 image handle, R20 system table, R21 boot services, R22 the block,
// R23 device tree or loaded image, R24 the copy.

#include "go_asm.h"
#include "textflag.h"

#define stConOut	64
#define stBoot		96
#define stEntries	104
#define stTable		112
#define bsAllocatePages	40
#define bsGetMemoryMap	56
#define bsHandleProtocol	152
#define bsExit		216
#define bsExitBoot	232
#define bsLocateHandles	312
#define goMode		24
#define liDevice	24
#define liOptionsSize	48
#define liOptions	56
#define fsOpenVolume	8
#define fOpen		8
#define fClose		16
#define fRead		32
#define fGetPosition	48
#define fSetPosition	56

#define loaderCode	$1
#define loaderData	$2
#define unsupported	$0x8000000000000003
#define loadError	$0x8000000000000001

// The layout of the block: the offsets and the largest sizes of its parts.
#define efiBlockSize	(2<<20)
#define efiOptions	0x1000
#define efiCommandLine	0x2000
#define efiMap		0x4000
#define efiMapMax	0x1c000
#define efiTree		0x20000

// CALL calls the function at an offset of a table. After success, R0 is 0.
#define CALL(table, off)	MOVD off(table), R9; BL (R9)

TEXT runtime·efiEntry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	SUB	$256, RSP
	MOVD	R0, R19
	MOVD	R1, R20
	MOVD	stBoot(R20), R21

	// Find the device tree among the configuration tables: 24 bytes each, GUID first.
	MOVD	stEntries(R20), R1
	MOVD	stTable(R20), R2
	MOVD	$0x41a5f19cb1b621d5, R3
	MOVD	$0xe0aa692c15d90b83, R4
table:	CBZ	R1, notree
	LDP	(R2), (R5, R6)
	MOVD	16(R2), R23
	ADD	$24, R2
	SUB	$1, R1
	CMP	R3, R5
	BNE	table
	CMP	R4, R6
	BNE	table
	MOVWU	4(R23), R25			// totalsize, big-endian
	REVW	R25, R25
	MOVD	$(efiBlockSize-efiTree), R0
	CMP	R0, R25
	BHI	bigtree

	// Allocate the block on a 2 MB boundary, with 2 MB behind it. The kernel's first direct
	// map may have 4 MB from there, and then has no other memory in it.
	MOVD	$(3*efiBlockSize/4096-1), R2
	MOVD	loaderData, R1
	BL	efiAllocate<>(SB)
	CBZ	R0, nomemory
	ADD	$(efiBlockSize-1), R0
	AND	$~(efiBlockSize-1), R0
	MOVD	R0, R22
	ADD	$efiTree, R22, R1
	MOVD	ZR, R2				// zero the block's head; the rest is filled
clear:	MOVD	ZR, (R0)(R2)
	ADD	$8, R2
	CMP	$4096, R2
	BLO	clear
	MOVD	$0x314946454d495247, R0		// "GRIMEFI1"
	MOVD	R0, (R22)
	MOVD	R1, 8(R22)
	MOVD	R25, 16(R22)
	MOVD	R23, R0
	MOVD	R25, R2
	BL	efiCopy<>(SB)

	// Find the first display that has its framebuffer in memory, in a format that needs no
	// masks: PixelFormat 0 or 1.
	MOVD	$0x4a3823dc9042a9de, R1
	MOVD	$0x6a5180d0de7afb96, R2
	STP	(R1, R2), 16(RSP)
	MOVD	$2, R0				// ByProtocol
	ADD	$16, RSP, R1
	MOVD	ZR, R2
	ADD	$8, RSP, R3
	ADD	$32, RSP, R4
	CALL(R21, bsLocateHandles)
	CBNZ	R0, options
	MOVD	8(RSP), R23
	MOVD	32(RSP), R24
display:
	CBZ	R23, options
	SUB	$1, R23
	MOVD.P	8(R24), R0
	LDP	16(RSP), (R1, R2)
	BL	efiProtocol<>(SB)
	CBZ	R0, display
	MOVD	goMode(R0), R0
	MOVD	8(R0), R3			// Info
	LDP	24(R0), (R1, R2)		// FrameBufferBase, FrameBufferSize
	MOVWU	12(R3), R4			// PixelFormat
	CMP	$1, R4
	BHI	display
	CBZ	R2, display
	STP	(R1, R2), 96(R22)
	MOVWU	4(R3), R1			// HorizontalResolution
	MOVWU	8(R3), R2			// VerticalResolution
	MOVWU	32(R3), R3			// PixelsPerScanLine
	MOVW	R1, 112(R22)
	MOVW	R2, 116(R22)
	MOVW	R4, 120(R22)
	MOVW	R3, 124(R22)
options:
	// Take the command line that a boot manager or shell passes, in UTF-16, and the files
	// beside the image. Each of them may be missing.
	MOVD	$0x11d295625b1b31a1, R1
	MOVD	$0x3b7269c9a0003f8e, R2
	MOVD	R19, R0
	BL	efiProtocol<>(SB)
	CBZ	R0, files
	MOVD	R0, R23
	MOVWU	liOptionsSize(R23), R2
	MOVD	$0x1000, R3
	CMP	R3, R2
	CSEL	HI, R3, R2, R2
	MOVD	liOptions(R23), R0
	CBZ	R0, disk
	ADD	$efiOptions, R22, R1
	MOVD	R1, 64(R22)
	MOVD	R2, 72(R22)
	BL	efiCopy<>(SB)
disk:	MOVD	liDevice(R23), R0
	MOVD	$0x11d26459964e5b22, R1
	MOVD	$0x3b7269c9a000398e, R2
	BL	efiProtocol<>(SB)
	CBZ	R0, files
	ADD	$8, RSP, R1
	CALL(R0, fsOpenVolume)
	CBNZ	R0, files
	MOVD	8(RSP), R23
	MOVD	$runtime·efiInitrd(SB), R1
	ADD	$48, R22, R2
	BL	efiFile<>(SB)
	MOVD	$runtime·efiCommand(SB), R1
	ADD	$80, R22, R2
	BL	efiFile<>(SB)
	LDP	80(R22), (R0, R2)		// copy it into the block: at first the
	MOVD	$0x1000, R3			// kernel reaches no other memory
	CMP	R3, R2
	CSEL	HI, R3, R2, R2
	ADD	$efiCommandLine, R22, R1
	STP	(R1, R2), 80(R22)
	BL	efiCopy<>(SB)
files:
	// Copy the image to a 2 MB boundary, with room for BSS and first heap behind it. Offset
	// 16 of the header is the size with that room; 0x200000 is the boundary.
	MOVD	$runtime·text(SB), R23
	SUB	$4096, R23
	MOVD	16(R23), R2
	ADD	$(0x200000+4095), R2
	LSR	$12, R2
	MOVD	loaderCode, R1
	BL	efiAllocate<>(SB)
	CBZ	R0, nomemory
	ADD	$0x1fffff, R0
	AND	$~0x1fffff, R0, R24
	MOVD	R23, R0
	MOVD	R24, R1
	MOVD	$runtime·edata(SB), R25
	SUB	R23, R25
	MOVD	R25, R2
	BL	efiCopy<>(SB)

	// The memory map's key is out of date after any allocation, also one by a timer's
	// handler. Then the map is read again.
	MOVD	$8, R23
map:	MOVD	$efiMapMax, R0
	MOVD	R0, 8(RSP)
	ADD	$8, RSP, R0
	ADD	$efiMap, R22, R1
	MOVD	R1, 24(R22)
	ADD	$16, RSP, R2
	ADD	$24, RSP, R3
	ADD	$32, RSP, R4
	CALL(R21, bsGetMemoryMap)
	CBNZ	R0, nomap
	MOVD	8(RSP), R0
	MOVD	R0, 32(R22)
	MOVD	24(RSP), R0
	MOVD	R0, 40(R22)
	MOVD	R19, R0
	MOVD	16(RSP), R1
	CALL(R21, bsExitBoot)
	CBZ	R0, leave
	SUB	$1, R23
	CBNZ	R23, map
	// After a failed call only these two services may still be used, so no message is
	// possible.
	B	runtime·refuseVectors(SB)

leave:	MSR	$0xf, DAIFSet
	// Memory that is read or fetched with the caches off must be up to date: the copy, the
	// code up to the jump, and the block with the device tree. The entry code reads the
	// block to print why it stops.
	MOVD	R24, R0
	ADD	R25, R24, R1
	BL	efiClean<>(SB)
	MOVD	R22, R0
	MOVD	$efiBlockSize, R1
	ADD	R22, R1
	BL	efiClean<>(SB)
	MOVD	$runtime·efiEntry(SB), R0
	ADD	$2048, R0, R1
	BL	efiClean<>(SB)
	MOVD	$(1<<0|1<<2|1<<12), R1		// M, C, I
	MRS	CurrentEL, R0
	UBFX	$2, R0, $2, R0
	CMP	$2, R0
	BNE	off1
	WORD	$0xd53c1000			// mrs x0, sctlr_el2
	BIC	R1, R0
	WORD	$0xd51c1000			// msr sctlr_el2, x0
	B	off
off1:	MRS	SCTLR_EL1, R0
	BIC	R1, R0
	MSR	R0, SCTLR_EL1
off:	ISB	$15
	WORD	$0xd508751f			// ic iallu
	DSB	$15
	ISB	$15
	MOVD	R22, R0
	MOVD	ZR, R1
	MOVD	ZR, R2
	MOVD	ZR, R3
	JMP	(R24)

notree:	MOVD	$runtime·efiNoTree(SB), R1
	MOVD	unsupported, R25
	B	fail
bigtree:
	MOVD	$runtime·efiBigTree(SB), R1
	MOVD	unsupported, R25
	B	fail
nomemory:
	MOVD	$runtime·efiNoMemory(SB), R1
	MOVD	loadError, R25
	B	fail
nomap:	MOVD	$runtime·efiNoMap(SB), R1
	MOVD	loadError, R25
fail:	BL	efiPrint<>(SB)
	MOVD	R19, R0
	MOVD	R25, R1
	MOVD	ZR, R2
	MOVD	ZR, R3
	CALL(R21, bsExit)
	B	runtime·refuseVectors(SB)

// efiAllocate returns R2 pages of memory of type R1, or 0.
TEXT efiAllocate<>(SB),NOSPLIT|NOFRAME,$0
	SUB	$32, RSP
	MOVD	R30, 0(RSP)
	MOVD	ZR, 8(RSP)
	MOVD	$0, R0				// AllocateAnyPages
	ADD	$8, RSP, R3
	CALL(R21, bsAllocatePages)
	MOVD	8(RSP), R1
	CMP	$0, R0
	CSEL	EQ, R1, ZR, R0
	MOVD	0(RSP), R30
	ADD	$32, RSP
	RET

// efiProtocol returns the interface of handle R0 for the protocol whose GUID is in
// R1 and R2, or 0.
TEXT efiProtocol<>(SB),NOSPLIT|NOFRAME,$0
	SUB	$48, RSP
	MOVD	R30, 0(RSP)
	MOVD	R1, 16(RSP)
	MOVD	R2, 24(RSP)
	ADD	$16, RSP, R1
	ADD	$8, RSP, R2
	CALL(R21, bsHandleProtocol)
	MOVD	8(RSP), R1
	CMP	$0, R0
	CSEL	EQ, R1, ZR, R0
	MOVD	0(RSP), R30
	ADD	$48, RSP
	RET

// efiFile reads the file with the ASCII path at R1 in directory R23, and stores its address
// and size at R2. If it cannot read the file, it stores nothing.
TEXT efiFile<>(SB),NOSPLIT|NOFRAME,$0
	SUB	$128, RSP
	MOVD	R30, 0(RSP)
	MOVD	R2, 8(RSP)
	ADD	$64, RSP, R2			// as UTF-16: at most 31 characters
	MOVD	R2, R3
wide:	MOVBU.P	1(R1), R0
	MOVH.P	R0, 2(R3)
	CBNZ	R0, wide
	MOVD	R23, R0
	ADD	$16, RSP, R1
	MOVD	$1, R3				// read
	MOVD	ZR, R4
	CALL(R0, fOpen)
	CBNZ	R0, none
	MOVD	16(RSP), R0
	MOVD	$-1, R1				// to the end
	CALL(R0, fSetPosition)
	MOVD	16(RSP), R0
	ADD	$24, RSP, R1
	CALL(R0, fGetPosition)
	MOVD	16(RSP), R0
	MOVD	ZR, R1
	CALL(R0, fSetPosition)
	MOVD	24(RSP), R2
	CBZ	R2, close
	ADD	$4095, R2
	LSR	$12, R2
	MOVD	loaderData, R1
	BL	efiAllocate<>(SB)
	CBZ	R0, close
	MOVD	R0, 32(RSP)
	MOVD	R0, R2
	MOVD	16(RSP), R0
	ADD	$24, RSP, R1
	CALL(R0, fRead)
	CBNZ	R0, close
	MOVD	8(RSP), R2
	LDP	24(RSP), (R0, R1)
	STP	(R1, R0), (R2)
close:	MOVD	16(RSP), R0
	CALL(R0, fClose)
none:	MOVD	0(RSP), R30
	ADD	$128, RSP
	RET

// efiPrint shows the ASCII text at R1, with one call for each character.
TEXT efiPrint<>(SB),NOSPLIT|NOFRAME,$0
	SUB	$32, RSP
	MOVD	R30, 0(RSP)
	MOVD	R1, R23
next:	MOVBU.P	1(R23), R0
	CBZ	R0, done
	MOVD	R0, 8(RSP)
	MOVD	stConOut(R20), R0
	CBZ	R0, done
	ADD	$8, RSP, R1
	CALL(R0, 8)				// OutputString
	B	next
done:	MOVD	0(RSP), R30
	ADD	$32, RSP
	RET

// efiCopy copies R2 bytes from R0 to R1.
TEXT efiCopy<>(SB),NOSPLIT|NOFRAME,$0
words:	SUBS	$8, R2
	BLO	rest
	MOVD.P	8(R0), R3
	MOVD.P	R3, 8(R1)
	B	words
rest:	ADDS	$8, R2
	BEQ	done
bytes:	MOVBU.P	1(R0), R3
	MOVB.P	R3, 1(R1)
	SUB	$1, R2
	CBNZ	R2, bytes
done:	RET

// efiClean writes the data cache's lines of [R0, R1) back to memory.
TEXT efiClean<>(SB),NOSPLIT|NOFRAME,$0
	MRS	CTR_EL0, R2
	UBFX	$16, R2, $4, R2			// DminLine, log2 of words
	MOVD	$4, R3
	LSL	R2, R3, R3
	SUB	$1, R3, R2
	BIC	R2, R0
line:	WORD	$0xd50b7e20			// dc civac, x0
	ADD	R3, R0
	CMP	R1, R0
	BLO	line
	DSB	$15
	RET

DATA	runtime·efiInitrd+0(SB)/8, $"\\grim\x5cin"
DATA	runtime·efiInitrd+8(SB)/8, $"itrd.cpi"
DATA	runtime·efiInitrd+16(SB)/8, $"o\x00\x00\x00\x00\x00\x00\x00"
GLOBL	runtime·efiInitrd(SB), RODATA|NOPTR, $24
DATA	runtime·efiCommand+0(SB)/8, $"\\grim\x5ccm"
DATA	runtime·efiCommand+8(SB)/8, $"dline.tx"
DATA	runtime·efiCommand+16(SB)/8, $"t\x00\x00\x00\x00\x00\x00\x00"
GLOBL	runtime·efiCommand(SB), RODATA|NOPTR, $24
DATA	runtime·efiNoTree+0(SB)/8, $"grim: th"
DATA	runtime·efiNoTree+8(SB)/8, $"e firmwa"
DATA	runtime·efiNoTree+16(SB)/8, $"re gives"
DATA	runtime·efiNoTree+24(SB)/8, $" no devi"
DATA	runtime·efiNoTree+32(SB)/8, $"ce tree "
DATA	runtime·efiNoTree+40(SB)/8, $"(QEMU: -"
DATA	runtime·efiNoTree+48(SB)/8, $"machine "
DATA	runtime·efiNoTree+56(SB)/8, $"acpi=off"
DATA	runtime·efiNoTree+64(SB)/8, $")\x0d\n\x00\x00\x00\x00\x00"
GLOBL	runtime·efiNoTree(SB), RODATA|NOPTR, $72
DATA	runtime·efiBigTree+0(SB)/8, $"grim: th"
DATA	runtime·efiBigTree+8(SB)/8, $"e device"
DATA	runtime·efiBigTree+16(SB)/8, $" tree is"
DATA	runtime·efiBigTree+24(SB)/8, $" larger "
DATA	runtime·efiBigTree+32(SB)/8, $"than 1.8"
DATA	runtime·efiBigTree+40(SB)/8, $" MB\x0d\n\x00\x00\x00"
GLOBL	runtime·efiBigTree(SB), RODATA|NOPTR, $48
DATA	runtime·efiNoMemory+0(SB)/8, $"grim: no"
DATA	runtime·efiNoMemory+8(SB)/8, $"t enough"
DATA	runtime·efiNoMemory+16(SB)/8, $" memory\x0d"
DATA	runtime·efiNoMemory+24(SB)/8, $"\n\x00\x00\x00\x00\x00\x00\x00"
GLOBL	runtime·efiNoMemory(SB), RODATA|NOPTR, $32
DATA	runtime·efiNoMap+0(SB)/8, $"grim: th"
DATA	runtime·efiNoMap+8(SB)/8, $"e memory"
DATA	runtime·efiNoMap+16(SB)/8, $" map is "
DATA	runtime·efiNoMap+24(SB)/8, $"not to b"
DATA	runtime·efiNoMap+32(SB)/8, $"e had\x0d\n\x00"
GLOBL	runtime·efiNoMap(SB), RODATA|NOPTR, $40
