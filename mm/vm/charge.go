package vm

import (
	"syscall"
	"unsafe"

	"grim/mm/charge"
)

// What the map makes the kernel hold is charged to the user whose space it is.
// Map entries are paid for some at a time, so that most operations only compare
// two numbers: every operation that may add entries calls room first, for as many
// as it can need, and then cannot fail for want of them.

const (
	// entryStep is how many entries are paid for at a time. A small process has
	// 8 to 16, so that New pays for all it will ever have.
	entryStep = 16
	entryCost = int64(unsafe.Sizeof(entry{}))
	// spaceCost is what a new space is charged, first entries included.
	spaceCost = int64(unsafe.Sizeof(VMSpace{})) + entryStep*entryCost
)

// charged is what the space has been charged for itself and its entries. Preconditions:
// mu held.
func (vs *VMSpace) charged() int64 { return spaceCost + int64(vs.paid-entryStep)*entryCost }

// Charged is how much of the kernel's heap the space holds, in bytes.
func (vs *VMSpace) Charged() int64 {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return vs.charged()
}

// owner is who pays for the space, and for what is made for it now.
func (vs *VMSpace) owner() *charge.User {
	vs.mu.Lock()
	u := vs.payer
	vs.mu.Unlock()
	return u
}

// PayFor makes another user pay for the space. What the space has been charged keeps
// the user known.
func (vs *VMSpace) PayFor(u *charge.User) {
	vs.mu.Lock()
	if vs.payer != u {
		u.PayFor(charge.Space, vs.charged(), vs.payer)
		vs.payer = u
	}
	vs.mu.Unlock()
}

// room makes sure that the map may get n more entries: nil or ENOMEM, for
// maxEntries as well as for kernel memory. Preconditions: mu held.
func (vs *VMSpace) room(n int) error {
	if vs.tree.n+n <= vs.paid {
		return nil
	}
	return vs.pay(vs.tree.n + n)
}

// pay charges for as many entries as given. Preconditions: mu held.
func (vs *VMSpace) pay(entries int) error {
	if entries > maxEntries {
		return syscall.ENOMEM
	}
	more := (entries - vs.paid + entryStep - 1) / entryStep * entryStep
	if !vs.payer.Take(charge.Space, int64(more)*entryCost) {
		return syscall.ENOMEM
	}
	vs.paid += more
	return nil
}

// repay gives back what is paid for entries that are gone, once that is much. It
// leaves entryStep unused ones, which is more than any operation has asked room
// for and not used yet. Preconditions: mu held.
func (vs *VMSpace) repay() {
	less := (vs.paid-vs.tree.n)/entryStep*entryStep - entryStep
	if less >= entryStep {
		vs.paid -= less
		vs.payer.Give(charge.Space, int64(less)*entryCost)
	}
}
