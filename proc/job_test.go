package proc

import (
	"sync/atomic"
	"syscall"
	"testing"
)

// A process with several threads is stopped, continued and killed. Its parent is told of
// each once, when all threads really have stopped.
func TestStop(t *testing.T) {
	m := newMachine(t, 4096, nil)
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU} {
		m.run(0, func(u *user) {
			var codes []int32
			u.Handle(syscall.SIGCHLD, SA_RESTART, func(u *user, info Siginfo) { codes = append(codes, info.Code) })
			var steps atomic.Int64
			pid := u.Fork(func(c *user) {
				for range 3 {
					c.Thread(func(c *user) { c.Spin(func() bool { steps.Add(1); return false }) })
				}
				c.Thread(func(c *user) { c.Sleep() })
				c.Spin(func() bool { steps.Add(1); return false })
			})
			// Its group is not orphaned: this process is outside of the group, in the same
			// session.
			u.must(func(t *Thread) (uint64, error) { return 0, t.Setpgid(pid, pid) })
			u.Spin(func() bool { return steps.Load() > 10 })
			for range 2 {
				u.Kill(pid, s)
				w, err := u.Wait4(pid, WUNTRACED)
				if err != nil || !w.Status.Stopped() || w.Status.StopSignal() != s || w.Code != CLD_STOPPED {
					t.Fatalf("%v: wait: %+v, %v", s, w, err)
				}
				if w, err := u.Wait4(pid, WUNTRACED|WNOHANG); w.PID != 0 || err != nil {
					t.Errorf("%v: told twice: %+v, %v", s, w, err)
				}
				before := steps.Load()
				u.Turns()
				if now := steps.Load(); now != before {
					t.Errorf("%v: the process ran while stopped", s)
				}
				u.Kill(pid, syscall.SIGCONT)
				w, err = u.Wait4(pid, WCONTINUED)
				if err != nil || !w.Status.Continued() || w.Code != CLD_CONTINUED {
					t.Fatalf("%v: wait: %+v, %v", s, w, err)
				}
				u.Spin(func() bool { return steps.Load() > before+10 })
			}
			u.Kill(pid, s)
			u.Wait4(pid, WUNTRACED)
			u.Kill(pid, syscall.SIGTERM) // pending until the process continues
			u.Kill(pid, syscall.SIGKILL)
			if w, err := u.Wait(pid); err != nil || w.Status != SignalStatus(syscall.SIGKILL) {
				t.Errorf("%v: wait: %+v, %v", s, w, err)
			}
			if len(codes) < 3 || codes[0] != CLD_STOPPED {
				t.Errorf("%v: SIGCHLD codes %v", s, codes)
			}
		})
	}
}

// A process that has been continued is not reported as stopped, however late a thread of it
// tells of the stop. Broken by: collect that looks only at the event; tellStopped that does not
// look at the state again.
func TestContinuedIsNotStopped(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		pid := u.Fork(func(c *user) { c.Spin(nil) })
		p := m.k.Process(pid)
		event := func() int32 {
			m.k.treeMu.Lock()
			defer m.k.treeMu.Unlock()
			return p.jobEvent.code
		}
		u.Kill(pid, syscall.SIGSTOP)
		u.Spin(func() bool { return event() == CLD_STOPPED })
		u.must(func(th *Thread) (uint64, error) {
			m.k.treeMu.Lock() // no thread of the process can tell of the continuation meanwhile
			defer m.k.treeMu.Unlock()
			var r WaitResult
			err := p.post(&Siginfo{Signo: syscall.SIGCONT}, nil)
			if th.p.collect(p, WUNTRACED, &r); r.PID != 0 {
				t.Errorf("a continued process is reported as stopped: %+v", r)
			}
			return 0, err
		})
		u.Spin(func() bool { return event() == CLD_CONTINUED })
		p.tellStopped() // by a thread that has been held up since the stop
		if event() != CLD_CONTINUED {
			t.Error("a thread has told of a stop that is over")
		}
		u.Kill(pid, syscall.SIGKILL)
		u.Wait(pid)
	})
}

// Stop signals and SIGCONT cancel each other while they are pending. A SIGCONT that comes
// after a stop signal is taken and before the stop makes it void.
func TestStopAndContinueCancel(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		both := SigBit(syscall.SIGTSTP) | SigBit(syscall.SIGCONT)
		u.must(func(t *Thread) (uint64, error) { t.SetMask(both); return 0, nil })
		pending := func(want Sigset) {
			t.Helper()
			if got := u.must(func(t *Thread) (uint64, error) { return uint64(t.Pending()), nil }); Sigset(got) != want {
				t.Errorf("pending %#x, want %#x", got, want)
			}
		}
		u.Kill(u.PID(), syscall.SIGTSTP)
		pending(SigBit(syscall.SIGTSTP))
		u.Kill(u.PID(), syscall.SIGCONT)
		pending(SigBit(syscall.SIGCONT))
		u.Kill(u.PID(), syscall.SIGTSTP)
		pending(SigBit(syscall.SIGTSTP))
		// Children and threads inherit the mask, but not pending signals.
		u.Fork(func(c *user) {
			if c.t.mask != both || c.t.pending.set|c.t.p.pending.set != 0 {
				t.Errorf("child: mask %#x, pending %#x", c.t.mask, c.t.p.pending.set)
			}
		})
		u.Wait(-1)
		conts := u.t.p.stop.conts
		u.Kill(u.PID(), syscall.SIGCONT)
		u.must(func(t *Thread) (uint64, error) { t.p.stopAll(syscall.SIGSTOP, conts); return 0, nil })
		if u.t.p.Stopped() {
			t.Error("stopped by a signal older than SIGCONT")
		}
		u.ExitGroup(0)
	})
}

// Process groups and sessions: which process may move which, and kill of a group. A group
// that becomes orphaned while it is stopped gets SIGHUP and SIGCONT.
func TestGroups(t *testing.T) {
	m := newMachine(t, 8192, nil)
	m.run(0, func(u *user) {
		pgid := func(pid, pgid int) error {
			_, err := u.Sys(func(t *Thread) (uint64, error) { return 0, t.Setpgid(pid, pgid) })
			return err
		}
		check := func(what string, got, want error) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		a := u.Fork(func(c *user) { c.Sleep() })
		b := u.Fork(func(c *user) { c.Sleep() })
		var execed atomic.Int64
		e := u.Fork(func(c *user) { c.Exec("x", func(c *user) { execed.Store(1); c.Sleep() }) })
		u.Spin(func() bool { return execed.Load() == 1 })
		other := u.Fork(func(c *user) {
			c.must(func(t *Thread) (uint64, error) { _, err := t.Setsid(); return 0, err })
			execed.Store(2)
			c.Sleep()
		})
		u.Spin(func() bool { return execed.Load() == 2 })
		check("negative", pgid(a, -1), syscall.EINVAL)
		check("no child", pgid(31000, 0), syscall.ESRCH)
		check("a session leader", pgid(0, 0), syscall.EPERM)
		check("after exec", pgid(e, 0), syscall.EACCES)
		check("another session", pgid(other, 0), syscall.EPERM)
		check("no such group", pgid(a, 31000), syscall.EPERM)
		check("another session's group", pgid(a, other), syscall.EPERM)
		check("own group", pgid(a, a), nil)
		check("joined", pgid(b, a), nil)
		if _, err := u.Sys(func(t *Thread) (uint64, error) { _, err := t.Setsid(); return 0, err }); err != syscall.EPERM {
			t.Errorf("setsid by a group leader: %v", err)
		}
		check("kill of the group", u.Kill(-a, syscall.SIGTERM), nil)
		for range 2 {
			if w, _ := u.Wait4(-a, 0); w.Status != SignalStatus(syscall.SIGTERM) {
				t.Errorf("member: %+v", w)
			}
		}
		check("kill of no group", u.Kill(-a, syscall.SIGTERM), syscall.ESRCH)
		u.Kill(e, syscall.SIGKILL)
		u.Kill(other, syscall.SIGKILL)
		u.Wait(-1)
		u.Wait(-1)

		// The group is orphaned and stopped.
		var pid, hup atomic.Int64
		parent := u.Fork(func(c *user) {
			pid.Store(int64(c.Fork(func(g *user) {
				g.must(func(t *Thread) (uint64, error) { return 0, t.Setpgid(0, 0) })
				g.Handle(syscall.SIGHUP, 0, func(*user, Siginfo) { hup.Add(1) })
				g.Kill(g.PID(), syscall.SIGTSTP)
				// An orphaned group is not stopped again by the terminal's signals.
				g.Kill(g.PID(), syscall.SIGTSTP)
				g.ExitGroup(0)
			})))
			c.Wait4(int(pid.Load()), WUNTRACED)
			c.ExitGroup(0)
		})
		u.Wait(parent)
		u.Spin(func() bool { return hup.Load() == 1 })
	})
	eventually(t, "the orphan ends", func() bool { return m.k.Counts().Processes == 0 })
}
