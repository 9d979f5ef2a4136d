package proc

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"grim/arch"
	"grim/mm/vm"
	"grim/proc/exit"
)

// fatMachine returns a machine whose zombies hold their memory until they are waited for.
func fatMachine(t *testing.T, frames int) *machine {
	return newMachine(t, frames, func(c *Config) { c.Design = &exit.Parent })
}

type gated struct {
	*vm.FileObject
	pager   *slowPager
	reached chan struct{}
	gate    chan struct{}
}

func (m *machine) gated() *gated {
	g := &gated{reached: make(chan struct{}, 16), gate: make(chan struct{})}
	g.FileObject, g.pager = m.file(func() { g.reached <- struct{}{}; <-g.gate }, 1)
	return g
}

// writer returns a child that leaves a dirty page of the file.
func (g *gated) writer(code int) program {
	return func(c *user) {
		c.Store(c.Map(1<<12, vm.Shared, g), 1)
		c.ExitGroup(code)
	}
}

// Two threads wait for one child. The first has claimed it and gives back its memory. The
// second finds no child, and the child's number is not used again before the first is done.
// Broken by: claim that leaves the child on its parent's list (the second thread settles it
// too).
func TestSettleTwoWaiters(t *testing.T) {
	m := fatMachine(t, 4096)
	g := m.gated()
	m.run(0, func(u *user) {
		pid := u.Fork(g.writer(7))
		z := m.k.Process(pid)
		u.Spin(func() bool { return z.State() == Zombie })
		var first WaitResult
		var done atomic.Bool
		u.Thread(func(c *user) {
			first, _ = c.Wait4(pid, 0)
			done.Store(true)
			c.Exit(0)
		})
		<-g.reached
		for _, id := range []int{pid, -1} {
			if w, err := u.Wait4(id, 0); err != syscall.ECHILD {
				t.Errorf("second waiter for %d: %+v, %v, want ECHILD", id, w, err)
			}
		}
		if m.k.Process(pid) != z || z.State() != Zombie || done.Load() {
			t.Errorf("number %d means %v, a %v, before its memory is back; first waiter done: %v", pid, m.k.Process(pid), z.State(), done.Load())
		}
		close(g.gate)
		u.Spin(done.Load)
		if first.PID != pid || first.Status != ExitStatus(7) || z.State() != Gone {
			t.Errorf("first waiter: %+v, the child is %v", first, z.State())
		}
		u.ExitGroup(0)
	})
	g.Unref()
}

// WNOWAIT leaves memory, status and number as they are. Broken by: collect that claims
// whatever the options say.
func TestSettleNoWait(t *testing.T) {
	m := fatMachine(t, 4096)
	m.run(0, func(u *user) {
		pid := u.Fork(func(c *user) {
			c.Store(c.Map(1<<12, vm.Anon, nil), 1)
			c.ExitGroup(3)
		})
		for range 2 {
			w, err := u.Waitid(P_PID, pid, WEXITED|WNOWAIT)
			if err != nil || w.PID != pid || w.Status != ExitStatus(3) {
				t.Errorf("WNOWAIT: %+v, %v", w, err)
			}
			vs := m.k.Process(pid).VM()
			if vs == nil {
				t.Fatal("WNOWAIT has taken the child's memory")
			}
			vs.Release()
		}
		if w, err := u.Wait4(pid, 0); err != nil || w.PID != pid {
			t.Errorf("wait: %+v, %v", w, err)
		}
		u.ExitGroup(0)
	})
}

// A signal does not interrupt a wait that has claimed its child: the handler runs after the
// wait, and the child is returned. Broken by: a wait that checks for signals once more
// after it has settled.
func TestSettleSignal(t *testing.T) {
	m := fatMachine(t, 4096)
	g := m.gated()
	m.run(0, func(u *user) {
		handled := false
		u.Handle(syscall.SIGUSR1, 0, func(*user, Siginfo) { handled = true })
		pid := u.Fork(g.writer(7))
		me := u.PID()
		go func() {
			<-g.reached
			m.k.Process(me).Signal(&Siginfo{Signo: syscall.SIGUSR1})
			close(g.gate)
		}()
		w, err := u.Wait4(pid, 0)
		if err != nil || w.PID != pid {
			t.Errorf("wait: %+v, %v", w, err)
		}
		if u.Wait4(-1, WNOHANG); !handled {
			t.Error("the signal was not delivered")
		}
		u.ExitGroup(0)
	})
	g.Unref()
}

// A parent that is killed while it settles a child ends after that, and nothing is left
// over.
func TestSettleParentKilled(t *testing.T) {
	m := fatMachine(t, 4096)
	g := m.gated()
	p := m.spawn(SpawnArgs{}, func(u *user) {
		u.Fork(g.writer(7))
		u.Wait(-1)
		u.ExitGroup(0)
	})
	<-g.reached
	p.kill(SignalStatus(syscall.SIGKILL))
	if p.Exited() {
		t.Error("the parent ended in the middle of its wait")
	}
	close(g.gate)
	if st := p.Wait().Status; st != SignalStatus(syscall.SIGKILL) {
		t.Errorf("parent: status %#x", uint32(st))
	}
	eventually(t, "all are gone", func() bool { return m.k.Counts().Processes == 0 })
	g.Unref()
}

// When a parent ends, its fat zombies give back their memory though no process waits for
// them. If a parent ignores its children, their memory is given back before its wait finds
// that there are none. Broken by: orphan that forgets the zombies that it has claimed;
// Zombify that does not run Owed before it announces.
func TestSettleNobodyWaits(t *testing.T) {
	m := fatMachine(t, 4096)
	g := m.gated()
	close(g.gate)
	m.run(0, func(u *user) {
		for range 5 {
			u.Fork(g.writer(1))
		}
		u.Spin(func() bool {
			zombies := 0
			for _, p := range m.k.Processes() {
				if p.State() == Zombie {
					zombies++
				}
			}
			return zombies == 5
		})
		u.ExitGroup(0)
	})
	eventually(t, "orphans are gone", func() bool { return m.k.Counts().Processes == 0 && m.k.Counts().DeadThreads == 0 })
	before := g.pager.outs.Load()
	m.run(0, func(u *user) {
		u.Action(syscall.SIGCHLD, Sigaction{Handler: SIG_IGN})
		u.Fork(g.writer(1))
		if w, err := u.Wait4(-1, 0); err != syscall.ECHILD {
			t.Errorf("wait of a parent that ignores its children: %+v, %v", w, err)
		}
		if g.pager.outs.Load() == before {
			t.Error("wait has said that there is no child, and its page is not written back")
		}
		u.ExitGroup(0)
	})
	g.Unref()
}

// If there is no memory left, fat zombies give theirs back. They stay zombies with their
// status, and no process is killed. Broken by: outOfMemory without payForMemory.
func TestFatZombiesPayForMemory(t *testing.T) {
	m := fatMachine(t, 700)
	killed := false
	m.k.log = func(string) { killed = true }
	m.run(0, func(u *user) {
		const n = 20
		for i := range n {
			u.Fork(func(c *user) {
				va := c.Map(64<<12, vm.Anon, nil)
				for i := range arch.VA(64) {
					c.Store(va+i<<12, 1)
				}
				c.ExitGroup(i)
			})
			u.Spin(func() bool { return len(u.t.p.zombies()) == i+1 })
		}
		for range n {
			if w, err := u.Wait4(-1, 0); err != nil || !w.Status.Exited() {
				t.Errorf("wait: %+v, %v", w, err)
			}
		}
		u.ExitGroup(0)
	})
	if killed {
		t.Error("a process was killed for memory that zombies held")
	}
}

// zombies returns p's children that have ended.
func (p *Process) zombies() (list []*Process) {
	p.k.treeMu.Lock()
	defer p.k.treeMu.Unlock()
	p.children.each(func(c *Process) bool {
		if c.State() == Zombie {
			list = append(list, c)
		}
		return true
	})
	return list
}

// A process may change its design after threads have ended: the threads that were kept are
// freed under the new design too. Broken by: bury without FreeThreads.
func TestDesignChanges(t *testing.T) {
	m := newMachine(t, 8192, nil)
	m.run(0, func(u *user) {
		for _, first := range exit.Designs {
			for _, last := range exit.Designs {
				u.Fork(func(c *user) {
					c.t.p.SetDesign(first)
					for range 3 {
						c.Thread(func(c *user) { c.Exit(0) })
					}
					c.Spin(func() bool { return len(c.t.p.TIDs()) == 1 })
					c.t.p.SetDesign(last)
					c.ExitGroup(0)
				})
				if w, err := u.Wait4(-1, 0); err != nil || w.Status != 0 {
					t.Errorf("%v, then %v: %+v, %v", first, last, w, err)
				}
			}
		}
		u.ExitGroup(0)
	})
	eventually(t, "all threads are freed", func() bool { return m.k.Counts().Threads == 0 })
}

// The number of spaces that are taken apart after their process's end is bounded. Broken
// by: Apart without begin.
func TestEagerIsBounded(t *testing.T) {
	m := newMachine(t, 1<<14, func(c *Config) { c.Design = &exit.Eager })
	gate := make(chan struct{})
	var reached, most atomic.Int64
	var files []*vm.FileObject
	for range 2 * deadBound {
		o, _ := m.file(func() { reached.Add(1); <-gate }, 1)
		files = append(files, o)
	}
	p := m.spawn(SpawnArgs{}, func(u *user) {
		for _, o := range files {
			u.Fork(func(c *user) {
				c.Store(c.Map(1<<12, vm.Shared, o), 1)
				c.ExitGroup(0)
			})
			u.Wait(-1)
			most.Store(max(most.Load(), int64(m.k.Counts().DeadThreads)))
		}
		u.ExitGroup(0)
	})
	eventually(t, "as many as may are on their way", func() bool { return reached.Load() >= deadBound })
	time.Sleep(5 * time.Millisecond)
	if n := reached.Load(); p.Exited() || n > deadBound+1 {
		t.Errorf("%d address spaces are taken apart at a time, want up to %d", n, deadBound)
	}
	close(gate)
	p.Wait()
	eventually(t, "all is taken apart", func() bool { return m.k.Counts().DeadThreads == 0 })
	for _, o := range files {
		o.Unref()
	}
}
