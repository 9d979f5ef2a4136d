package proc

import (
	"math/rand"
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

// Exec works from any thread. The other threads are gone, the caller is the leader, and
// signals, memory and names are as execve(2) says.
func TestExec(t *testing.T) {
	forDesigns(t, 8192, func(t *testing.T, m *machine) {
		for _, leader := range []bool{true, false} {
			m.run(ExitStatus(5), func(u *user) {
				pid := u.PID()
				u.Handle(syscall.SIGUSR1, 0, func(*user, Siginfo) {})
				u.Action(syscall.SIGUSR2, Sigaction{Handler: SIG_IGN})
				va := u.Map(4096, vm.Anon, nil)
				u.Store(va, 1)
				u.must(func(t *Thread) (uint64, error) { t.SetMask(SigBit(syscall.SIGHUP)); return 0, nil })
				for range 5 {
					u.Thread(func(c *user) { c.Sleep() })
					u.Thread(func(c *user) { c.Spin(nil) })
				}
				exec := func(c *user) {
					c.Kill(pid, syscall.SIGHUP) // which all threads block
					c.Exec("a-rather-long-name", func(c *user) {
						p := c.t.p
						if ids := p.TIDs(); len(ids) != 1 || ids[0] != pid || c.t.TID() != pid || m.k.Thread(pid) != c.t {
							t.Errorf("threads after exec: %v, want just %d", ids, pid)
						}
						if p.Name() != "a-rather-long-n" {
							t.Errorf("name %q", p.Name())
						}
						_, blocked, ignored, caught := p.SigMasks()
						if caught != 0 || ignored != SigBit(syscall.SIGUSR2) || blocked != SigBit(syscall.SIGHUP) {
							t.Errorf("signals: blocked %#x, ignored %#x, caught %#x", blocked, ignored, caught)
						}
						if pend := c.must(func(t *Thread) (uint64, error) { return uint64(t.Pending()), nil }); Sigset(pend) != SigBit(syscall.SIGHUP) {
							t.Errorf("pending %#x", pend)
						}
						if _, err := c.Sys(func(t *Thread) (uint64, error) { return 0, t.VM().CopyOut(va, []byte{1}) }); err != syscall.EFAULT {
							t.Errorf("old memory: %v, want EFAULT", err)
						}
						c.ExitGroup(5)
					})
					t.Error("exec returned")
				}
				if leader {
					exec(u)
				}
				u.Thread(exec)
				u.Sleep()
			})
		}
	})
}

// A failed exec leaves everything as it was, including the threads.
func TestExecFails(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		va := u.Map(4096, vm.Anon, nil)
		u.Store(va, 1)
		u.Thread(func(c *user) { c.Spin(nil) })
		_, err := u.Sys(func(t *Thread) (uint64, error) {
			return 0, t.Exec("x", nil, func(vs *vm.VMSpace) (arch.VA, arch.VA, error) {
				vs.Map(0x10000, 8192, arch.Read, vm.Anon|vm.Fixed|vm.Populate, nil, 0)
				return 0, 0, syscall.ENOEXEC
			})
		})
		if err != syscall.ENOEXEC || u.Load(va) != 1 || len(u.t.p.TIDs()) != 2 {
			t.Errorf("exec: %v, memory %d, threads %v", err, u.Load(va), u.t.p.TIDs())
		}
		u.ExitGroup(0)
	})
}

// Every thread of a process execs, forks, makes threads or exits at the same time. One exec
// wins, and no thread is left over.
func TestExecRace(t *testing.T) {
	m := newMachine(t, 1<<14, nil)
	rounds := 60
	if raceEnabled {
		rounds = 20
	}
	for round := range rounds {
		p := m.spawn(SpawnArgs{}, func(u *user) {
			for i := range 8 {
				u.Thread(func(c *user) {
					switch (i + round) % 4 {
					case 0, 1:
						c.Exec("x", func(c *user) { c.ExitGroup(1) })
					case 2:
						c.Fork(func(c *user) { c.ExitGroup(0) })
						c.ExitGroup(2)
					case 3:
						c.Thread(func(c *user) { c.Exit(0) })
						c.Exit(0)
					}
				})
			}
			u.Exit(0)
		})
		if r := p.Wait(); r.Status != ExitStatus(1) && r.Status != ExitStatus(2) && r.Status != 0 {
			t.Errorf("round %d: status %#x", round, r.Status)
		}
	}
	eventually(t, "children end", func() bool { return m.k.Counts().Processes == 0 })
}

// Every allocation of fork, vfork, clone and exec fails: all frames from the n-th on, and
// then only the n-th charge. The call returns an error, and everything is undone. Broken
// by: Fork, of VMSpace, without Release after room is refused; newThread that keeps its
// charge when there is no u-area.
func TestForkOutOfMemory(t *testing.T) {
	m := newMachine(t, 4096, nil)
	charges := m.vm.Charges()
	sorts := []struct {
		name string
		fail func(n int)
		may  []error
	}{
		{"frame", m.mem.FailAfter, []error{syscall.ENOMEM}},
		{"charge", func(n int) {
			if n < 0 {
				charges.Refuse(nil)
				return
			}
			charges.Refuse(func(charge.Kind, int64) bool {
				n--
				return n == -1
			})
		}, []error{syscall.ENOMEM, syscall.EAGAIN}},
	}
	m.run(0, func(u *user) {
		va := u.Map(64<<12, vm.Anon, nil)
		for i := range arch.VA(64) {
			u.Store(va+i<<12, 1)
		}
		for _, what := range []struct {
			name string
			call func(t *Thread) (uint64, error)
		}{
			{"fork", func(t *Thread) (uint64, error) {
				id, err := t.Fork(ForkArgs{OnChild: func(c *Thread) error { m.bind(c, func(c *user) { c.ExitGroup(0) }); return nil }})
				return uint64(id), err
			}},
			{"vfork", func(t *Thread) (uint64, error) {
				id, err := t.Fork(ForkArgs{Flags: CloneVM | CloneVfork,
					OnChild: func(c *Thread) error { m.bind(c, func(c *user) { c.ExitGroup(0) }); return nil }})
				return uint64(id), err
			}},
			{"thread", func(t *Thread) (uint64, error) {
				id, err := t.Fork(ForkArgs{Flags: threadFlags,
					OnChild: func(c *Thread) error { m.bind(c, func(c *user) { c.Exit(0) }); return nil }})
				return uint64(id), err
			}},
			{"exec", func(t *Thread) (uint64, error) {
				return 0, t.Exec("x", nil, func(vs *vm.VMSpace) (arch.VA, arch.VA, error) {
					_, err := vs.Map(0x10000, 8192, arch.Read|arch.Write, vm.Anon|vm.Fixed, nil, 0)
					if err == nil {
						err = vs.CopyOut(0x10000, []byte{1})
					}
					if err == nil {
						err = syscall.ENOEXEC // there is nothing to run
					}
					return 0, 0, err
				})
			}},
		} {
			for _, sort := range sorts {
				failed := 0
				for n := 0; ; n++ {
					m.settle()
					for {
						if _, err := u.Wait4(-1, WALL); err != nil {
							break
						}
					}
					eventually(t, "threads of earlier attempts are freed", func() bool { return m.k.Counts().Threads == 1 })
					m.pmaps.Drain()
					before, charged := m.mem.FreeFrames(), charges.Totals()
					sort.fail(n)
					_, err := u.Sys(what.call)
					sort.fail(-1)
					if err == nil || err == syscall.ENOEXEC {
						break
					}
					if !slices.Contains(sort.may, err) {
						t.Fatalf("%s, %s %d fails: %v", what.name, sort.name, n, err)
					}
					failed++
					m.pmaps.Drain()
					if after := m.mem.FreeFrames(); after < before {
						t.Errorf("%s, %s %d fails: %d frames lost", what.name, sort.name, n, before-after)
					}
					if now := charges.Totals(); now != charged {
						t.Errorf("%s, %s %d fails: charged %v, before %v", what.name, sort.name, n, now, charged)
					}
				}
				if failed == 0 {
					t.Errorf("%s never failed for want of a %s", what.name, sort.name)
				}
			}
			for {
				if _, err := u.Wait4(-1, WALL); err != nil {
					break
				}
			}
		}
		u.ExitGroup(0)
	})
}

// An exit needs no charge. With every charge refused, a process with threads and pending
// signals ends, and its parent gets its status and a SIGCHLD without siginfo. Only siginfo
// is charged. Broken by: a Take in die; add, of sigQueue, that forgets the bit.
func TestExitWithoutCharges(t *testing.T) {
	forDesigns(t, 4096, func(t *testing.T, m *machine) {
		m.run(0, func(u *user) {
			got := false
			u.Handle(syscall.SIGCHLD, 0, func(*user, Siginfo) { got = true })
			var ready atomic.Int32
			var goOn atomic.Bool
			pid := u.Fork(func(c *user) {
				va := c.Map(8<<12, vm.Anon, nil)
				c.Store(va, 1)
				c.Thread(func(c *user) { ready.Add(1); c.Sleep() })
				c.Thread(func(c *user) { ready.Add(1); c.Spin(nil) })
				c.Spin(goOn.Load)
				c.ExitGroup(4)
			})
			u.Spin(func() bool { return ready.Load() == 2 })
			var mu sync.Mutex
			asked := map[charge.Kind]int{}
			m.vm.Charges().Refuse(func(k charge.Kind, n int64) bool {
				mu.Lock()
				asked[k]++
				mu.Unlock()
				return true
			})
			goOn.Store(true)
			w, err := u.Wait(pid)
			for err == syscall.EINTR {
				w, err = u.Wait(pid)
			}
			m.vm.Charges().Refuse(nil)
			if err != nil || w.Status != ExitStatus(4) || !got {
				t.Errorf("wait: status %#x, %v; SIGCHLD: %v", w.Status, err, got)
			}
			delete(asked, charge.Signal)
			if len(asked) > 0 {
				t.Errorf("asked for on the way out: %v", asked)
			}
			u.ExitGroup(0)
		})
	})
}

// Fork trees, threads, kill storms and orphans, all at once and at random, with init to
// collect the rest. It is for the race detector. The seed is printed.
func TestStorm(t *testing.T) {
	forDesigns(t, 1<<15, func(t *testing.T, m *machine) {
		seed := time.Now().UnixNano()
		t.Logf("seed %d", seed)
		var made atomic.Int64
		limit := int64(1500)
		if raceEnabled || testing.Short() {
			limit = 400
		}
		o, _ := m.file(nil, 8)
		var grow func(rnd *rand.Rand, depth int) program
		grow = func(rnd *rand.Rand, depth int) program {
			seed := rnd.Int63()
			return func(u *user) {
				rnd := rand.New(rand.NewSource(seed))
				va := u.Map(8<<12, vm.Anon, nil)
				shared := u.Map(8<<12, vm.Shared, o)
				for range 12 {
					switch rnd.Intn(12) {
					case 0, 1, 2:
						if made.Add(1) < limit && depth < 5 {
							u.Clone(ForkArgs{ExitSignal: syscall.SIGCHLD}, grow(rnd, depth+1))
						}
					case 3:
						if made.Add(1) < limit && depth < 5 {
							u.Clone(ForkArgs{Flags: threadFlags}, grow(rnd, depth+1))
						}
					case 4:
						if made.Add(1) < limit && depth < 5 {
							u.Clone(ForkArgs{Flags: CloneVM | CloneVfork, ExitSignal: syscall.SIGCHLD}, grow(rnd, 9))
						}
					case 5:
						u.Store(va+arch.VA(rnd.Intn(8)<<12), byte(depth))
						u.Store(shared+arch.VA(rnd.Intn(8)<<12), byte(depth))
					case 6:
						u.Wait4(-1, uint32(rnd.Intn(2)*WNOHANG))
					case 7:
						u.Kill(2+rnd.Intn(int(limit)), []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCONT}[rnd.Intn(4)])
					case 8:
						if rnd.Intn(4) == 0 {
							u.Exec("x", grow(rnd, depth+1))
						}
					case 9:
						u.must(func(t *Thread) (uint64, error) { t.Setpgid(0, 0); return 0, nil })
					case 10:
						u.Sys(func(t *Thread) (uint64, error) {
							return 0, t.Sleep(nil, t.Kernel().Now()+int64(rnd.Intn(300_000)))
						})
					case 11:
						u.doTrap(arch.Trap{Kind: arch.Interrupt})
					}
				}
				if rnd.Intn(2) == 0 {
					u.ExitGroup(depth)
				}
			}
		}
		init := m.spawn(SpawnArgs{Init: true}, func(u *user) {
			rnd := rand.New(rand.NewSource(seed))
			for range 6 {
				u.Fork(grow(rnd, 0))
			}
			for {
				// Processes that the storm has stopped must continue, so that they can be
				// waited for.
				u.Kill(-1, syscall.SIGCONT)
				if _, err := u.Wait4(-1, WALL|WNOHANG); err != nil {
					break
				}
				time.Sleep(50 * time.Microsecond)
			}
			u.ExitGroup(0)
		})
		done := make(chan struct{})
		go func() { init.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(hangs):
			t.Fatalf("hangs: %+v", m.k.Counts())
		}
		o.Unref()
		t.Logf("%+v", m.k.Counts())
		m.checkOrder()
	})
}

// checkOrder is E6 for every process that ran: its steps come in the order of the machine's
// exit design. It fails if any two of them are swapped in die, Zombify or announce.
func (m *machine) checkOrder() {
	m.t.Helper()
	exits := map[int32][]Event{}
	for _, e := range m.recorded() {
		if e.Step == exit.StepThreadDead || e.Step == exit.StepDeadproc || e.Context == exit.InBackground {
			continue
		}
		if e.Step == exit.StepExit1 { // it may be another process with that number
			m.checkExit(exits[e.PID])
			exits[e.PID] = nil
		}
		exits[e.PID] = append(exits[e.PID], e)
	}
	for _, steps := range exits {
		m.checkExit(steps)
	}
}

func (m *machine) checkExit(steps []Event) {
	d := m.k.cfg.Design
	order := d.Unwaited
	for _, e := range steps {
		if e.Step == exit.StepZombie {
			order = d.Order
		}
	}
	place := func(e Event) int {
		return slices.IndexFunc(order, func(s exit.Stage) bool { return s.Step == e.Step })
	}
	for i := 1; i < len(steps); i++ {
		e, l := steps[i], steps[i-1]
		// A new parent is told again. If it does not wait, that is after the process is
		// gone.
		again := (l.Step == exit.StepWakeup || l.Step == exit.StepGone) && (e.Step == exit.StepSIGCHLD || e.Step == exit.StepWakeup)
		if place(e) <= place(l) && !again {
			m.t.Errorf("process %d: %v after %v", e.PID, e.Step, l.Step)
		}
	}
}
