package elf

import (
	"syscall"

	"grim/arch"
	"grim/mm/vm"
)

// stackInitial is how much of the stack is mapped at first, in bytes, besides what argv and
// envp take. The stack grows by faults.
const stackInitial = 128 << 10

// Load maps im, whose bytes are obj, into the empty address space vs. If the program is
// dynamic it also maps the interpreter, which is in a. It builds the initial stack from a,
// and places the heap. It returns the address of the first instruction, which is the
// interpreter's if there is one, and the stack pointer. It records the places of stack,
// signal page and auxiliary vector in vs's Marks. Only pages that Load writes are there
// when it returns; the others come in by faults.
//
// Errors: EPERM (the program lies below vm.MinAddr and a.Low is not set), ENOMEM, E2BIG,
// EFAULT (out of memory while a page is filled), and the errors of obj. After an error,
// what was mapped stays, and the caller must purge it.
func Load(vs *vm.VMSpace, im *Image, obj vm.Object, a *Args) (pc, sp arch.VA, err error) {
	if im.Dynamic && a.Interp == nil {
		return 0, 0, syscall.ENOEXEC
	}
	at := im.fixed()
	if a.Randomize {
		at = im.random(&a.Draw)
	}
	bias := at.Bias
	if im.Low()+bias < vm.MinAddr && !a.Low {
		return 0, 0, syscall.EPERM
	}
	for i := range im.Segments {
		if err := im.Segments[i].load(vs, obj, bias); err != nil {
			return 0, 0, err
		}
	}
	vs.SetBrk(at.Brk)
	limit := vs.Limits().Stack
	vs.SetMmapBase(min(at.MmapBase, at.StackTop-stackGap(limit)))
	pc, base := im.Entry+bias, arch.VA(0)
	if im.Dynamic {
		if base, err = a.Interp.loadInterp(vs, a.InterpObject); err != nil {
			return 0, 0, err
		}
		pc = a.Interp.Entry + base
	}
	top := at.StackTop - at.SPGap
	plan, err := a.plan()
	if err != nil {
		return 0, 0, err
	}
	sp = top - arch.VA(plan.size)
	auxv := sp + arch.VA(8*(plan.words-auxWords))
	vs.SetMarks(vm.Marks{StackTop: at.StackTop, SigPage: at.SigPage, Auxv: auxv, AuxvSize: 8 * auxWords})
	prot := arch.Read | arch.Write
	if im.ExecStack {
		prot |= arch.Exec
	}
	low := (sp - stackInitial).PageDown()
	if uint64(at.StackTop-low) > limit { // the strings alone may be larger than the limit
		low = min(sp.PageDown(), (at.StackTop - arch.VA(limit)).PageUp())
	}
	if _, err := vs.Map(low, uint64(at.StackTop-low), prot, vm.Fixed|vm.Private|vm.Anon|vm.Stack, nil, 0); err != nil {
		return 0, 0, err
	}
	if err := a.write(vs, sp, plan, im, bias, base); err != nil {
		return 0, 0, err
	}
	return pc, sp, nil
}

// loadInterp maps an interpreter at the address that it was linked for or, if it is
// position-independent, where mmap(2) would put it. It returns the number that is added to
// its addresses.
func (im *Image) loadInterp(vs *vm.VMSpace, obj vm.Object) (bias arch.VA, err error) {
	if im.PIE {
		size := uint64(im.High() - im.Low())
		at, err := vs.Map(0, size, 0, vm.Private|vm.Anon|vm.NoReserve, nil, 0)
		if err != nil {
			return 0, err
		}
		// The gaps between its segments are not mapped.
		if err := vs.Unmap(at, size); err != nil {
			return 0, err
		}
		bias = at - im.Low()
	}
	for i := range im.Segments {
		if err := im.Segments[i].load(vs, obj, bias); err != nil {
			return 0, err
		}
	}
	return bias, nil
}

// load maps one segment: the pages of the file, zeroes after the file's part of the last of
// these pages, and anonymous memory for the rest.
func (s *Segment) load(vs *vm.VMSpace, obj vm.Object, bias arch.VA) error {
	va := s.VA + bias
	start, fileEnd := va.PageDown(), (va + arch.VA(s.FileSize)).PageUp()
	end := s.End() + bias
	if s.FileSize == 0 {
		fileEnd = start
	} else {
		// The zeroes must not appear in the file, so they are written to a private page.
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
