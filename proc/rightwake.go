//go:build !wrongwake

package proc

import "grim/proc/exit"

// wakesEarly does something only in a kernel that is built to be broken: see wrongwake.go.
func (t *Thread) wakesEarly(*exit.Design) bool { return false }
