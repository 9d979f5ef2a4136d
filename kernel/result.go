package kernel

import (
	"fmt"
	"syscall"
	"time"
)

// Result is how a process has ended, and what it and the children that it has waited for
// have used.
type Result struct {
	Status       syscall.WaitStatus
	User, System time.Duration
	MaxRSS       int64 // bytes
	Faults       int64
	Output       error // what went wrong when bytes were copied from or to the process
}

// String describes the end: "status 0", or "killed: " and the signal.
func (r Result) String() string {
	if r.Status.Signaled() {
		return "killed: " + r.Status.Signal().String()
	}
	return fmt.Sprint("status ", r.Status.ExitStatus())
}
