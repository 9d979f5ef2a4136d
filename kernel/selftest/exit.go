package selftest

import (
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/mm/vm"
	"grim/proc"
)

// exitPathTests are the tests of exit, reaper and wait.
var exitPathTests = slices.Concat(exitTests, orderTests, timelineTests, threadTests, borrowTests, zombieTests, waitTests, reaperTests)

var exitTests = []test{
	{name: "exit/coherent", run: exitCoherent, layouts: true, policies: true},
	{name: "exit/others-go-on", run: exitOthersGoOn, layouts: true},
	{name: "exit/signals-at-each-step", run: exitSignals, policies: true},
	{name: "exit/kill-storm", run: exitKillStorm, layouts: true, policies: true},
	{name: "exit/killed-asleep", run: exitAsleep},
	{name: "exit/stopped", run: exitStopped},
}

// exitCoherent (E1): wait does not return a child before the pager has taken the
// last page that it wrote, however long that takes. Broken by zombify before freeSpace
// (reaper); under purge that alone breaks exit/order.
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
	for i := range pages {
		close(g.open[i])
	}
	parent := t.start(vs)
	for i := range pages {
		t.await(g, i) // paging in
	}
	child := t.children(parent)[0]
	for i := range pages {
		t.await(g, i) // writing back
		time.Sleep(5 * time.Millisecond)
		if s := child.State(); s >= proc.Zombie || parent.Exited() {
			t.Errorf("the child is a %v with %d of %d pages written back", s, g.outs.Load(), pages)
		}
		close(g.out[i])
	}
	t.wants("parent", parent, proc.ExitStatus(4))
	if n := g.outs.Load(); n != pages {
		t.Errorf("%d pages written back when wait has returned, want %d", n, pages)
	}
}

// exitOthersGoOn (E7): while one purge sleeps in its pager, others run, exit and
// are reaped. Under the reaper policy they do not: there the test would hang.
// Broken by p.purge after p.die: the slow one is dead before its time.
func exitOthersGoOn(t *T) {
	t.Policy = proc.PolicyPurge
	var p program
	p.touch(gateVA, arch.PageSize, 1)
	p.exit(0)
	vs := t.space(&p)
	g := t.gates(vs, 1)
	g.hold.Store(true)
	close(g.open[0])
	slow := t.start(vs)
	t.await(g, 0)
	t.await(g, 0)
	t.wants("mixed load beside a purge that sleeps", t.mixedProcess(2), 0)
	if s := slow.State(); s != proc.Exiting {
		t.Errorf("the slow one is %v", s)
	}
	close(g.out[0])
	t.wants("slow one", slow, 0)
}

// slowFiles holds a process where it closes its files. System calls that look for a
// descriptor table do not know it: the process makes none of them.
type slowFiles struct {
	proc.Files
	closing, goOn chan struct{}
}

func (f *slowFiles) CloseAll() {
	close(f.closing)
	<-f.goOn
	f.Files.CloseAll()
}

// exitSignals: signals that come while a process is held at each step of its
// exit change nothing, and nobody is handed it before its time. The steps:
// clear_child_tid (a fault on the word), closing files, the purge (under reaper
// the process is dead by then), zombie. Broken by postLocked without its check
// of the state: a second death of the same process.
func exitSignals(t *T) {
	var p program
	p.touch(gateVA+arch.PageSize, arch.PageSize, 1) // to be written back
	p.thread((*program).spin)                       // or nobody could care for the word; no system call, see slowFiles
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
	t.await(g, 0) // the exit's own store to the word
	t.signals(q, "clear_child_tid", proc.Exiting)
	g.hold.Store(true)
	close(g.open[0])

	<-f.closing
	t.signals(q, "closing files", proc.Exiting)
	close(f.goOn)

	want := proc.Exiting
	if t.Policy == proc.PolicyReaper {
		want = proc.Dead
	}
	for i := range 2 {
		t.await(g, i)
		t.signals(q, "purge", want)
		close(g.out[i])
	}
	t.eventually("zombie", q.Exited)
	t.signals(q, "zombie", proc.Zombie)
	t.wants("process that got signals while it exited", q, proc.ExitStatus(7))
}

// startWith is start with a descriptor table of the test's.
func (t *T) startWith(vs *vm.VMSpace, files proc.Files) *proc.Process {
	p, err := t.Proc.Spawn(proc.SpawnArgs{
		Name: "selftest", VM: vs, PC: codeVA, SP: stackVA - 64, Files: files, Policy: &t.Policy,
	})
	t.check("spawn", err)
	return p
}

// signals sends one of every sort and looks whether the process stays where it
// is, for as long as it could need to be killed.
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

// exitKillStorm: processes of every kind are killed at any moment of their life,
// in user mode, in a call, in a fault, in exec, in exit. Each ends killed, or as
// it would have; whoever waits gets one of the two; nothing is left. Broken by
// exitLocked that tells the first thread alone.
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
		// Those that sleep or spin for ever have lost their parent.
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

// exitAsleep: SIGKILL ends every sleep. Broken by a wait(2) that does not end when
// the thread is to exit.
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
		time.Sleep(3 * time.Millisecond) // it has the CPU to itself to get there
		orphans := t.children(q)
		t.kill(q)
		t.eventually("killed in "+name, q.Exited)
		t.wants(name, q, proc.SignalStatus(unix.SIGKILL))
		for _, c := range orphans {
			t.kill(c)
		}
	}
}

// exitStopped: a stopped process, with threads, is killed and does not need to
// be continued first. Broken by exitLocked without continueLocked and a stopHere
// that looks for SIGCONT only.
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
