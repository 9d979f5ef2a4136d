package vm

import (
	"syscall"

	"grim/arch"
)

// Unlimited means no limit (RLIM_INFINITY).
const Unlimited = ^uint64(0)

// Limits are the resource limits of an address space, in bytes. They are checked where
// something grows, as on Linux: mmap(2), brk(2), mremap(2), mprotect(2) (Data), growth of a
// stack, mlock(2) and its relatives (Memlock). fork(2) copies what exists, whatever the
// limits are.
type Limits struct {
	AS       uint64 // RLIMIT_AS: all mappings together
	Data     uint64 // RLIMIT_DATA: private writable mappings, stacks excluded
	Stack    uint64 // RLIMIT_STACK: how far a stack grows by itself
	Memlock  uint64 // RLIMIT_MEMLOCK; Unlimited for a process with CAP_IPC_LOCK
	Resident uint64 // resident memory; the fault that would exceed it fails with ENOMEM
}

// noLimits are the limits of a new space. The stack limit is Linux's default.
var noLimits = Limits{AS: Unlimited, Data: Unlimited, Stack: 8 << 20, Memlock: Unlimited, Resident: Unlimited}

// Limits returns the limits.
func (vs *VMSpace) Limits() Limits {
	vs.mu.Lock()
	l := vs.limits
	vs.mu.Unlock()
	return l
}

// SetLimits replaces the limits. Existing mappings stay.
func (vs *VMSpace) SetLimits(l Limits) {
	vs.mu.Lock()
	vs.limits = l
	vs.mu.Unlock()
}

// exceeds reports whether have+more is larger than limit.
func exceeds(have, more, limit uint64) bool { return more > limit || have > limit-more }

// mayGrow returns nil if the map may grow by n bytes that look like the given entry, else
// ENOMEM. gone is how many bytes the operation unmaps first.
func (vs *VMSpace) mayGrow(n, gone uint64, like *entry) error {
	if exceeds(vs.sizes.total-gone, n, vs.limits.AS) {
		return syscall.ENOMEM
	}
	if like.data() && exceeds(vs.sizes.data, n-min(n, gone), vs.limits.Data) {
		return syscall.ENOMEM
	}
	more := 1
	if gone != 0 {
		more = 2 // the unmapped part may be the middle of an entry
	}
	if err := vs.room(more); err != nil {
		return err
	}
	return vs.mayCommit(n, like)
}

// mayCommit is the overcommit rule, the heuristic of Linux's overcommit_memory 0. Memory is
// not reserved in advance. But a single request for more memory than the machine's RAM
// (there is no swap) is a mistake, and gets ENOMEM. RAM includes the kernel's part: a Go
// program maps 32 MB at its start and touches little of it, and must run on a machine with
// 64 MB.
//
// The rule applies to memory that will need frames of its own: private and writable, or
// shared and anonymous. MAP_NORESERVE, with which sparse tables are mapped, turns it off.
// It does not apply to fork(2).
func (vs *VMSpace) mayCommit(n uint64, like *entry) error {
	if like.commits() && n > vs.sys.ram {
		return syscall.ENOMEM
	}
	return nil
}

// maxEntries bounds the number of entries of a map, and so the kernel memory that the map
// takes (Linux's max_map_count).
const maxEntries = 65530

// mayHold returns nil if n more pages may be resident, else ENOMEM.
func (vs *VMSpace) mayHold(n int) error {
	if l := vs.limits.Resident; l != Unlimited && exceeds(uint64(vs.pm.Stats().Resident)<<arch.PageShift, uint64(n)<<arch.PageShift, l) {
		return syscall.ENOMEM
	}
	return nil
}

// mayLockAny returns EPERM if the process may not lock memory at all, because its limit is
// 0.
func (vs *VMSpace) mayLockAny() error {
	if vs.limits.Memlock == 0 {
		return syscall.EPERM
	}
	return nil
}

// mayLock reports whether n more bytes may be locked.
func (vs *VMSpace) mayLock(n uint64) bool {
	return !exceeds(vs.sizes.locked, n, vs.limits.Memlock)
}
