package sys

import (
	"syscall"

	"grim/arch"
	"grim/arch/arm64"
)

// The signal frame of Linux/arm64 (arch/arm64/include/uapi/asm/sigcontext.h and
// ucontext.h, arch/arm64/kernel/signal.c):
//
//	SP + 0     siginfo
//	   + 128   ucontext: flags, link, stack_t
//	   + 168   blocked signals, padded to 1024 bits
//	   + 304   sigcontext: fault address, x0..x30, sp, pc, pstate
//	   + 592   4096 bytes of records {magic, size, ...}, ended by {0, 0}
//	   + 4688  frame record {x29, x30}, so that unwinders walk through
const (
	arm64Stack    = 128 + 16
	arm64Mask     = 168
	arm64Fault    = 304
	arm64Regs     = 312
	arm64SP       = arm64Regs + 31*8
	arm64PC       = arm64SP + 8
	arm64PState   = arm64SP + 16
	arm64Records  = 592
	arm64RecMax   = 4096
	arm64Record   = arm64Records + arm64RecMax // the frame record
	arm64FrameLen = arm64Record + 16

	fpsimdMagic = 0x46508001 // struct fpsimd_context: fpsr, fpcr, v0..v31
	fpsimdLen   = 528
	esrMagic    = 0x45535201 // struct esr_context: ESR_EL1 of a fault
	esrLen      = 16

	// Bits of PSTATE that no frame may set: AArch32, another exception level or stack
	// pointer, and the interrupt masks. As in Linux, reserved bits are ignored. The other
	// bits that user code must not choose stay as they are.
	arm64BadFlags = 0x1f | 0xf<<6
	// Bits of PSTATE that are cleared when a handler starts: TCO, SS, BTYPE.
	arm64ClearFlags = 1<<25 | 1<<21 | 3<<10
)

type arm64Sigframe struct{}

func (arm64Sigframe) size() int { return arm64FrameLen + 16 + 16 }

// push leaves the FPU state as it is: on arm64, Linux's handlers start with the state of
// the interrupted code, including FPCR and FPSR.
func (arm64Sigframe) push(mem userMemory, u *arch.UArea, d *delivery) error {
	if d.top > arch.UserMax || d.top < arm64FrameLen+arch.PageSize {
		return syscall.EFAULT
	}
	frame := d.top&^15 - arm64FrameLen
	if !d.fits(frame) {
		return syscall.EFAULT
	}
	var buf [arm64Records + fpsimdLen + esrLen + 8]byte
	copy(buf[:], d.info[:])
	putSigStack(buf[arm64Stack:], d.stack)
	le.PutUint64(buf[arm64Mask:], d.mask)
	le.PutUint64(buf[arm64Fault:], uint64(d.fault))
	for i := range 31 {
		le.PutUint64(buf[arm64Regs+8*i:], u.Frame[arm64.X0+i])
	}
	le.PutUint64(buf[arm64SP:], u.Frame[arm64.SP])
	le.PutUint64(buf[arm64PC:], u.Frame[arm64.PC])
	le.PutUint64(buf[arm64PState:], u.Frame[arm64.PSTATE]&arm64.UserPSTATE)
	rec := buf[arm64Records:]
	le.PutUint32(rec, fpsimdMagic)
	le.PutUint32(rec[4:], fpsimdLen)
	copy(rec[8:12], u.FPU[arm64.FPSR:])
	copy(rec[12:16], u.FPU[arm64.FPCR:])
	copy(rec[16:fpsimdLen], u.FPU[arm64.V0:])
	if rec = rec[fpsimdLen:]; d.code != 0 {
		le.PutUint32(rec, esrMagic)
		le.PutUint32(rec[4:], esrLen)
		le.PutUint64(rec[8:], d.code&0xffffffff)
	}
	var link [16]byte
	le.PutUint64(link[0:], u.Frame[arm64.X0+29])
	le.PutUint64(link[8:], u.Frame[arm64.X0+30])
	// Write the far end first: if its page is present, most often all are.
	if err := mem.CopyOut(frame+arm64Record, link[:]); err != nil {
		return err
	}
	if err := mem.CopyOut(frame, buf[:]); err != nil {
		return err
	}
	f := &u.Frame
	f[arm64.X0] = uint64(d.sig)
	f[arm64.X0+1] = uint64(frame)
	f[arm64.X0+2] = uint64(frame + 128)
	f[arm64.X0+29] = uint64(frame + arm64Record)
	f[arm64.X0+30] = uint64(d.restorer)
	f[arm64.SP] = uint64(frame)
	f[arm64.PC] = uint64(d.handler)
	f[arm64.PSTATE] &^= arm64ClearFlags
	return nil
}

func (arm64Sigframe) restore(mem userMemory, u *arch.UArea) (uint64, sigStack, error) {
	frame := arch.VA(u.Frame[arm64.SP])
	if frame&15 != 0 {
		return 0, sigStack{}, syscall.EFAULT
	}
	var buf [arm64Records]byte
	if err := mem.CopyIn(buf[:], frame); err != nil {
		return 0, sigStack{}, err
	}
	pstate := le.Uint64(buf[arm64PState:])
	if pstate&arm64BadFlags != 0 {
		return 0, sigStack{}, syscall.EINVAL
	}
	var fp [fpsimdLen]byte
	if err := findFPSIMD(mem, frame+arm64Records, &fp); err != nil {
		return 0, sigStack{}, err
	}
	for i := range 31 {
		u.Frame[arm64.X0+i] = le.Uint64(buf[arm64Regs+8*i:])
	}
	u.Frame[arm64.SP] = le.Uint64(buf[arm64SP:])
	u.Frame[arm64.PC] = le.Uint64(buf[arm64PC:])
	u.Frame[arm64.PSTATE] = u.Frame[arm64.PSTATE]&^arm64.UserPSTATE | pstate&arm64.UserPSTATE
	copy(u.FPU[arm64.FPSR:], fp[8:12])
	copy(u.FPU[arm64.FPCR:], fp[12:16])
	copy(u.FPU[arm64.V0:], fp[16:])
	return le.Uint64(buf[arm64Mask:]), getSigStack(buf[arm64Stack:]), nil
}

// findFPSIMD walks the records at va. Like Linux it requires exactly one FPSIMD record, and
// refuses unknown records.
func findFPSIMD(mem userMemory, va arch.VA, fp *[fpsimdLen]byte) error {
	found := false
	for off := uint32(0); off+8 <= arm64RecMax; {
		var h [8]byte
		if err := mem.CopyIn(h[:], va+arch.VA(off)); err != nil {
			return err
		}
		magic, size := le.Uint32(h[:]), le.Uint32(h[4:])
		switch {
		case magic == 0 && size == 0 && found:
			return nil
		case size < 8 || size&15 != 0 || size > arm64RecMax-off:
			return syscall.EINVAL
		case magic == fpsimdMagic && size == fpsimdLen && !found:
			if err := mem.CopyIn(fp[:], va+arch.VA(off)); err != nil {
				return err
			}
			found = true
		case magic == esrMagic:
		default:
			return syscall.EINVAL
		}
		off += size
	}
	return syscall.EINVAL
}
