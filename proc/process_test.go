package proc

import (
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"grim/arch"
	"grim/mm/vm"
	"grim/proc/exit"
)

func TestLimits(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		p := u.t.p
		if l, err := p.Limit(syscall.RLIMIT_STACK); l.Cur != 8<<20 || err != nil {
			t.Errorf("stack limit %+v, %v", l, err)
		}
		for _, c := range []struct {
			which int
			l     Rlimit
			want  error
		}{
			{-1, Rlimit{}, syscall.EINVAL},
			{NumLimits, Rlimit{}, syscall.EINVAL},
			{3, Rlimit{2, 1}, syscall.EINVAL},
			{3, Rlimit{1, 1}, nil},
			{3, Rlimit{1, 2}, nil}, // the superuser may raise it
		} {
			if err := p.SetLimit(c.which, c.l, true); err != c.want {
				t.Errorf("limit %d to %+v: %v, want %v", c.which, c.l, err, c.want)
			}
		}
		u.t.SetCred(&Cred{UID: 1, EUID: 1})
		if err := p.SetLimit(3, Rlimit{1, 3}, false); err != syscall.EPERM {
			t.Errorf("raised by a user: %v, want EPERM", err)
		}
		u.Fork(func(c *user) {
			if l, _ := c.t.p.Limit(3); l != (Rlimit{1, 2}) || c.t.p.Cred().UID != 1 {
				t.Errorf("child: limit %+v, user %d", l, c.t.p.Cred().UID)
			}
		})
		u.Wait(-1)
		if _, err := p.Limit(99); err != syscall.EINVAL {
			t.Errorf("limit 99: %v", err)
		}
	})
}

// setCred changes the credentials of a process that sleeps.
func (p *Process) setCred(c *Cred) {
	p.mu.Lock()
	p.cred = c
	p.mu.Unlock()
}

// Which process may signal which.
func TestKillPermission(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		other := u.Fork(func(c *user) { c.Sleep() })
		m.k.Process(other).setCred(&Cred{UID: 2, EUID: 2, SUID: 2})
		mine := u.Fork(func(c *user) { c.Sleep() })
		m.k.Process(mine).setCred(&Cred{UID: 1, EUID: 3, SUID: 3})
		u.t.SetCred(&Cred{UID: 1, EUID: 1, SUID: 1})
		if err := u.Kill(other, syscall.SIGTERM); err != syscall.EPERM {
			t.Errorf("another's process: %v, want EPERM", err)
		}
		if err := u.Kill(other, syscall.SIGCONT); err != nil {
			t.Errorf("SIGCONT in the session: %v", err)
		}
		if err := u.Kill(mine, 0); err != nil {
			t.Errorf("a process of the same real user: %v", err)
		}
		if err := u.Kill(-1, syscall.SIGTERM); err != nil {
			t.Errorf("everybody: %v, want nil as one may be signalled", err)
		}
		u.Wait(mine)
		if err := u.Kill(-1, syscall.SIGTERM); err != syscall.EPERM {
			t.Errorf("everybody, one left who may not: %v, want EPERM", err)
		}
		u.t.SetCred(root)
		send := func() error {
			_, err := u.Sys(func(t *Thread) (uint64, error) {
				return 0, t.SendTo(m.k.Process(other), &Siginfo{Signo: syscall.SIGKILL})
			})
			return err
		}
		gone := m.k.Process(other)
		if err := send(); err != nil {
			t.Errorf("by process: %v", err)
		}
		u.Wait(other)
		if _, err := u.Sys(func(t *Thread) (uint64, error) {
			return 0, t.SendTo(gone, &Siginfo{Signo: syscall.SIGKILL})
		}); err != syscall.ESRCH {
			t.Errorf("to a process that is gone: %v, want ESRCH", err)
		}
	})
}

// The combinations that clone(2) refuses.
func TestCloneFlags(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		for _, a := range []ForkArgs{
			{Flags: syscall.CLONE_NEWPID},
			{Flags: 1 << 40},
			{Flags: CloneSighand},
			{Flags: CloneThread | CloneVM},
			{Flags: threadFlags | ClonePidfd},
			{Flags: CloneVM | CloneSighand | CloneClearSighand},
			{ExitSignal: 65},
			{ExitSignal: -1},
		} {
			if _, err := u.Clone(a, func(c *user) {}); err != syscall.EINVAL {
				t.Errorf("%+v: %v, want EINVAL", a, err)
			}
		}
		// If OnChild returns an error, everything is undone.
		for _, f := range []CloneFlags{0, threadFlags} {
			if _, err := u.Clone(ForkArgs{Flags: f, OnChild: func(*Thread) error { return syscall.EMFILE }}, func(*user) {}); err != syscall.EMFILE {
				t.Errorf("OnChild with flags %#x: %v", f, err)
			}
		}
		// Signal actions: copied, shared, cleared.
		u.Handle(syscall.SIGUSR1, 0, func(*user, Siginfo) {})
		u.Action(syscall.SIGUSR2, Sigaction{Handler: SIG_IGN})
		for _, c := range []struct {
			flags  CloneFlags
			caught Sigset
			shared bool
		}{
			{0, SigBit(syscall.SIGUSR1), false},
			{CloneVM | CloneSighand, SigBit(syscall.SIGUSR1), true},
			{CloneClearSighand, 0, false},
		} {
			pid, err := u.Clone(ForkArgs{Flags: c.flags, ExitSignal: syscall.SIGCHLD}, func(x *user) {
				if _, _, ignored, caught := x.t.p.SigMasks(); caught != c.caught || ignored != SigBit(syscall.SIGUSR2) {
					t.Errorf("flags %#x: caught %#x, ignored %#x", c.flags, caught, ignored)
				}
				x.Action(syscall.SIGHUP, Sigaction{Handler: SIG_IGN})
			})
			if err != nil {
				t.Error(err)
			}
			u.Wait(pid)
			act, _ := u.t.p.Sigaction(syscall.SIGHUP, nil)
			if (act.Handler == SIG_IGN) != c.shared {
				t.Errorf("flags %#x: the parent's action is %#x", c.flags, act.Handler)
			}
			u.Action(syscall.SIGHUP, Sigaction{})
		}
	})
}

// CLONE_PARENT makes a sibling.
func TestCloneParent(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		var sibling atomic.Int64
		child := u.Fork(func(c *user) {
			pid, err := c.Clone(ForkArgs{Flags: CloneParent}, func(s *user) {
				if s.t.p.PPID() != u.PID() {
					t.Errorf("sibling's parent is %d, want %d", s.t.p.PPID(), u.PID())
				}
			})
			if err != nil {
				t.Error(err)
			}
			sibling.Store(int64(pid))
			if _, err := c.Wait(-1); err != syscall.ECHILD {
				t.Errorf("the caller has a child: %v", err)
			}
		})
		u.Wait(child)
		if w, err := u.Wait(-1); err != nil || w.PID != int(sibling.Load()) {
			t.Errorf("wait: %+v, %v, want the sibling %d", w, err, sibling.Load())
		}
	})
}

// The signals for faults that cannot be served.
func TestFaultErrors(t *testing.T) {
	m := newMachine(t, 4096, nil)
	o, _ := m.file(nil, 1)
	cases := []struct {
		want syscall.Signal
		code int32
		do   func(u *user) arch.VA
	}{
		{syscall.SIGSEGV, SEGV_MAPERR, func(u *user) arch.VA { return 0x10000 }},
		{syscall.SIGSEGV, SEGV_ACCERR, func(u *user) arch.VA {
			va := u.Map(4096, vm.Anon, nil)
			u.must(func(t *Thread) (uint64, error) { return 0, t.VM().Protect(va, 4096, arch.Read) })
			return va
		}},
		{syscall.SIGBUS, BUS_ADRERR, func(u *user) arch.VA { return u.Map(2<<12, vm.Shared, o) + 4096 }},
	}
	for _, c := range cases {
		m.run(SignalStatus(c.want), func(u *user) { u.Store(c.do(u), 1) })
		m.run(ExitStatus(9), func(u *user) {
			va := c.do(u)
			u.Handle(c.want, 0, func(u *user, info Siginfo) {
				if info.Code != c.code || info.Addr != va {
					t.Errorf("%v: %+v, want code %d at %#x", c.want, info, c.code, va)
				}
				u.ExitGroup(9)
			})
			u.Store(va, 1)
		})
	}
	o.Unref()
	// Out of memory: the asking process is killed, the kernel goes on.
	m.run(SignalStatus(syscall.SIGKILL), func(u *user) {
		va := u.Map(8000<<12, vm.Anon|vm.NoReserve, nil)
		u.Handle(syscall.SIGSEGV, 0, func(*user, Siginfo) { t.Error("SIGSEGV for want of memory") })
		for i := range arch.VA(8000) {
			u.Store(va+i<<12, 1)
		}
	})
}

// Knotes are told once of each event, in order. A knote that is attached late gets the
// events that have been, and a detached knote gets none.
func TestKnotes(t *testing.T) {
	m := newMachine(t, 4096, nil)
	var told []Note
	n := Knote{Events: NoteExit | NoteReap | NoteFork | NoteExec, Told: func(ev Note) { told = append(told, ev) }}
	quiet := Knote{Events: NoteExit, Told: func(Note) { t.Error("a detached knote was told") }}
	exits := 0
	gate := make(chan struct{})
	p := m.spawn(SpawnArgs{}, func(u *user) {
		u.Sys(func(t *Thread) (uint64, error) { return 0, t.Sleep(gate, Forever) })
		u.Fork(func(c *user) {})
		u.Wait(-1)
		u.Exec("x", func(u *user) { u.ExitGroup(0) })
	})
	if missed := p.Attach(&n); missed != 0 {
		t.Errorf("missed %#x of a live process", missed)
	}
	p.Attach(&quiet)
	quiet.Detach()
	quiet.Detach() // twice is nothing
	cancel := p.OnExit(func() { exits++ })
	p.OnExit(func() { t.Error("a cancelled OnExit was called") })()
	close(gate)
	eventually(t, "the end", p.Exited)
	m.settle()
	late := Knote{Events: NoteExit | NoteReap | NoteExec, Told: func(Note) {}}
	if missed := p.Attach(&late); missed != NoteExit|NoteReap {
		t.Errorf("attached to a zombie, missed %#x", missed)
	}
	late.Detach()
	p.OnExit(func() { exits++ })()
	if exits != 2 {
		t.Errorf("OnExit was called %d times, want 2", exits)
	}
	cancel()
	n.Detach()
	p.Wait()
	want := []Note{NoteFork, NoteExec, NoteExit, NoteReap}
	if len(told) != len(want) {
		t.Fatalf("told %v, want %v", told, want)
	}
	for i := range want {
		if told[i] != want[i] {
			t.Errorf("told %v, want %v", told, want)
		}
	}
}

// Exit design and layout belong to each process, and are inherited.
func TestDesignPerProcess(t *testing.T) {
	m := newMachine(t, 4096, nil)
	var a, b int
	m.run(0, func(u *user) {
		u.t.p.SetDesign(&exit.Reaper)
		u.t.p.SetLayout(arch.Separate)
		a = u.Fork(func(c *user) {
			if c.t.p.Design() != &exit.Reaper || c.t.VM().Layout() != arch.SharedUK {
				t.Errorf("child: %v, %v", c.t.p.Design(), c.t.VM().Layout())
			}
			c.Exec("x", func(c *user) {
				if c.t.VM().Layout() != arch.Separate {
					t.Errorf("after exec: %v", c.t.VM().Layout())
				}
				b = c.Fork(func(c *user) {
					if c.t.VM().Layout() != arch.Separate {
						t.Errorf("child of it: %v", c.t.VM().Layout())
					}
				})
				c.Wait(-1)
				c.ExitGroup(0)
			})
		})
		u.Wait(-1)
	})
	events, n := m.k.Events(0)
	if told := m.recorded(); !slices.Equal(events, told) {
		t.Errorf("the ring has\n%v\nwant what the hook was told\n%v", events, told)
	}
	for _, e := range events {
		if pid := int(e.PID); (pid == a || pid == b) && e.Step == exit.StepPurgeEnd && e.Context != exit.InReaper {
			t.Errorf("process %d was purged by %v", pid, e.Context)
		}
	}
	if more, _ := m.k.Events(n); len(more) != 0 {
		t.Errorf("%d events after the last", len(more))
	}
}

// Calls that go through all threads of a process let others run meanwhile.
// Broken by: eachLocked without its glance; usageLocked, discardsByLocked and
// dropPendingLocked without theirs.
func TestManyThreadsGiveWay(t *testing.T) {
	const threads = 4 * threadsTurn
	yields := 0
	p := &Process{k: &Kernel{cfg: Config{Yield: func() { yields++ }}}, cred: new(Cred)}
	for range threads {
		p.threads = &Thread{p: p, next: p.threads}
	}
	for name, call := range map[string]func(){
		"TIDs":        func() { p.TIDs() },
		"StateLetter": func() { p.StateLetter(1) },
		"ThreadName":  func() { p.ThreadName(1) },
		"CredOf":      func() { p.CredOf(1) },
		"SchedOf":     func() { p.SchedOf(1) },
		"NoNewPrivs":  func() { p.NoNewPrivs(1) },
		"SigMasks":    func() { p.SigMasks() },
		"CPUTime":     func() { p.CPUTime(0) },
		"CPUTime 1":   func() { p.CPUTime(1) },
		"dropPending": func() { p.dropPendingLocked(1) },
		"discardsBy":  func() { p.discardsByLocked(&Sigaction{Handler: SIG_IGN}, syscall.SIGUSR1, nil) },
		"result":      func() { p.result(new(WaitResult)) },
	} {
		yields = 0
		if call(); yields != threads/threadsTurn {
			t.Errorf("%s gives way %d times, want %d", name, yields, threads/threadsTurn)
		}
	}
}

// Calls that go through all processes, all children, all members of a group, all threads or
// all queued signals let others run meanwhile.
// Broken by: each of the calls below without the turn or glance of its loop.
func TestManyProcessesGiveWay(t *testing.T) {
	const n = 4 * threadsTurn
	const long, short = n / loopTurn, n / threadsTurn // what a loop with turn, and with glance, gives way
	yields := 0
	k := &Kernel{cfg: Config{Yield: func() { yields++ }}, mem: newMachine(t, 256, nil).mem}
	parent := &Process{k: k, pid: 1 << 20, live: 1, cred: &Cred{}, acts: newSigActions(), timers: make(map[int]*Timer)}
	caller := &Thread{p: parent, cred: &Cred{}}
	parent.limits[syscall.RLIMIT_CPU] = Rlimit{Cur: Unlimited, Max: Unlimited}
	parent.threads = &Thread{p: parent, mask: SigBit(syscall.SIGUSR2)}
	parent.group.Store(new(Group))
	parent.pending.set = SigBit(syscall.SIGUSR2)
	g := new(Group)
	for i := range n {
		parent.threads = &Thread{p: parent, state: Dead, next: parent.threads}
		parent.timers[i] = new(Timer)
		c := &Process{k: k, pid: i + 2, cred: &Cred{}}
		k.all.push(linkAll, c)
		parent.children.live.push(linkSibling, c)
		g.members.push(linkGroup, c)
		c.group.Store(g)
	}
	queue := func() *sigQueue {
		q := &sigQueue{set: SigBit(1) | SigBit(2)}
		for range n {
			q.head = &queuedSignal{info: Siginfo{Signo: 2}, next: q.head}
		}
		return q
	}
	for _, c := range []struct {
		name string
		want int
		call func()
	}{
		{"Processes", short, func() { k.Processes() }},
		{"Children", short, func() { parent.Children(1) }},
		{"SetAdopts", short, func() { parent.SetAdopts(true) }},
		{"orphaned", short, func() { g.orphaned(nil) }},
		{"hangUp", 2 * short, func() { k.hangUp(g, parent, nil) }},
		{"pollChildren", long, func() { caller.pollChildren(&waitFor{what: P_ALL}, new(WaitResult)) }},
		{"killLargest", long, func() { k.killLargest(1, parent) }},
		{"spaceMemory", long, func() { k.spaceMemory(nil, 0) }},
		{"setpriority of a user", long, func() { caller.Scheduled(SchedUser, 5, func(*Thread) {}) }},
		{"kill of all", n, func() { caller.Kill(-1, &Siginfo{}) }},
		{"post", short, func() { parent.postLocked(&Siginfo{Signo: syscall.SIGUSR2}, nil) }},
		{"take", short, func() { queue().take(parent, 1) }},
		{"drop", long, func() { queue().drop(parent, 1) }},
		{"checkCPU", 2 * short, func() { caller.checkCPU() }}, // threads and timers
		{"leaveKids", 2*short + long, func() { // threads, children, and children again
			parent.children.each(func(c *Process) bool { c.maker = caller; return true })
			caller.leaveKids()
		}},
		{"parentDied", short + 1, func() { // and once because the caller may have many children
			k.pdeaths.Store(true)
			parent.parentDied(caller)
		}},
	} {
		yields = 0
		if c.call(); yields != c.want {
			t.Errorf("%s gives way %d times, want %d", c.name, yields, c.want)
		}
	}
}
