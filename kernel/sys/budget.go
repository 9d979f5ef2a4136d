package sys

import "grim/mm/charge"

// A thread that waits inside a call holds little more of the kernel's heap than a thread
// costs anyway. Larger amounts are charged to the caller during the call. If the charge is
// refused, the call fails with ENOMEM.

// freeBytes is how much a call may use without a charge.
const freeBytes = 4 << 10

// take charges n bytes for the call. It returns false if the charge is refused.
func (c ctx) take(n int) bool {
	return n <= freeBytes || c.t.Process().Account().Take(charge.Call, int64(n))
}

// give returns the charge of take.
func (c ctx) give(n int) {
	if n > freeBytes {
		c.t.Process().Account().Give(charge.Call, int64(n))
	}
}
