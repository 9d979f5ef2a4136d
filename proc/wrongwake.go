//go:build wrongwake

package proc

import "grim/proc/exit"

// A thread that ends leaves its CPU on the root, as in a kernel that switches lazily.
const staysOnRoot = true

// wakesEarly makes the process a zombie and wakes its parent while the calling thread is
// still exiting, on the root of the process: the attempt of September 2025. Under a design
// that keeps threads, wait frees this thread too. Here the rest of the exit takes a
// millisecond, so that a parent on another CPU frees the thread before that ends.
func (t *Thread) wakesEarly(d *exit.Design) bool {
	if d.Threads != exit.Kept || t.p.unburied.Load() != 0 {
		return false
	}
	t.keep()
	k := t.p.k
	d.Last((*ending)(t.p), exit.InProcess)
	for end := k.now() + 1e6; k.now() < end; {
	}
	return true
}
