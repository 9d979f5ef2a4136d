package selftest

import (
	"fmt"
	"strings"

	"grim/arch"
	"grim/proc"
	"grim/proc/exit"
)

var timelineTests = []test{
	{name: "exit/timeline", run: exitTimeline, layouts: true, designs: true},
}

// exitTimeline (E6): the record of an exit in /proc/exits has its steps in the contract's
// order with ascending times, in the contexts of the design, and reports what the purge has
// freed. Broken by Exiting after die (exit1), by a trace whose times run backwards, and by
// exitsText without pages.
func exitTimeline(t *T) {
	const (
		children = 8
		touched  = 20
	)
	last := int64(0)
	for _, e := range t.exitsFile() {
		last = max(last, e.When)
	}
	var p program
	p.times(0, children, func(b *program) {
		b.spawnChild(cloneFork, func(c *program) {
			c.touch(dataVA, arch.PageSize, touched)
			c.exit(0)
		})
		b.waitAll(1, 1)
	})
	p.exit(0)
	vs := t.space(&p)
	t.dataPages(vs, touched)
	parent := t.start(vs)
	pid := int32(parent.PID())
	t.wants("parent", parent, 0)
	t.quiet()

	var events []proc.Event
	for _, e := range t.exitsFile() {
		if e.When > last {
			events = append(events, e)
		}
	}
	exits := byProcess(events)
	delete(exits, pid) // a child of the kernel, which no wait4 returns
	if len(exits) != children {
		t.Errorf("%d exits of children in /proc/exits, want %d", len(exits), children)
	}
	for pid, steps := range exits {
		for i := 1; i < len(steps); i++ { // CPUs do not wait for each other's numbers in the ring
			if steps[i].When < steps[i-1].When {
				t.Errorf("%v of process %d is told behind a later step", steps[i].Step, pid)
			}
		}
		if bad := t.badOrder(steps); bad != "" {
			t.Errorf("process %d: %s: %v", pid, bad, stepNames(steps))
		}
		for _, e := range steps {
			if e.Step == exit.StepPurgeEnd && (e.Pages < touched || e.Tables == 0) {
				t.Errorf("process %d: %d pages and %d table pages freed, after %d were touched", pid, e.Pages, e.Tables, touched)
			}
		}
	}
}

// exitsFile reads /proc/exits.
func (t *T) exitsFile() (events []proc.Event) {
	text, err := t.readFile("/proc/exits")
	t.check("/proc/exits", err)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var e proc.Event
		var step, context string
		_, err := fmt.Sscan(line, &e.PID, &step, &context, &e.When, &e.Pages, &e.Tables, &e.CPU)
		t.check("a line of /proc/exits", err)
		for e.Step.String() != step {
			if e.Step.String() == "?" {
				t.Fatalf("/proc/exits names a step %q", step)
			}
			e.Step++
		}
		for e.Context.String() != context {
			if e.Context++; e.Context >= exit.NumContexts {
				t.Fatalf("/proc/exits names a context %q", context)
			}
		}
		events = append(events, e)
	}
	return events
}
