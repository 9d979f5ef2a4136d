package vm

import (
	"syscall"

	"grim/arch"
)

// Unmap is munmap(2): it removes every mapping in the range, and returns after shared files
// have taken their dirty pages back. EINVAL; ENOMEM, with nothing changed, if a block or an
// entry had to be cut and there was no memory for that or no room for an entry.
func (vs *VMSpace) Unmap(addr arch.VA, length uint64) error {
	end, ok := userRange(addr, length)
	if !ok || length == 0 {
		return syscall.EINVAL
	}
	vs.mu.Lock()
	o, err := vs.unmap(addr, end)
	vs.mu.Unlock()
	o.settle(vs.sys)
	return err
}

// unmap removes [start, end), and returns what the caller owes, also after an error.
// Preconditions: mu held.
func (vs *VMSpace) unmap(start, end arch.VA) (o owed, err error) {
	first := vs.tree.ceil(start)
	if first == nil || first.start >= end {
		return o, nil
	}
	if first.start < start && first.end > end {
		if err := vs.room(1); err != nil {
			return o, err
		}
	}
	if o, err = vs.removePages(start, end); err != nil {
		return o, err
	}
	for e := vs.clipRange(start, end); e != nil && e.start < end; {
		next := e.next
		vs.unlink(e)
		o.bury(e)
		vs.spend(costChange)
		e = next
	}
	return o, nil
}

// removePages drops the pages of a range, whatever maps them, and ends its reservations. It
// returns what the caller owes. Preconditions: mu held; the entries are still in the map.
func (vs *VMSpace) removePages(start, end arch.VA) (owed, error) {
	vs.sampleRSS()
	vs.rs.Break(start, end)
	err := vs.pm.Remove(start, end, &vs.dirty)
	return vs.dirty.take(), err
}
