//go:build wrongwake

package proc

import "grim/proc/exit"

// wakesEarly makes the process a zombie and wakes its parent while the calling thread is
// still on its way out, on the root of the process: the attempt of September 2025. Under a
// design that keeps threads, wait frees this one too.
func (t *Thread) wakesEarly(d *exit.Design) bool {
	if d.Threads != exit.Kept || t.p.unburied.Load() != 0 {
		return false
	}
	t.keep()
	d.Last((*ending)(t.p), exit.InProcess)
	return true
}
