package vm

import "grim/arch"

// stackGuard is the gap kept free below a stack, so that running off its end
// is a fault and not a write into whatever lies below: 256 pages, as Linux
// has it (stack_guard_gap).
const stackGuard = 256 * arch.PageSize

// entry is a map entry: a page-aligned range with one object, one protection
// and one set of flags. Everything is protected by VMSpace.mu; start, end, off
// and pm of an entry with an object change under its object's Mappings.mu as
// well, because truncation looks at them from outside.
type entry struct {
	start, end arch.VA
	off        int64 // object offset of start, page-aligned
	obj        Object
	space      *VMSpace
	prot       arch.Prot // as asked for; see hardware
	flags      entryFlags

	// Links of entryTree.
	left, right *entry
	prev, next  *entry // neighbours by address
	height      int32  // AVL height
	gap         uint64 // free bytes just below floor()
	maxGap      uint64 // largest gap in this subtree

	// Links of the object's Mappings.
	mapPrev, mapNext *entry
}

type entryFlags uint16

const (
	entShared      entryFlags = 1 << iota // writes go to the object
	entGrowsDown                          // a stack
	entWired                              // mlock
	entMayNotWrite                        // shared, of a file that is not open for writing
	entDirtied                            // shared: a page has been made writable since the last look
	entTracked                            // shared: the object wants dirty pages back
	entHeap                               // the brk area
	entDontFork                           // MADV_DONTFORK
	entWipeOnFork                         // MADV_WIPEONFORK
	entNoReserve                          // MAP_NORESERVE: any size goes
)

// entSame are the flags that two neighbours must share to be one entry.
const entSame = entShared | entGrowsDown | entWired | entMayNotWrite | entTracked | entHeap | entDontFork | entWipeOnFork |
	entNoReserve

func (e *entry) size() uint64 { return uint64(e.end - e.start) }

// floor is the lowest address that nothing else may be placed at or above
// without asking: a stack keeps its guard gap.
func (e *entry) floor() arch.VA {
	if e.flags&entGrowsDown == 0 {
		return e.start
	}
	if e.start < arch.UserMin+stackGuard {
		return arch.UserMin
	}
	return e.start - stackGuard
}

// index is the object page of va.
func (e *entry) index(va arch.VA) int64 {
	return (e.off + int64(va-e.start)) >> arch.PageShift
}

// private reports copy-on-write semantics.
func (e *entry) private() bool { return e.flags&entShared == 0 }

// mayWriteObject reports whether stores can reach the object, now or after an
// mprotect(2). It is the same as long as the entry lives.
func (e *entry) mayWriteObject() bool { return e.flags&(entShared|entMayNotWrite) == entShared }

// data reports whether the entry counts against RLIMIT_DATA: private, writable
// and not a stack (Linux's is_data_mapping).
func (e *entry) data() bool {
	return e.prot&arch.Write != 0 && e.flags&(entShared|entGrowsDown) == 0
}

// commits reports whether the overcommit rule is about the entry: see mayCommit.
func (e *entry) commits() bool {
	if e.flags&entNoReserve != 0 {
		return false
	}
	if e.private() {
		return e.prot&arch.Write != 0
	}
	_, anon := e.obj.(*anonObject)
	return anon
}

// allows reports whether an access is permitted. Any right implies reading: no
// page-table format of ours can express less, and Linux says the same.
func (e *entry) allows(access arch.Prot) bool {
	return hardware(e.prot)&access == access && e.prot != 0
}

// hardware is what the page tables grant for a protection asked for.
func hardware(p arch.Prot) arch.Prot {
	if p != 0 {
		p |= arch.Read
	}
	return p
}

// continues reports whether b, which starts where e ends, could be part of e.
func (e *entry) continues(b *entry) bool {
	if e.end != b.start || e.prot != b.prot || e.flags&entSame != b.flags&entSame || e.obj != b.obj {
		return false
	}
	return e.obj == nil || e.off+int64(e.size()) == b.off
}
