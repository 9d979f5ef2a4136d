package sys

import "sync/atomic"

// The kernel's own heap is small and is not charged to processes. A thread that
// waits inside a call must therefore hold little more of it than a thread costs
// anyway, however many there are; what may be larger comes out of a fixed
// budget, and the call fails with ENOMEM when that is spent.

// transientBytes is the budget of all calls together: two of the largest
// argument lists that execve(2) allows.
const transientBytes = 2 * maxExecStrings

// budget is a number of bytes that can be taken and given back.
type budget struct{ used atomic.Int64 }

// take reserves n bytes; false if there are not as many left.
func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) > transientBytes {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

func (b *budget) give(n int) { b.used.Add(-int64(n)) }
