package selftest

import (
	"sync"

	"grim/mm/phys"
	"grim/proc"
	"grim/proc/exit"
)

var reaperTests = []test{
	{name: "reaper/10000-exits", run: reaperExits, slow: true},
	{name: "reaper/roots-and-uareas", run: reaperRoots, layouts: true, designs: true},
}

// reaperExits (E4): after 10 000 exits of all kinds, frames, table pages and kernel objects
// are as before, and every frame's count is right. The check after every test finds that.
// Broken by FreeSpace keeping its reference for one pid in a thousand.
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

// reaperRoots (E3): at every step of every exit, the CPU has loaded a live root. When a
// thread with siblings is seen to be dead, the CPU has loaded no process's root; otherwise
// the last sibling could purge it. Broken by leaveSiblings without its Deactivate.
func reaperRoots(t *T) {
	base := t.Proc.Counts().Processes
	var mu sync.Mutex
	var onRoot, freed, steps int
	lastThread := map[int32]bool{} // processes with only one thread left
	t.OnExitStep(func(e *proc.Event) {
		mu.Lock()
		defer mu.Unlock()
		steps++
		if e.Step == exit.StepUserDone {
			lastThread[e.PID] = true
		}
		pm := t.Pmaps.Current()
		if pm == nil {
			return
		}
		if e.Step == exit.StepThreadDead && !lastThread[e.PID] {
			onRoot++
		}
		if f := phys.FrameOf(pm.Root().Table); !t.Mem.InUse(f) || t.Mem.Owner(f) != phys.Root {
			freed++
		}
	})
	t.Cleanup(func() { t.OnExitStep(nil) })
	t.wants("mixed load", t.mixedProcess(6), 0)
	t.processesEnd("orphans end", base)
	t.OnExitStep(nil)
	if onRoot != 0 || freed != 0 {
		t.Errorf("of %d steps, %d by a dead thread on its root, %d on a root that is free", steps, onRoot, freed)
	}
	if want := 6 * mixedExits * 8; steps < want {
		t.Errorf("%d steps seen, want %d and more", steps, want)
	}
}
