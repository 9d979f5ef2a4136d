//go:build wrongwake

package proc

import "grim/proc/exit"

// wakesEarly makes the process a zombie and wakes its parent while the calling thread is
// still on its way out, on the root of the process: the attempt of September 2025. Under a
// design that keeps threads, wait frees this one too. What is left of the exit takes a
// millisecond here, so that a parent on another CPU comes to it in time.
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
