package main

import (
	"testing"

	"grim/proc/exit"
	"grim/qemu/bench"
)

// Exits that spend most time in the process itself share the CPUs. Those that leave the
// work to the reaper or to the parent queue, whatever the number of CPUs.
// Broken by: a reaper that is free at once.
func TestCrowd(t *testing.T) {
	of := func(by exit.Context) *bench.Exit {
		e := &bench.Exit{}
		at := int64(0)
		step := func(c exit.Context, ns int64) {
			at += ns
			e.Steps = append(e.Steps, bench.Step{Context: c.String(), NS: at})
		}
		step(exit.InProcess, 0)
		step(exit.InProcess, 10)
		step(by, 1000)
		step(exit.InReaper, 10)
		step(exit.InParent, 10)
		return e
	}
	for _, c := range []struct {
		by       exit.Context
		cpus     int
		from, to int64
	}{
		{exit.InProcess, 1, 16 * 1030, 16 * 1030},
		{exit.InProcess, 4, 4 * 1010, 4*1030 + 100},
		{exit.InReaper, 1, 16 * 1030, 16 * 1030},
		{exit.InReaper, 4, 16 * 1010, 16*1010 + 100},
		{exit.InParent, 4, 16 * 1000, 16*1010 + 100},
	} {
		if end := crowd(of(c.by), 16, c.cpus); end < c.from || end > c.to {
			t.Errorf("16 exits by the %v on %d CPUs take %d, want %d to %d", c.by, c.cpus, end, c.from, c.to)
		}
	}
	if end := crowd(of(exit.InBackground), 1, 1); end > 100 {
		t.Errorf("an exit whose purge is in the background is collected after %d", end)
	}
}
