//go:build tamago

#include "go_asm.h"
#include "textflag.h"

// Frame slot offsets.
#define F(slot) (const_slot##slot*8)

// XRSTOR and XSAVE take the components to handle in EDX:EAX: all that XCR0 has.
#define ALL_COMPONENTS \
	MOVL $-1, AX; \
	MOVL $-1, DX

// func enter(u *arch.UArea, c *cpuArea)
//
// Enters user mode and returns when it is left. Only RSP, RBP and, by the rules
// of calls from Go to assembly, nothing else has to survive. The caller has
// checked the frame (enterable) and set CS, SS and RFLAGS.
TEXT ·enter(SB),NOSPLIT|NOFRAME,$0-16
	MOVQ u+0(FP), DI
	MOVQ c+8(FP), R8
	MOVQ SP, const_offSavedSP(DI)
	MOVQ BP, const_offSavedBP(DI)
	MOVQ DI, cpuArea_uarea(R8)

	MOVQ F(FS)(DI), AX
	MOVQ F(GS)(DI), BX
	CMPQ cpuArea_fsgsbase(R8), $0
	JEQ slowbase
	WRFSBASEQ AX
	WRGSBASEQ BX
fpu:
	CMPQ cpuArea_xsave(R8), $0
	JEQ slowfpu
	ALL_COMPONENTS
	XRSTOR64 const_offFPU(DI)
registers:
	MOVQ F(PC)(DI), CX
	MOVQ F(Flags)(DI), R11
	// SYSRETQ leaves RCX = RIP and R11 = RFLAGS: right after a system call,
	// wrong after anything else. It loses RF, and TF must not trap in here.
	CMPQ CX, F(CX)(DI)
	JNE iret
	CMPQ R11, F(R11)(DI)
	JNE iret
	TESTQ $(const_flagRF|const_flagTF), R11
	JNE iret
	CMPQ cpuArea_userCR3(R8), $0
	JNE sysretseparate

	MOVQ F(AX)(DI), AX
	MOVQ F(BX)(DI), BX
	MOVQ F(DX)(DI), DX
	MOVQ F(SI)(DI), SI
	MOVQ F(BP)(DI), BP
	MOVQ F(R8)(DI), R8
	MOVQ F(R9)(DI), R9
	MOVQ F(R10)(DI), R10
	MOVQ F(R12)(DI), R12
	MOVQ F(R13)(DI), R13
	MOVQ F(R14)(DI), R14
	MOVQ F(R15)(DI), R15
	MOVQ F(SP)(DI), SP
	MOVQ F(DI)(DI), DI
	BYTE $0x48; BYTE $0x0f; BYTE $0x07 // SYSRETQ

sysretseparate:
	// What the entry area needs after the switch of CR3 goes to cpuArea.
	MOVQ F(SP)(DI), AX
	MOVQ AX, cpuArea_scratch(R8)
	MOVQ F(DI)(DI), AX
	MOVQ AX, cpuArea_scratch2(R8)
	MOVQ R8, SP
	MOVQ F(AX)(DI), AX
	MOVQ F(BX)(DI), BX
	MOVQ F(DX)(DI), DX
	MOVQ F(SI)(DI), SI
	MOVQ F(BP)(DI), BP
	MOVQ F(R8)(DI), R8
	MOVQ F(R9)(DI), R9
	MOVQ F(R10)(DI), R10
	MOVQ F(R12)(DI), R12
	MOVQ F(R13)(DI), R13
	MOVQ F(R14)(DI), R14
	MOVQ F(R15)(DI), R15
	MOVQ cpuArea_userCR3(SP), DI
	JMP cpuArea_toSysret(SP)

iret:
	CMPQ cpuArea_userCR3(R8), $0
	JNE iretseparate
	MOVQ F(AX)(DI), AX
	MOVQ F(BX)(DI), BX
	MOVQ F(CX)(DI), CX
	MOVQ F(DX)(DI), DX
	MOVQ F(SI)(DI), SI
	MOVQ F(BP)(DI), BP
	MOVQ F(R8)(DI), R8
	MOVQ F(R9)(DI), R9
	MOVQ F(R10)(DI), R10
	MOVQ F(R11)(DI), R11
	MOVQ F(R12)(DI), R12
	MOVQ F(R13)(DI), R13
	MOVQ F(R14)(DI), R14
	MOVQ F(R15)(DI), R15
	LEAQ F(PC)(DI), SP
	MOVQ F(DI)(DI), DI
	IRETQ

iretseparate:
	MOVQ F(DI)(DI), AX
	MOVQ AX, (cpuArea_iret+0)(R8)
	MOVQ F(PC)(DI), AX
	MOVQ AX, (cpuArea_iret+8)(R8)
	MOVQ F(CS)(DI), AX
	MOVQ AX, (cpuArea_iret+16)(R8)
	MOVQ F(Flags)(DI), AX
	MOVQ AX, (cpuArea_iret+24)(R8)
	MOVQ F(SP)(DI), AX
	MOVQ AX, (cpuArea_iret+32)(R8)
	MOVQ F(SS)(DI), AX
	MOVQ AX, (cpuArea_iret+40)(R8)
	LEAQ cpuArea_iret(R8), SP
	MOVQ F(AX)(DI), AX
	MOVQ F(BX)(DI), BX
	MOVQ F(CX)(DI), CX
	MOVQ F(DX)(DI), DX
	MOVQ F(SI)(DI), SI
	MOVQ F(BP)(DI), BP
	MOVQ F(R8)(DI), R8
	MOVQ F(R9)(DI), R9
	MOVQ F(R10)(DI), R10
	MOVQ F(R11)(DI), R11
	MOVQ F(R12)(DI), R12
	MOVQ F(R13)(DI), R13
	MOVQ F(R14)(DI), R14
	MOVQ F(R15)(DI), R15
	MOVQ (cpuArea_userCR3-cpuArea_iret)(SP), DI
	JMP (cpuArea_toIret-cpuArea_iret)(SP)

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
	JMP registers

// syscallEntry: from textSyscall. RSP is the u-area, CR3 the kernel's.
TEXT ·syscallEntry(SB),NOSPLIT|NOFRAME,$0
	MOVQ AX, F(AX)(SP)
	MOVQ AX, F(Number)(SP)
	MOVQ BX, F(BX)(SP)
	MOVQ CX, F(CX)(SP)
	MOVQ CX, F(PC)(SP)
	MOVQ DX, F(DX)(SP)
	MOVQ SI, F(SI)(SP)
	MOVQ DI, F(DI)(SP)
	MOVQ BP, F(BP)(SP)
	MOVQ R8, F(R8)(SP)
	MOVQ R9, F(R9)(SP)
	MOVQ R10, F(R10)(SP)
	MOVQ R11, F(R11)(SP)
	MOVQ R11, F(Flags)(SP)
	MOVQ R12, F(R12)(SP)
	MOVQ R13, F(R13)(SP)
	MOVQ R14, F(R14)(SP)
	MOVQ R15, F(R15)(SP)
	MOVQ cpuArea_scratch(GS), AX
	MOVQ AX, F(SP)(SP)
	MOVQ cpuArea_self(GS), R8
	SWAPGS
	MOVQ SP, DI
	MOVQ $const_Syscall, const_offTrapKind(DI)
	JMP leave<>(SB)

// trapEntry: from textCommon, after an exception or interrupt in user mode. RSP
// is on IST1, RAX in cpuArea.scratch, CR3 the kernel's.
TEXT ·trapEntry(SB),NOSPLIT|NOFRAME,$0
	MOVQ (56+cpuArea_uarea)(SP), AX
	MOVQ BX, F(BX)(AX)
	MOVQ CX, F(CX)(AX)
	MOVQ DX, F(DX)(AX)
	MOVQ SI, F(SI)(AX)
	MOVQ DI, F(DI)(AX)
	MOVQ BP, F(BP)(AX)
	MOVQ R8, F(R8)(AX)
	MOVQ R9, F(R9)(AX)
	MOVQ R10, F(R10)(AX)
	MOVQ R11, F(R11)(AX)
	MOVQ R12, F(R12)(AX)
	MOVQ R13, F(R13)(AX)
	MOVQ R14, F(R14)(AX)
	MOVQ R15, F(R15)(AX)
	MOVQ (56+cpuArea_scratch)(SP), BX
	MOVQ BX, F(AX)(AX)
	MOVQ 0(SP), BX
	SHLQ $32, BX
	MOVL 8(SP), CX
	ORQ CX, BX
	MOVQ BX, const_offTrapCode(AX)
	MOVQ 16(SP), BX
	MOVQ BX, F(PC)(AX)
	MOVQ 32(SP), BX
	MOVQ BX, F(Flags)(AX)
	MOVQ 40(SP), BX
	MOVQ BX, F(SP)(AX)
	// The CPU clears neither DF, which Go code relies on, nor AC, which SMAP
	// takes as a permit.
	PUSHQ $const_flagFixed
	POPFQ
	MOVQ $const_undecoded, const_offTrapKind(AX)
	MOVQ CR2, BX
	MOVQ BX, const_offTrapAddr(AX)
	MOVQ AX, DI
	LEAQ 56(SP), R8
	JMP leave<>(SB)

// leave saves the rest of the state and returns from enter. DI is the u-area,
// R8 cpuArea.
TEXT leave<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ cpuArea_kernelFS(R8), BX
	CMPQ cpuArea_fsgsbase(R8), $0
	JEQ slowbase
	RDFSBASEQ AX
	MOVQ AX, F(FS)(DI)
	RDGSBASEQ AX
	MOVQ AX, F(GS)(DI)
	WRFSBASEQ BX
fpu:
	CMPQ cpuArea_xsave(R8), $0
	JEQ slowfpu
	ALL_COMPONENTS
	XSAVE64 const_offFPU(DI)
done:
	// User code may have unmasked SIMD exceptions.
	LDMXCSR cpuArea_mxcsr(R8)
	MOVQ const_offSavedSP(DI), SP
	MOVQ const_offSavedBP(DI), BP
	RET

slowbase:
	MOVL $const_msrFSBase, CX
	RDMSR
	SHLQ $32, DX
	ORQ DX, AX
	MOVQ AX, F(FS)(DI)
	MOVL $const_msrGSBase, CX
	RDMSR
	SHLQ $32, DX
	ORQ DX, AX
	MOVQ AX, F(GS)(DI)
	MOVL $const_msrFSBase, CX
	MOVQ BX, AX
	MOVQ BX, DX
	SHRQ $32, DX
	WRMSR
	JMP fpu

slowfpu:
	FXSAVE64 const_offFPU(DI)
	JMP done
