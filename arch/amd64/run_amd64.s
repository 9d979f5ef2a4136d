//go:build tamago

#include "go_asm.h"
#include "textflag.h"

// XRSTOR and XSAVE take the components to handle in EDX:EAX: all that XCR0 has.
#define ALL_COMPONENTS \
	MOVL $-1, AX; \
	MOVL $-1, DX

// func enter(u *arch.UArea, area uint64)
//
// It enters user mode and returns when the CPU has left it. Only RSP and RBP must survive;
// by the rules of calls from Go to assembly, no other register has to.
TEXT ·enter(SB),NOSPLIT|NOFRAME,$0-16
	MOVQ u+0(FP), DI
	MOVQ area+8(FP), R8
	PUSHQ BP
	MOVQ SP, const_offSavedSP(DI)

	MOVQ (const_slotFS*8)(DI), AX
	MOVQ (const_slotGS*8)(DI), BX
	MOVQ (const_slotPC*8)(DI), CX
	MOVQ AX, DX
	ORQ BX, DX
	ORQ CX, DX
	SHRQ $47, DX
	JNE look
good:
	CMPQ cpuArea_modern(R8), $0
	JEQ old
	WRFSBASEQ AX
	WRGSBASEQ BX
	ALL_COMPONENTS
	XRSTOR64 const_offFPU(DI)
registers:
	MOVQ (const_slotFlags*8)(DI), R11
	// SYSRETQ makes RCX = RIP and R11 = RFLAGS. That is right after a system call and wrong
	// after anything else. SYSRETQ also loses RF, and TF must not trap before user mode.
	CMPQ CX, (const_slotCX*8)(DI)
	JNE iret
	CMPQ R11, (const_slotR11*8)(DI)
	JNE iret
	TESTL $(const_flagRF|const_flagTF), R11
	JNE iret
	ANDL $const_userFlags, R11
	ORL $(const_flagFixed|const_flagIF), R11
	CMPQ cpuArea_userCR3(R8), $0
	JNE sysretseparate

	MOVQ (const_slotAX*8)(DI), AX
	MOVQ (const_slotBX*8)(DI), BX
	MOVQ (const_slotDX*8)(DI), DX
	MOVQ (const_slotSI*8)(DI), SI
	MOVQ (const_slotBP*8)(DI), BP
	MOVQ (const_slotR8*8)(DI), R8
	MOVQ (const_slotR9*8)(DI), R9
	MOVQ (const_slotR10*8)(DI), R10
	MOVQ (const_slotR12*8)(DI), R12
	MOVQ (const_slotR13*8)(DI), R13
	MOVQ (const_slotR14*8)(DI), R14
	MOVQ (const_slotR15*8)(DI), R15
	MOVQ (const_slotSP*8)(DI), SP
	MOVQ (const_slotDI*8)(DI), DI
	BYTE $0x48; BYTE $0x0f; BYTE $0x07 // SYSRETQ

sysretseparate:
	// What the entry area needs after the switch of CR3 is passed in cpuArea.
	MOVQ (const_slotSP*8)(DI), AX
	MOVQ AX, cpuArea_scratch(R8)
	MOVQ (const_slotDI*8)(DI), AX
	MOVQ AX, cpuArea_scratch2(R8)
	MOVQ R8, SP
	MOVQ (const_slotAX*8)(DI), AX
	MOVQ (const_slotBX*8)(DI), BX
	MOVQ (const_slotDX*8)(DI), DX
	MOVQ (const_slotSI*8)(DI), SI
	MOVQ (const_slotBP*8)(DI), BP
	MOVQ (const_slotR8*8)(DI), R8
	MOVQ (const_slotR9*8)(DI), R9
	MOVQ (const_slotR10*8)(DI), R10
	MOVQ (const_slotR12*8)(DI), R12
	MOVQ (const_slotR13*8)(DI), R13
	MOVQ (const_slotR14*8)(DI), R14
	MOVQ (const_slotR15*8)(DI), R15
	MOVQ cpuArea_userCR3(SP), DI
	JMP cpuArea_toSysret(SP)

iret:
	ANDL $const_userFlags, R11
	ORL $(const_flagFixed|const_flagIF), R11
	MOVQ R11, (const_slotFlags*8)(DI)
	MOVQ $const_selUserCode, (const_slotCS*8)(DI)
	MOVQ $const_selUserData, (const_slotSS*8)(DI)
	CMPQ cpuArea_userCR3(R8), $0
	JNE iretseparate
	MOVQ (const_slotAX*8)(DI), AX
	MOVQ (const_slotBX*8)(DI), BX
	MOVQ (const_slotCX*8)(DI), CX
	MOVQ (const_slotDX*8)(DI), DX
	MOVQ (const_slotSI*8)(DI), SI
	MOVQ (const_slotBP*8)(DI), BP
	MOVQ (const_slotR8*8)(DI), R8
	MOVQ (const_slotR9*8)(DI), R9
	MOVQ (const_slotR10*8)(DI), R10
	MOVQ (const_slotR11*8)(DI), R11
	MOVQ (const_slotR12*8)(DI), R12
	MOVQ (const_slotR13*8)(DI), R13
	MOVQ (const_slotR14*8)(DI), R14
	MOVQ (const_slotR15*8)(DI), R15
	LEAQ (const_slotPC*8)(DI), SP
	MOVQ (const_slotDI*8)(DI), DI
	IRETQ

iretseparate:
	MOVQ (const_slotDI*8)(DI), AX
	MOVQ AX, (cpuArea_iret+0)(R8)
	MOVQ (const_slotPC*8)(DI), AX
	MOVQ AX, (cpuArea_iret+8)(R8)
	MOVQ (const_slotCS*8)(DI), AX
	MOVQ AX, (cpuArea_iret+16)(R8)
	MOVQ (const_slotFlags*8)(DI), AX
	MOVQ AX, (cpuArea_iret+24)(R8)
	MOVQ (const_slotSP*8)(DI), AX
	MOVQ AX, (cpuArea_iret+32)(R8)
	MOVQ (const_slotSS*8)(DI), AX
	MOVQ AX, (cpuArea_iret+40)(R8)
	LEAQ cpuArea_iret(R8), SP
	MOVQ (const_slotAX*8)(DI), AX
	MOVQ (const_slotBX*8)(DI), BX
	MOVQ (const_slotCX*8)(DI), CX
	MOVQ (const_slotDX*8)(DI), DX
	MOVQ (const_slotSI*8)(DI), SI
	MOVQ (const_slotBP*8)(DI), BP
	MOVQ (const_slotR8*8)(DI), R8
	MOVQ (const_slotR9*8)(DI), R9
	MOVQ (const_slotR10*8)(DI), R10
	MOVQ (const_slotR11*8)(DI), R11
	MOVQ (const_slotR12*8)(DI), R12
	MOVQ (const_slotR13*8)(DI), R13
	MOVQ (const_slotR14*8)(DI), R14
	MOVQ (const_slotR15*8)(DI), R15
	MOVQ (cpuArea_userCR3-cpuArea_iret)(SP), DI
	JMP (cpuArea_toIret-cpuArea_iret)(SP)

look:
	CMPQ const_offChecked(DI), $0
	MOVQ $0, const_offChecked(DI)
	JNE good
	MOVQ $const_suspicious, const_offTrapKind(DI)
	POPQ BP
	RET

old:
	// Clear the CPU's buffers of what the kernel had there. All that is loaded from here on
	// belongs to the thread.
	CMPQ cpuArea_verw(R8), $0
	JEQ clean
	VERW cpuArea_verw(R8)
clean:
	CMPQ cpuArea_fsgsbase(R8), $0
	JEQ slowbase
	WRFSBASEQ AX
	WRGSBASEQ BX
fpu:
	CMPQ cpuArea_xsave(R8), $0
	JEQ slowfpu
	ALL_COMPONENTS
	XRSTOR64 const_offFPU(DI)
	MOVQ (const_slotPC*8)(DI), CX
	JMP registers

slowbase:
	MOVL $const_msrFSBase, CX
	MOVQ AX, DX
	SHRQ $32, DX
	WRMSR
	MOVL $const_msrGSBase, CX
	MOVQ BX, AX
	MOVQ BX, DX
	SHRQ $32, DX
	WRMSR
	JMP fpu

slowfpu:
	FXRSTOR64 const_offFPU(DI)
	MOVQ (const_slotPC*8)(DI), CX
	JMP registers

// syscallEntry is jumped to from textSyscall. RSP is the u-area, CR3 is the kernel's.
TEXT ·syscallEntry(SB),NOSPLIT|NOFRAME,$0
	MOVQ AX, (const_slotAX*8)(SP)
	MOVQ BX, (const_slotBX*8)(SP)
	MOVQ CX, (const_slotCX*8)(SP)
	MOVQ CX, (const_slotPC*8)(SP)
	MOVQ DX, (const_slotDX*8)(SP)
	MOVQ SI, (const_slotSI*8)(SP)
	MOVQ DI, (const_slotDI*8)(SP)
	MOVQ R8, (const_slotR8*8)(SP)
	MOVQ R9, (const_slotR9*8)(SP)
	MOVQ R10, (const_slotR10*8)(SP)
	MOVQ R11, (const_slotR11*8)(SP)
	MOVQ R11, (const_slotFlags*8)(SP)
	MOVQ R12, (const_slotR12*8)(SP)
	MOVQ R13, (const_slotR13*8)(SP)
	MOVQ R14, (const_slotR14*8)(SP)
	MOVQ R15, (const_slotR15*8)(SP)
	MOVQ cpuArea_scratch(GS), AX
	MOVQ AX, (const_slotSP*8)(SP)
	MOVQ cpuArea_self(GS), R8
	SWAPGS
	MOVQ SP, DI
	MOVQ $const_trapSyscall, const_offTrapKind(DI)
	JMP leave<>(SB)

// trapEntry is jumped to from textCommon, after an exception or interrupt in user mode. RSP
// is on IST1, the user's RAX is in cpuArea.scratch, CR3 is the kernel's.
TEXT ·trapEntry(SB),NOSPLIT|NOFRAME,$0
	MOVQ (56+cpuArea_uarea)(SP), AX
	MOVQ BX, (const_slotBX*8)(AX)
	MOVQ CX, (const_slotCX*8)(AX)
	MOVQ DX, (const_slotDX*8)(AX)
	MOVQ SI, (const_slotSI*8)(AX)
	MOVQ DI, (const_slotDI*8)(AX)
	MOVQ R8, (const_slotR8*8)(AX)
	MOVQ R9, (const_slotR9*8)(AX)
	MOVQ R10, (const_slotR10*8)(AX)
	MOVQ R11, (const_slotR11*8)(AX)
	MOVQ R12, (const_slotR12*8)(AX)
	MOVQ R13, (const_slotR13*8)(AX)
	MOVQ R14, (const_slotR14*8)(AX)
	MOVQ R15, (const_slotR15*8)(AX)
	MOVQ (56+cpuArea_scratch)(SP), BX
	MOVQ BX, (const_slotAX*8)(AX)
	MOVQ 0(SP), BX
	SHLQ $32, BX
	MOVL 8(SP), CX
	ORQ CX, BX
	MOVQ BX, const_offTrapCode(AX)
	MOVQ 16(SP), BX
	MOVQ BX, (const_slotPC*8)(AX)
	MOVQ 32(SP), BX
	MOVQ BX, (const_slotFlags*8)(AX)
	MOVQ 40(SP), BX
	MOVQ BX, (const_slotSP*8)(AX)
	// The CPU clears neither DF, which must be clear in Go code, nor AC, which SMAP takes
	// as a permit.
	PUSHQ $const_flagFixed
	POPFQ
	MOVQ $const_undecoded, const_offTrapKind(AX)
	MOVQ CR2, BX
	MOVQ BX, const_offTrapAddr(AX)
	MOVQ AX, DI
	LEAQ 56(SP), R8
	JMP leave<>(SB)

// leave saves the rest of the state and returns from enter. DI is the u-area, R8 is
// cpuArea.
TEXT leave<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ BP, (const_slotBP*8)(DI)
	MOVQ cpuArea_kernelFS(R8), BX
	CMPQ cpuArea_modern(R8), $0
	JEQ old
	RDFSBASEQ AX
	MOVQ AX, (const_slotFS*8)(DI)
	RDGSBASEQ AX
	MOVQ AX, (const_slotGS*8)(DI)
	WRFSBASEQ BX
	ALL_COMPONENTS
	XSAVE64 const_offFPU(DI)
done:
	// User code may have unmasked SIMD exceptions.
	LDMXCSR cpuArea_mxcsr(R8)
	MOVQ const_offSavedSP(DI), SP
	MOVQ 0(SP), BP
	ADDQ $8, SP
	RET

old:
	CMPQ cpuArea_fsgsbase(R8), $0
	JEQ slowbase
	RDFSBASEQ AX
	MOVQ AX, (const_slotFS*8)(DI)
	RDGSBASEQ AX
	MOVQ AX, (const_slotGS*8)(DI)
	WRFSBASEQ BX
fpu:
	CMPQ cpuArea_xsave(R8), $0
	JEQ slowfpu
	ALL_COMPONENTS
	XSAVE64 const_offFPU(DI)
	JMP done

slowbase:
	MOVL $const_msrFSBase, CX
	RDMSR
	SHLQ $32, DX
	ORQ DX, AX
	MOVQ AX, (const_slotFS*8)(DI)
	MOVL $const_msrGSBase, CX
	RDMSR
	SHLQ $32, DX
	ORQ DX, AX
	MOVQ AX, (const_slotGS*8)(DI)
	MOVL $const_msrFSBase, CX
	MOVQ BX, AX
	MOVQ BX, DX
	SHRQ $32, DX
	WRMSR
	JMP fpu

slowfpu:
	FXSAVE64 const_offFPU(DI)
	JMP done
