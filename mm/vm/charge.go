package vm

import (
	"syscall"
	"unsafe"

	"grim/mm/charge"
)

// Memory that the kernel keeps for a map is charged to the user that owns the space. Map
// entries are paid for several at a time, so that most operations only compare two numbers.
// Every operation that may add entries first calls room for as many as it can need; after
// that it cannot fail for want of entries.

const (
	// entryStep is how many entries are paid for at a time. A small process has 8 to 16
	// entries, so New pays for all that it will ever have.
	entryStep = 16
	entryCost = int64(unsafe.Sizeof(entry{}))
	// spaceCost is what a new space is charged, first entries included.
	spaceCost = int64(unsafe.Sizeof(VMSpace{})) + entryStep*entryCost
)

// charged returns what the space has been charged for itself and its entries.
// Preconditions: mu held.
func (vs *VMSpace) charged() int64 { return spaceCost + int64(vs.paid-entryStep)*entryCost }

// Charged returns how much of the kernel's heap the space holds, in bytes.
func (vs *VMSpace) Charged() int64 {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return vs.charged()
}

// owner returns the user that pays for the space, and for what is made for it now.
func (vs *VMSpace) owner() *charge.User {
	vs.mu.Lock()
	u := vs.payer
	vs.mu.Unlock()
	return u
}

// PayFor makes u pay for the space. What the space has been charged keeps u's entry in the
// table of users.
func (vs *VMSpace) PayFor(u *charge.User) {
	vs.mu.Lock()
	if vs.payer != u {
		u.PayFor(charge.Space, vs.charged(), vs.payer)
		vs.payer = u
	}
	vs.mu.Unlock()
}

// room makes sure that the map may get n more entries. ENOMEM if there would be more than
// maxEntries, or kernel memory is refused. Preconditions: mu held.
func (vs *VMSpace) room(n int) error {
	if vs.tree.n+n <= vs.paid {
		return nil
	}
	return vs.pay(vs.tree.n + n)
}

// pay charges for entries until so many are paid for in all. Preconditions: mu held.
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

// repay gives back what is paid for entries that are gone, if that is at least entryStep.
// It leaves entryStep unused entries paid for, which is more than any operation has asked
// room for and not used yet. Preconditions: mu held.
func (vs *VMSpace) repay() {
	less := (vs.paid-vs.tree.n)/entryStep*entryStep - entryStep
	if less >= entryStep {
		vs.paid -= less
		vs.payer.Give(charge.Space, int64(less)*entryCost)
	}
}
