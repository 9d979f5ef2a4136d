package proc

import (
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"grim/arch"
	"grim/mm/charge"
	"grim/mm/vm"
	"grim/proc/exit"
)

// The steps of an exit come in the contract's order, under every design. The process has
// files, a timer, memory and a parent that waits. If any two lines of exit1 or of a design
// are swapped, it fails.
func TestExitOrder(t *testing.T) {
	forDesigns(t, 4096, func(t *testing.T, m *machine) {
		var open atomic.Int64
		var pid int
		closedEarly := false
		p := m.spawn(SpawnArgs{Files: newFiles(&open, func() {
			// User memory is still there when files are closed.
			closedEarly = true
		})}, func(u *user) {
			pid = u.Fork(func(c *user) {
				va := c.Map(8<<12, vm.Anon, nil)
				for i := range 8 {
					c.Store(va+arch.VA(i<<12), 1)
				}
				c.t.p.SetTimer(int64(time.Hour), 0)
				c.Thread(func(c *user) { c.Sleep() })
				c.ExitGroup(1)
			})
			u.Wait(pid)
		})
		p.Wait()
		d := m.k.cfg.Design
		eventually(t, "all is taken apart", func() bool { return m.k.Counts().DeadThreads == 0 })
		if got := m.stages(pid, false); !slices.Equal(got, d.Order) {
			t.Errorf("steps %v\nwant  %v", got, d.Order)
		}
		if got := m.stages(pid, true); !slices.Equal(got, d.Apart) {
			t.Errorf("steps apart %v\nwant  %v", got, d.Apart)
		}
		if n := open.Load(); n != 0 || !closedEarly {
			t.Errorf("%d descriptor tables open", n)
		}
		for _, e := range m.recorded() {
			if int(e.PID) == pid && e.Step == exit.StepPurgeEnd && (e.Pages != 8 || e.Tables == 0) {
				t.Errorf("purge freed %d pages and %d tables, want 8 and some", e.Pages, e.Tables)
			}
		}
	})
}

// slowPager is slow to take a page back.
type slowPager struct {
	mu   sync.Mutex
	disk map[int64]byte
	slow func() // called by PageOut before it writes
	outs atomic.Int64
}

func (p *slowPager) PageIn(index int64, page []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(page)
	page[0] = p.disk[index]
	return nil
}

func (p *slowPager) PageOut(index int64, page []byte) error {
	if p.slow != nil {
		p.slow()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.disk[index] = page[0]
	p.outs.Add(1)
	return nil
}

func (m *machine) file(slow func(), pages int64) (*vm.FileObject, *slowPager) {
	p := &slowPager{disk: map[int64]byte{}, slow: slow}
	o := vm.NewFileObject(m.vm, "/slow", p)
	if err := o.Truncate(pages << 12); err != nil {
		m.t.Fatal(err)
	}
	return o, p
}

// E1: wait returns only after the pager, however slow it is, has everything that the child
// wrote. It fails when exit1 does steps 5 and 6 before step 4 (then, under exit.Purge,
// VMSpace.Release panics first, which is E8), or if Zombify is called before FreeSpace.
func TestE1SlowPager(t *testing.T) {
	forDesigns(t, 4096, func(t *testing.T, m *machine) {
		o, pager := m.file(func() { time.Sleep(5 * time.Millisecond) }, 4)
		m.run(0, func(u *user) {
			for round := byte(1); round <= 3; round++ {
				u.Fork(func(c *user) {
					va := c.Map(4<<12, vm.Shared, o)
					for i := range arch.VA(4) {
						c.Store(va+i<<12, round)
					}
					c.ExitGroup(0)
				})
				if _, err := u.Wait(-1); err != nil {
					t.Error(err)
				}
				pager.mu.Lock()
				for i := range int64(4) {
					if pager.disk[i] != round {
						t.Errorf("round %d: wait returned, but page %d has %d", round, i, pager.disk[i])
					}
				}
				pager.mu.Unlock()
			}
		})
		o.Unref()
	}, exit.E1)
}

// E7: while one purge sleeps in its pager, other processes run, exit and are reaped. Under
// the design reaper the same sleep delays every exit: the design purge avoids that, and
// this shows that the test can fail.
func TestE7PurgeSleeps(t *testing.T) {
	m := newMachine(t, 4096, nil)
	gate := make(chan struct{})
	asleep := make(chan struct{}, 16)
	o, _ := m.file(func() { asleep <- struct{}{}; <-gate }, 1)
	slow := m.spawn(SpawnArgs{}, func(u *user) {
		va := u.Map(1<<12, vm.Shared, o)
		u.Store(va, 1)
	})
	<-asleep
	m.run(ExitStatus(0), func(u *user) {
		for range 50 {
			u.Fork(func(c *user) { c.ExitGroup(0) })
			if _, err := u.Wait(-1); err != nil {
				t.Error(err)
			}
		}
		u.ExitGroup(0)
	})
	if s := slow.State(); s != Exiting {
		t.Errorf("the process with the slow pager is %v, want exiting", s)
	}
	close(gate)
	slow.Wait()
	o.Unref()
}

// E5: a process that makes and ends 100 000 threads never holds more than its live threads
// and a bound. It fails if dead threads are kept until process exit (return early in bury
// when !t.last) or if Fork does not wait for room.
func TestE5Threads(t *testing.T) {
	n := 100_000
	if testing.Short() || raceEnabled {
		n = 10_000
	}
	m := newMachine(t, 4096, nil)
	const batch = 8
	var most int64
	m.run(0, func(u *user) {
		for range n / batch {
			var alive atomic.Int64
			for range batch {
				alive.Add(1)
				u.Thread(func(c *user) { alive.Add(-1); c.Exit(0) })
			}
			most = max(most, m.k.Counts().Threads)
			u.Spin(func() bool { return alive.Load() == 0 })
		}
		u.ExitGroup(0)
	})
	// Live threads are this thread, a batch, and threads of earlier batches that have run
	// their last instruction and not exited yet: two batches at most here.
	if limit := int64(1 + 3*batch + deadBound); most > limit {
		t.Errorf("%d thread objects at once, want at most %d", most, limit)
	}
	t.Logf("at most %d thread objects", most)
}

// E9: a borrowed address space survives its borrower's exit and exec, and the lender's exit
// before the borrower's. It is purged once, by the last user. It fails if leaveSpace
// ignores the result of space.leave.
func TestE9Borrowed(t *testing.T) {
	forDesigns(t, 4096, func(t *testing.T, m *machine) {
		vforkFlags := ForkArgs{Flags: CloneVM | CloneVfork, ExitSignal: syscall.SIGCHLD}
		m.run(0, func(u *user) {
			va := u.Map(4<<12, vm.Anon, nil)
			u.Store(va, 1)
			// vfork, exit: the parent sees the child's write, and fork returned only after
			// it.
			u.Clone(vforkFlags, func(c *user) { c.Store(va, 2); c.ExitGroup(0) })
			if b := u.Load(va); b != 2 {
				t.Errorf("after vfork and exit the parent reads %d, want 2", b)
			}
			u.Wait(-1)
			// vfork, exec: the parent continues before the child ends.
			gate := make(chan struct{}, 1)
			u.Clone(vforkFlags, func(c *user) {
				c.Store(va, 3)
				c.Exec("new", func(c *user) {
					c.Sys(func(t *Thread) (uint64, error) { return 0, t.Sleep(gate, Forever) })
					c.ExitGroup(0)
				})
			})
			if b := u.Load(va); b != 3 {
				t.Errorf("after vfork and exec the parent reads %d, want 3", b)
			}
			gate <- struct{}{}
			u.Wait(-1)
			if b := u.Load(va); b != 3 {
				t.Errorf("after the exec'd child's end the parent reads %d, want 3", b)
			}
			// CLONE_VM: the lender ends first, and the borrower goes on.
			pid := u.Fork(func(lender *user) {
				lender.Clone(ForkArgs{Flags: CloneVM, ExitSignal: syscall.SIGCHLD}, func(c *user) {
					c.Spin(func() bool { return c.t.p.PPID() != lender.t.p.pid })
					if b := c.Load(va); b != 3 {
						t.Errorf("the borrower reads %d after the lender's end, want 3", b)
					}
					c.ExitGroup(0)
				})
				lender.ExitGroup(0)
			})
			u.Wait(pid)
		})
		eventually(t, "the borrower ends", func() bool { return m.k.Counts().Processes == 0 })
		m.settle()
		purges := map[int32]int{}
		for _, e := range m.recorded() {
			if e.Step == exit.StepPurgeEnd {
				purges[e.PID]++
			}
		}
		for pid, n := range purges {
			if n != 1 {
				t.Errorf("process %d purged %d times", pid, n)
			}
		}
	})
}

// zombieFields are the fields that a zombie may have set (E10): identity, status, usage,
// the account that is charged for these, its place in the tree, and its watchers.
var zombieFields = []string{"k", "pid", "start", "account", "state", "parent", "ofKernel", "onZombies", "links", "group",
	"exitSignal", "execed", "adopts", "adopted", "maker", "mu", "status", "name", "cred", "limits", "design", "layout",
	"usage", "childUse", "noteMu", "notes"}

// E10: a zombie holds nothing else. It fails if a step of exit1 or a design leaves its
// resource on the Process (p.files = nil, p.acts = nil, p.space = nil ...).
func TestE10Zombie(t *testing.T) {
	forDesigns(t, 4096, func(t *testing.T, m *machine) {
		var open atomic.Int64
		frames := make([]int, 0, 3)
		p := m.spawn(SpawnArgs{Files: newFiles(&open, nil)}, func(u *user) {
			for range 3 {
				pid := u.Fork(func(c *user) {
					va := c.Map(64<<12, vm.Anon, nil)
					for i := range arch.VA(64) {
						c.Store(va+i<<12, 1)
					}
					c.t.p.SetTimer(int64(time.Hour), 0)
					c.Thread(func(c *user) { c.Sleep() })
					c.Fork(func(c *user) { c.Sleep() })
					c.Kill(c.PID(), syscall.SIGTERM)
					c.Sleep()
				})
				z := m.k.Process(pid)
				u.Spin(func() bool { return z.State() == Zombie })
				v := reflect.ValueOf(z).Elem()
				for i := range v.NumField() {
					if name := v.Type().Field(i).Name; !slices.Contains(zombieFields, name) && !v.Field(i).IsZero() {
						t.Errorf("a zombie holds %s = %v", name, v.Field(i))
					}
				}
				if n := z.account.Used(charge.Heap); n != processCost {
					t.Errorf("a zombie is charged %d bytes, want the process's %d", n, processCost)
				}
				frames = append(frames, m.mem.FreeFrames())
				if n := open.Load(); n != int64(1+len(frames)) { // this process's, and those of the sleeping grandchildren
					t.Errorf("%d descriptor tables open", n)
				}
			}
			u.ExitGroup(0)
		})
		p.Wait()
		for _, q := range m.k.Processes() { // the grandchildren, which have no parent now
			q.Signal(&Siginfo{Signo: syscall.SIGKILL})
		}
		eventually(t, "orphans end", func() bool { return m.k.Counts().Processes == 0 })
	}, exit.E10)
}

// A process whose threads end one by one has the status of the last thread to exit, as on
// Linux since 5.17. The thread that happens to be the last takes the process apart.
func TestLastThread(t *testing.T) {
	forDesigns(t, 4096, func(t *testing.T, m *machine) {
		m.run(ExitStatus(5), func(u *user) {
			leader := u.PID()
			u.Thread(func(c *user) {
				c.Spin(func() bool { return m.k.Thread(leader) == nil })
				c.Exit(5)
			})
			u.Exit(4)
		})
		m.run(ExitStatus(6), func(u *user) {
			for range 20 {
				u.Thread(func(c *user) { c.Spin(nil) })
			}
			u.Thread(func(c *user) { c.ExitGroup(6) })
			u.Sleep()
		})
	})
}

// Threads are ended wherever they are: in user mode, in any kind of sleep, waiting for a
// child or a futex, in vfork, stopped.
func TestKillAnywhere(t *testing.T) {
	forDesigns(t, 8192, func(t *testing.T, m *machine) {
		m.run(0, func(u *user) {
			for range 5 {
				var ready atomic.Int64
				pid := u.Fork(func(c *user) {
					va := c.Map(4096, vm.Anon, nil)
					c.Thread(func(c *user) { ready.Add(1); c.Spin(nil) })
					c.Thread(func(c *user) { ready.Add(1); c.Sleep() })
					c.Thread(func(c *user) {
						ready.Add(1)
						c.Sys(func(t *Thread) (uint64, error) { return 0, t.Sleep(nil, t.Kernel().Now()+int64(time.Hour)) })
					})
					c.Thread(func(c *user) { ready.Add(1); c.futexWait(va, 0) })
					c.Thread(func(c *user) {
						c.Fork(func(c *user) { ready.Add(1); c.Sleep() })
						c.Wait(-1)
					})
					c.Thread(func(c *user) {
						c.Clone(ForkArgs{Flags: CloneVM | CloneVfork}, func(c *user) { ready.Add(1); c.Sleep() })
					})
					c.Thread(func(c *user) {
						ready.Add(1)
						c.Sys(func(t *Thread) (uint64, error) { return 0, t.Suspend(0) })
					})
					c.Thread(func(c *user) {
						ready.Add(1)
						c.Sys(func(t *Thread) (uint64, error) {
							_, err := t.WaitSignal(SigBit(syscall.SIGUSR1), Forever)
							return 0, err
						})
					})
					c.Spin(nil)
				})
				u.Spin(func() bool { return ready.Load() == 8 })
				u.Kill(pid, syscall.SIGKILL)
				w, err := u.Wait(pid)
				if err != nil || w.Status != SignalStatus(syscall.SIGKILL) {
					t.Errorf("wait: %+v, %v", w, err)
				}
			}
			u.Kill(-1, syscall.SIGKILL) // children of the killed process
		})
		eventually(t, "orphans end", func() bool { return m.k.Counts().Processes == 0 })
	})
}

// All threads of a zombie are freed, even if one of them takes long to get onto deadproc.
// It fails if leaveSiblings calls exit2 after p.mu.Unlock.
func TestThreadsFreedBeforeZombie(t *testing.T) {
	m := newMachine(t, 4096, nil)
	var first atomic.Bool
	m.onStep = func(e *Event) {
		if e.Step == exit.StepDeadproc && first.CompareAndSwap(false, true) {
			time.Sleep(10 * time.Millisecond)
		}
	}
	p := m.spawn(SpawnArgs{}, func(u *user) {
		u.Thread(func(c *user) { c.Spin(nil) })
		u.ExitGroup(0)
	})
	p.Wait()
	if n := m.k.Counts().Threads; n != 0 {
		t.Errorf("%d threads left after wait", n)
	}
}

// A process that is killed together with its group while it forks has no child that the
// kill has missed. It fails without the check of Dying in adopt.
func TestKillGroupWhileForking(t *testing.T) {
	m := newMachine(t, 4096, nil)
	for _, flags := range []CloneFlags{0, CloneVM | CloneVfork, threadFlags} {
		var ran atomic.Bool
		m.run(SignalStatus(syscall.SIGKILL), func(u *user) {
			u.Clone(ForkArgs{Flags: flags, OnChild: func(c *Thread) error {
				return m.k.SignalGroup(u.PID(), &Siginfo{Signo: syscall.SIGKILL})
			}}, func(c *user) { ran.Store(true); c.Sleep() })
		})
		if ran.Load() {
			t.Errorf("flags %#x: the child ran", flags)
		}
	}
}
