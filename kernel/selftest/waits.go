package selftest

import (
	"golang.org/x/sys/unix"

	"grim/proc"
)

var waitTests = []test{
	{name: "wait/by-several-threads", run: waitThreads, layouts: true, designs: true},
	{name: "wait/parent-first", run: waitParentFirst, designs: true},
}

// waitThreads: several threads wait at the same time. Every child is given to exactly one
// of them. Broken by collect without release.
func waitThreads(t *T) {
	const n = 8
	var p program
	p.times(0, n, func(b *program) {
		b.spawnChild(cloneFork, func(c *program) {
			c.waitAt(0)
			c.exit(3)
		})
	})
	for range n {
		p.thread(func(th *program) {
			th.call(unix.SYS_WAIT4, ^uint64(0), 0, 0, 0)
			th.orExit(waitFailed)
			th.exitThread()
		})
	}
	p.waitAt(1)
	p.call(unix.SYS_WAIT4, ^uint64(0), 0, 0, 0)
	p.exitResult()
	vs := t.space(&p)
	g := t.gates(vs, 2)
	parent := t.start(vs)
	t.await(g, 1)
	close(g.open[0])
	t.eventually("every child waited for", func() bool {
		return len(parent.TIDs()) == 1 && len(t.children(parent)) == 0
	})
	close(g.open[1])
	t.wants("parent", parent, proc.ExitStatus(-int(unix.ECHILD)))
}

// waitParentFirst: in a chain of processes, each ends before its child. The last one is
// reaped though no process is left to wait. Broken by announce with nowait always false.
func waitParentFirst(t *T) {
	base := t.Proc.Counts().Processes
	var p program
	p.times(0, 30, func(b *program) {
		// The child goes on with the loop, the parent ends.
		b.clone(cloneFork, &program{})
		b.exitParent()
	})
	p.exit(0)
	t.wants("first of the chain", t.start(t.space(&p)), proc.ExitStatus(12))
	t.processesEnd("the chain ends", base)
}
