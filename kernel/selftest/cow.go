package selftest

import (
	"golang.org/x/sys/unix"

	"grim/arch"
)

var cowTests = []test{
	{name: "cow/both-directions", run: cowBothDirections, layouts: true, designs: true},
	{name: "cow/stack", run: cowStack, layouts: true, designs: true},
	{name: "cow/block", run: cowBlock, layouts: true},
	{name: "cow/generations", run: cowGenerations, layouts: true},
	{name: "cow/shared-memory", run: cowSharedMemory, layouts: true},
}

// flagVA is a page of shared memory through which related processes communicate.
const flagVA = dataVA + 64*arch.BlockSize

// cowBothDirections: after fork(2) neither process sees the other's writes, whichever
// writes first, even though the parent had its pages writable in the TLB.
// Broken by: Copy without its flush of the parent; Copy whose Sharing loses no right.
func cowBothDirections(t *T) {
	var child, p program
	p.store(dataVA, 1)
	p.store(dataVA+page, 1)
	p.store(dataVA+2*page, 1)
	child.expect(dataVA, 1, 1)
	child.store(dataVA, 2) // the child first
	child.store(flagVA, 1)
	child.await(flagVA+1, 1)
	child.expect(dataVA, 2, 2)
	child.expect(dataVA+page, 1, 3) // the parent has written there
	child.expect(dataVA+2*page, 1, 9)
	child.store(dataVA+page, 4)
	child.exit(0)
	p.fork(&child)
	p.store(dataVA+2*page, 9) // at once, before any other process has run
	p.await(flagVA, 1)
	p.expect(dataVA, 1, 4)
	p.store(dataVA+page, 3)
	p.store(flagVA+1, 1)
	p.waitAny(stackVA - 128)
	p.expect(stackVA-127, 0, 5) // the child's exit status
	p.expect(dataVA, 1, 6)
	p.expect(dataVA+page, 3, 7)
	p.store(dataVA, 5)
	p.expect(dataVA, 5, 8)
	p.exit(0)
	for range 4 { // an interrupt directly after the fork would hide a missing flush
		vs := t.space(&p)
		t.mapped(vs, dataVA, 4*page)
		t.mapFlags(vs, flagVA, page, readWrite, shared, nil)
		t.passes("copy on write", vs)
	}
}

// cowStack: the page of the stack pointer, which fork copies at once, is as private as all
// other pages, also for children's children. So is the page below it, which is copied on
// write.
// Broken by: forkPage that does not copy; putOwn that enters the parent's frame.
func cowStack(t *T) {
	const top, below = stackVA - 200, stackVA - 200 - page
	var grandchild, child, p program
	grandchild.expect(top, 3, 1)
	grandchild.expect(below, 1, 2)
	grandchild.store(top, 4)
	grandchild.store(below, 4)
	grandchild.exit(0)
	child.expect(top, 1, 1)
	child.expect(below, 1, 2)
	child.store(top, 3)
	child.fork(&grandchild)
	child.waitAny(stackVA - 128)
	child.expect(stackVA-127, 0, 3)
	child.expect(top, 3, 4)
	child.expect(below, 1, 5)
	child.exit(0)
	p.store(top, 1)
	p.store(below, 1)
	p.fork(&child)
	p.store(top, 2) // at once, before any other process has run
	p.waitAny(stackVA - 128)
	p.expect(stackVA-127, 0, 6)
	p.expect(top, 2, 7)
	p.expect(below, 1, 8)
	p.store(below, 5)
	p.exit(0)
	t.passes("fork on the stack", t.space(&p))
}

// cowBlock: a 2 MB block is shared after fork. A write to one of its pages copies only that
// page, not 2 MB, and the other process keeps its bytes.
// Broken by: Copy of a block without the loss of Write; faultPresent that lets Reuse have a
// block with two references.
func cowBlock(t *T) {
	free := t.Mem.FreeFrames()
	var child, p program
	child.store(dataVA+100*page, 2)
	child.expect(dataVA+101*page, 0x5a, 1)
	child.store(flagVA, 1)
	child.await(flagVA+1, 1)
	child.expect(dataVA+100*page, 2, 2)
	child.exit(0)
	p.touch(dataVA, page, arch.BlockPages)
	p.fork(&child)
	p.await(flagVA, 1)
	p.expect(dataVA+100*page, 0x5a, 3)
	p.store(dataVA+200*page, 3)
	p.store(flagVA+2, 1)
	p.await(flagVA+3, 1)
	p.store(flagVA+1, 1)
	p.waitAny(stackVA - 128)
	p.expect(stackVA-127, 0, 4)
	p.expect(dataVA+100*page, 0x5a, 5)
	p.expect(dataVA+200*page, 3, 6)
	p.exit(0)
	vs := t.space(&p)
	t.mapped(vs, dataVA, arch.BlockSize)
	t.mapFlags(vs, flagVA, page, readWrite, shared, nil)
	vs.Ref()
	proc := t.start(vs)
	t.eventually("both have written", func() bool { return t.byteAt(vs, flagVA+2) == 1 || proc.Exited() })
	if used := free - t.Mem.FreeFrames(); used > arch.BlockPages+60 {
		t.Errorf("%d frames in use by two processes that share a 2 MB block and wrote a page each", used)
	}
	t.check("copyout", vs.CopyOut(flagVA+3, []byte{1}))
	vs.Release()
	if st := proc.Wait().Status; st != 0 {
		t.Errorf("%s", statusText(st))
	}
}

// cowGenerations: a page shared by three generations is copied by each that writes to it,
// and released by each that ends. The last process that has it writes in place. Broken by:
// Reuse that does not look at the references.
func cowGenerations(t *T) {
	var grandchild, child, p program
	grandchild.expect(dataVA, 2, 1)
	grandchild.store(dataVA, 3)
	grandchild.store(dataVA+page, 3)
	grandchild.exit(0)
	child.expect(dataVA, 1, 1)
	child.store(dataVA, 2)
	child.fork(&grandchild)
	child.waitAny(stackVA - 128)
	child.expect(stackVA-127, 0, 2)
	child.expect(dataVA, 2, 3)
	child.expect(dataVA+page, 1, 4)
	child.exit(0)
	p.store(dataVA, 1)
	p.store(dataVA+page, 1)
	p.fork(&child)
	p.waitAny(stackVA - 128)
	p.expect(stackVA-127, 0, 5)
	p.expect(dataVA, 1, 6)
	p.expect(dataVA+page, 1, 7)
	p.store(dataVA, 4)
	p.expect(dataVA, 4, 8)
	p.exit(0)
	vs := t.space(&p)
	t.mapped(vs, dataVA, 2*page)
	t.passes("three generations", vs)
}

// cowSharedMemory: shared anonymous memory stays shared after fork, in both directions,
// including pages that only one process has touched before.
// Broken by: forkEntries that copies shared entries as private ones.
func cowSharedMemory(t *T) {
	var child, p program
	p.store(dataVA, 1)
	child.expect(dataVA, 1, 1)
	child.store(dataVA, 2)
	child.await(dataVA+page, 3)
	child.store(dataVA+2*page, 4)
	child.exit(0)
	p.fork(&child)
	p.await(dataVA, 2)
	p.store(dataVA+page, 3)
	p.await(dataVA+2*page, 4)
	p.waitAny(stackVA - 128)
	p.expect(stackVA-127, 0, 2)
	p.exit(0)
	vs := t.space(&p)
	t.mapFlags(vs, dataVA, 3*page, readWrite, shared, nil)
	t.passes("shared memory", vs)

	// An address that the map never had is no part of it.
	var q program
	q.load(dataVA + 3*page)
	vs = t.space(&q)
	t.mapFlags(vs, dataVA, 3*page, readWrite, shared, nil)
	t.dies("read behind shared memory", vs, unix.SIGSEGV)
}
