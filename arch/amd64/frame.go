package amd64

import "grim/arch"

// Slots of arch.Frame. PC to SS are in the order that IRETQ pops (SDM volume 3,
// figure 6-9), so that the u-area itself serves as the stack of the IRETQ.
const (
	slotAX = iota
	slotBX
	slotCX
	slotDX
	slotSI
	slotDI
	slotBP
	slotR8
	slotR9
	slotR10
	slotR11
	slotR12
	slotR13
	slotR14
	slotR15
	slotPC
	slotCS
	slotFlags
	slotSP
	slotSS
	slotFS // FS base, the thread pointer
	slotGS // GS base
)

// Offsets into arch.UArea that the assembly uses; frame_test.go holds them
// against the types.
const (
	offTrapKind = 320
	offTrapCode = 328
	offTrapAddr = 336
	offSavedSP  = 344 // Mach[0]: the kernel stack of the goroutine in Run
	offChecked  = 352 // Mach[machChecked]
	offFPU      = 512
)

// machChecked is the word of UArea.Mach that says, once, that enterable has found
// the frame good.
const machChecked = 1

// Flags register, SDM volume 1, 3.4.3.
const (
	flagFixed = 1 << 1
	flagTF    = 1 << 8
	flagIF    = 1 << 9
	flagDF    = 1 << 10
	flagIOPL  = 3 << 12
	flagNT    = 1 << 14
	flagRF    = 1 << 16
	flagAC    = 1 << 18
	flagID    = 1 << 21

	// userFlags is what user code may choose: the arithmetic flags, TF, DF, RF,
	// AC and ID. IF is always set and IOPL always 0 in user mode.
	userFlags = 0x8d5 | flagTF | flagDF | flagRF | flagAC | flagID
	// kernelClears is masked off at SYSCALL (IA32_FMASK): single step, direction,
	// alignment checks (which SMAP takes as a permit) and nested task too.
	kernelClears = flagTF | flagIF | flagDF | flagIOPL | flagNT | flagRF | flagAC | flagID | 0x8d5
)

// State of the FPU after FNINIT and at reset, SDM volume 1, 13.6.
const (
	resetFCW   = 0x37f
	resetMXCSR = 0x1f80
	// fpuMXCSR is the offset of MXCSR in an FXSAVE image, of which MXCSR_MASK is
	// the next word; xstateBV is the first word of the XSAVE header.
	fpuMXCSR = 24
	xstateBV = 512
)

var abi = arch.ABI{
	Name:         "amd64",
	Machine:      62, // EM_X86_64
	PC:           slotPC,
	SP:           slotSP,
	Number:       slotAX,
	Arg:          [6]int{slotDI, slotSI, slotDX, slotR10, slotR8, slotR9},
	TLS:          slotFS,
	SyscallBytes: 2,
	Cause:        cause,
}

// initUser makes u the state of a program's first instruction. The u-area may hold
// anything before.
func initUser(u *arch.UArea, fpu FPU, pc, sp arch.VA) {
	u.Frame, u.Trap, u.Mach = arch.Frame{}, arch.Trap{}, [len(u.Mach)]uint64{}
	u.Frame[slotPC] = uint64(pc)
	u.Frame[slotSP] = uint64(sp)
	u.Frame[slotFlags] = flagFixed | flagIF
	clear(u.FPU[fpuMask:][:4])
	fpu.Reset(u)
}

// copyUser makes dst a copy of src's user state; dst may hold anything before. Of
// the FPU state only what the CPU saves is copied: without AVX-512 that is a
// quarter of the room for it. Mach is cleared, for a word of old memory in
// Mach[machChecked] would say that the frame has been found good.
func copyUser(dst, src *arch.UArea, fpu FPU) {
	dst.Frame, dst.Trap, dst.Mach = src.Frame, arch.Trap{}, [len(dst.Mach)]uint64{}
	copy(dst.FPU[:fpu.Size], src.FPU[:fpu.Size])
}

// enterable reports whether the CPU can be given f without a fault in kernel
// mode: IRETQ and SYSRETQ fault there on a non-canonical PC (SDM volume 2,
// IRET; the SYSRET case has been a privilege escalation in other kernels), as
// do WRFSBASE and WRMSR on a non-canonical base. User code can ask for each of
// them: by a SYSCALL in the last bytes of its half, or by a signal frame. A frame
// with none of the three in the upper half is, and is not asked about.
func enterable(f *arch.Frame) bool {
	bad := f[slotPC]>>47 |
		(f[slotFS]+1<<47)>>48 |
		(f[slotGS]+1<<47)>>48
	return bad == 0
}
