package sys

import (
	"syscall"

	"grim/arch"
	"grim/arch/amd64"
)

// The signal frame of Linux/amd64 (arch/x86/include/uapi/asm/sigcontext.h and
// ucontext.h; System V ABI AMD64 supplement 3.2.2 for the red zone):
//
//	frame + 0    return address: sa_restorer
//	      + 8    ucontext: flags, link, stack_t
//	      + 48   sigcontext_64: r8..r15 rdi rsi rbp rbx rdx rax rcx rsp rip rflags,
//	             cs gs fs ss (16 bit each), err, trapno, oldmask, cr2, fpstate
//	      + 304  blocked signals
//	      + 312  siginfo
//	      + 440  end; above it, 64-byte aligned, the FXSAVE or XSAVE area
const (
	amd64Flags    = 8
	amd64Stack    = 24
	amd64Regs     = 48
	amd64CS       = amd64Regs + 18*8
	amd64Err      = amd64CS + 8
	amd64TrapNo   = amd64Err + 8
	amd64OldMask  = amd64Err + 16
	amd64CR2      = amd64Err + 24
	amd64FPState  = amd64Err + 32
	amd64Mask     = 304
	amd64Info     = 312
	amd64FrameLen = 440

	ucFPXState        = 1 // uc_flags: fpstate is an XSAVE area
	ucSigcontextSS    = 2 // the ss field is meaningful
	ucStrictRestoreSS = 4

	// FXSAVE area: the first 512 bytes, of which Linux uses the last 48 to say
	// what follows them (struct _fpx_sw_bytes); then the XSAVE header of 64.
	fxSize        = 512
	fxMXCSR       = 24
	fxMXCSRMask   = 28
	fxSoftware    = 464
	xsHeader      = 512
	xsHeaderLen   = 64
	fpXStateMagic = 0x46505853 // FP_XSTATE_MAGIC1, at fxSoftware
	fpXStateEnd   = 0x46505845 // FP_XSTATE_MAGIC2, after the area

	xfeatureFPSSE   = 3      // x87 and SSE, Intel SDM vol. 1, 13.1
	defaultMXCSR    = 0x1f80 // all exceptions masked, SDM vol. 1, 10.2.3
	defaultFCW      = 0x037f // SDM vol. 1, 8.1.5
	fallbackMXCSRMk = 0xffbf // when the CPU reports mask 0, SDM vol. 1, 11.6.6

	// RFLAGS that a handler may change in its frame, as Linux's FIX_EFLAGS:
	// CF PF AF ZF SF TF DF OF RF AC.
	amd64UserFlags = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x800 | 1<<16 | 1<<18
	// RFLAGS that a handler starts without: TF DF RF.
	amd64ClearFlags = 0x100 | 0x400 | 1<<16

	userCS, userSS = 0x33, 0x2b // Linux's selectors, which debuggers look for
)

// amd64Order is the order of sigcontext_64 in slots of arch.Frame.
var amd64Order = [18]int{
	amd64.R8, amd64.R9, amd64.R10, amd64.R11, amd64.R12, amd64.R13, amd64.R14, amd64.R15,
	amd64.RDI, amd64.RSI, amd64.RBP, amd64.RBX, amd64.RDX, amd64.RAX, amd64.RCX, amd64.RSP,
	amd64.RIP, amd64.RFLAGS,
}

// amd64Sigframe carries what of the FPU state the CPU saves.
type amd64Sigframe struct {
	// xsave is the length of the XSAVE area in UArea.FPU, standard format; 0
	// where the CPU has FXSAVE only. features is XCR0.
	xsave    int
	features uint64
}

// newAMD64Sigframe knows the area's length from the state components: Intel has
// AVX-512's at fixed places up to 2688 bytes, AMD closer together, so that this
// is enough for either (SDM vol. 1, 13.4.3; CPUID leaf 0Dh).
func newAMD64Sigframe(xcr0 uint64) *amd64Sigframe {
	a := &amd64Sigframe{features: xcr0}
	switch {
	case xcr0 == 0:
	case xcr0&^xfeatureFPSSE == 0:
		a.xsave = xsHeader + xsHeaderLen
	case xcr0&^7 == 0: // and AVX
		a.xsave = xsHeader + xsHeaderLen + 256
	default:
		a.xsave = 2688
	}
	return a
}

func (a *amd64Sigframe) fpuLen() int {
	if a.xsave == 0 {
		return fxSize
	}
	return a.xsave + 4 // the closing magic
}

func (a *amd64Sigframe) push(mem userMemory, u *arch.UArea, d *delivery) error {
	if d.top > arch.UserMax || d.top < 2*arch.PageSize {
		return syscall.EFAULT
	}
	fp := (d.top - arch.VA(a.fpuLen())) &^ 63
	// At a function's first instruction SP+8 is 16-byte aligned (3.2.2).
	frame := (fp-amd64FrameLen)&^15 - 8
	buf := make([]byte, int(fp-frame)+a.fpuLen())
	le.PutUint64(buf[0:], uint64(d.restorer))
	flags := uint64(ucSigcontextSS | ucStrictRestoreSS)
	if a.xsave != 0 {
		flags |= ucFPXState
	}
	le.PutUint64(buf[amd64Flags:], flags)
	putSigStack(buf[amd64Stack:], d.stack)
	for i, slot := range amd64Order {
		le.PutUint64(buf[amd64Regs+8*i:], u.Frame[slot])
	}
	le.PutUint16(buf[amd64CS:], userCS)
	le.PutUint16(buf[amd64CS+6:], userSS)
	le.PutUint64(buf[amd64Err:], d.code&0xffffffff)
	le.PutUint64(buf[amd64TrapNo:], d.code>>32&0xff)
	le.PutUint64(buf[amd64OldMask:], d.mask)
	le.PutUint64(buf[amd64CR2:], uint64(d.fault))
	le.PutUint64(buf[amd64FPState:], uint64(fp))
	le.PutUint64(buf[amd64Mask:], d.mask)
	copy(buf[amd64Info:], d.info[:])
	a.putFPU(buf[fp-frame:], u)
	if err := mem.CopyOut(frame, buf); err != nil {
		return err
	}
	f := &u.Frame
	f[amd64.RDI] = uint64(d.sig)
	f[amd64.RSI] = uint64(frame + amd64Info)
	f[amd64.RDX] = uint64(frame + 8)
	f[amd64.RAX] = 0 // no vector arguments, for handlers without a prototype
	f[amd64.RSP] = uint64(frame)
	f[amd64.RIP] = uint64(d.handler)
	f[amd64.RFLAGS] &^= amd64ClearFlags
	return nil
}

func (a *amd64Sigframe) putFPU(b []byte, u *arch.UArea) {
	if a.xsave == 0 {
		copy(b[:fxSize], u.FPU[:])
		clear(b[fxSoftware:fxSize])
		return
	}
	copy(b[:a.xsave], u.FPU[:])
	clear(b[fxSoftware:fxSize])
	le.PutUint32(b[fxSoftware:], fpXStateMagic)
	le.PutUint32(b[fxSoftware+4:], uint32(a.fpuLen()))
	le.PutUint64(b[fxSoftware+8:], a.features)
	le.PutUint32(b[fxSoftware+16:], uint32(a.xsave))
	le.PutUint32(b[a.xsave:], fpXStateEnd)
}

func (a *amd64Sigframe) restore(mem userMemory, u *arch.UArea) (uint64, sigStack, error) {
	// The handler's RET has taken the return address off.
	frame := arch.VA(u.Frame[amd64.RSP]) - 8
	var buf [amd64Info]byte
	if err := mem.CopyIn(buf[:], frame); err != nil {
		return 0, sigStack{}, err
	}
	// A non-canonical or kernel RIP would fault on the way out, or not at all.
	if arch.VA(le.Uint64(buf[amd64Regs+8*16:])) >= arch.UserMax {
		return 0, sigStack{}, syscall.EFAULT
	}
	fpu := u.FPU // the old state stays if the new one cannot be read
	if err := a.getFPU(&fpu, mem, arch.VA(le.Uint64(buf[amd64FPState:]))); err != nil {
		return 0, sigStack{}, err
	}
	u.FPU = fpu
	flags := u.Frame[amd64.RFLAGS]
	for i, slot := range amd64Order {
		u.Frame[slot] = le.Uint64(buf[amd64Regs+8*i:])
	}
	u.Frame[amd64.RFLAGS] = flags&^amd64UserFlags | u.Frame[amd64.RFLAGS]&amd64UserFlags
	return le.Uint64(buf[amd64Mask:]), getSigStack(buf[amd64Stack:]), nil
}

// getFPU makes fpu what the user's area at va says, less everything that would
// make XRSTOR or FXRSTOR fault: reserved MXCSR bits (SDM vol. 1, 10.5.1.2),
// unknown XSTATE_BV bits, a compact format, a non-zero reserved header (13.8.1).
func (a *amd64Sigframe) getFPU(fpu *[len(arch.UArea{}.FPU)]byte, mem userMemory, va arch.VA) error {
	mask := le.Uint32(fpu[fxMXCSRMask:])
	if mask == 0 {
		mask = fallbackMXCSRMk
	}
	if va == 0 {
		clear(fpu[:])
		le.PutUint16(fpu[0:], defaultFCW)
		le.PutUint32(fpu[fxMXCSR:], defaultMXCSR)
		le.PutUint32(fpu[fxMXCSRMask:], mask)
		return nil
	}
	if va&15 != 0 {
		return syscall.EINVAL
	}
	if err := mem.CopyIn(fpu[:fxSize], va); err != nil {
		return err
	}
	extended := a.xsave != 0 && le.Uint32(fpu[fxSoftware:]) == fpXStateMagic &&
		int(le.Uint32(fpu[fxSoftware+16:])) == a.xsave
	clear(fpu[fxSize:])
	if extended {
		if err := mem.CopyIn(fpu[fxSize:a.xsave], va+fxSize); err != nil {
			return err
		}
		bv := le.Uint64(fpu[xsHeader:]) & a.features
		clear(fpu[xsHeader : xsHeader+xsHeaderLen])
		le.PutUint64(fpu[xsHeader:], bv)
	} else if a.xsave != 0 {
		le.PutUint64(fpu[xsHeader:], xfeatureFPSSE)
	}
	clear(fpu[fxSoftware:fxSize])
	le.PutUint32(fpu[fxMXCSR:], le.Uint32(fpu[fxMXCSR:])&mask)
	le.PutUint32(fpu[fxMXCSRMask:], mask)
	return nil
}
