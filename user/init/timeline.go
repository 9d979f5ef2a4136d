package main

import (
	"fmt"
	"io"
	"strings"
)

// step is a line of /proc/exits: one step of one process's exit.
type step struct {
	pid           int
	name, context string
	ns            int64 // monotonic time
	pages, tables int   // freed by this step
	cpu           int   // the CPU that ran it
}

// parseExits returns one process's steps in the text of /proc/exits: lines of "pid step
// context ns pages tables cpu", oldest first.
func parseExits(text string, pid int) ([]step, error) {
	var steps []step
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var s step
		if _, err := fmt.Sscan(line, &s.pid, &s.name, &s.context, &s.ns, &s.pages, &s.tables, &s.cpu); err != nil {
			return nil, fmt.Errorf("/proc/exits: %q: %w", line, err)
		}
		if s.pid == pid {
			steps = append(steps, s)
		}
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("/proc/exits says nothing of pid %d", pid)
	}
	return steps, nil
}

// draw prints the steps, with the time since the first step and a bar that shows their
// position in the whole exit.
func draw(w io.Writer, steps []step) {
	const width = 40
	start, total := steps[0].ns, max(1, steps[len(steps)-1].ns-steps[0].ns)
	for i, s := range steps {
		from := (s.ns - start) * width / total
		to := from
		if i+1 < len(steps) {
			to = (steps[i+1].ns - start) * width / total
		}
		bar := strings.Repeat(" ", int(from)) + strings.Repeat("=", int(max(1, to-from)))
		note := ""
		if s.pages > 0 || s.tables > 0 {
			note = fmt.Sprintf("%d pages, %d table pages", s.pages, s.tables)
		}
		line := fmt.Sprintf("  %10.1f us  %-12s %-10s CPU %d |%-*s| %s", float64(s.ns-start)/1e3, s.name, s.context, s.cpu, width+1, bar, note)
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}
