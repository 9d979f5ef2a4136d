package sys

import "grim/mm/charge"

// A thread that waits inside a call holds little more of the kernel's heap than a
// thread costs anyway. What may be larger is charged to the caller while the call
// lasts, and the call fails with ENOMEM when that is refused.

// freeBytes is what a call may have without a charge.
const freeBytes = 4 << 10

// take charges n bytes for the call; false if they are refused.
func (c ctx) take(n int) bool {
	return n <= freeBytes || c.t.Process().Account().Take(charge.Call, int64(n))
}

// give gives back what take has charged.
func (c ctx) give(n int) {
	if n > freeBytes {
		c.t.Process().Account().Give(charge.Call, int64(n))
	}
}
