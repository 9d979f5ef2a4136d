package kernel

import (
	"testing"

	"grim/proc"
	"grim/proc/exit"
)

func TestExitsText(t *testing.T) {
	got := string(exitsText([]proc.Event{
		{When: 100, PID: 7, Step: exit.StepExit1, Context: exit.InProcess},
		{When: 250, PID: 7, Step: exit.StepPurgeEnd, Context: exit.InReaper, CPU: 1, Pages: 3, Tables: 2},
	}))
	want := "# pid step context ns pages tables cpu\n7 exit1 process 100 0 0 0\n7 purge-end reaper 250 3 2 1\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
