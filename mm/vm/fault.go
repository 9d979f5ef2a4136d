package vm

import (
	"errors"
	"syscall"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// Fault resolves a user access to va. After nil the access can be tried again. EFAULT:
// nothing is mapped there (SEGV_MAPERR). EACCES: the access is not allowed (SEGV_ACCERR).
// EIO: the object has no such page (SIGBUS). ENOMEM: there is no memory, and the process
// cannot go on. It may sleep.
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

// faultFetching is Fault where e maps an object. If the page must be fetched it unlocks the
// map, fetches the page, and starts over, because the map may have changed meanwhile.
// Preconditions: mu held; it is unlocked on return.
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

// errFetch says that a page must be fetched with the map unlocked.
var errFetch = errors.New("fetch first")

// faultEntry returns the entry for an access. It grows a stack if that is necessary.
// Preconditions: mu held.
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

// growStack extends the stack e, which is the entry above va, down to va's page. It fails
// with EFAULT if e is not a stack, if growing would exceed a limit, or if it would come
// within the guard gap of the entry below (Linux: acct_stack_growth, expand_downwards).
// Preconditions: mu held.
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
	ahead := arch.BlockPages // reserv decides how many are useful
	if vs.limits.Resident != Unlimited {
		// Pages filled ahead would count against the limit, although the program has not
		// asked for them.
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
			// Alloc never hands out a page of a reservation twice, so the reservation must
			// end: the next fault needs a new frame.
			vs.rs.Break(run.VA, run.VA+arch.PageSize)
		}
	}
	pm.Unlock()
	if run.Full && err == nil {
		vs.sys.yield()     // filling the last pages has taken a whole step
		pm.Promote(run.VA) // if that fails, the pages stay as they are
	}
	return err
}

// pmapFlags returns the flags for a page of anonymous memory or a private copy.
func (e *entry) pmapFlags() (fl pmap.Flags) {
	if e.flags&entWired != 0 {
		fl = pmap.Wired
	}
	return fl
}

// faultPresent resolves a fault on a page that is resident. It is a write to a
// copy-on-write page, or an access for which the page's entry lacks a right. Preconditions:
// mu held, and the object's Mappings.mu if e has one, so that m stays true.
func (vs *VMSpace) faultPresent(e *entry, page arch.VA, m pmap.Mapping, access arch.Prot) error {
	if m.Prot&access == access {
		return nil // another thread has resolved it, or the TLB was out of date
	}
	if access&arch.Write == 0 || m.Flags&pmap.COW == 0 {
		return vs.pm.Protect(page, page+arch.PageSize, hardware(e.prot))
	}
	if vs.pm.Reuse(page, hardware(e.prot)) {
		return nil
	}
	if m.Block {
		// Copy one page, not 2 MB.
		if err := vs.pm.Demote(page); err != nil {
			return err
		}
		if vs.pm.Reuse(page, hardware(e.prot)) {
			return nil
		}
	}
	return vs.copyPage(e, page, m.Frame)
}

// copyPage gives the space its own copy of a page that it shares. old is mapped at page, or
// the caller holds a reference to it. Preconditions: as for faultPresent.
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
