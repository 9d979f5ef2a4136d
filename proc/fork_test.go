package proc

import (
	"sync/atomic"
	"syscall"
	"testing"

	"grim/mm/charge"
)

// A signal to the group that comes during a fork reaches the child too. A handler runs in
// both; SIGTERM would end both. Without Thread.fork the child misses it.
func TestForkGroupSignal(t *testing.T) {
	m := newMachine(t, 8192, nil)
	m.run(0, func(u *user) {
		var got atomic.Int64
		u.Handle(syscall.SIGUSR1, SA_RESTART, func(*user, Siginfo) { got.Add(1) })
		pid, err := u.Clone(ForkArgs{
			ExitSignal: syscall.SIGCHLD,
			OnChild: func(c *Thread) error {
				return m.k.SignalGroup(u.t.p.GroupID(), &Siginfo{Signo: syscall.SIGUSR1})
			},
		}, func(c *user) {
			c.Spin(func() bool { return got.Load() == 2 })
		})
		if err != nil {
			t.Fatal(err)
		}
		if w, err := u.Wait(pid); err != nil || w.Status != 0 || got.Load() != 2 {
			t.Errorf("%+v, %v, %d handlers ran", w, err, got.Load())
		}
		// A signal to the process alone stays with it. Of a stop and a continuation, the
		// last one counts.
		pid, err = u.Clone(ForkArgs{
			ExitSignal: syscall.SIGCHLD,
			OnChild: func(c *Thread) error {
				u.t.p.Signal(&Siginfo{Signo: syscall.SIGUSR1})
				m.k.SignalGroup(u.t.p.GroupID(), &Siginfo{Signo: syscall.SIGSTOP})
				return m.k.SignalGroup(u.t.p.GroupID(), &Siginfo{Signo: syscall.SIGCONT})
			},
		}, func(c *user) {
			if s := c.t.Pending(); s != 0 || c.t.p.Stopped() {
				t.Errorf("pending in the child: %#x", s)
			}
		})
		if w, err2 := u.Wait(pid); err != nil || err2 != nil || w.Status != 0 || got.Load() != 3 {
			t.Errorf("%+v, %v, %v, %d handlers ran", w, err, err2, got.Load())
		}
		if u.t.p.forks != nil {
			t.Error("a fork is still in progress")
		}
	})
}

// A signal that is pending when fork begins is taken first: the call starts again, and the
// handler has run before there is a child. Seen to fail without the check of Interrupted at
// the beginning of Fork.
func TestForkPending(t *testing.T) {
	m := newMachine(t, 8192, nil)
	m.run(0, func(u *user) {
		var handled, calls atomic.Int64
		u.Handle(syscall.SIGUSR1, 0, func(*user, Siginfo) { handled.Add(1) })
		pid := u.must(func(t *Thread) (uint64, error) {
			if calls.Add(1) == 1 {
				t.p.Signal(&Siginfo{Signo: syscall.SIGUSR1})
			}
			pid, err := t.Fork(ForkArgs{ExitSignal: syscall.SIGCHLD, OnChild: func(c *Thread) error {
				if handled.Load() != 1 {
					return syscall.EBUSY
				}
				m.bind(c, func(*user) {})
				return nil
			}})
			return uint64(pid), err
		})
		if _, err := u.Wait(int(pid)); err != nil || calls.Load() != 2 {
			t.Errorf("%v, %d calls, want 2", err, calls.Load())
		}
	})
}

// A maker of threads that waits for the reaper is ended by a fatal signal. Without the
// check of Dying in waitRoom it hangs.
func TestWaitRoomKilled(t *testing.T) {
	m := newMachine(t, 8192, nil)
	d := &m.k.dead
	fill := func(n int) {
		d.mu.Lock()
		d.n += n
		d.mu.Unlock()
	}
	m.run(0, func(u *user) {
		var full atomic.Int64
		pid := u.Fork(func(c *user) {
			fill(deadBound)
			full.Store(1)
			c.Clone(ForkArgs{ExitSignal: syscall.SIGCHLD}, func(*user) {})
			t.Error("fork returned")
		})
		p := m.k.Process(pid)
		u.Spin(func() bool { return full.Load() == 1 && p.StateLetter(pid) == 'D' })
		u.Kill(pid, syscall.SIGTERM)
		if w, err := u.Wait(pid); err != nil || w.Status != SignalStatus(syscall.SIGTERM) {
			t.Errorf("%+v, %v", w, err)
		}
		fill(-deadBound)
		// When there is room the other makers are woken.
		u.Thread(func(c *user) {
			c.Spin(func() bool { return c.t.p.StateLetter(u.PID()) == 'D' })
			d.done()
			fill(1 - deadBound)
		})
		fill(deadBound)
		u.Thread(func(c *user) {})
		u.ExitGroup(0)
	})
}

// CLONE_VFORK of a thread: its maker sleeps until the thread ends.
func TestVforkThread(t *testing.T) {
	m := newMachine(t, 8192, nil)
	m.run(0, func(u *user) {
		var ended atomic.Bool
		_, err := u.Clone(ForkArgs{Flags: threadFlags | CloneVfork}, func(c *user) {
			c.Spin(func() bool { return u.t.p.StateLetter(u.PID()) == 'D' })
			ended.Store(true)
			c.Exit(0)
		})
		if err != nil || !ended.Load() {
			t.Errorf("%v; the thread has ended: %v", err, ended.Load())
		}
	})
}

// trackedFiles is a table that records how it is used.
type trackedFiles struct {
	open  *atomic.Int64
	flags CloneFlags // of the Fork that made it
	users *atomic.Int64

	payer  atomic.Int64 // number of the user
	closed atomic.Bool
}

func newTracked(open *atomic.Int64, flags CloneFlags) *trackedFiles {
	open.Add(1)
	f := &trackedFiles{open: open, flags: flags, users: new(atomic.Int64)}
	f.users.Store(1)
	return f
}

func (f *trackedFiles) PayFor(u *charge.User) { f.payer.Store(int64(u.UID())) }

func (f *trackedFiles) Fork(flags CloneFlags, u *charge.User) (Files, error) {
	n := newTracked(f.open, flags)
	n.PayFor(u)
	if flags&CloneFiles != 0 {
		n.users = f.users
		n.users.Add(1)
	}
	return n, nil
}
func (f *trackedFiles) Shared() bool { return f.users.Load() > 1 }
func (f *trackedFiles) CloseOnExec() {
	if f.Shared() {
		panic("CloseOnExec of a table that another uses")
	}
}
func (f *trackedFiles) CloseAll() {
	if f.closed.Swap(true) {
		panic("CloseAll twice")
	}
	f.open.Add(-1)
	f.users.Add(-1)
}

// Threads without CLONE_FILES or CLONE_FS have files of their own, which are closed with
// the last thread that uses them. exec takes the caller's files, and closes no others.
func TestThreadFiles(t *testing.T) {
	forDesigns(t, 8192, func(t *testing.T, m *machine) {
		var open atomic.Int64
		first := newTracked(&open, 0)
		p := m.spawn(SpawnArgs{Files: first}, func(u *user) {
			thread := func(u *user, flags CloneFlags, fn program) {
				t.Helper()
				if _, err := u.Clone(ForkArgs{Flags: CloneVM | CloneSighand | CloneThread | flags}, fn); err != nil {
					t.Fatal(err)
				}
			}
			var done atomic.Int64
			for _, flags := range []CloneFlags{0, CloneFiles, CloneFS, CloneFiles | CloneFS} {
				thread(u, flags, func(c *user) {
					own := flags != CloneFiles|CloneFS
					if f := c.t.Files().(*trackedFiles); own != (f != first) || own && f.flags != flags {
						t.Errorf("flags %#x: the thread's files %p, made with %#x", flags, f, f.flags)
					}
					if own { // a sharer of a thread's own files may outlive the thread
						thread(c, CloneFiles|CloneFS, func(c2 *user) {
							c2.Spin(func() bool { return m.k.Thread(c.t.TID()) == nil })
							if f := c2.t.Files().(*trackedFiles); f.closed.Load() {
								t.Error("the files went with the thread that they were shared with")
							}
							done.Add(1)
						})
					}
					done.Add(1)
					c.Exit(0)
				})
			}
			u.Spin(func() bool { return done.Load() == 7 && len(u.t.p.TIDs()) == 1 })
			if n := open.Load(); n != 1 {
				t.Errorf("%d tables open, want the process's", n)
			}
			// The leader ends, and with it the use of the process's table.
			thread(u, 0, func(c *user) {
				c.Spin(func() bool { return len(c.t.p.TIDs()) == 1 })
				if n := open.Load(); n != 1 || c.t.p.Files() != nil {
					t.Errorf("%d tables open, want the thread's own", n)
				}
				// A child shares the table; exec takes a copy.
				var gate atomic.Bool
				pid, _ := c.Clone(ForkArgs{Flags: CloneFiles, ExitSignal: syscall.SIGCHLD}, func(k *user) {
					k.Exec("shared", func(k *user) {
						if f := k.t.Files().(*trackedFiles); f.Shared() || f.flags != CloneFS {
							t.Error("exec did not take a copy")
						}
						k.Spin(gate.Load)
					})
				})
				own := c.t.Files().(*trackedFiles)
				c.Spin(func() bool { return !own.Shared() })
				gate.Store(true)
				c.Wait(pid)
				c.Exec("own", func(c *user) {
					if c.t.Files() != own || c.t.p.Files() != own || c.t.TID() != c.PID() {
						t.Error("exec lost the caller's files")
					}
				})
			})
			u.Exit(0)
		})
		p.Wait()
		if n := open.Load(); n != 0 {
			t.Errorf("%d tables open at the end", n)
		}
	})
}

// Descriptors are unshared from other threads and from other processes, once.
func TestUnshareFiles(t *testing.T) {
	m := newMachine(t, 8192, nil)
	var open atomic.Int64
	first := newTracked(&open, 0)
	p := m.spawn(SpawnArgs{Files: first}, func(u *user) {
		unshare := func(u *user) *trackedFiles {
			u.must(func(t *Thread) (uint64, error) { return 0, t.UnshareFiles() })
			return u.t.Files().(*trackedFiles)
		}
		if unshare(u) != first {
			t.Error("files that nobody shares were copied")
		}
		// A process: its own copy replaces the shared table.
		pid, _ := u.Clone(ForkArgs{Flags: CloneFiles, ExitSignal: syscall.SIGCHLD}, func(c *user) {
			shared := c.t.Files().(*trackedFiles)
			if own := unshare(c); own == shared || own.Shared() || !shared.closed.Load() || c.t.p.Files() != own || own.flags != CloneFS {
				t.Error("a process's files were not unshared")
			}
		})
		u.Wait(pid)
		// Two threads: the second gets its own table, then the leader does. After that the
		// process's table is not used any more.
		var done atomic.Int64
		u.Thread(func(c *user) {
			if own := unshare(c); own == first || first.closed.Load() || unshare(c) != own {
				t.Error("a thread's files were not unshared, or twice")
			}
			done.Add(1)
			c.Spin(func() bool { return done.Load() == 2 })
			c.Exit(0)
		})
		u.Spin(func() bool { return done.Load() == 1 })
		if own := unshare(u); own == first || !first.closed.Load() || u.t.p.Files() != nil {
			t.Error("the leader's files were not unshared")
		}
		done.Add(1)
		u.Spin(func() bool { return len(u.t.p.TIDs()) == 1 })
		if n := open.Load(); n != 1 {
			t.Errorf("%d tables open, want the leader's", n)
		}
	})
	p.Wait()
	if n := open.Load(); n != 0 {
		t.Errorf("%d tables open at the end", n)
	}
}

// Signals are sent to threads by number while those threads end. The race detector reports
// it if the reaper writes Thread.state, which is read here, without the lock.
func TestSignalDyingThreads(t *testing.T) {
	m := newMachine(t, 8192, nil)
	m.run(0, func(u *user) {
		var last, done atomic.Int64
		u.Handle(syscall.SIGUSR1, SA_RESTART, func(*user, Siginfo) {})
		u.Thread(func(c *user) {
			c.must(func(t *Thread) (uint64, error) {
				for done.Load() == 0 {
					if tid := int(last.Load()); tid != 0 {
						t.Tgkill(0, tid, &Siginfo{Signo: syscall.SIGUSR1, Code: SI_TKILL})
						t.Kill(tid, &Siginfo{})
					}
				}
				return 0, nil
			})
			done.Store(2)
		})
		for range 2000 {
			last.Store(int64(u.Thread(func(c *user) { c.Exit(0) })))
		}
		done.Store(1)
		u.Spin(func() bool { return done.Load() == 2 })
		u.ExitGroup(0)
	})
}

// kill(2) with the number of a thread signals the thread's process.
// Broken by (it hangs): Holder that knows processes only.
func TestKillByThread(t *testing.T) {
	m := newMachine(t, 8192, nil)
	m.run(0, func(u *user) {
		var tid atomic.Int64
		pid := u.Fork(func(c *user) {
			tid.Store(int64(c.Thread(func(c *user) { c.Sleep() })))
			c.Sleep()
		})
		u.Spin(func() bool { return tid.Load() != 0 })
		if err := u.Kill(int(tid.Load()), 0); err != nil {
			t.Errorf("kill(tid, 0): %v", err)
		}
		if err := u.Kill(int(tid.Load()), syscall.SIGTERM); err != nil {
			t.Errorf("kill(tid): %v", err)
		}
		if w, _ := u.Wait(pid); w.Status != SignalStatus(syscall.SIGTERM) {
			t.Errorf("status %#x", w.Status)
		}
		if err := u.Kill(int(tid.Load()), 0); err != syscall.ESRCH {
			t.Errorf("kill of a thread that has ended: %v", err)
		}
	})
}

// setpgid(2) of a zombie, and the call's arguments.
func TestSetpgidZombie(t *testing.T) {
	m := newMachine(t, 8192, nil)
	m.run(0, func(u *user) {
		pgid := func(pid, pgid int) error {
			_, err := u.Sys(func(t *Thread) (uint64, error) { return 0, t.Setpgid(pid, pgid) })
			return err
		}
		zombie := func(fn program) int {
			pid := u.Fork(fn)
			p := m.k.Process(pid)
			u.Spin(func() bool { return p.State() == Zombie })
			return pid
		}
		z := zombie(func(c *user) {})
		if err := pgid(z, 0); err != nil {
			t.Errorf("zombie: %v", err)
		}
		if w, err := u.Wait4(-z, 0); w.PID != z || err != nil {
			t.Errorf("wait for the zombie's new group: %+v, %v", w, err)
		}
		z = zombie(func(c *user) { c.Exec("x", func(*user) {}) })
		if err := pgid(z, 0); err != syscall.EACCES {
			t.Errorf("zombie that has exec'd: %v, want EACCES", err)
		}
		u.Wait(z)
		if err := pgid(-1, 0); err != syscall.EINVAL {
			t.Errorf("setpgid(-1, 0): %v, want EINVAL", err)
		}
		tid := u.Thread(func(c *user) { c.Sleep() })
		if err := pgid(tid, 0); err != syscall.EINVAL {
			t.Errorf("setpgid of a thread: %v, want EINVAL", err)
		}
		u.ExitGroup(0)
	})
}

// A thread's user pays for the thread's own descriptors, and the leader's user for those of
// the process, no matter which thread changes its user, and when. Broken by: SetCred
// without payForFiles; UnshareFiles and cloneThread that charge the process's user.
func TestThreadPaysForFiles(t *testing.T) {
	m := newMachine(t, 8192, nil)
	var open atomic.Int64
	own := func(u *user, want int64) {
		t.Helper()
		if got := u.t.Files().(*trackedFiles).payer.Load(); got != want {
			t.Errorf("user %d pays for the thread's files, want %d", got, want)
		}
	}
	p := m.spawn(SpawnArgs{Files: newTracked(&open, 0)}, func(u *user) {
		const apart = threadFlags &^ CloneFiles
		var steps atomic.Int32
		u.Clone(ForkArgs{Flags: apart}, func(c *user) {
			own(c, 0)
			c.t.SetCred(&Cred{UID: 5, EUID: 5})
			own(c, 5)
			c.Clone(ForkArgs{Flags: apart}, func(c *user) {
				own(c, 5)
				steps.Add(1)
			})
			steps.Add(1)
		})
		u.Thread(func(c *user) {
			c.t.SetCred(&Cred{UID: 6, EUID: 6})
			own(c, 0) // the process's
			c.must(func(t *Thread) (uint64, error) { return 0, t.UnshareFiles() })
			own(c, 6)
			steps.Add(1)
		})
		u.Spin(func() bool { return steps.Load() == 3 })
		own(u, 0)
		u.t.SetCred(&Cred{UID: 7, EUID: 7})
		own(u, 7)
		if uid := u.t.p.account.User().UID(); uid != 7 {
			t.Errorf("user %d pays for the process", uid)
		}
	})
	p.Wait()
	if n := open.Load(); n != 0 {
		t.Errorf("%d tables open", n)
	}
}
