//go:build !wrongwake

package proc

import "grim/proc/exit"

// wakesEarly has an effect only in a kernel that is broken on purpose: see wrongwake.go.
func (t *Thread) wakesEarly(*exit.Design) bool { return false }
