package proc

import (
	"encoding/binary"
	"syscall"

	"grim/arch"
)

// Restartable sequences (rseq(2), include/uapi/linux/rseq.h). A thread registers an
// area in its memory. The kernel keeps the number of its CPU there, and the program
// stores the address of a descriptor of the critical section that it is about to
// enter. If the thread comes back to user mode inside of that section after others
// may have run, or a signal is delivered there, it goes on at the section's abort
// address instead.
//
// The bit todoRseq of Thread.todo asks for the look, so that a thread without an
// area, and a system call that did not wait, pay nothing. It is set where the
// thread may have lost its CPU: after each wait and yield, and after a page fault,
// which may have waited for a lock or a pager. That faults ask too often does no
// harm: the section starts again, and finds its page.

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
	at  arch.VA // 0: none
	sig uint32  // stands before each abort address
	cpu int     // what the area says; rseqUnknown: nothing yet
}

// Rseq is rseq(2) with no flags. EINVAL size or alignment, or an area other than the
// registered one; EFAULT, EPERM another signature than the registered one's, EBUSY
// registered already. For the thread itself only.
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

// Unrseq is rseq(2) with RSEQ_FLAG_UNREGISTER: the area says that no CPU is known.
// EINVAL not the registered area, EPERM not its signature, EFAULT. For the thread
// itself only.
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

// setRseqCPU stores cpu_id_start and cpu_id.
func (t *Thread) setRseqCPU(start, id uint32) error {
	return t.space.vs.WriteUint64(t.rseq.at, uint64(start)|uint64(id)<<(8*rseqCPU))
}

// fixRseq is the look at the registered area before user mode or a signal frame: a
// critical section that the thread is in is aborted, and the area gets the number of
// the CPU. An error is SIGSEGV for the thread.
func (t *Thread) fixRseq() error {
	if err := t.abortSection(); err != nil {
		return err
	}
	// With several CPUs, a thread that comes to another one has todoRseq set there.
	const cpu = 0
	if t.rseq.cpu == cpu {
		return nil
	}
	t.rseq.cpu = cpu
	return t.setRseqCPU(cpu, cpu)
}

// abortSection makes the thread go on at the abort address if it is in a critical
// section. One that it has left is forgotten. EFAULT, EINVAL nonsense.
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
		abort-start < length { // inside of the section
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
		// Flags that asked not to be aborted are no more (Linux 6.1).
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
