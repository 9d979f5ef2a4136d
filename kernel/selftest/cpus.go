package selftest

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/proc"
	"grim/proc/exit"
)

// cpuTests are about several CPUs.
var cpuTests = slices.Concat([]test{
	{name: "cpus/interrupts", run: cpuInterrupts},
}, runtimeTests())

// cpuExitTests are about exits on all CPUs at the same time.
var cpuExitTests = []test{
	{name: "meet/exits", run: cpuExits, layouts: true, designs: true},
	{name: "meet/threads", run: cpuThreads, designs: true, guards: exit.E5, cpus: true},
	{name: "meet/others-go-on", run: cpuOthersGoOn, designs: true, guards: exit.E7},
	{name: "meet/clear-child-tid", run: cpuClearTID, designs: true},
	{name: "meet/idle-on-no-root", run: cpuIdleRoots, layouts: true, cpus: true},
	{name: "meet/exit-interrupts-nobody", run: cpuExitInterrupts, layouts: true, designs: true},
	{name: "meet/kill-interrupts-one", run: cpuKillInterrupts, layouts: true, cpus: true},
}

// cpuExits (E4): processes of all kinds are made and end on every CPU at the same time.
// Afterwards everything is back.
func cpuExits(t *T) {
	base := t.Proc.Counts().Processes
	var makers []*proc.Process
	for range t.Machine.CPUs() {
		makers = append(makers, t.mixedProcess(4))
	}
	for _, p := range makers {
		t.wants("mixed load", p, 0)
	}
	t.processesEnd("orphans end", base)
}

// cpuThreads (E5): while processes on all CPUs make and end threads, few dead threads wait
// for the reaper. Makers wait when there are 64. Then up to 64 more threads may wait for
// their first turn, and some of each process may wait for a lock while they exit. When every
// maker is at its gate, the makers are the only threads that are left, however much memory
// there is for others. Broken by exit.Parent.
func cpuThreads(t *T) {
	type maker struct {
		*proc.Process
		*gates
		there bool // at the gate, or ended
	}
	all, before := make([]maker, 2*t.Machine.CPUs()), t.Proc.Counts().Threads
	for i := range all {
		var p program
		p.makeThreads(0, 400)
		p.waitAt(0)
		p.exit(0)
		vs := t.space(&p)
		g := t.gates(vs, 1)
		all[i] = maker{t.start(vs), g, false}
	}
	limit, most := 64+64+16*len(all), 0
	t.within(30*time.Second, "all makers are at their gates", func() bool {
		most = max(most, t.Proc.Counts().DeadThreads)
		for i := range all {
			m := &all[i]
			select {
			case <-m.arrived[0]:
				m.there = true
			default:
				m.there = m.there || m.Exited()
			}
			if !m.there {
				return false
			}
		}
		return true
	})
	left := func() int64 { return t.Proc.Counts().Threads - before }
	if want := int64(len(all)); !soon(200*time.Millisecond, func() bool { return left() <= want }) {
		t.Brokenf(exit.E5, "ended threads are kept: %d threads while %d makers wait", left(), want)
	}
	for _, m := range all {
		close(m.open[0])
	}
	for _, m := range all {
		if st := m.Wait().Status; st != 0 {
			t.Brokenf(exit.E5, "ended threads are kept: a maker ended with %s", statusText(st))
		}
	}
	if most > limit {
		t.Brokenf(exit.E5, "ended threads are kept: %d wait for the reaper, want up to %d", most, limit)
	}
}

// cpuOthersGoOn (E7): while one purge sleeps in its pager, processes on all CPUs make and end
// threads and processes, and all of that is reaped. Few dead threads wait for the reaper at any
// time. Broken by exit.Reaper; the bound, by waitRoom that returns at once.
func cpuOthersGoOn(t *T) {
	wake, wait := t.purgeAsleep()
	var others []*proc.Process
	for range t.Machine.CPUs() {
		var p program
		p.makeThreads(0, 150)
		p.mixed(0)
		p.exit(0)
		vs := t.space(&p)
		t.dataPages(vs, 8)
		others = append(others, t.start(vs))
	}
	// As in cpuThreads; each process of mixed has up to two threads more.
	limit, most, left := 64+64+(16+2*mixedExits)*len(others), 0, 0
	ended := func() bool {
		most, left = max(most, t.Proc.Counts().DeadThreads), 0
		for _, q := range others {
			if !q.Exited() {
				left++
			}
		}
		return left == 0
	}
	// Where a design breaks E7 they never end. Elsewhere they may take as long as they like.
	patience := 30 * time.Second
	if t.Design.Breach(exit.E7) != nil {
		patience = othersLimit
	}
	if !soon(patience, ended) {
		t.Brokenf(exit.E7, "others wait for the purge that sleeps: %d of %d", left, len(others))
	}
	wake()
	for _, q := range others {
		t.wants("maker beside a purge that sleeps", q, 0)
	}
	wait()
	if most > limit {
		t.Errorf("%d dead threads wait for the reaper, want up to %d", most, limit)
	}
}

// cpuClearTID: a process with CLONE_VM ends, or executes another program, while a thread of
// its parent sleeps on its tid word (set_tid_address(2)), and another looks at the word again
// and again. Both see the word cleared.
// Broken by clearChildTID that looks only at the threads of its own process, and without its
// FutexWake; by Exec without clearChildTID.
func cpuClearTID(t *T) {
	var next program
	next.exit(33)
	path := t.writeProgram(&next)
	const word, pathVA = dataVA, dataVA + 512
	for _, c := range []struct {
		how string
		end func(*program)
	}{
		{"exit", func(c *program) { c.exit(33) }},
		{"exit of its only thread", func(c *program) { c.exitThread() }},
		{"kill", (*program).spin},
		{"exec", func(c *program) { c.call(unix.SYS_EXECVE, uint64(pathVA), 0, 0); c.exit(95) }},
	} {
		var p program
		p.store(word, 7)
		p.spawnChild(cloneShared, func(b *program) {
			b.call(unix.SYS_SET_TID_ADDRESS, uint64(word))
			b.waitAt(0)
			c.end(b)
		})
		p.thread(func(th *program) {
			th.call(unix.SYS_FUTEX, uint64(word), 0, 7, 0)
			th.await(word, 0)
			th.store(word+64, 1)
			th.exitThread()
		})
		p.thread(func(th *program) {
			th.await(word, 0)
			th.store(word+128, 1)
			th.exitThread()
		})
		p.await(word+64, 1)
		p.await(word+128, 1)
		p.waitAll(0, 1)
		p.exit(0)
		vs := t.space(&p)
		t.dataPages(vs, 1)
		t.check("copyout", vs.CopyOut(pathVA, append([]byte(path), 0)))
		g := t.gates(vs, 1)
		parent := t.start(vs)
		t.await(g, 0)
		child := t.children(parent)[0]
		t.eventually("a thread waits for the word", func() bool {
			for _, tid := range parent.TIDs() {
				if parent.StateLetter(tid) == 'S' {
					return true
				}
			}
			return false
		})
		close(g.open[0])
		if c.how == "kill" {
			t.kill(child)
		}
		if !soon(10*time.Second, parent.Exited) {
			t.Errorf("%s: nobody is told that the process does not use the memory any more", c.how)
			t.kill(parent)
		}
		parent.Wait()
	}
}

// cpuIdleRoots (E3): an idle CPU has no process's root loaded, neither the root of a
// sleeping thread nor the root of a thread that has ended.
func cpuIdleRoots(t *T) {
	var all []*proc.Process
	for range 2 * t.Machine.CPUs() {
		var p program
		p.touch(dataVA, arch.PageSize, 4)
		p.pause()
		vs := t.space(&p)
		t.dataPages(vs, 4)
		all = append(all, t.start(vs))
	}
	idle := func() bool {
		for n := range t.Machine.CPUs() {
			if t.Pmaps.Loaded(n) != nil {
				return false
			}
		}
		return true
	}
	sleeps := func(p *proc.Process) func() bool { return func() bool { return p.StateLetter(p.PID()) == 'S' } }
	for _, p := range all {
		t.eventually("a process sleeps", sleeps(p))
	}
	t.eventually("no CPU has the root of a thread that sleeps", idle)
	for _, p := range all {
		t.check("kill", p.Signal(&proc.Siginfo{Signo: unix.SIGKILL}))
		p.Wait()
	}
	t.eventually("no CPU has the root of a process that has ended", idle)
}

// cpuExitInterrupts: the exit of a process that no other CPU runs sends no shootdown to
// another CPU, and asks none to leave user mode.
func cpuExitInterrupts(t *T) {
	var p program
	p.touch(dataVA, arch.PageSize, 20)
	p.times(0, 30, func(b *program) {
		b.spawnChild(cloneFork, func(c *program) {
			c.touch(dataVA, arch.PageSize, 10)
			c.exit(0)
		})
		b.waitAll(1, 1)
	})
	p.exit(0)
	vs := t.space(&p)
	t.dataPages(vs, 20)
	before := t.shoots()
	t.wants("maker", t.start(vs), 0)
	if n := t.shoots() - before; n != 0 {
		t.Errorf("31 exits sent %d shoot-downs, want none", n)
	}
}

// shoots returns how many times a CPU was asked to leave user mode.
func (t *T) shoots() (all uint64) {
	m := t.Machine.(interface{ Counts(n int) arch.Counts })
	for n := range t.Machine.CPUs() {
		all += m.Counts(n).Shoot
	}
	return all
}

// cpuKillInterrupts: one interrupt tells a thread that computes on another CPU of its end. The
// thread does not go on to the end of its slice.
func cpuKillInterrupts(t *T) {
	if t.Machine.CPUs() < 2 {
		return
	}
	const kills = 8
	all := uint64(0)
	for range kills {
		var p program
		p.store(dataVA, 1)
		p.spin()
		vs := t.space(&p)
		t.dataPages(vs, 1)
		var th *proc.Thread
		q := t.startAfter(vs, func(first *proc.Thread) { th = first })
		t.eventually("the program runs", func() bool {
			b := make([]byte, 1)
			return vs.CopyIn(b, dataVA) == nil && b[0] == 1
		})
		// The signal should come from another CPU, while the program runs on its own. The test
		// may still change CPUs afterwards: it may not be pinned, as Signal may block.
		bound := -1
		t.eventually("the test and the program are on two CPUs", func() bool {
			here := t.Machine.CPU()
			if bound >= 0 && bound != here {
				return true
			}
			bound = (here + 1) % t.Machine.CPUs()
			th.SetSched(proc.Sched{CPUs: 1 << bound})
			return false
		})
		t.eventually("the program is on its CPU", func() bool { return t.Pmaps.Loaded(bound) != nil })
		before := t.shoots()
		err := q.Signal(&proc.Siginfo{Signo: unix.SIGKILL})
		t.check("kill", err)
		t.wants("killed", q, proc.SignalStatus(unix.SIGKILL))
		n := t.shoots() - before
		if n > 2 { // the interrupt of SetSched may arrive late
			t.Errorf("a kill sent %d interrupts, want one at most", n)
		}
		all += n
	}
	if all == 0 {
		t.Errorf("%d kills of programs that compute sent no interrupt", kills)
	}
}

// cpuInterrupts: an interrupt to a CPU, be it the own one, arrives there, once, as the kind
// that was sent, and nowhere else. Broken by: a target list with all CPUs in it (GICv2).
func cpuInterrupts(t *T) {
	m := t.Machine.(interface {
		Counts(n int) arch.Counts
		Started(n int) bool
		Wake(n uint64)
	})
	shoots := func() (all uint64) {
		for n := range t.Machine.CPUs() {
			all += m.Counts(n).Shoot
		}
		return all
	}
	// A CPU takes interrupts while it is idle, so this CPU must sleep.
	wait := func(n int, what string, came func() bool) {
		for end := t.Proc.Now() + int64(5*time.Second); !came(); time.Sleep(100 * time.Microsecond) {
			if t.Proc.Now() > end {
				t.Errorf("CPU %d: no %s came", n, what)
				return
			}
		}
	}
	for n := range t.Machine.CPUs() {
		if !m.Started(n) {
			continue
		}
		for range 2 {
			before, all := m.Counts(n), shoots()
			t.Machine.Interrupt(n)
			wait(n, "shoot-down", func() bool { return m.Counts(n).Shoot > before.Shoot })
			m.Wake(uint64(n))
			wait(n, "wake-up", func() bool { return m.Counts(n).Wake > before.Wake })
			if got := shoots(); got != all+1 {
				t.Errorf("CPU %d was sent one shoot-down, and %d were taken", n, got-all)
			}
		}
	}
}
