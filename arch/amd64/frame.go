package amd64

import "grim/arch"

// Slots of arch.Frame. PC to SS are in the order in which IRETQ pops them (SDM volume 3,
// figure 6-9), so that IRETQ can use the u-area as its stack.
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

// Offsets into arch.UArea that the assembly uses. frame_test.go compares them with the
// types.
const (
	offTrapKind = 320
	offTrapCode = 328
	offTrapAddr = 336
	offSavedSP  = 344 // Mach[0]: the kernel stack of the goroutine in Run
	offChecked  = 352 // Mach[machChecked]
	offFPU      = 512
)

// machChecked is the index of a word of UArea.Mach. It is not 0 if enterable has found the
// frame good; the next entry clears it.
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

	// userFlags are the flags that user code may choose: the arithmetic flags, TF, DF, RF,
	// AC and ID. In user mode IF is always set and IOPL always 0.
	userFlags = 0x8d5 | flagTF | flagDF | flagRF | flagAC | flagID
	// kernelClears are the flags that SYSCALL clears (IA32_FMASK). Among them are single
	// step, direction, nested task, and alignment check, which SMAP takes as a permit.
	kernelClears = flagTF | flagIF | flagDF | flagIOPL | flagNT | flagRF | flagAC | flagID | 0x8d5
)

// State of the FPU after FNINIT and at reset, SDM volume 1, 13.6.
const (
	resetFCW   = 0x37f
	resetMXCSR = 0x1f80
	// fpuMXCSR is the offset of MXCSR in an FXSAVE image; MXCSR_MASK is the next word.
	// xstateBV is the offset of the first word of the XSAVE header.
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

// initUser sets u to the state at a program's first instruction. u may hold anything
// before.
func initUser(u *arch.UArea, fpu FPU, pc, sp arch.VA) {
	u.Frame, u.Trap, u.Mach = arch.Frame{}, arch.Trap{}, [len(u.Mach)]uint64{}
	u.Frame[slotPC] = uint64(pc)
	u.Frame[slotSP] = uint64(sp)
	u.Frame[slotFlags] = flagFixed | flagIF
	clear(u.FPU[fpuMask:][:4])
	fpu.Reset(u)
}

// copyUser makes dst a copy of src's user state; dst may hold anything before. Only the
// part of the FPU state that the CPU saves is copied, which without AVX-512 is a quarter of
// the room. Mach is cleared, because an old word in Mach[machChecked] would say that the
// frame has been found good.
func copyUser(dst, src *arch.UArea, fpu FPU) {
	dst.Frame, dst.Trap, dst.Mach = src.Frame, arch.Trap{}, [len(dst.Mach)]uint64{}
	copy(dst.FPU[:fpu.Size], src.FPU[:fpu.Size])
}

// enterable reports whether the CPU can enter user mode with f without a fault in kernel
// mode. IRETQ and SYSRETQ fault there on a non-canonical PC (SDM volume 2, IRET; the SYSRET
// case has been a privilege escalation in other kernels), WRFSBASE and WRMSR on a
// non-canonical base. User code can cause each of these, by a SYSCALL in the last bytes of
// its half or by a signal frame. A frame whose PC and bases all lie in the lower half is
// enterable without this check.
func enterable(f *arch.Frame) bool {
	bad := f[slotPC]>>47 |
		(f[slotFS]+1<<47)>>48 |
		(f[slotGS]+1<<47)>>48
	return bad == 0
}
