package proc

import (
	"encoding/binary"
	"syscall"

	"grim/arch"
)

// Restartable sequences (rseq(2), include/uapi/linux/rseq.h). A thread registers an area in
// its memory. The kernel keeps the number of the thread's CPU there. Before the program
// enters a critical section it stores the address of the section's descriptor in the area.
// If the thread returns to user mode inside that section after others may have run, or a
// signal is delivered there, it continues at the section's abort address instead.
//
// The bit todoRseq of Thread.todo asks for this check, so a thread without an area, and a
// system call that did not wait, pay nothing. The bit is set where the thread may have lost
// its CPU: after each wait and yield, and after a page fault, which may have waited for a
// lock or a pager. After faults the check may be unnecessary, which does no harm: the
// section starts again, and finds its page. With several CPUs the bit is also set after an
// interrupt, and when a thread enters user mode on a CPU other than the one in the area.

// Layouts of struct rseq and struct rseq_cs.
const (
	rseqSize    = 32 // and its alignment
	rseqCPU     = 4
	rseqCS      = 8
	rseqFlags   = 16
	rseqCSSize  = 32
	rseqNoCPU   = ^uint32(0) // RSEQ_CPU_ID_UNINITIALIZED
	rseqUnknown = -1
)

// rseqArea is a thread's registration.
type rseqArea struct {
	at  arch.VA // address of the area; 0: none
	sig uint32  // the word before each abort address
	cpu int     // number stored in the area; rseqUnknown: none yet
}

// Rseq is rseq(2) without flags. EINVAL: wrong size or alignment, or an area other than the
// registered one. EFAULT. EPERM: a signature other than the registered one. EBUSY:
// registered already. Only the thread itself may call it.
func (t *Thread) Rseq(at arch.VA, size, sig uint32) error {
	r := &t.rseq
	if r.at != 0 {
		switch {
		case r.at != at || size != rseqSize:
			return syscall.EINVAL
		case r.sig != sig:
			return syscall.EPERM
		}
		return syscall.EBUSY
	}
	if at%rseqSize != 0 || size != rseqSize {
		return syscall.EINVAL
	}
	if at > arch.UserMax-rseqSize {
		return syscall.EFAULT
	}
	if at == 0 {
		return nil // as on Linux: no error, and no area
	}
	*r = rseqArea{at, sig, rseqUnknown}
	t.todo.Or(todoRseq)
	return nil
}

// Unrseq is rseq(2) with RSEQ_FLAG_UNREGISTER. It stores in the area that no CPU is known.
// EINVAL: not the registered area. EPERM: not its signature. EFAULT. Only the thread itself
// may call it.
func (t *Thread) Unrseq(at arch.VA, size, sig uint32) error {
	r := &t.rseq
	switch {
	case r.at == 0 || r.at != at || size != rseqSize:
		return syscall.EINVAL
	case r.sig != sig:
		return syscall.EPERM
	}
	if err := t.setRseqCPU(0, rseqNoCPU); err != nil {
		return err
	}
	*r = rseqArea{}
	return nil
}

// setRseqCPU stores cpu_id_start and cpu_id in the area.
func (t *Thread) setRseqCPU(start, id uint32) error {
	return t.space.vs.WriteUint64(t.rseq.at, uint64(start)|uint64(id)<<(8*rseqCPU))
}

// fixRseq is called before user mode is entered or a signal frame is made. It aborts a
// critical section that the thread is in, and stores the CPU's number in the area. If it
// returns an error the thread gets SIGSEGV.
func (t *Thread) fixRseq() error {
	if err := t.abortSection(); err != nil {
		return err
	}
	// With several CPUs, runSeveral checks whether the thread has moved since.
	cpu := 0
	if t.p.k.several {
		cpu = t.p.k.m.CPU()
	}
	if t.rseq.cpu == cpu {
		return nil
	}
	t.rseq.cpu = cpu
	return t.setRseqCPU(uint32(cpu), uint32(cpu))
}

// abortSection makes the thread continue at the abort address if it is in a critical
// section. If it has left the section, the descriptor's address is cleared. EFAULT; EINVAL:
// the descriptor makes no sense.
func (t *Thread) abortSection() error {
	vs, r := t.space.vs, &t.rseq
	at, err := vs.ReadUint64(r.at + rseqCS)
	if err != nil || at == 0 {
		return err
	}
	if at >= uint64(arch.UserMax) {
		return syscall.EINVAL
	}
	var cs [rseqCSSize]byte
	if err := vs.CopyIn(cs[:], arch.VA(at)); err != nil {
		return err
	}
	le := binary.LittleEndian
	version, flags := le.Uint32(cs[0:]), le.Uint32(cs[4:])
	start, length, abort := le.Uint64(cs[8:]), le.Uint64(cs[16:]), le.Uint64(cs[24:])
	const limit = uint64(arch.UserMax)
	if version != 0 || start >= limit || length >= limit-start || abort >= limit ||
		abort-start < length { // inside the section
		return syscall.EINVAL
	}
	var sig [4]byte
	if err := vs.CopyIn(sig[:], arch.VA(abort)-4); err != nil {
		return err
	}
	if le.Uint32(sig[:]) != r.sig {
		return syscall.EINVAL
	}
	pc := &t.U.Frame[t.p.k.abi.PC]
	in := *pc-start < length
	if in {
		// Flags that asked not to be aborted no longer exist (Linux 6.1).
		own, err := vs.ReadUint32(r.at + rseqFlags)
		if err != nil {
			return err
		}
		if flags|own != 0 {
			return syscall.EINVAL
		}
	}
	if err := vs.WriteUint64(r.at+rseqCS, 0); err != nil {
		return err
	}
	if in {
		*pc = abort
	}
	return nil
}
