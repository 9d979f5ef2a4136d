package vm

import (
	"syscall"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// Access to the memory of another process (/proc/PID/mem), as by a debugger: the rights
// that its own threads have do not matter (Linux's FOLL_FORCE). The caller has a reference
// to the space. The process may exit or be purged at any time; after that nothing is
// mapped.

// Peek reads memory at va, and returns how many bytes it could read. EIO if nothing is
// mapped at va, ENOMEM. Pages without any access can be read. It may sleep.
func (vs *VMSpace) Peek(p []byte, va arch.VA) (n int, err error) {
	return vs.force(va, len(p), false, func(f phys.Frame, off, at, k int) {
		copy(p[at:at+k], vs.sys.mem.Bytes(f)[off:])
	})
}

// Poke writes memory at va, and returns how many bytes it could write. A private page that
// its process cannot write, such as program text, is copied first and stays read-only. A
// shared mapping must be writable. It fails as Peek does. It may sleep.
func (vs *VMSpace) Poke(va arch.VA, p []byte) (n int, err error) {
	return vs.force(va, len(p), true, func(f phys.Frame, off, at, k int) {
		copy(vs.sys.mem.Bytes(f)[off:], p[at:at+k])
		vs.sys.mem.Modified(f)
	})
}

// force calls fn for each page of a range, under pmap.mu. The arguments are the frame, the
// offset in it, the offset in the range, and the number of bytes.
func (vs *VMSpace) force(va arch.VA, n int, write bool, fn func(f phys.Frame, off, at, k int)) (done int, err error) {
	var work pace
	for done < n {
		off := int(va & (arch.PageSize - 1))
		k := min(n-done, arch.PageSize-off)
		err := vs.forcePage(va.PageDown(), write, func(f phys.Frame) { fn(f, off, done, k) })
		if err != nil {
			if done > 0 {
				return done, nil
			}
			return 0, err
		}
		done, va = done+k, va+arch.VA(k)
		work.spend(vs.sys, copyCost(k)+costTouch)
	}
	return done, nil
}

// forcePage calls fn with the frame of a page, under pmap.mu. Before that it faults the
// page in, and makes it the space's own if it is to be written. EIO, ENOMEM.
func (vs *VMSpace) forcePage(page arch.VA, write bool, fn func(f phys.Frame)) error {
	if page >= arch.UserMax {
		return syscall.EIO
	}
	var got fetched
	defer got.drop(vs.sys)
	vs.mu.Lock()
	defer vs.mu.Unlock()
	for {
		e := vs.tree.find(page)
		if e == nil || write && !e.private() && e.prot&arch.Write == 0 {
			return syscall.EIO
		}
		done, err := vs.forceEntry(e, page, write, &got, fn)
		if done {
			return nil
		}
		if err == errFetch {
			vs.mu.Unlock()
			err = got.fetch(vs.sys)
			vs.mu.Lock()
		}
		switch err {
		case nil:
		case syscall.ENOMEM:
			return err
		default:
			return syscall.EIO
		}
	}
}

// forceEntry is one attempt of forcePage, at a page of e. done means that fn was called.
// Otherwise, without an error, an obstacle has been removed, and the caller tries again.
// errFetch means that got must be fetched. Preconditions: mu held.
func (vs *VMSpace) forceEntry(e *entry, page arch.VA, write bool, got *fetched, fn func(f phys.Frame)) (done bool, err error) {
	pm := vs.pm
	pm.Lock()
	m, ok := pm.LookupLocked(page)
	if ok && (!write || e.forcible(m)) {
		fn(m.Frame)
		if write && e.prot&arch.Exec != 0 {
			pm.SyncFetch(m.Frame)
		}
		pm.Unlock()
		return true, nil
	}
	pm.Unlock()
	access := arch.Read
	if write {
		access = arch.Write
	}
	switch {
	case ok && e.private():
		return false, vs.forceCopy(e, page)
	case e.obj == nil:
		return false, vs.faultAnon(e, page, access)
	}
	return false, vs.faultObject(e, page, access, got)
}

// forcible reports whether a page of e that is mapped as m can be written as it is. That is
// a private page that is not shared with another space, or a shared page that counts as
// dirty.
func (e *entry) forcible(m pmap.Mapping) bool {
	if e.private() {
		return m.Flags&pmap.COW == 0
	}
	return m.Prot&arch.Write != 0
}

// forceCopy gives the space its own copy of a page of the private mapping e. Preconditions:
// mu held.
func (vs *VMSpace) forceCopy(e *entry, page arch.VA) error {
	if e.obj != nil {
		m := e.obj.Mapped()
		m.mu.Lock()
		defer m.mu.Unlock()
	}
	if err := vs.pm.Demote(page); err != nil {
		return err
	}
	// Truncation may have removed the page meanwhile.
	if m, ok := vs.pm.Lookup(page); ok && m.Flags&pmap.COW != 0 {
		return vs.copyPage(e, page, m.Frame)
	}
	return nil
}
