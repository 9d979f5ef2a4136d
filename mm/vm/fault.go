package vm

import (
	"errors"
	"syscall"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// Fault resolves a user access to va. nil: the access can be tried again.
// EFAULT: nothing is mapped there (SEGV_MAPERR). EACCES: not allowed
// (SEGV_ACCERR). EIO: the object has no such page (SIGBUS). ENOMEM: no memory,
// the process cannot go on. It may sleep.
func (vs *VMSpace) Fault(va arch.VA, access arch.Prot) error {
	if va >= arch.UserMax {
		return syscall.EFAULT
	}
	if access == 0 {
		access = arch.Read
	}
	vs.mu.Lock()
	e, err := vs.faultEntry(va, access)
	if err == nil && e.obj != nil {
		return vs.faultFetching(e, va, access) // unlocks
	}
	if err == nil {
		err = vs.faultAnon(e, va.PageDown(), access)
	}
	vs.mu.Unlock()
	return err
}

// faultFetching is Fault where an object is mapped, by e: it fetches the page if
// need be, and starts over then, as the map may have changed meanwhile.
// Preconditions: mu held; it is not on return.
func (vs *VMSpace) faultFetching(e *entry, va arch.VA, access arch.Prot) (err error) {
	var got fetched
	for page := va.PageDown(); ; {
		if e.obj == nil {
			err = vs.faultAnon(e, page, access)
		} else {
			err = vs.faultObject(e, page, access, &got)
		}
		if err != errFetch {
			break
		}
		vs.mu.Unlock()
		err = got.fetch(vs.sys)
		vs.mu.Lock()
		if err == nil {
			e, err = vs.faultEntry(va, access)
		}
		if err != nil {
			break
		}
	}
	vs.mu.Unlock()
	got.drop(vs.sys)
	return err
}

// errFetch asks for a page that must be fetched with the map unlocked.
var errFetch = errors.New("fetch first")

// faultEntry finds the entry for an access, growing a stack if that is what it
// takes. Preconditions: mu held.
func (vs *VMSpace) faultEntry(va arch.VA, access arch.Prot) (*entry, error) {
	e := vs.hint
	if e == nil || va < e.start || va >= e.end {
		if e = vs.tree.ceil(va); e == nil {
			return nil, syscall.EFAULT
		}
		if va < e.start {
			if err := vs.growStack(e, va); err != nil {
				return nil, err
			}
		}
		vs.hint = e
	}
	if !e.allows(access) {
		return nil, syscall.EACCES
	}
	return e, nil
}

// growStack extends the stack e, the entry above va, down to va's page. It
// fails with EFAULT if e is no stack, or if growing would exceed a limit or
// come within the guard gap of what lies below (Linux: acct_stack_growth,
// expand_downwards). Preconditions: mu held.
func (vs *VMSpace) growStack(e *entry, va arch.VA) error {
	start := va.PageDown()
	if e.flags&entGrowsDown == 0 || e.obj != nil || start < MinAddr {
		return syscall.EFAULT
	}
	if p := e.prev; p != nil && p.flags&entGrowsDown == 0 && p.prot != 0 && start < p.end+stackGuard {
		return syscall.EFAULT
	}
	if uint64(e.end-start) > vs.limits.Stack {
		return syscall.EFAULT
	}
	n := uint64(e.start - start)
	if vs.mayGrow(n, 0, e) != nil || e.flags&entWired != 0 && !vs.mayLock(n) {
		return syscall.EFAULT
	}
	vs.resize(e, start, e.end)
	return nil
}

// faultAnon resolves a fault on zero-filled memory. Preconditions: mu held.
func (vs *VMSpace) faultAnon(e *entry, page arch.VA, access arch.Prot) error {
	ahead := arch.BlockPages // as far as reserv thinks useful
	if vs.limits.Resident != Unlimited {
		// Near a limit, pages that nobody asked for would count.
		ahead = 1
		if _, ok := vs.pm.Lookup(page); !ok {
			if err := vs.mayHold(1); err != nil {
				return err
			}
		}
	}
	pm := vs.pm
	pm.Lock()
	at, absent := pm.AbsentLocked(page)
	if !absent {
		m, _ := pm.LookupLocked(page)
		pm.Unlock()
		return vs.faultPresent(e, page, m, access)
	}
	run, err := vs.rs.Alloc(page, e.start, e.end, ahead)
	if err == nil {
		if _, err = pm.FillLocked(at, run.VA, run.F, run.N, hardware(e.prot), e.pmapFlags()|pmap.Sole); err != nil {
			for i := range run.N {
				vs.sys.mem.FreeSole(run.F + phys.Frame(i))
			}
			// What was handed out is never handed out again: the next fault must
			// find no reservation here.
			vs.rs.Break(run.VA, run.VA+arch.PageSize)
		}
	}
	pm.Unlock()
	if run.Full && err == nil {
		vs.sys.yield()     // to fill the last pages took as long as a step does
		pm.Promote(run.VA) // if it cannot, the pages stay as they are
	}
	return err
}

// pmapFlags are the flags of a page of anonymous memory or of a private copy.
func (e *entry) pmapFlags() (fl pmap.Flags) {
	if e.flags&entWired != 0 {
		fl = pmap.Wired
	}
	return fl
}

// faultPresent resolves a fault on a page that is resident: a write to a
// copy-on-write page, or a right that the page lacks. Preconditions: mu held,
// and the object's Mappings.mu if e has one, so that m stays true.
func (vs *VMSpace) faultPresent(e *entry, page arch.VA, m pmap.Mapping, access arch.Prot) error {
	if m.Prot&access == access {
		return nil // another thread was faster, or the TLB was behind
	}
	if access&arch.Write == 0 || m.Flags&pmap.COW == 0 {
		return vs.pm.Protect(page, page+arch.PageSize, hardware(e.prot))
	}
	if vs.pm.Reuse(page, hardware(e.prot)) {
		return nil
	}
	if m.Block {
		// Copy what is written, not 2 MB.
		if err := vs.pm.Demote(page); err != nil {
			return err
		}
		if vs.pm.Reuse(page, hardware(e.prot)) {
			return nil
		}
	}
	return vs.copyPage(e, page, m.Frame)
}

// copyPage gives the space its own copy of a page it shares. old is mapped at
// page, or the caller holds a reference. Preconditions: as faultPresent.
func (vs *VMSpace) copyPage(e *entry, page arch.VA, old phys.Frame) error {
	mem := vs.sys.mem
	f, err := mem.Alloc(phys.Anon)
	if err != nil {
		return err
	}
	mem.CopyFrame(f, old)
	if err := vs.pm.Enter(page, f, hardware(e.prot), e.pmapFlags()); err != nil {
		mem.Unref(f)
		return err
	}
	return nil
}
