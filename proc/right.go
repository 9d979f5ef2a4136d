//go:build !wrongwake

package proc

import "grim/proc/exit"

// staysOnRoot and wakesEarly do something only in a kernel that is built to be broken
// (qemu/debate, claims 7 and 9): see wrongwake.go.
const staysOnRoot = false

func (t *Thread) wakesEarly(*exit.Design) bool { return false }
