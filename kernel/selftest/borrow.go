package selftest

import (
	"grim/arch"
	"grim/proc"
)

var borrowTests = []test{
	{name: "exit/vfork-child", run: vforkChild, layouts: true, designs: true},
	{name: "exit/borrower-first", run: borrowerFirst, layouts: true, designs: true},
	{name: "exit/lender-first", run: lenderFirst, layouts: true, designs: true},
	{name: "exit/lender-killed", run: lenderKilled, designs: true},
}

// Each of these tests (E9) fails if space.leave always returns "last": the first process to
// end then purges memory that the other still uses.

// vforkChild: the parent sleeps until the child has left its memory. Then it sees the
// child's writes, and has all of its memory.
func vforkChild(t *T) {
	var p program
	p.touch(dataVA, arch.PageSize, 600) // more than a 2 MB block
	p.times(0, 5, func(b *program) {
		b.spawnChild(cloneVfork, func(c *program) {
			c.store(dataVA, 9)
			c.exit(1)
		})
		b.waitAll(1, 1)
	})
	p.load(dataVA + 599*arch.PageSize)
	p.exitByte(dataVA)
	vs := t.space(&p)
	t.dataPages(vs, 600)
	t.wants("vfork parent", t.start(vs), proc.ExitStatus(9))
}

// borrowerFirst: a process with CLONE_VM ends while its lender uses the memory.
func borrowerFirst(t *T) {
	var p program
	p.touch(dataVA, arch.PageSize, 600)
	p.times(0, 5, func(b *program) {
		b.spawnChild(cloneShared, func(c *program) {
			c.store(dataVA+arch.PageSize, 8)
			c.exit(1)
		})
		b.touch(dataVA+2*arch.PageSize, arch.PageSize, 400)
		b.waitAll(1, 1)
	})
	p.load(dataVA + 599*arch.PageSize)
	p.exitByte(dataVA + arch.PageSize)
	vs := t.space(&p)
	t.dataPages(vs, 600)
	t.wants("lender", t.start(vs), proc.ExitStatus(8))
}

// lenderFirst: the process that made the memory ends first. Its borrower keeps all of it
// until it ends as well; only then the memory is purged.
func lenderFirst(t *T) {
	var p program
	p.touch(dataVA, arch.PageSize, 600)
	p.store(dataVA+arch.PageSize, 6)
	p.spawnChild(cloneShared, func(c *program) {
		c.waitAt(0)
		c.load(dataVA + 599*arch.PageSize)
		c.exitByte(dataVA + arch.PageSize)
	})
	p.waitAt(1)
	p.exit(2)
	vs := t.space(&p)
	t.dataPages(vs, 600)
	g := t.gates(vs, 2)
	free := t.Mem.FreeFrames()
	lender := t.start(vs)
	t.await(g, 0)
	t.await(g, 1)
	borrower := t.children(lender)[0]
	close(g.open[1])
	t.wants("lender", lender, proc.ExitStatus(2))
	if n := free - t.Mem.FreeFrames(); n < 600 {
		t.Errorf("the lender is gone, the borrower is not: %d frames in use, want 600 and more", n)
	}
	close(g.open[0])
	t.eventually("borrower ends", borrower.Exited)
	if st := borrower.Status(); st != proc.ExitStatus(6) {
		t.Errorf("borrower after its lender's end: status %#x, want exit status 6", uint32(st))
	}
}

// lenderKilled: a parent that is killed in vfork ends although its child still has the
// memory. The child continues with the memory.
func lenderKilled(t *T) {
	var p program
	p.store(dataVA, 4)
	p.spawnChild(cloneVfork, func(c *program) {
		c.waitAt(0)
		c.exitByte(dataVA)
	})
	p.exit(2)
	vs := t.space(&p)
	t.dataPages(vs, 1)
	g := t.gates(vs, 1)
	lender := t.start(vs)
	t.await(g, 0)
	borrower := t.children(lender)[0]
	t.kill(lender)
	t.wants("killed in vfork", lender, proc.SignalStatus(9))
	close(g.open[0])
	t.eventually("borrower ends", borrower.Exited)
	if st := borrower.Status(); st != proc.ExitStatus(4) {
		t.Errorf("borrower after its lender was killed: status %#x, want exit status 4", uint32(st))
	}
}
