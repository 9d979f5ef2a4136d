package proc

import (
	"math/rand"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"grim/mm/charge"
)

// SIGKILL ends a process that job control has stopped, wherever its threads were, and a
// process that blocks every signal it can. (TestKillAnywhere has the rest.)
func TestKillStopped(t *testing.T) {
	forever := func(u *user) { u.Sleep() }
	block := func(u *user) { u.must(func(t *Thread) (uint64, error) { t.SetMask(^Sigset(0)); return 0, nil }) }
	stopped := func(p *Process) bool { return p.Stopped() }
	pending := func(p *Process) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.pending.set != 0
	}
	for _, c := range []struct {
		name  string
		at    func(u *user)
		there func(p *Process) bool
	}{
		{"all blocked", func(u *user) { block(u); u.Kill(u.PID(), syscall.SIGTERM); u.Spin(nil) }, pending},
		{"stopped", func(u *user) { u.Kill(u.PID(), syscall.SIGSTOP); u.Sleep() }, stopped},
		{"stopped, with threads", func(u *user) {
			u.Thread(forever)
			u.Thread(func(u *user) { u.Spin(nil) })
			u.Kill(u.PID(), syscall.SIGSTOP)
			u.Sleep()
		}, stopped},
		{"in vfork, stopped", func(u *user) {
			u.Clone(ForkArgs{Flags: CloneVM | CloneVfork}, func(c *user) {
				c.Kill(u.PID(), syscall.SIGSTOP)
				c.Sleep()
			})
		}, pending}, // it stops when the vfork is over
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, 4096, nil)
			m.run(0, func(u *user) {
				pid := u.Fork(c.at)
				p := m.k.Process(pid)
				u.Spin(func() bool { return c.there(p) })
				u.Kill(pid, syscall.SIGKILL)
				if w, err := u.Wait(pid); err != nil || w.Status != SignalStatus(syscall.SIGKILL) {
					t.Errorf("status %#x, %v", w.Status, err)
				}
				u.Kill(-1, syscall.SIGKILL) // a child of the killed
			})
			eventually(t, "orphans end", func() bool { return m.k.Counts().Processes == 0 })
		})
	}
}

// Signals of every kind, timers, changes of mask and action, while threads and processes
// begin, stop and end. Nothing is left queued or charged, and no thread waits for ever. It
// fails when deadLocked or die leave a queue as it is.
func TestSignalStorm(t *testing.T) {
	m := newMachine(t, 8192, nil)
	m.quiet = true
	var handled, refused atomic.Int64
	m.run(0, func(u *user) {
		const workers = 6
		limit := int64(100_000)
		if raceEnabled || testing.Short() {
			limit = 20_000
		}
		var steps atomic.Int64
		over := func() bool { return steps.Add(1) > limit && handled.Load() > 0 && refused.Load() > 0 }
		signals := []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGCHLD, 40, 41, 64}
		send := func(c *user, rnd *rand.Rand, pid, tid int) {
			info := &Siginfo{Signo: signals[rnd.Intn(len(signals))], Code: SI_QUEUE}
			if rnd.Intn(4) == 0 {
				info.Code = SI_USER
			}
			_, err := c.Sys(func(t *Thread) (uint64, error) {
				if tid != 0 {
					return 0, t.Tgkill(0, tid, info)
				}
				return 0, t.Kill(pid, info)
			})
			if err == syscall.EAGAIN {
				refused.Add(1)
			}
		}
		var body func(c *user, rnd *rand.Rand, depth int)
		body = func(c *user, rnd *rand.Rand, depth int) {
			var tids []int
			for !over() {
				switch rnd.Intn(10) {
				case 0, 1:
					send(c, rnd, c.PID(), 0)
				case 2:
					if len(tids) > 0 {
						send(c, rnd, 0, tids[rnd.Intn(len(tids))])
					}
				case 3:
					send(c, rnd, 0, c.t.TID()) // a process of the group, or one that is gone
					send(c, rnd, 2+rnd.Intn(40), 0)
				case 4:
					mask := Sigset(rnd.Uint64())
					c.must(func(t *Thread) (uint64, error) { t.SetMask(mask); return 0, nil })
				case 5:
					s := signals[rnd.Intn(len(signals))]
					if rnd.Intn(3) == 0 {
						c.Action(s, Sigaction{Handler: SIG_IGN})
					} else {
						c.Handle(s, []uint64{0, SA_RESTART, SA_NODEFER, SA_RESTART | SA_NODEFER}[rnd.Intn(4)], func(*user, Siginfo) { handled.Add(1) })
					}
				case 6:
					v := rnd.Int63n(50000)
					c.must(func(t *Thread) (uint64, error) { t.p.SetTimer(v, rnd.Int63n(2)*20000); return 0, nil })
				case 7:
					c.Sys(func(t *Thread) (uint64, error) {
						_, err := t.WaitSignal(^Sigset(0), t.p.k.now()+rnd.Int63n(200000))
						return 0, err
					})
				case 8:
					if len(tids) < 4 {
						seed := rnd.Int63()
						tid, err := c.Clone(ForkArgs{Flags: threadFlags}, func(o *user) {
							r := rand.New(rand.NewSource(seed))
							for range r.Intn(30) {
								send(o, r, o.PID(), 0)
								o.Sys(func(t *Thread) (uint64, error) { t.SetMask(Sigset(r.Uint64())); return 0, nil })
							}
						})
						if err == nil {
							tids = append(tids, tid)
						}
					}
				case 9:
					if depth == 0 {
						continue
					}
					seed := rnd.Int63()
					pid, err := c.Clone(ForkArgs{ExitSignal: []syscall.Signal{syscall.SIGCHLD, 0, 40}[rnd.Intn(3)]}, func(o *user) {
						body(o, rand.New(rand.NewSource(seed)), depth-1)
					})
					if err != nil {
						continue
					}
					for range rnd.Intn(5) {
						send(c, rnd, pid, 0)
					}
					c.Kill(pid, []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT, syscall.SIGKILL}[rnd.Intn(3)])
					c.Kill(pid, syscall.SIGKILL)
					for {
						if _, err := c.Wait4(pid, WALL); err != syscall.EINTR {
							break
						}
					}
				}
			}
		}
		u.must(func(t *Thread) (uint64, error) {
			return 0, t.p.SetLimit(rlimitSigpending, Rlimit{6, Unlimited}, true)
		})
		ignore := func(c *user) {
			for _, s := range signals {
				c.Action(s, Sigaction{Handler: SIG_IGN})
			}
		}
		ignore(u)
		for i := range workers {
			u.Fork(func(c *user) { body(c, rand.New(rand.NewSource(int64(i))), 2); c.ExitGroup(0) })
		}
		for n := 0; n < workers; {
			if _, err := u.Wait(-1); err == nil {
				n++
			} else if err == syscall.ECHILD {
				break
			}
		}
	})
	// A worker that a signal has ended leaves its child, which may be stopped.
	eventually(t, "orphans end", func() bool {
		for _, p := range m.k.Processes() {
			p.Signal(&Siginfo{Signo: syscall.SIGKILL})
		}
		return m.k.Counts().Processes == 0
	})
	m.settle()
	if n := m.vm.Charges().Totals()[charge.Signal]; n != 0 {
		t.Errorf("%d bytes of signals are still charged", n)
	}
}

// A thread that has been woken for a signal for its process, and then does not take it, tells
// the others. They sleep until a handler runs, or in sigtimedwait(2). It fails without any of
// the three calls of passOnLocked, and without either of its cases.
func TestSignalsPassedOn(t *testing.T) {
	const sig = syscall.Signal(40) // of which several can be pending
	set := SigBit(sig)
	mask := func(c *user, s Sigset) { c.must(func(t *Thread) (uint64, error) { t.SetMask(s); return 0, nil }) }
	for _, c := range []struct {
		how   string
		waits bool // the others are in sigtimedwait(2)
		takes int32
		post  func(t *Thread) // called by a thread that does not block the signal
	}{
		{"blocks it", false, 1, func(t *Thread) { t.p.post(&Siginfo{Signo: sig}, nil); t.SetMask(set) }},
		{"blocks it", true, 1, func(t *Thread) { t.p.post(&Siginfo{Signo: sig}, nil); t.SetMask(set) }},
		{"ends", false, 1, func(t *Thread) { t.p.post(&Siginfo{Signo: sig}, nil); t.Exit(0) }},
		{"ends", true, 1, func(t *Thread) { t.p.post(&Siginfo{Signo: sig}, nil); t.Exit(0) }},
		{"takes another", true, 2, func(t *Thread) {
			t.SetMask(set)
			t.p.mu.Lock() // none is taken before both are there
			t.p.postLocked(&Siginfo{Signo: sig, Code: SI_QUEUE}, nil)
			t.p.postLocked(&Siginfo{Signo: sig, Code: SI_QUEUE}, nil)
			t.p.mu.Unlock()
		}},
	} {
		m := newMachine(t, 4096, nil)
		m.run(0, func(u *user) {
			var took atomic.Int32
			u.Handle(sig, 0, func(*user, Siginfo) { took.Add(1) })
			mask(u, set) // this thread is no taker
			var sleepers []int
			for range c.takes {
				sleepers = append(sleepers, u.Thread(func(o *user) {
					if c.waits {
						o.must(func(t *Thread) (uint64, error) { _, err := t.WaitSignal(set, Forever); return 0, err })
						took.Add(1)
					} else {
						mask(o, 0)
						o.Sleep()
					}
					o.Spin(nil) // its end would pass signals on
				}))
			}
			for _, tid := range sleepers {
				u.Asleep(m.k.Thread(tid))
			}
			u.Thread(func(o *user) { // the newest thread is the first that may be woken for a signal
				mask(o, 0)
				o.Sys(func(t *Thread) (uint64, error) { c.post(t); return 0, nil })
				o.Spin(nil)
			})
			limit := time.Now().Add(10 * time.Second)
			u.Spin(func() bool { return took.Load() == c.takes || time.Now().After(limit) })
			if n := took.Load(); n != c.takes {
				t.Errorf("a thread that is woken for a signal %s: others have taken %d (by sigtimedwait: %v), want %d", c.how, n, c.waits, c.takes)
			}
			u.ExitGroup(0)
		})
	}
}
