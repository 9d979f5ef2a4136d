package vm

import (
	"syscall"

	"grim/arch"
)

// Unmap is munmap(2): it removes every mapping in the range, and returns after
// shared files have taken their dirty pages back. EINVAL; ENOMEM if a block or
// an entry had to be cut and there was no memory or no room for that, with
// nothing changed.
func (vs *VMSpace) Unmap(addr arch.VA, length uint64) error {
	end, ok := userRange(addr, length)
	if !ok || length == 0 {
		return syscall.EINVAL
	}
	vs.mu.Lock()
	err := vs.unmap(addr, end)
	dirty := vs.dirty.take()
	vs.mu.Unlock()
	dirty.finish(vs.sys)
	return err
}

// unmap removes [start, end). Dirty pages are left in vs.dirty. Preconditions: mu held.
func (vs *VMSpace) unmap(start, end arch.VA) error {
	first := vs.tree.ceil(start)
	if first == nil || first.start >= end {
		return nil
	}
	if first.start < start && first.end > end && vs.tree.n >= maxEntries {
		return syscall.ENOMEM
	}
	if err := vs.removePages(start, end); err != nil {
		return err
	}
	for e := vs.clipRange(start, end); e != nil && e.start < end; {
		next := e.next
		vs.unlink(e)
		e = next
	}
	return nil
}

// removePages drops the pages of a range, whatever maps them, and ends its
// reservations. Preconditions: mu held; the entries are still there.
func (vs *VMSpace) removePages(start, end arch.VA) error {
	vs.sampleRSS()
	vs.rs.Break(start, end)
	return vs.pm.Remove(start, end, &vs.dirty)
}
