package vm

import (
	"syscall"

	"grim/arch"
)

// populate faults in every page of [start, end) that is not resident. Private writable
// memory is faulted in for writing, so that the first write does not fault again. It stops
// at the first error. EINTR if the thread is to end. mu is not held; it may sleep.
func (c Caller) populate(start, end arch.VA) error {
	for va := start; va < end; {
		next, access, err := c.nextAbsent(va, end)
		if err == syscall.EINTR && c.pause() == nil {
			va = next
			continue
		}
		if err != nil || next >= end {
			return err
		}
		if err := c.vs.Fault(next, access); err != nil {
			return err
		}
		if err := c.faulted(); err != nil {
			return err
		}
		va = next + arch.PageSize
	}
	return nil
}

// populateTurn is how many resident pages nextAbsent passes over before it looks whether the
// thread may have to end, at costLookup instructions each.
const populateTurn = 32

// nextAbsent returns the first page at or after va that is not resident, and the access to
// fault it in with. Pages without any access are skipped. ENOMEM if nothing is mapped at an
// address before. EINTR, and where to go on, if the thread may have to end.
func (c Caller) nextAbsent(va, end arch.VA) (arch.VA, arch.Prot, error) {
	vs := c.vs
	steps := 0
	vs.mu.Lock()
	defer vs.mu.Unlock()
	for va < end {
		e := vs.tree.find(va)
		if e == nil {
			return va, 0, syscall.ENOMEM
		}
		vs.spend(costEntry)
		if e.prot == 0 {
			va = e.end
			continue
		}
		access := e.prot & arch.Write
		if access == 0 || !e.private() {
			access = arch.Read
		}
		for ; va < min(e.end, end); va += arch.PageSize {
			vs.spend(costLookup)
			if m, ok := vs.pm.Lookup(va); !ok || m.Prot&access != access {
				return va, access, nil
			}
			if steps++; steps%populateTurn == 0 && c.w != nil && c.w.MayEnd() {
				return va + arch.PageSize, 0, syscall.EINTR
			}
		}
	}
	return end, 0, nil
}

// Incore is mincore(2): it sets one byte of vec for each page from addr on, to 1 if the
// page is resident. EINVAL; ENOMEM if part of the range is not mapped.
func (vs *VMSpace) Incore(addr arch.VA, vec []byte) error {
	end, ok := userRange(addr, uint64(len(vec))<<arch.PageShift)
	if !ok {
		return syscall.EINVAL
	}
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if vs.mapped(addr, end) != uint64(end-addr) {
		return syscall.ENOMEM
	}
	for i := range vec {
		vs.spend(costLookup)
		vec[i] = 0
		if _, ok := vs.pm.Lookup(addr + arch.VA(i)<<arch.PageShift); ok {
			vec[i] = 1
		}
	}
	return nil
}
