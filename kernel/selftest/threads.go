package selftest

import (
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/mm/phys"
	"grim/proc"
)

var threadTests = []test{
	{name: "threads/100000", run: threadChurn, slow: true},
	{name: "threads/freed-at-once", run: threadsFreed, layouts: true, policies: true},
	{name: "threads/registers-kept", run: threadRegisters, layouts: true},
	{name: "threads/exit-group", run: exitGroupThreads, layouts: true, policies: true},
	{name: "threads/exit-during-fork", run: exitDuringFork, policies: true},
	{name: "threads/exec-ends-siblings", run: execSiblings, layouts: true, policies: true},
}

// makeThreads emits n threads that end at once.
func (p *program) makeThreads(level int, n uint64) {
	p.times(level, n, func(b *program) { b.thread((*program).exitThread) })
}

// threadPeaks runs until the program has come to gate i and gives the most dead
// threads, and threads at all, seen on the way.
func (t *T) threadPeaks(g *gates, i int, limit time.Duration) (dead int, all int64) {
	for deadline := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		c := t.Proc.Counts()
		dead, all = max(dead, c.DeadThreads), max(all, c.Threads)
		select {
		case <-g.arrived[i]:
			return dead, all
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("not done after %v: %+v", limit, c)
		}
	}
}

// threadChurn (E5): a process that makes and ends 100 000 threads never holds
// more than live ones plus a bound. The numbers come round three times meanwhile;
// a zombie's and its group's are never handed out. Broken by reaping a thread
// that is not the last at its process's end only; by a release of the number in
// zombify.
func threadChurn(t *T) {
	var p program
	p.spawnChild(cloneFork, func(c *program) { c.exit(3) })
	p.makeThreads(0, 100_000)
	p.waitAt(0)
	p.call(unix.SYS_WAIT4, ^uint64(0), uint64(dataVA), 0, 0)
	p.orExit(waitFailed)
	p.exitByte(dataVA + 1)
	vs := t.space(&p)
	t.dataPages(vs, 1)
	g := t.gates(vs, 1)
	before := t.Proc.Counts()
	parent := t.start(vs)
	t.eventually("the child is a zombie", func() bool {
		c := t.children(parent)
		return len(c) == 1 && c[0].State() == proc.Zombie
	})
	zombie := t.children(parent)[0]
	dead, all := t.threadPeaks(g, 0, 60*time.Second)
	// A slice is too short for the maker to start more than some hundreds
	// before the first of them runs.
	const most = 4096
	if dead > 2*64 || all > most {
		t.Errorf("%d dead threads and %d in all at one time, want up to %d and %d", dead, all, 2*64, most)
	}
	t.eventually("threads are freed while the process lives", func() bool {
		return t.Proc.Counts().Threads == before.Threads+1
	})
	if t.Proc.Process(zombie.PID()) != zombie || zombie.State() != proc.Zombie {
		t.Errorf("number %d does not mean its zombie any more", zombie.PID())
	}
	close(g.open[0])
	t.wants("maker of threads", parent, proc.ExitStatus(3))
}

// threadsFreed (E5): a thread that ends is freed at once: u-area, number and
// object are back while the process lives. Broken as threadChurn.
func threadsFreed(t *T) {
	var p program
	p.makeThreads(0, 500)
	p.waitAt(0)
	p.exit(0)
	vs := t.space(&p)
	g := t.gates(vs, 1)
	uareas := t.Mem.Owners()[phys.UArea]
	parent := t.start(vs)
	t.await(g, 0)
	t.eventually("u-areas of ended threads are free", func() bool {
		return t.Mem.Owners()[phys.UArea] == uareas+1
	})
	if c := t.Proc.Counts(); c.Threads != 1 || c.PIDs != 1 {
		t.Errorf("%d threads and %d numbers left, want 1 and 1", c.Threads, c.PIDs)
	}
	close(g.open[0])
	t.wants("maker of threads", parent, 0)
}

// threadRegisters (E3): while threads come and go, no living thread's u-area is
// handed to another: each keeps a value of its own in a register over a hundred
// traps. Broken by Thread.free before the thread's last turn in user mode
// (exitLocked freeing the u-areas of those it tells to end).
func threadRegisters(t *T) {
	var p program
	const threads = 12
	for i := range uint64(threads) {
		p.thread(func(th *program) {
			th.keep(0x1234_5678_0000 + i)
			th.times(0, 60, func(b *program) {
				b.call(unix.SYS_SCHED_YIELD)
				b.expectKept(0x1234_5678_0000+i, 66)
				b.thread((*program).exitThread)
				b.expectKept(0x1234_5678_0000+i, 66)
			})
			th.exitThread()
		})
	}
	p.exitThread()
	if st := t.runProgram(&p); st != 0 {
		t.Errorf("status %#x; exit status 66 means a foreign register", uint32(st))
	}
}

// exitGroupThreads: exit_group ends threads that sleep, spin and wait in a fault;
// as long as one is on its way through a fault, nothing is taken apart. Broken
// by leaveSiblings calling every thread the last.
func exitGroupThreads(t *T) {
	var p program
	p.thread((*program).pause)
	p.thread((*program).spin)
	p.thread(func(th *program) {
		th.waitAt(0)
		th.exit(50) // not in the end: exit_group came first
	})
	p.touch(dataVA, arch.PageSize, 8)
	p.waitAt(1)
	p.exit(5)
	vs := t.space(&p)
	t.dataPages(vs, 8)
	g := t.gates(vs, 2)
	q := t.start(vs)
	t.await(g, 0)
	t.await(g, 1)
	close(g.open[1])
	t.eventually("exit_group", func() bool { return q.State() == proc.Exiting && len(q.TIDs()) == 1 })
	time.Sleep(2 * time.Millisecond)
	if s := q.State(); s != proc.Exiting {
		t.Errorf("%v while a thread is still in a fault", s)
	}
	close(g.open[0])
	t.wants("process", q, proc.ExitStatus(5))
}

// exitDuringFork: the process ends while another of its threads is in fork. The
// child is whole or is not there; either way nothing is left.
func exitDuringFork(t *T) {
	for i := range 20 {
		var p program
		p.touch(dataVA, arch.PageSize, 64)
		p.thread(func(th *program) {
			th.times(0, 1000, func(b *program) {
				b.spawnChild(cloneFork, func(c *program) {
					c.touch(dataVA, arch.PageSize, 3)
					c.exit(0)
				})
			})
			th.exit(1)
		})
		p.times(0, uint64(1+i*3), func(b *program) { b.call(unix.SYS_SCHED_YIELD) })
		p.exit(8)
		vs := t.space(&p)
		t.dataPages(vs, 64)
		t.wants("process", t.start(vs), proc.ExitStatus(8))
	}
}

// execSiblings: exec ends the other threads first, and the old memory is purged
// in its context if nobody else uses it; exec by a thread that is not the leader
// keeps the process's number.
func execSiblings(t *T) {
	var next program
	next.exit(33)
	path := t.writeProgram(&next)
	exec := func(p *program) {
		p.call(unix.SYS_EXECVE, uint64(dataVA), 0, 0)
		p.exit(95)
	}
	for _, byLeader := range []bool{true, false} {
		var p program
		p.thread((*program).pause)
		p.thread((*program).spin)
		p.touch(dataVA+arch.PageSize, arch.PageSize, 8)
		if byLeader {
			exec(&p)
		} else {
			p.thread(exec)
			p.pause()
		}
		vs := t.space(&p)
		t.dataPages(vs, 9)
		t.check("copyout", vs.CopyOut(dataVA, append([]byte(path), 0)))
		t.wants("program that was executed", t.start(vs), proc.ExitStatus(33))
	}
}
