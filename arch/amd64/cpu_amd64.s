//go:build tamago

#include "go_asm.h"
#include "textflag.h"

// func cpuid(leaf, sub uint32) (a, b, c, d uint32)
TEXT ·cpuid(SB),NOSPLIT,$0-24
	MOVL leaf+0(FP), AX
	MOVL sub+4(FP), CX
	CPUID
	MOVL AX, a+8(FP)
	MOVL BX, b+12(FP)
	MOVL CX, c+16(FP)
	MOVL DX, d+20(FP)
	RET

// func rdmsr(msr uint32) uint64
TEXT ·rdmsr(SB),NOSPLIT,$0-16
	MOVL msr+0(FP), CX
	RDMSR
	SHLQ $32, DX
	ORQ DX, AX
	MOVQ AX, ret+8(FP)
	RET

// func wrmsr(msr uint32, v uint64)
TEXT ·wrmsr(SB),NOSPLIT,$0-16
	MOVL msr+0(FP), CX
	MOVQ v+8(FP), AX
	MOVQ AX, DX
	SHRQ $32, DX
	WRMSR
	RET

// func rdtsc() uint64
TEXT ·rdtsc(SB),NOSPLIT,$0-8
	LFENCE
	RDTSC
	SHLQ $32, DX
	ORQ DX, AX
	MOVQ AX, ret+0(FP)
	RET

// func getCR0() uint64
TEXT ·getCR0(SB),NOSPLIT,$0-8
	MOVQ CR0, AX
	MOVQ AX, ret+0(FP)
	RET

// func setCR0(v uint64)
TEXT ·setCR0(SB),NOSPLIT,$0-8
	MOVQ v+0(FP), AX
	MOVQ AX, CR0
	RET

// func getCR3() uint64
TEXT ·getCR3(SB),NOSPLIT,$0-8
	MOVQ CR3, AX
	MOVQ AX, ret+0(FP)
	RET

// func setCR3(v uint64)
TEXT ·setCR3(SB),NOSPLIT,$0-8
	MOVQ v+0(FP), AX
	MOVQ AX, CR3
	RET

// func getCR4() uint64
TEXT ·getCR4(SB),NOSPLIT,$0-8
	MOVQ CR4, AX
	MOVQ AX, ret+0(FP)
	RET

// func setCR4(v uint64)
TEXT ·setCR4(SB),NOSPLIT,$0-8
	MOVQ v+0(FP), AX
	MOVQ AX, CR4
	RET

// func invlpg(va uint64)
TEXT ·invlpg(SB),NOSPLIT,$0-8
	MOVQ va+0(FP), AX
	INVLPG (AX)
	RET

// func invpcid(kind, pcid, va uint64)
//
// The last two arguments, as they lie on the stack, are the descriptor.
TEXT ·invpcid(SB),NOSPLIT,$0-24
	MOVQ kind+0(FP), AX
	INVPCID pcid+8(FP), AX
	RET

// func loadTables(gdtr, idtr *byte, tss, kernelData uint16)
TEXT ·loadTables(SB),NOSPLIT,$0-20
	MOVQ gdtr+0(FP), AX
	LGDT (AX)
	MOVQ idtr+8(FP), AX
	LIDT (AX)
	MOVW tss+16(FP), AX
	LTR AX
	MOVW kernelData+18(FP), AX
	MOVW AX, SS
	CALL reloadCS<>(SB)
	RET

// reloadCS returns to its caller by a far return, which loads CS from the GDT.
TEXT reloadCS<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ 0(SP), AX
	MOVQ $const_selKernelCode, CX
	MOVQ CX, 0(SP)
	PUSHQ AX
	BYTE $0x48; BYTE $0xcb // RETFQ

// func textAddresses() (entry, entryIBRS, syscall, trap, fault uint64)
TEXT ·textAddresses(SB),NOSPLIT,$0-40
	LEAQ ·entryText(SB), AX
	MOVQ AX, entry+0(FP)
	LEAQ ·entryTextIBRS(SB), AX
	MOVQ AX, entryIBRS+8(FP)
	LEAQ ·syscallEntry(SB), AX
	MOVQ AX, syscall+16(FP)
	LEAQ ·trapEntry(SB), AX
	MOVQ AX, trap+24(FP)
	LEAQ ·faultEntry(SB), AX
	MOVQ AX, fault+32(FP)
	RET

// func fillReturns()
//
// It makes 32 calls that are never returned from; no CPU remembers more. Speculation that
// returns to one of them is caught by the jump behind it. The calls are spelled in bytes
// because the linker would count their return addresses on the goroutine's stack, which has
// room for one at a time; each is dropped at once.
TEXT ·fillReturns(SB),NOSPLIT,$8-0
	MOVL $16, CX
again:
	BYTE $0xe8; LONG $2    // CALL over the trap
	BYTE $0xeb; BYTE $0xfe // JMP to itself
	ADDQ $8, SP
	BYTE $0xe8; LONG $2
	BYTE $0xeb; BYTE $0xfe
	ADDQ $8, SP
	DECL CX
	JNE again
	LFENCE
	RET

// func clearSegments(fsBase uint64)
//
// Data segment registers are not part of a thread's state: in 64-bit mode user code can
// only load selectors that change nothing. They are cleared when the CPU goes from one
// thread to another, so that no thread learns what another loaded. On most CPUs, clearing
// FS and GS clears their bases. The kernel's FS base is loaded again before Go code uses
// it.
TEXT ·clearSegments(SB),NOSPLIT,$0-8
	XORL AX, AX
	MOVW AX, DS
	MOVW AX, ES
	MOVW AX, FS
	MOVW AX, GS
	MOVQ fsBase+0(FP), AX
	MOVQ AX, DX
	SHRQ $32, DX
	MOVL $const_msrFSBase, CX
	WRMSR
	RET

// func sleep()
//
// After STI, interrupts are recognised only behind the next instruction (SDM volume 2,
// STI). So none is taken between the caller's check and HLT.
TEXT ·sleep(SB),NOSPLIT,$0-0
	STI
	HLT
	CLI
	RET

// func pause()
TEXT ·pause(SB),NOSPLIT,$0-0
	PAUSE
	RET

// func fence()
TEXT ·fence(SB),NOSPLIT,$0-0
	MFENCE
	LFENCE
	RET

// func halt()
TEXT ·halt(SB),NOSPLIT,$0-0
	CLI
	HLT
	JMP -1(PC)

// func tripleFault()
//
// There is no IDT, so the exception cannot be delivered, which resets the machine (SDM
// volume 3, 6.15, double fault).
TEXT ·tripleFault(SB),NOSPLIT,$16-0
	CLI
	MOVQ $0, 0(SP)
	MOVQ $0, 8(SP)
	LIDT (SP)
	INT $3
	HLT
	JMP -1(PC)

// func in8(port uint16) uint8
TEXT ·in8(SB),NOSPLIT,$0-9
	MOVW port+0(FP), DX
	INB
	MOVB AX, ret+8(FP)
	RET

// func out8(port uint16, v uint8)
TEXT ·out8(SB),NOSPLIT,$0-3
	MOVW port+0(FP), DX
	MOVB v+2(FP), AX
	OUTB
	RET

// func out16(port, v uint16)
TEXT ·out16(SB),NOSPLIT,$0-4
	MOVW port+0(FP), DX
	MOVW v+2(FP), AX
	OUTW
	RET

// func rdrand() (v uint64, ok bool)
TEXT ·rdrand(SB),NOSPLIT,$0-9
	RDRANDQ AX
	MOVQ AX, v+0(FP)
	SETCS ok+8(FP)
	RET

// func rdseed() (v uint64, ok bool)
TEXT ·rdseed(SB),NOSPLIT,$0-9
	RDSEEDQ AX
	MOVQ AX, v+0(FP)
	SETCS ok+8(FP)
	RET

// func getCR2() uint64
TEXT ·getCR2(SB),NOSPLIT,$0-8
	MOVQ CR2, AX
	MOVQ AX, ret+0(FP)
	RET

// func getDR6() uint64
TEXT ·getDR6(SB),NOSPLIT,$0-8
	MOVQ DR6, AX
	MOVQ AX, ret+0(FP)
	RET

// func setDR6(v uint64)
TEXT ·setDR6(SB),NOSPLIT,$0-8
	MOVQ v+0(FP), AX
	MOVQ AX, DR6
	RET

// func setXCR0(v uint64)
TEXT ·setXCR0(SB),NOSPLIT,$0-8
	MOVQ v+0(FP), AX
	MOVQ AX, DX
	SHRQ $32, DX
	XORL CX, CX
	XSETBV
	RET

// func out32(port uint16, v uint32)
TEXT ·out32(SB),NOSPLIT,$0-8
	MOVW port+0(FP), DX
	MOVL v+4(FP), AX
	OUTL
	RET
