package selftest

import (
	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/proc"
	"grim/proc/exit"
)

var zombieTests = []test{
	{name: "zombies/hold-nothing", run: zombiesHoldNothing, layouts: true, designs: true, guards: exit.E10},
	{name: "zombies/orphaned-to-init", run: zombiesToInit, designs: true},
	{name: "zombies/parent-never-waits", run: zombiesParentEnds, designs: true},
	{name: "zombies/none-if-ignored", run: zombiesIgnored, designs: true},
}

// zombies is the number of zombies of most tests. A machine of 64 MB has room for some 450
// processes of one user.
const zombies = 300

// fatZombies is the number under a design whose zombies hold memory: such a machine has no
// room for 300.
const fatZombies = 60

// zombieMaker forks children that touch memory and end with status 3, arrives at gate 0,
// and continues with the code that then emits.
func (t *T) zombieMaker(n uint64, then func(*program)) (*proc.Process, *gates) {
	var p program
	p.times(0, n, func(b *program) {
		b.spawnChild(cloneFork, func(c *program) {
			c.touch(dataVA, arch.PageSize, 4)
			c.exit(3)
		})
	})
	p.waitAt(0)
	then(&p)
	vs := t.space(&p)
	t.dataPages(vs, 4)
	g := t.gates(vs, 1)
	parent := t.start(vs)
	t.await(g, 0)
	t.eventually("children are zombies", func() bool {
		for _, c := range t.children(parent) {
			if c.State() != proc.Zombie {
				return false
			}
		}
		return true
	})
	return parent, g
}

// zombiesHoldNothing (E10): 300 zombies hold status, usage and identity, and nothing else:
// no frame, no vmspace, no thread, no descriptor. Then each is waited for, and its status
// is right. Broken by exit.Parent, and by Last without FreeSpace.
func zombiesHoldNothing(t *T) {
	before := t.census()
	zombies := zombies
	if t.Design.Breach(exit.E10) != nil {
		zombies = fatZombies
	}
	parent, g := t.zombieMaker(uint64(zombies), func(p *program) {
		p.times(0, uint64(zombies), func(b *program) {
			b.call(unix.SYS_WAIT4, ^uint64(0), uint64(dataVA), 0, 0)
			b.orExit(waitFailed)
		})
		p.exitByte(dataVA + 1)
	})
	t.quiet()
	now := t.census()
	if n := now.Processes - before.Processes; n != int64(zombies+1) {
		t.Errorf("%d processes, want %d", n, zombies+1)
	}
	// The parent holds a space, a thread, a dozen frames and tables.
	const parents = 40
	if s, th, fr := now.Spaces-before.Spaces, now.Threads-before.Threads, before.Frames-now.Frames; s != 1 || th != 1 || fr > parents {
		t.Brokenf(exit.E10, "%d zombies hold memory and threads: %d vmspaces, %d threads, about %d frames", zombies, s-1, th-1, fr)
	}
	if f := now.Files - before.Files; f > 3 {
		t.Errorf("%d zombies hold %d open files", zombies, f)
	}
	for _, c := range t.children(parent) {
		vs := c.VM()
		if vs != nil {
			vs.Release()
		}
		if vs != nil || c.Files() != nil || len(c.TIDs()) != 0 {
			t.Brokenf(exit.E10, "zombies hold memory and threads: number %d does, or files", c.PID())
		}
		t.check("signal to a zombie", c.Signal(&proc.Siginfo{Signo: unix.SIGKILL}))
	}
	close(g.open[0])
	t.wants("parent of zombies", parent, proc.ExitStatus(3))
}

// zombiesToInit: the zombies of a parent that ends become process 1's. Process 1, asleep in
// wait, is told and gets them. Broken by orphan without its announce.
func zombiesToInit(t *T) {
	const n = 20
	var in program
	in.spawnChild(cloneFork, func(c *program) {
		c.waitAt(0)
		c.exit(0)
	})
	in.waitAll(0, n+1)
	in.exit(11)
	vs := t.space(&in)
	gate := t.gates(vs, 1)
	init, err := t.Proc.Spawn(proc.SpawnArgs{
		Name: "selftest-init", VM: vs, PC: codeVA, SP: stackVA - 64, Init: true, Design: t.Design,
	})
	t.check("spawn of process 1", err)
	t.await(gate, 0)
	parent, g := t.zombieMaker(n, func(p *program) { p.exit(2) })
	orphans := t.children(parent)
	if len(orphans) != n {
		t.Errorf("%d zombies, want %d", len(orphans), n)
	}
	close(g.open[0])
	t.wants("parent that does not wait", parent, proc.ExitStatus(2))
	t.eventually("process 1 has waited for the orphans", func() bool { return len(t.children(init)) == 1 })
	for _, c := range orphans { // a zombie with work left is off the list before it is gone
		t.eventually("an orphan is gone", func() bool { return c.State() == proc.Gone })
	}
	close(gate.open[0])
	t.wants("process 1", init, proc.ExitStatus(11))
}

// zombiesParentEnds: a parent may never wait. Its zombies are reaped when it ends, since
// there is no process 1 yet. Broken by orphan without its announce, and by announce with
// nowait always false.
func zombiesParentEnds(t *T) {
	base := t.Proc.Counts().Processes
	parent, g := t.zombieMaker(50, func(p *program) { p.exit(2) })
	if n := len(t.children(parent)); n != 50 {
		t.Errorf("%d zombies, want 50", n)
	}
	close(g.open[0])
	t.wants("parent that never waits", parent, proc.ExitStatus(2))
	t.processesEnd("zombies of an ended parent go", base)
}

// zombiesIgnored: if SIGCHLD is ignored, children do not become zombies, and wait returns
// ECHILD after the last. Broken by announce that looks only for a parent.
func zombiesIgnored(t *T) {
	var p program
	p.ignoreSIGCHLD(dataVA)
	p.times(0, 50, func(b *program) {
		b.spawnChild(cloneFork, func(c *program) { c.exit(3) })
	})
	p.call(unix.SYS_WAIT4, ^uint64(0), 0, 0, 0)
	p.exitResult()
	vs := t.space(&p)
	t.dataPages(vs, 1)
	t.wants("parent that ignores SIGCHLD", t.start(vs), proc.ExitStatus(-int(unix.ECHILD)))
}
