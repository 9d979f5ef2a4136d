package elf

import (
	"syscall"

	"grim/arch"
	"grim/mm/vm"
)

// Where a new program's parts go. Fixed, so that a run is the same every time.
const (
	// SigPage is a page that belongs to the system-call layer. Above it the last
	// page of the user half stays free, as on Linux/amd64: memory that ends at
	// UserMax has nothing behind it to run into.
	SigPage = arch.UserMax - 2*arch.PageSize
	// StackTop is where the main stack ends, a guard page below SigPage.
	StackTop = SigPage - arch.PageSize
	// mmapTop is where mmap(2) begins to search downwards: below everything
	// that the stack may grow into, and a gap.
	mmapTop = StackTop - StackSize - 1<<20
	// pieBase is where a static PIE goes: two thirds up, as on Linux, so that
	// the heap after it has room.
	pieBase arch.VA = 0x555555554000
	// stackInitial is what of the stack is mapped at first, besides what argv
	// and envp take. It grows by faults.
	stackInitial = 128 << 10
)

// bias is what is added to every address of the image.
func (im *Image) bias() arch.VA {
	if !im.PIE {
		return 0
	}
	a := arch.VA(im.Align - 1)
	return (pieBase+a)&^a - im.Low()&^a
}

// Load maps im, whose bytes are obj, into the empty address space vs, builds the
// initial stack from a, and places the heap. It returns the first instruction
// and the stack pointer. Pages come in by faults later, except those it writes.
//
// Errors: ENOMEM, E2BIG, EFAULT (out of memory while filling a page) and what
// obj answers. What was mapped by then stays for the caller to purge.
func Load(vs *vm.VMSpace, im *Image, obj vm.Object, a *Args) (pc, sp arch.VA, err error) {
	if im.Interp != "" {
		return 0, 0, syscall.ENOEXEC
	}
	bias := im.bias()
	for i := range im.Segments {
		if err := im.Segments[i].load(vs, obj, bias); err != nil {
			return 0, 0, err
		}
	}
	vs.SetBrk(im.High() + bias)
	vs.SetMmapBase(mmapTop)
	stack, err := a.stackImage(StackTop, im, bias)
	if err != nil {
		return 0, 0, err
	}
	sp = StackTop - arch.VA(len(stack))
	prot := arch.Read | arch.Write
	if im.ExecStack {
		prot |= arch.Exec
	}
	low := (sp - stackInitial).PageDown()
	if _, err := vs.Map(low, uint64(StackTop-low), prot, vm.Fixed|vm.Private|vm.Anon|vm.Stack, nil, 0); err != nil {
		return 0, 0, err
	}
	if err := vs.CopyOut(sp, stack); err != nil {
		return 0, 0, err
	}
	return im.Entry + bias, sp, nil
}

// load maps one segment: file pages, the zeroes after the file's part of the
// last of them, and anonymous memory for the rest.
func (s *Segment) load(vs *vm.VMSpace, obj vm.Object, bias arch.VA) error {
	va := s.VA + bias
	start, fileEnd := va.PageDown(), (va + arch.VA(s.FileSize)).PageUp()
	end := s.End() + bias
	if s.FileSize == 0 {
		fileEnd = start
	} else {
		// The zeroes must not be seen in the file: a private page is written.
		tail := fileEnd - (va + arch.VA(s.FileSize))
		zero := s.MemSize > s.FileSize && tail > 0
		prot := s.Prot
		if zero {
			prot |= arch.Read | arch.Write
		}
		off := int64(s.Off &^ (arch.PageSize - 1))
		if _, err := vs.Map(start, uint64(fileEnd-start), prot, vm.Fixed|vm.Private, obj, off); err != nil {
			return err
		}
		if zero {
			if err := vs.ZeroOut(va+arch.VA(s.FileSize), uint64(tail)); err != nil {
				return err
			}
		}
		if prot != s.Prot {
			if err := vs.Protect(start, uint64(fileEnd-start), s.Prot); err != nil {
				return err
			}
		}
	}
	if end.PageUp() <= fileEnd {
		return nil
	}
	_, err := vs.Map(fileEnd, uint64(end.PageUp()-fileEnd), s.Prot, vm.Fixed|vm.Private|vm.Anon, nil, 0)
	return err
}
