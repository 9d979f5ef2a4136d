package selftest

import (
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/exit"
)

// exitPathTests are the tests of exit, reaper and wait.
var exitPathTests = slices.Concat(exitTests, orderTests, timelineTests, threadTests, borrowTests, zombieTests, waitTests, reaperTests)

var exitTests = []test{
	{name: "exit/coherent", run: exitCoherent, layouts: true, designs: true, guards: exit.E1},
	{name: "exit/others-go-on", run: exitOthersGoOn, layouts: true, designs: true, guards: exit.E7},
	{name: "exit/signals-at-each-step", run: exitSignals, designs: true},
	{name: "exit/kill-storm", run: exitKillStorm, layouts: true, designs: true, slow: true},
	{name: "exit/killed-asleep", run: exitAsleep},
	{name: "exit/stopped", run: exitStopped},
}

// exitCoherent (E1): wait does not return a child before the pager has taken the last page
// that the child wrote, however long that takes. Broken by exit.Eager; by Zombify before
// FreeSpace (exit.Reaper); under exit.Purge the latter breaks exit/order.
func exitCoherent(t *T) {
	var p program
	const pages = 3
	p.spawnChild(cloneFork, func(c *program) {
		c.touch(gateVA, arch.PageSize, pages)
		c.exit(0)
	})
	p.waitAll(0, 1)
	p.exit(4)
	vs := t.space(&p)
	g := t.gates(vs, pages)
	g.hold.Store(true)
	parent := t.start(vs)
	t.await(g, 0)
	child := t.children(parent)[0]
	for i := range pages {
		close(g.open[i]) // paging in
		if i+1 < pages {
			t.await(g, i+1)
		}
	}
	for i := range pages {
		t.await(g, i) // writing back
		if t.early(func() bool { return child.State() == proc.Gone || parent.State() != proc.Live }) {
			t.Brokenf(exit.E1, "wait has returned the child before its pages are written back: %d of %d", g.outs.Load(), pages)
		}
		close(g.out[i])
	}
	t.wants("parent", parent, proc.ExitStatus(4))
	if n := g.outs.Load(); n != pages {
		t.Brokenf(exit.E1, "wait has returned the child before its pages are written back: %d of %d", n, pages)
	}
}

// early reports whether something happens too early (E1). Under a design that breaks E1 it
// must happen, however busy the machine is.
func (t *T) early(came func() bool) bool {
	if t.Design.Breach(exit.E1) != nil {
		return soon(2*time.Second, came)
	}
	return soon(5*time.Millisecond, came)
}

// othersLimit is how long others may take while a purge sleeps. A round of mixed takes a
// hundredth of that.
const othersLimit = 500 * time.Millisecond

// exitOthersGoOn (E7): while one purge sleeps in its pager, others run, exit and are
// reaped. Broken by exit.Reaper, and by Purge after die: the slow process is then dead too
// early.
func exitOthersGoOn(t *T) {
	wake, wait := t.purgeAsleep()
	others := t.mixedProcess(2)
	if !soon(othersLimit, others.Exited) {
		t.Brokenf(exit.E7, "others wait for the purge that sleeps")
	}
	wake()
	t.wants("mixed load beside a purge that sleeps", others, 0)
	wait()
}

// purgeAsleep starts a process that exits, and returns when its purge sleeps in its pager.
// wake checks the state of the process and lets the purge go on, and wait waits for the end.
func (t *T) purgeAsleep() (wake, wait func()) {
	var p program
	p.touch(gateVA, arch.PageSize, 1)
	p.exit(0)
	vs := t.space(&p)
	g := t.gates(vs, 1)
	g.hold.Store(true)
	close(g.open[0])
	slow := t.start(vs)
	t.await(g, 0)
	ended := t.toPurge(slow)
	t.await(g, 0)
	wake = func() {
		if s, want := slow.State(), t.stateAtPurge(); s != want {
			t.Errorf("the slow one is %v while it is purged, want %v", s, want)
		}
		close(g.out[0])
	}
	wait = func() {
		if st := ended().Status; st != 0 {
			t.Errorf("slow one: %s", statusText(st))
		}
	}
	return wake, wait
}

// toPurge makes sure that an ending process is purged: if the parent must do that, toPurge
// begins to wait for the process. The result waits for the process's end.
func (t *T) toPurge(p *proc.Process) (wait func() proc.WaitResult) {
	if t.Design.Purger() != exit.InParent {
		return p.Wait
	}
	return t.waiting(p)
}

// waiting begins to wait for a process. The function that it returns waits for the result.
func (t *T) waiting(p *proc.Process) func() proc.WaitResult {
	ended := make(chan proc.WaitResult, 1)
	go func() { ended <- p.Wait() }()
	return func() proc.WaitResult { return <-ended }
}

// stateAtPurge returns the state in which a process is purged.
func (t *T) stateAtPurge() proc.State {
	at := t.Design.Index(exit.StepPurgeBegin)
	switch {
	case at < 0 || at > t.Design.Index(exit.StepZombie):
		return proc.Zombie
	case at > t.Design.Index(exit.StepDead):
		return proc.Dead
	}
	return proc.Exiting
}

// slowFiles holds a process while it closes its files. System calls do not recognize it as
// a descriptor table, so the process makes none that need one.
type slowFiles struct {
	proc.Files
	closing, goOn chan struct{}
}

func (f *slowFiles) CloseAll() {
	close(f.closing)
	<-f.goOn
	f.Files.CloseAll()
}

// exitSignals: signals that arrive while a process is held at any step of its exit have no
// effect, and no wait returns the process too early. The steps: clear_child_tid (a fault on
// the word), closing files, purge and zombie, in the order of the design. Broken by
// postLocked without its check of the state: the process dies a second time.
func exitSignals(t *T) {
	var p program
	p.touch(gateVA+arch.PageSize, arch.PageSize, 1) // to be written back
	p.thread((*program).spin)                       // otherwise the word is not used; no system call, see slowFiles
	p.call(unix.SYS_SET_TID_ADDRESS, uint64(gateVA))
	p.exit(7)
	vs := t.space(&p)
	g := t.gates(vs, 2)
	close(g.open[1])
	files, err := t.NewFiles()
	t.check("descriptor table", err)
	f := &slowFiles{files, make(chan struct{}), make(chan struct{})}
	q := t.startWith(vs, f)

	t.await(g, 1)
	t.await(g, 0) // the exit's store to the word
	t.signals(q, "clear_child_tid", proc.Exiting)
	g.hold.Store(true)
	close(g.open[0])

	<-f.closing
	t.signals(q, "closing files", proc.Exiting)
	close(f.goOn)

	purge := func() {
		for i := range 2 {
			t.await(g, i)
			t.signals(q, "purge", t.stateAtPurge())
			close(g.out[i])
		}
	}
	early := t.stateAtPurge() < proc.Zombie
	if early {
		purge()
	}
	t.eventually("zombie", q.Exited)
	t.signals(q, "zombie", proc.Zombie)
	wait := t.toPurge(q)
	if !early {
		purge()
	}
	if st := wait().Status; st != proc.ExitStatus(7) {
		t.Errorf("process that got signals while it exited: %s", statusText(st))
	}
}

// startWith is start with a descriptor table of the test's.
func (t *T) startWith(vs *vm.VMSpace, files proc.Files) *proc.Process {
	p, err := t.Proc.Spawn(proc.SpawnArgs{
		Name: "selftest", VM: vs, PC: codeVA, SP: stackVA - 64, Files: files, Design: t.Design,
	})
	t.check("spawn", err)
	return p
}

// signals sends a signal of every sort and checks that the process stays in its state, for
// as long as a kill might take.
func (t *T) signals(p *proc.Process, where string, want proc.State) {
	for _, s := range []syscall.Signal{unix.SIGTERM, unix.SIGSTOP, unix.SIGCONT, unix.SIGSEGV, unix.SIGCHLD, unix.SIGKILL} {
		t.check("signal", p.Signal(&proc.Siginfo{Signo: s}))
	}
	time.Sleep(2 * time.Millisecond)
	if s := p.State(); s != want {
		t.Errorf("after signals at %s the process is %v, want %v", where, s, want)
	}
	if p.Stopped() {
		t.Errorf("stopped at %s", where)
	}
}

// exitKillStorm: processes of every kind are killed at any moment of their life: in user
// mode, in a call, in a fault, in exec, in exit. Each ends killed, or as it would have
// ended. A wait returns one of the two. Nothing is left. Broken by exitLocked that tells
// only the first thread.
func exitKillStorm(t *T) {
	base := t.Proc.Counts().Processes
	killed := 0
	for i := range 24 {
		before := t.Proc.Processes()
		q := t.mixedProcess(3)
		time.Sleep(time.Duration(i*i) * 50 * time.Microsecond)
		for _, c := range t.children(q) {
			if i%3 == 0 {
				t.kill(c)
			}
		}
		t.kill(q)
		switch st := q.Wait().Status; st {
		case proc.SignalStatus(unix.SIGKILL):
			killed++
		case 0:
		default:
			t.Errorf("round %d: status %#x", i, uint32(st))
		}
		// Children that sleep or spin for ever have lost their parent.
		t.eventually("children end", func() bool {
			for _, c := range t.Proc.Processes() {
				if !slices.Contains(before, c) {
					t.kill(c)
				}
			}
			return t.Proc.Counts().Processes == base
		})
	}
	if killed == 0 {
		t.Errorf("not one was killed before its end")
	}
}

// exitAsleep: SIGKILL ends every sleep. Broken by a wait(2) that does not end when the
// thread must exit.
func exitAsleep(t *T) {
	pause := (*program).pause
	for name, sleep := range map[string]func(*program){
		"ppoll": pause,
		"wait4": func(p *program) {
			p.spawnChild(cloneFork, pause)
			p.waitAll(0, 1)
		},
		"vfork":         func(p *program) { p.spawnChild(cloneVfork, pause) },
		"futex wait":    func(p *program) { p.call(unix.SYS_FUTEX, uint64(dataVA), 0, 0, 0) },
		"rt_sigsuspend": func(p *program) { p.call(unix.SYS_RT_SIGSUSPEND, uint64(dataVA), 8) },
		"sigtimedwait":  func(p *program) { p.call(unix.SYS_RT_SIGTIMEDWAIT, uint64(dataVA), 0, 0, 8) },
		"read of a pipe": func(p *program) {
			p.call(unix.SYS_PIPE2, uint64(dataVA), 0)
			p.call(unix.SYS_READ, 0, uint64(dataVA), 1) // the first descriptor of the table
		},
	} {
		var p program
		p.waitAt(0)
		sleep(&p)
		p.exit(1)
		vs := t.space(&p)
		t.dataPages(vs, 1)
		g := t.gates(vs, 1)
		q := t.start(vs)
		t.await(g, 0)
		close(g.open[0])
		time.Sleep(3 * time.Millisecond) // it has the CPU to itself, so it has arrived
		orphans := t.children(q)
		t.kill(q)
		t.eventually("killed in "+name, q.Exited)
		t.wants(name, q, proc.SignalStatus(unix.SIGKILL))
		for _, c := range orphans {
			t.kill(c)
		}
	}
}

// exitStopped: a stopped process with threads can be killed without being continued first.
// Broken by exitLocked without continueLocked and a stopHere that looks only for SIGCONT.
func exitStopped(t *T) {
	var p program
	p.thread((*program).spin)
	p.thread((*program).pause)
	p.pause()
	q := t.start(t.space(&p))
	t.eventually("three threads", func() bool { return len(q.TIDs()) == 3 })
	t.check("stop", q.Signal(&proc.Siginfo{Signo: unix.SIGSTOP}))
	t.eventually("stopped", q.Stopped)
	t.kill(q)
	t.eventually("killed while stopped", q.Exited)
	t.wants("stopped process", q, proc.SignalStatus(unix.SIGKILL))
}
