package vm

import (
	"syscall"

	"grim/arch"
)

// MapFlags are the flags of Map.
type MapFlags uint32

// Flags of Map, with the meanings of mmap(2).
const (
	Shared         MapFlags = 1 << iota // writes go to the object; without it the mapping is private
	Private                             // copy on write; the default
	Fixed                               // exactly at addr, replacing what is there
	FixedNoReplace                      // exactly at addr; EEXIST if something is there
	Anon                                // no object: zero-filled
	GrowsDown                           // a stack: grows towards lower addresses on faults
	NoReserve                           // may be larger than the machine's memory; see mayCommit
	Populate                            // fault everything in now, as far as memory allows
	Locked                              // as mlock
	MayNotWrite                         // the file is not open for writing: a Shared mapping never becomes writable
)

// Stack is another name for GrowsDown.
const Stack = GrowsDown

// MinAddr is the lowest address that Map chooses by itself, to which a stack grows, and
// that a process without CAP_SYS_RAWIO can map at all (/proc/sys/vm/mmap_min_addr; the
// system-call layer and the program loader check that right). So a nil pointer with an
// offset below it points to nothing.
const MinAddr arch.VA = 0x10000

// Map maps length bytes of obj from off, or zero-filled memory, and returns the address. It
// takes its own reference to obj. Errors are those of mmap(2): EINVAL, ENOMEM (no free
// addresses, limits), EEXIST, EPERM (page 0), EACCES (writable shared mapping of a file
// that is not open for writing), EPERM (such a mapping of a sealed object; Locked without
// any right to lock), EAGAIN (RLIMIT_MEMLOCK), EOVERFLOW.
func (vs *VMSpace) Map(addr arch.VA, length uint64, prot arch.Prot, flags MapFlags, obj Object, off int64) (arch.VA, error) {
	return vs.For(nil).Map(addr, length, prot, flags, obj, off)
}

// Map is VMSpace.Map.
func (c Caller) Map(addr arch.VA, length uint64, prot arch.Prot, flags MapFlags, obj Object, off int64) (arch.VA, error) {
	vs := c.vs
	if length == 0 || flags&(Shared|Private) == Shared|Private ||
		off < 0 || off&(arch.PageSize-1) != 0 || (obj == nil) != (flags&Anon != 0) {
		return 0, syscall.EINVAL
	}
	if length > uint64(arch.UserMax) {
		return 0, syscall.ENOMEM
	}
	n := uint64(arch.VA(length).PageUp())
	if off+int64(n) < off {
		return 0, syscall.EOVERFLOW
	}
	if flags&GrowsDown != 0 && (flags&Shared != 0 || obj != nil) {
		return 0, syscall.EINVAL // an object has no pages below its first
	}
	if flags&(Shared|MayNotWrite) == Shared|MayNotWrite && prot&arch.Write != 0 {
		return 0, syscall.EACCES
	}
	if flags&Anon != 0 {
		off = 0
		if flags&Shared != 0 { // an object, so that children of fork share it
			var err error
			if obj, err = NewAnonObject(vs.sys, int64(n), vs.owner()); err != nil {
				return 0, err
			}
			defer obj.Unref() // the entry takes its own reference
		}
	}
	like := entry{prot: prot, obj: obj, off: off, end: arch.VA(n), flags: entryFlagsOf(flags, obj)}
	if like.mayWriteObject() {
		// Counted before the map is locked, so that the object cannot be sealed meanwhile.
		if m := obj.Mapped(); m.claim() {
			defer m.unclaim()
		} else if prot&arch.Write != 0 {
			return 0, syscall.EPERM
		} else {
			like.flags |= entMayNotWrite
		}
	}

	vs.mu.Lock()
	populate := flags&(Populate|Locked) != 0
	if vs.lockFuture {
		like.flags |= entWired
		populate = populate || !vs.lockOnFault
	}
	if err := vs.mayMapLocked(n, flags, &like); err != nil {
		vs.mu.Unlock()
		return 0, err
	}
	va, o, err := vs.place(addr, n, flags, &like)
	if err == nil {
		vs.insert(va, n, &like)
	}
	vs.mu.Unlock()
	o.settle(vs.sys)
	if err != nil {
		return 0, err
	}
	if populate {
		c.populate(va, va+arch.VA(n)) // errors are ignored as on Linux: the access will fail again
	}
	return va, nil
}

// mayMapLocked returns nil if a mapping of n bytes need not be locked or may be. EPERM,
// EAGAIN. Preconditions: mu held.
func (vs *VMSpace) mayMapLocked(n uint64, flags MapFlags, like *entry) error {
	if flags&Locked != 0 {
		if err := vs.mayLockAny(); err != nil {
			return err
		}
	}
	if like.flags&entWired != 0 && !vs.mayLock(n) {
		return syscall.EAGAIN
	}
	return nil
}

func entryFlagsOf(flags MapFlags, obj Object) (f entryFlags) {
	if flags&Shared != 0 {
		f |= entShared
		if obj.Tracks() {
			f |= entTracked
		}
		if flags&MayNotWrite != 0 {
			f |= entMayNotWrite
		}
	}
	if flags&GrowsDown != 0 {
		f |= entGrowsDown
	}
	if flags&Locked != 0 {
		f |= entWired
	}
	if flags&NoReserve != 0 {
		f |= entNoReserve
	}
	return f
}

// place chooses the address for n bytes, unmaps what is there, and checks the limits. It
// returns what the caller owes for the old mappings. On error nothing has changed.
// Preconditions: mu held.
func (vs *VMSpace) place(addr arch.VA, n uint64, flags MapFlags, like *entry) (va arch.VA, o owed, err error) {
	if flags&(Fixed|FixedNoReplace) == 0 {
		if err := vs.mayGrow(n, 0, like); err != nil {
			return 0, o, err
		}
		va, err = vs.pick(addr, n, like)
		return va, o, err
	}
	if addr != addr.PageDown() {
		return 0, o, syscall.EINVAL
	}
	end := addr + arch.VA(n)
	if end < addr || end > arch.UserMax {
		return 0, o, syscall.ENOMEM
	}
	if addr < arch.UserMin {
		return 0, o, syscall.EPERM
	}
	if flags&FixedNoReplace != 0 {
		if !vs.free(addr, end) {
			return 0, o, syscall.EEXIST
		}
		return addr, o, vs.mayGrow(n, 0, like)
	}
	if err := vs.mayGrow(n, vs.mapped(addr, end), like); err != nil {
		return 0, o, err
	}
	o, err = vs.unmap(addr, end)
	return addr, o, err
}

// pick chooses a free range: at the hint if that is free, otherwise as high as possible
// below mmapBase, otherwise anywhere. Preconditions: mu held.
func (vs *VMSpace) pick(hint arch.VA, n uint64, like *entry) (arch.VA, error) {
	if hint != 0 {
		hint = max(hint.PageDown(), MinAddr)
		end := hint + arch.VA(n)
		if end > hint && end <= arch.UserMax && vs.free(hint, end) {
			return hint, nil
		}
	}
	// Memory in whole blocks is aligned to blocks, so that its reservations can become
	// block mappings.
	align := uint64(arch.PageSize)
	if like.obj == nil && n >= arch.BlockSize && n%arch.BlockSize == 0 {
		align = arch.BlockSize
	}
	for _, limit := range [...]arch.VA{vs.mmapBase, arch.UserMax} {
		for ; ; align = arch.PageSize {
			if va, ok := vs.tree.findGap(n, limit, align); ok && va >= MinAddr {
				return va, nil
			}
			if align == arch.PageSize {
				break
			}
		}
	}
	return 0, syscall.ENOMEM
}

// free reports whether nothing is mapped in [start, end), and no guard gap of a stack
// reaches into it. Preconditions: mu held.
func (vs *VMSpace) free(start, end arch.VA) bool {
	e := vs.tree.ceil(start)
	return e == nil || e.floor() >= end
}

// mapped returns how many bytes of [start, end) are mapped. Preconditions: mu held.
func (vs *VMSpace) mapped(start, end arch.VA) (n uint64) {
	for e := vs.tree.ceil(start); e != nil && e.start < end; e = e.next {
		n += uint64(min(e.end, end) - max(e.start, start))
		vs.spend(costEntry)
	}
	return n
}

// userRange checks a page range from user code: start must be aligned, and the range must
// lie in the user half. The length is rounded up.
func userRange(addr arch.VA, length uint64) (end arch.VA, ok bool) {
	if addr != addr.PageDown() || length > uint64(arch.UserMax) {
		return 0, false
	}
	end = addr + arch.VA(length).PageUp()
	return end, end >= addr && end <= arch.UserMax
}
