package vm

import (
	"fmt"

	"grim/arch"
)

// All functions that add entries to the map, remove them, or change their bounds are in
// this file, so that tree, sums and the objects' lists agree. Preconditions of all: mu
// held.

// insert maps n free bytes at va that look like the given entry. It extends a neighbour if
// possible. Preconditions: mu held, limits checked.
func (vs *VMSpace) insert(va arch.VA, n uint64, like *entry) {
	like.start, like.end = va, va+arch.VA(n)
	next := vs.tree.ceil(va)
	prev := vs.tree.last
	if next != nil {
		prev = next.prev
	}
	if prev != nil && prev.continues(like) {
		vs.resize(prev, prev.start, like.end)
		if next != nil && prev.continues(next) {
			vs.absorb(prev, next)
		}
		return
	}
	if next != nil && like.continues(next) {
		vs.resize(next, like.start, next.end)
		return
	}
	e := vs.sys.newEntry()
	e.start, e.end, e.off, e.prot, e.flags = like.start, like.end, like.off, like.prot, like.flags&^entDirtied
	if e.obj = like.obj; e.obj != nil {
		e.obj.Ref()
	}
	vs.link(e)
}

// link adds an entry to the map. It takes over the caller's reference to the entry's
// object.
func (vs *VMSpace) link(e *entry) {
	vs.tree.insert(e)
	vs.linked(e)
}

// linked is the part of link that follows the insertion into the tree.
func (vs *VMSpace) linked(e *entry) {
	e.space = vs
	vs.count(e, 1)
	if e.obj != nil {
		m := e.obj.Mapped()
		m.mu.Lock()
		m.addLocked(e)
		m.mu.Unlock()
	}
}

// unlink removes an entry from the map and from its object's list. The caller must then
// bury or drop the entry.
func (vs *VMSpace) unlink(e *entry) {
	if vs.hint == e {
		vs.hint = nil
	}
	vs.count(e, -1)
	vs.tree.remove(e)
	if e.obj != nil {
		m := e.obj.Mapped()
		m.mu.Lock()
		m.removeLocked(e)
		m.mu.Unlock()
	}
	e.space = nil
	if vs.paid-vs.tree.n > 3*entryStep {
		vs.repay()
	}
}

// drop unlinks and frees an entry. Another entry of the map holds a reference to the same
// object, so this reference is not the last.
func (vs *VMSpace) drop(e *entry) {
	vs.unlink(e)
	if e.obj != nil {
		e.obj.Unref()
		e.obj = nil
	}
	vs.sys.freeEntries(e, e, 1)
}

// resize moves the bounds of an entry, into free space or off its own ends. The object
// offset follows start. All offsets of an entry with an object stay between 0 and the
// largest int64, so that its pages have an index. It panics if they would not: then the
// caller has not checked what user code asked for.
func (vs *VMSpace) resize(e *entry, start, end arch.VA) {
	vs.count(e, -1)
	if e.obj != nil {
		off := e.off + (int64(start) - int64(e.start))
		if off < 0 || off+int64(end-start) < off {
			panic(fmt.Sprintf("vm: entry %#x..%#x at object offset %#x: resized to %#x..%#x, which has no offset", e.start, e.end, e.off, start, end))
		}
		m := e.obj.Mapped()
		m.mu.Lock()
		defer m.mu.Unlock()
		e.off = off
	}
	e.start, e.end = start, end
	vs.tree.moved(e)
	vs.count(e, 1)
}

// absorb merges next, which continues e, into e.
func (vs *VMSpace) absorb(e, next *entry) {
	end := next.end
	e.flags |= next.flags & entDirtied
	vs.drop(next)
	vs.resize(e, e.start, end)
}

// clip makes va a boundary between two entries. Preconditions: mu held.
func (vs *VMSpace) clip(va arch.VA) {
	e := vs.tree.find(va)
	if e == nil || e.start == va {
		return
	}
	n := vs.sys.newEntry()
	n.start, n.end, n.prot, n.flags, n.obj = va, e.end, e.prot, e.flags, e.obj
	if n.obj != nil {
		n.off = e.off + int64(va-e.start)
		n.obj.Ref()
	}
	vs.resize(e, e.start, va)
	vs.link(n)
}

// clipRange makes start and end boundaries between entries, and returns the first entry at
// or after start.
func (vs *VMSpace) clipRange(start, end arch.VA) *entry {
	vs.clip(start)
	vs.clip(end)
	return vs.tree.ceil(start)
}
