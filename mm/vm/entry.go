package vm

import "grim/arch"

// stackGuard is the gap kept free below a stack, so that a stack overflow faults instead of
// writing into whatever lies below. It is 256 pages, as in Linux (stack_guard_gap).
const stackGuard = 256 * arch.PageSize

// entry is a map entry: a page-aligned range with one object, one protection and one set of
// flags. VMSpace.mu protects all of it. start, end and off of an entry with an object
// change under the object's Mappings.mu as well, because truncation reads them without
// VMSpace.mu.
type entry struct {
	start, end arch.VA
	off        int64 // object offset of start, page-aligned
	obj        Object
	space      *VMSpace
	prot       arch.Prot // as requested; see hardware
	flags      entryFlags

	// Links of entryTree.
	left, right *entry
	prev, next  *entry // neighbours by address
	height      int32  // AVL height
	gap         uint64 // free bytes directly below floor()
	maxGap      uint64 // largest gap in this subtree

	// Links of the object's Mappings.
	mapPrev, mapNext *entry
}

type entryFlags uint16

const (
	entShared      entryFlags = 1 << iota // writes go to the object
	entGrowsDown                          // a stack
	entWired                              // mlock
	entMayNotWrite                        // shared mapping of a file that is not open for writing
	entDirtied                            // shared: a page has been made writable since the entry was made
	entTracked                            // shared: the object wants its dirty pages back
	entHeap                               // the brk area
	entDontFork                           // MADV_DONTFORK
	entWipeOnFork                         // MADV_WIPEONFORK
	entNoReserve                          // MAP_NORESERVE: mayCommit allows any size
)

// entSame are the flags that must agree in two adjacent entries that are merged.
const entSame = entShared | entGrowsDown | entWired | entMayNotWrite | entTracked | entHeap | entDontFork | entWipeOnFork |
	entNoReserve

func (e *entry) size() uint64 { return uint64(e.end - e.start) }

// floor returns the lowest address that belongs to the entry or must stay free below it.
// For a stack that includes the guard gap.
func (e *entry) floor() arch.VA {
	if e.flags&entGrowsDown == 0 {
		return e.start
	}
	if e.start < arch.UserMin+stackGuard {
		return arch.UserMin
	}
	return e.start - stackGuard
}

// index returns the number of the object's page that is mapped at va.
func (e *entry) index(va arch.VA) int64 {
	return (e.off + int64(va-e.start)) >> arch.PageShift
}

// private reports whether the mapping is private, that is copy-on-write.
func (e *entry) private() bool { return e.flags&entShared == 0 }

// mayWriteObject reports whether stores can reach the object, now or after an mprotect(2).
// The answer does not change while the entry exists.
func (e *entry) mayWriteObject() bool { return e.flags&(entShared|entMayNotWrite) == entShared }

// data reports whether the entry counts against RLIMIT_DATA: private, writable
// and not a stack (Linux's is_data_mapping).
func (e *entry) data() bool {
	return e.prot&arch.Write != 0 && e.flags&(entShared|entGrowsDown) == 0
}

// commits reports whether the overcommit rule applies to the entry: see mayCommit.
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

// allows reports whether an access is permitted. Any right implies reading, as on Linux:
// neither page-table format can express less.
func (e *entry) allows(access arch.Prot) bool {
	return hardware(e.prot)&access == access && e.prot != 0
}

// hardware returns what the page tables grant for a requested protection.
func hardware(p arch.Prot) arch.Prot {
	if p != 0 {
		p |= arch.Read
	}
	return p
}

// continues reports whether b, which follows e in the map, could be merged into e.
func (e *entry) continues(b *entry) bool {
	if e.end != b.start || e.prot != b.prot || e.flags&entSame != b.flags&entSame || e.obj != b.obj {
		return false
	}
	return e.obj == nil || e.off+int64(e.size()) == b.off
}
