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

	// The FXSAVE area has 512 bytes. In the last 48, Linux describes what follows the area
	// (struct _fpx_sw_bytes): a magic number, the length including the final magic number,
	// the components, the length without the final magic number.
	fxSize        = 512
	fxSoftware    = 464
	fpXStateMagic = 0x46505853 // FP_XSTATE_MAGIC1
	fpXStateEnd   = 0x46505845 // FP_XSTATE_MAGIC2
	fpXStateMin   = 576        // the shortest XSAVE area

	// RFLAGS that a handler may change in its frame, as Linux's FIX_EFLAGS:
	// CF PF AF ZF SF TF DF OF RF AC.
	amd64UserFlags = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x800 | 1<<16 | 1<<18
	// RFLAGS that are cleared when a handler starts: TF DF RF.
	amd64ClearFlags = 0x100 | 0x400 | 1<<16

	userCS, userSS = 0x33, 0x2b // Linux's selectors, which debuggers look for
)

// amd64Order has the slots of arch.Frame in the order of sigcontext_64.
var amd64Order = [18]int{
	amd64.R8, amd64.R9, amd64.R10, amd64.R11, amd64.R12, amd64.R13, amd64.R14, amd64.R15,
	amd64.RDI, amd64.RSI, amd64.RBP, amd64.RBX, amd64.RDX, amd64.RAX, amd64.RCX, amd64.RSP,
	amd64.RIP, amd64.RFLAGS,
}

// amd64Sigframe implements sigframe for amd64. fpu describes the FPU state.
type amd64Sigframe struct{ fpu amd64.FPU }

// fpuLen returns the length of the FPU state in a frame: the image and, with XSAVE, the
// final magic number.
func (a amd64Sigframe) fpuLen() int {
	if a.fpu.Features == 0 {
		return fxSize
	}
	return a.fpu.Size + 4
}

// size returns the maximum size of push's frame, including alignment.
func (a amd64Sigframe) size() int { return (a.fpuLen() + 63 + amd64FrameLen + 15 + 8 + 15) &^ 15 }

func (a amd64Sigframe) push(mem userMemory, u *arch.UArea, d *delivery) error {
	if d.top > arch.UserMax || d.top < 2*arch.PageSize {
		return syscall.EFAULT
	}
	fp := (d.top - arch.VA(a.fpuLen())) &^ 63
	// At a function's first instruction SP+8 is 16-byte aligned (3.2.2).
	frame := (fp-amd64FrameLen)&^15 - 8
	if !d.fits(frame) {
		return syscall.EFAULT
	}
	buf := make([]byte, int(fp-frame)+a.fpuLen())
	le.PutUint64(buf[0:], uint64(d.restorer))
	flags := uint64(ucSigcontextSS | ucStrictRestoreSS)
	if a.fpu.Features != 0 {
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
	a.fpu.Reset(u)
	return nil
}

// putFPU writes the FPU state: only the parts that the CPU has stored.
func (a amd64Sigframe) putFPU(b []byte, u *arch.UArea) {
	copy(b, u.FPU[:a.fpu.Size])
	clear(b[fxSoftware:fxSize])
	if a.fpu.Features == 0 {
		return
	}
	le.PutUint32(b[fxSoftware:], fpXStateMagic)
	le.PutUint32(b[fxSoftware+4:], uint32(a.fpuLen()))
	le.PutUint64(b[fxSoftware+8:], a.fpu.Features)
	le.PutUint32(b[fxSoftware+16:], uint32(a.fpu.Size))
	le.PutUint32(b[a.fpu.Size:], fpXStateEnd)
}

func (a amd64Sigframe) restore(mem userMemory, u *arch.UArea) (uint64, sigStack, error) {
	// The handler's RET has popped the return address.
	frame := arch.VA(u.Frame[amd64.RSP]) - 8
	var buf [amd64Info]byte
	if err := mem.CopyIn(buf[:], frame); err != nil {
		return 0, sigStack{}, err
	}
	// A non-canonical or kernel RIP would fault on the way out, or not at all.
	if arch.VA(le.Uint64(buf[amd64Regs+8*16:])) >= arch.UserMax {
		return 0, sigStack{}, syscall.EFAULT
	}
	// IRETQ faults on selectors that are not those of user code and data. As on Linux, the
	// requested privilege level is ignored, and a wrong SS is corrected, unless the frame
	// asks for a strict restore.
	cs, ss := le.Uint16(buf[amd64CS:])|3, le.Uint16(buf[amd64CS+6:])|3
	strict := le.Uint64(buf[amd64Flags:])&ucStrictRestoreSS != 0
	if cs != userCS || strict && ss != userSS {
		return 0, sigStack{}, syscall.EINVAL
	}
	if err := a.getFPU(mem, u, arch.VA(le.Uint64(buf[amd64FPState:]))); err != nil {
		return 0, sigStack{}, err
	}
	flags := u.Frame[amd64.RFLAGS]
	for i, slot := range amd64Order {
		u.Frame[slot] = le.Uint64(buf[amd64Regs+8*i:])
	}
	u.Frame[amd64.RFLAGS] = flags&^amd64UserFlags | u.Frame[amd64.RFLAGS]&amd64UserFlags
	return le.Uint64(buf[amd64Mask:]), getSigStack(buf[amd64Stack:]), nil
}

// getFPU gives u the FPU state of the user's area at va. If the area does not describe its
// extended state well, only x87 and SSE are taken, and the rest is reset. In case of an
// error, and for an area that the CPU would refuse, u is unchanged.
func (a amd64Sigframe) getFPU(mem userMemory, u *arch.UArea, va arch.VA) error {
	if va == 0 {
		a.fpu.Reset(u)
		return nil
	}
	if va&15 != 0 {
		return syscall.EINVAL
	}
	var image [len(u.FPU)]byte
	if err := mem.CopyIn(image[:fxSize], va); err != nil {
		return err
	}
	size, components, err := a.extended(mem, image[:fxSize], va)
	if err != nil {
		return err
	}
	if size == 0 {
		if !a.fpu.Load(u, image[:fxSize], 0) {
			return syscall.EINVAL
		}
		return nil
	}
	if va&63 != 0 {
		return syscall.EINVAL
	}
	if err := mem.CopyIn(image[fxSize:size], va+fxSize); err != nil {
		return err
	}
	if !a.fpu.Load(u, image[:a.fpu.Size], components) {
		return syscall.EINVAL
	}
	return nil
}

// extended reads the description of the extended state in the FXSAVE area: its length, 0 if
// there is none, and which components are to be restored.
func (a amd64Sigframe) extended(mem userMemory, fx []byte, va arch.VA) (size int, components uint64, err error) {
	software := fx[fxSoftware:]
	n := le.Uint32(software[16:])
	if a.fpu.Features == 0 || le.Uint32(software) != fpXStateMagic ||
		n < fpXStateMin || n > uint32(a.fpu.Size) || n > le.Uint32(software[4:]) {
		return 0, 0, nil
	}
	var end [4]byte
	if err := mem.CopyIn(end[:], va+arch.VA(n)); err != nil {
		return 0, 0, err
	}
	if le.Uint32(end[:]) != fpXStateEnd {
		return 0, 0, nil
	}
	return int(n), le.Uint64(software[8:]), nil
}
