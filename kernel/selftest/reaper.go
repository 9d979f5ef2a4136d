package selftest

import (
	"sync/atomic"

	"grim/mm/phys"
	"grim/proc"
)

var reaperTests = []test{
	{name: "reaper/10000-exits", run: reaperExits, policies: true, slow: true},
	{name: "reaper/roots-and-uareas", run: reaperRoots, layouts: true, policies: true},
}

// reaperExits (E4): after 10 000 exits of all kinds, frames, table pages and
// kernel objects are where they were, and every frame's count is right: the
// check that follows every test. Broken by freeSpace keeping its reference for
// one pid in a thousand.
func reaperExits(t *T) {
	base := t.Proc.Counts().Processes
	before := t.Proc.Counts()
	const each = 10_000 / mixedExits / 2
	a, b := t.mixedProcess(each), t.mixedProcess(each)
	t.wants("mixed load", a, 0)
	t.wants("mixed load", b, 0)
	t.processesEnd("orphans end", base)
	now := t.Proc.Counts()
	made := now.Forks - before.Forks
	if made < 2*each*mixedExits {
		t.Errorf("%d processes made, want %d", made, 2*each*mixedExits)
	}
	if exits, gone := now.Exits-before.Exits, now.Released-before.Released; exits != made || gone != made {
		t.Errorf("%d processes made, %d exited, %d released", made, exits, gone)
	}
}

// reaperRoots (E3): at every step of every exit the root that the CPU has loaded
// is a live one, and a thread that is being handed over, or has purged, is on
// none: what the reaper frees is on no CPU. Broken by
// leaveSiblings without its Deactivate: the hand-over is made on the root.
func reaperRoots(t *T) {
	base := t.Proc.Counts().Processes
	var onRoot, freed, steps atomic.Int64
	t.OnExitStep(func(e *proc.Event) {
		steps.Add(1)
		pm := t.Pmaps.Current()
		if pm == nil {
			return
		}
		switch e.Step {
		case proc.StepPurgeEnd, proc.StepDead, proc.StepThreadDead, proc.StepDeadproc:
			// The exiting thread itself does this, and has left its root.
			if e.Context == proc.InProcess {
				onRoot.Add(1)
			}
		}
		if t.Mem.Owner(phys.FrameOf(pm.Root().Table)) != phys.Root {
			freed.Add(1)
		}
	})
	t.Cleanup(func() { t.OnExitStep(nil) })
	t.wants("mixed load", t.mixedProcess(6), 0)
	t.processesEnd("orphans end", base)
	t.OnExitStep(nil)
	if n := onRoot.Load(); n != 0 {
		t.Errorf("at %d of %d steps the CPU was on a user root", n, steps.Load())
	}
	if n := freed.Load(); n != 0 {
		t.Errorf("at %d of %d steps the CPU was on a root that is free", n, steps.Load())
	}
	if steps.Load() < 6*mixedExits*8 {
		t.Errorf("%d steps seen, want %d and more", steps.Load(), 6*mixedExits*8)
	}
}
