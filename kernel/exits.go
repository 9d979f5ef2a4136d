package kernel

import (
	"bytes"
	"fmt"

	"grim/proc"
)

// exitsText returns /proc/exits: the steps of recent exits, oldest first, one per line. A
// line has the pid, the step, its context, the monotonic time in nanoseconds, the pages and
// table pages that the step freed, and the CPU on which it ran.
func exitsText(events []proc.Event) []byte {
	var b bytes.Buffer
	b.WriteString("# pid step context ns pages tables cpu\n")
	for i := range events {
		e := &events[i]
		fmt.Fprintf(&b, "%d %s %s %d %d %d %d\n", e.PID, e.Step, e.Context, e.When, e.Pages, e.Tables, e.CPU)
	}
	return b.Bytes()
}
