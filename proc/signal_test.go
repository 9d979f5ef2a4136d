package proc

import (
	"math/rand"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"grim/arch"
	"grim/mm/charge"
	"grim/mm/vm"
)

// The default action of each signal, sent by another process and by the process itself.
func TestDefaultActions(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		for s := syscall.Signal(1); s <= NumSignals; s++ {
			if stopSignals.Has(s) {
				continue // TestStop
			}
			pid := u.Fork(func(c *user) {
				c.Kill(c.PID(), s)
				c.ExitGroup(100)
			})
			want := SignalStatus(s)
			if harmless.Has(s) {
				want = ExitStatus(100)
			}
			if w, _ := u.Wait(pid); w.Status != want {
				t.Errorf("signal %d: status %#x, want %#x", s, w.Status, want)
			}
		}
		for _, s := range []syscall.Signal{-1, 65} {
			if err := u.Kill(u.PID(), s); err != syscall.EINVAL {
				t.Errorf("signal %d: %v, want EINVAL", s, err)
			}
		}
		if err := u.Kill(u.PID(), 0); err != nil {
			t.Errorf("signal 0: %v", err)
		}
		if err := u.Kill(30000, 0); err != syscall.ESRCH {
			t.Errorf("nobody: %v", err)
		}
	})
}

// Faults and exceptions end a process with the right signal, even if it is blocked.
func TestFatalTraps(t *testing.T) {
	m := newMachine(t, 4096, nil)
	cases := []struct {
		trap arch.Trap
		want syscall.Signal
	}{
		{arch.Trap{Kind: arch.PageFault, Addr: 0x10000, Code: uint64(arch.Read) << 56}, syscall.SIGSEGV},
		{arch.Trap{Kind: arch.PageFault, Addr: arch.DirectBase, Code: uint64(arch.Write) << 56}, syscall.SIGSEGV},
		{arch.Trap{Kind: arch.Illegal, Code: SI_KERNEL}, syscall.SIGILL},
		{arch.Trap{Kind: arch.Protection, Code: SI_KERNEL}, syscall.SIGSEGV},
		{arch.Trap{Kind: arch.Alignment, Code: SI_KERNEL}, syscall.SIGBUS},
		{arch.Trap{Kind: arch.Arithmetic, Code: SI_KERNEL}, syscall.SIGFPE},
		{arch.Trap{Kind: arch.Breakpoint, Code: SI_KERNEL}, syscall.SIGTRAP},
		{arch.Trap{Kind: arch.MachineCheck, Code: SI_KERNEL}, syscall.SIGBUS},
		{arch.Trap{Kind: 77}, syscall.SIGKILL},
	}
	for _, c := range cases {
		for _, blocked := range []bool{false, true} {
			m.run(SignalStatus(c.want), func(u *user) {
				if blocked {
					u.must(func(t *Thread) (uint64, error) { t.SetMask(^Sigset(0)); return 0, nil })
				}
				u.doTrap(c.trap)
				t.Errorf("trap %+v: the process goes on", c.trap)
			})
		}
	}
}

// A handler gets its mask and its siginfo, and interrupts a call that is restarted or
// fails.
func TestHandlers(t *testing.T) {
	for _, abi := range testABIs {
		t.Run(abi.Name, func(t *testing.T) {
			testHandlers(t, newMachine(t, 4096, func(c *Config) { c.Machine.(*machine).abi = abi }))
		})
	}
}

func testHandlers(t *testing.T, m *machine) {
	m.run(0, func(u *user) {
		var got []Siginfo
		var masks []Sigset
		record := func(u *user, info Siginfo) { got = append(got, info); masks = append(masks, u.t.mask) }
		u.Handle(syscall.SIGUSR1, SA_RESTART, record)
		u.Handle(syscall.SIGUSR2, SA_NODEFER, record)
		u.Handle(syscall.SIGSEGV, SA_RESETHAND, func(u *user, info Siginfo) {
			record(u, info)
			// Allow the access, so that the instruction succeeds.
			u.must(func(t *Thread) (uint64, error) {
				_, err := t.VM().Map(info.Addr.PageDown(), 4096, arch.Read|arch.Write, vm.Anon|vm.Fixed, nil, 0)
				return 0, err
			})
		})
		u.Kill(u.PID(), syscall.SIGUSR1)
		u.Kill(u.PID(), syscall.SIGUSR2)
		u.Store(0x500123, 1)
		if len(got) != 3 {
			t.Fatalf("%d handlers ran, want 3", len(got))
		}
		if got[0].Signo != syscall.SIGUSR1 || got[0].Code != SI_USER || got[0].PID != int32(u.PID()) ||
			got[2].Signo != syscall.SIGSEGV || got[2].Code != SEGV_MAPERR || got[2].Addr != 0x500123 {
			t.Errorf("siginfo %+v", got)
		}
		if masks[0] != SigBit(syscall.SIGUSR1) || masks[1] != 0 || masks[2] != SigBit(syscall.SIGSEGV) {
			t.Errorf("masks %#x", masks)
		}
		if u.t.mask != 0 {
			t.Errorf("mask %#x after the handlers", u.t.mask)
		}

		// A sleeping call returns EINTR without SA_RESTART, and starts again with it.
		main := u.PID()
		interrupt := func(s syscall.Signal, asleep *atomic.Int64) {
			u.Fork(func(c *user) {
				c.Spin(func() bool { return asleep.Load() > 0 })
				c.Asleep(u.t)
				c.Kill(main, s)
			})
		}
		var n atomic.Int64
		calls := 0
		interrupt(syscall.SIGUSR2, &n)
		if _, err := u.Sys(func(t *Thread) (uint64, error) { calls++; n.Add(1); return 0, t.Sleep(nil, Forever) }); err != syscall.EINTR {
			t.Errorf("sleep cut short: %v, want EINTR", err)
		}
		u.Wait(-1)
		gate := make(chan struct{}, 1)
		n.Store(0)
		calls = 0
		interrupt(syscall.SIGUSR1, &n)
		if _, err := u.Sys(func(t *Thread) (uint64, error) {
			if calls++; calls == 2 {
				gate <- struct{}{}
			}
			n.Add(1)
			return 0, t.Sleep(gate, Forever)
		}); err != nil || calls != 2 {
			t.Errorf("restarted sleep: %v after %d calls, want nil after 2", err, calls)
		}
		u.Wait(-1)
		// ERESTARTNOHAND becomes EINTR even with SA_RESTART.
		n.Store(0)
		interrupt(syscall.SIGUSR1, &n)
		if _, err := u.Sys(func(t *Thread) (uint64, error) { n.Add(1); return 0, t.Suspend(t.Mask()) }); err != syscall.EINTR {
			t.Errorf("sigsuspend: %v, want EINTR", err)
		}
		u.Wait(-1)
	})
}

// Blocked signals stay pending: standard signals once, real-time signals each. They come in
// order when they are unblocked. sigsuspend lets them in and restores the mask.
func TestPendingAndMasks(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		const rt = syscall.Signal(40)
		var got []syscall.Signal
		var values []uint64
		record := func(u *user, info Siginfo) { got = append(got, info.Signo); values = append(values, info.Value) }
		all := SigBit(syscall.SIGUSR1) | SigBit(syscall.SIGUSR2) | SigBit(rt)
		for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, rt} {
			u.Handle(s, 0, record)
			act, _ := u.t.p.Sigaction(s, nil)
			act.Mask = all
			u.Action(s, act)
		}
		setMask := func(s Sigset) { u.must(func(t *Thread) (uint64, error) { t.SetMask(s); return 0, nil }) }
		setMask(^Sigset(0))
		if u.t.mask.Has(syscall.SIGKILL) || u.t.mask.Has(syscall.SIGSTOP) {
			t.Error("SIGKILL or SIGSTOP blocked")
		}
		for i := range uint64(3) {
			u.must(func(t *Thread) (uint64, error) {
				return 0, t.Kill(t.p.pid, &Siginfo{Signo: rt, Code: SI_QUEUE, Value: i})
			})
			u.Kill(u.PID(), syscall.SIGUSR2)
		}
		u.must(func(t *Thread) (uint64, error) {
			return 0, t.Tgkill(t.p.pid, t.TID(), &Siginfo{Signo: syscall.SIGUSR1, Code: SI_TKILL})
		})
		if p := u.must(func(t *Thread) (uint64, error) { return uint64(t.Pending()), nil }); Sigset(p) != all {
			t.Errorf("pending %#x, want %#x", p, all)
		}
		if len(got) != 0 {
			t.Errorf("delivered while blocked: %v", got)
		}
		// sigsuspend lets one signal in; its handler blocks the rest.
		_, err := u.Sys(func(t *Thread) (uint64, error) { return 0, t.Suspend(0) })
		if err != syscall.EINTR || len(got) != 1 || u.t.mask != ^unblockable {
			t.Errorf("sigsuspend: %v, delivered %v, mask %#x", err, got, u.t.mask)
		}
		setMask(0)
		if want := []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, rt, rt, rt}; !slices.Equal(got, want) {
			t.Errorf("delivered %v, want %v", got, want)
		}
		if want := []uint64{0, 1, 2}; !slices.Equal(values[2:], want) {
			t.Errorf("values %v, want %v in order", values[2:], want)
		}
		// Ignoring a signal discards it if it is pending.
		setMask(all)
		u.Kill(u.PID(), syscall.SIGUSR1)
		u.Action(syscall.SIGUSR1, Sigaction{Handler: SIG_IGN})
		u.Handle(syscall.SIGUSR1, 0, record)
		n := len(got)
		setMask(0)
		if len(got) != n {
			t.Error("a signal that was ignored while pending was delivered")
		}
	})
}

func TestWaitSignal(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		set := SigBit(syscall.SIGUSR1) | SigBit(syscall.SIGUSR2)
		u.must(func(t *Thread) (uint64, error) { t.SetMask(set); return 0, nil })
		wait := func(d time.Duration) (info Siginfo, err error) {
			_, err = u.Sys(func(t *Thread) (uint64, error) {
				deadline := Forever
				if d >= 0 {
					deadline = t.Kernel().Now() + int64(d)
				}
				info, err = t.WaitSignal(set, deadline)
				return 0, err
			})
			return info, err
		}
		if _, err := wait(time.Millisecond); err != syscall.EAGAIN {
			t.Errorf("nothing pending: %v, want EAGAIN", err)
		}
		u.Kill(u.PID(), syscall.SIGUSR2)
		if info, err := wait(0); err != nil || info.Signo != syscall.SIGUSR2 {
			t.Errorf("pending: %+v, %v", info, err)
		}
		parent := u.PID()
		u.Fork(func(c *user) {
			c.Asleep(u.t)
			c.Kill(parent, syscall.SIGUSR1)
		})
		if info, err := wait(-1); err != nil || info.Signo != syscall.SIGUSR1 {
			t.Errorf("sent while waiting: %+v, %v", info, err)
		}
		u.Wait(-1)
		u.Handle(syscall.SIGALRM, 0, func(*user, Siginfo) {})
		if _, err := u.Sys(func(t *Thread) (uint64, error) {
			t.p.SetTimer(int64(time.Millisecond), 0) // in this call, so that its signal is not taken before
			_, err := t.WaitSignal(set, Forever)
			return 0, err
		}); err != syscall.EINTR {
			t.Errorf("another signal: %v, want EINTR", err)
		}
	})
}

// A signal for the process goes to a thread that does not block it. A signal for a thread
// goes to that thread. Broken by: Tgkill that sends to the process.
func TestSignalThreads(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		var by atomic.Int64
		u.Handle(syscall.SIGUSR1, 0, func(u *user, _ Siginfo) { by.Store(int64(u.t.TID())) })
		block := func(u *user) {
			u.must(func(t *Thread) (uint64, error) { t.SetMask(SigBit(syscall.SIGUSR1)); return 0, nil })
		}
		var ready atomic.Int64
		tid := u.Thread(func(c *user) {
			ready.Add(1)
			for {
				c.Sleep()
			}
		})
		block(u)
		blocker := u.Thread(func(c *user) { block(c); ready.Add(1); c.Spin(nil) })
		u.Spin(func() bool { return ready.Load() == 2 })
		u.Kill(u.PID(), syscall.SIGUSR1)
		u.Spin(func() bool { return by.Load() == int64(tid) })
		by.Store(0)
		u.must(func(t *Thread) (uint64, error) {
			return 0, t.Tgkill(0, tid, &Siginfo{Signo: syscall.SIGUSR1, Code: SI_TKILL})
		})
		u.Spin(func() bool { return by.Load() == int64(tid) })
		// If the thread that it is for blocks it, it stays there.
		by.Store(0)
		u.must(func(t *Thread) (uint64, error) {
			return 0, t.Tgkill(0, blocker, &Siginfo{Signo: syscall.SIGUSR1, Code: SI_TKILL})
		})
		if _, err := u.Sys(func(t *Thread) (uint64, error) {
			return 0, t.Tgkill(t.p.pid, 31000, &Siginfo{Signo: syscall.SIGUSR1})
		}); err != syscall.ESRCH {
			t.Errorf("tgkill of nobody: %v", err)
		}
		u.t.p.mu.Lock()
		waits := m.k.Thread(blocker).pending.set.Has(syscall.SIGUSR1)
		u.t.p.mu.Unlock()
		if u.Turns(); !waits || by.Load() != 0 {
			t.Errorf("a signal for %d waits there: %v, thread %d took it", blocker, waits, by.Load())
		}
		u.ExitGroup(0)
	})
}

// A signal for the process goes to another thread if the thread that was chosen for it
// blocks it before it looks, or ends. It hangs without the loops in setMaskLocked and
// markExiting.
func TestSignalHandedOn(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		var taken atomic.Int64
		u.Handle(syscall.SIGUSR1, SA_RESTART, func(*user, Siginfo) { taken.Add(1) })
		for i, quit := range []func(t *Thread){
			func(t *Thread) { t.SetMask(SigBit(syscall.SIGUSR1)) },
			func(t *Thread) { t.Exit(0) },
		} {
			// The newest thread is chosen first.
			u.Thread(func(c *user) {
				c.must(func(t *Thread) (uint64, error) {
					t.p.Signal(&Siginfo{Signo: syscall.SIGUSR1})
					quit(t)
					return 0, nil
				})
				c.Spin(nil)
			})
			u.Spin(func() bool { return taken.Load() == int64(i+1) })
		}
		u.ExitGroup(0)
	})
}

// ITIMER_REAL: once and repeated, the time left, and no signal after the end.
func TestTimer(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		var n atomic.Int64
		u.Handle(syscall.SIGALRM, SA_RESTART, func(*user, Siginfo) { n.Add(1) })
		set := func(v, i time.Duration) (left, interval int64) {
			u.must(func(t *Thread) (uint64, error) {
				left, interval = t.p.SetTimer(int64(v), int64(i))
				return 0, nil
			})
			return left, interval
		}
		set(time.Millisecond, time.Millisecond)
		u.Spin(func() bool { return n.Load() >= 3 })
		if left, interval := set(time.Hour, 0); left > int64(time.Millisecond) || interval != int64(time.Millisecond) {
			t.Errorf("left %d, interval %d", left, interval)
		}
		if left, interval := u.t.p.Timer(); left < int64(59*time.Minute) || left > int64(time.Hour) || interval != 0 {
			t.Errorf("left %d of an hour, interval %d", left, interval)
		}
		if left, _ := set(0, 0); left < int64(59*time.Minute) {
			t.Errorf("left %d of an hour", left)
		}
		// A child does not inherit it.
		set(time.Hour, 0)
		u.Fork(func(c *user) {
			if left, _ := c.t.p.Timer(); left != 0 {
				t.Errorf("child's timer: %d", left)
			}
		})
		u.Wait(-1)
	})
}

// An interval timer starts again when its signal is taken, so that a timer of a nanosecond
// costs one expiry for each signal and no more. When it started again at its expiry, the
// fires below ran without end.
func TestTimerStartsAgainWhenTaken(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		alarm := SigBit(syscall.SIGALRM)
		set := func(v, i int64) (left, interval int64) {
			u.must(func(t *Thread) (uint64, error) { left, interval = t.p.SetTimer(v, i); return 0, nil })
			return left, interval
		}
		pending := func() bool {
			return Sigset(u.must(func(t *Thread) (uint64, error) { return uint64(t.Pending()), nil })).Has(syscall.SIGALRM)
		}
		u.must(func(t *Thread) (uint64, error) { t.SetMask(alarm); return 0, nil })
		set(1, 1)
		for range 5 {
			u.Spin(pending)
			for range 100 {
				time.Sleep(20 * time.Microsecond)
				if left, interval := u.t.p.Timer(); left != 0 || interval != 1 {
					t.Fatalf("an expired timer whose signal is pending: %d left, interval %d", left, interval)
				}
			}
			u.must(func(t *Thread) (uint64, error) {
				info, err := t.WaitSignal(alarm, Forever)
				if info.Code != SI_KERNEL {
					err = syscall.EINVAL
				}
				return 0, err
			})
		}
		// The timer of a nanosecond has expired again, or is about to. Its signal must not be
		// taken for one of the next series.
		set(0, 0)
		for pending() {
			u.must(func(t *Thread) (uint64, error) { _, err := t.WaitSignal(alarm, Forever); return 0, err })
		}
		// The series keeps its phase: expiries that have passed are left out.
		begin := m.k.Now()
		set(int64(time.Millisecond), int64(time.Hour))
		u.Spin(pending)
		u.must(func(t *Thread) (uint64, error) { _, err := t.WaitSignal(alarm, Forever); return 0, err })
		left, _ := u.t.p.Timer()
		if end := m.k.Now() + left - begin; end < int64(time.Hour) || end > int64(time.Hour+time.Minute) {
			t.Errorf("the second expiry is %v after the start", time.Duration(end))
		}
		// Times that no clock will reach.
		set(Forever, Forever)
		if left, interval := set(0, Forever); left < Forever/2 || interval != Forever {
			t.Errorf("a timer for ever: %d left, interval %d", left, interval)
		}
		if left, interval := set(0, 0); left != 0 || interval != 0 {
			t.Errorf("a disarmed timer: %d left, interval %d", left, interval)
		}
	})
}

// Tables of actions are shared after fork until one side changes its own.
func TestActionsCopied(t *testing.T) {
	caught := Sigaction{Handler: 0x1000}
	a := newSigActions()
	b := a.fork(false, new(sigActions))
	a.set(syscall.SIGUSR1, caught)
	if b.get(syscall.SIGUSR1).Handler != SIG_DFL || defaultActs[syscall.SIGUSR1-1].Handler != SIG_DFL {
		t.Error("the parent's change is seen by the child, or by everybody")
	}
	c := a.fork(false, new(sigActions))
	c.set(syscall.SIGUSR2, Sigaction{Handler: SIG_IGN})
	if a.get(syscall.SIGUSR2).Handler != SIG_DFL || c.get(syscall.SIGUSR1) != caught {
		t.Error("the child's change is seen by the parent, or lost what it inherited")
	}
	a.set(syscall.SIGUSR1, Sigaction{})
	if c.get(syscall.SIGUSR1) != caught {
		t.Error("the parent's change is seen by its second child")
	}
	c.reset()
	if c.get(syscall.SIGUSR1).Handler != SIG_DFL || c.get(syscall.SIGUSR2).Handler != SIG_IGN {
		t.Error("exec keeps ignored signals and nothing else")
	}
}

// A one-shot handler is reset when it is taken; the flags and the mask stay.
// Broken by: takeActionLocked that clears the whole action, or that clears nothing.
func TestResetHand(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		n := 0
		u.Handle(syscall.SIGUSR1, SA_RESETHAND|SA_NODEFER|SA_RESTART, func(*user, Siginfo) { n++ })
		act, _ := u.t.p.Sigaction(syscall.SIGUSR1, nil)
		act.Mask = SigBit(syscall.SIGUSR2)
		u.Action(syscall.SIGUSR1, act)
		u.Kill(u.PID(), syscall.SIGUSR1)
		got, _ := u.t.p.Sigaction(syscall.SIGUSR1, nil)
		act.Handler = SIG_DFL
		if n != 1 || got != act {
			t.Errorf("%d handlers ran; the action is %+v, want %+v", n, got, act)
		}
	})
}

// sigtimedwait does not keep an ignored signal: it is discarded when it is sent, unless it
// is blocked. A call that may not wait returns EAGAIN, whatever else is pending.
func TestWaitSignalIgnored(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		u.Action(syscall.SIGUSR1, Sigaction{Handler: SIG_IGN})
		u.Handle(syscall.SIGUSR2, 0, func(*user, Siginfo) {})
		wait := func(set Sigset) (info Siginfo, err error) {
			u.Sys(func(t *Thread) (uint64, error) {
				info, err = t.WaitSignal(set, Forever)
				return 0, err
			})
			return info, err
		}
		// send starts a process that sends signals to this one while it waits.
		send := func(signals ...syscall.Signal) {
			u.Fork(func(c *user) {
				c.Asleep(u.t)
				for _, s := range signals {
					c.Kill(u.PID(), s)
				}
			})
		}
		for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGURG} { // ignored, and ignored by default
			send(s, syscall.SIGUSR2)
			if info, err := wait(SigBit(s)); err != syscall.EINTR {
				t.Errorf("signal %d, ignored: %+v, %v", s, info, err)
			}
			u.Wait(-1)
			u.must(func(t *Thread) (uint64, error) { t.SetMask(SigBit(s)); return 0, nil })
			send(s)
			if info, err := wait(SigBit(s)); err != nil || info.Signo != s {
				t.Errorf("signal %d, ignored and blocked: %+v, %v", s, info, err)
			}
			u.must(func(t *Thread) (uint64, error) { t.SetMask(0); return 0, nil })
			u.Wait(-1)
		}
		_, err := u.Sys(func(t *Thread) (uint64, error) {
			t.Kill(t.p.pid, &Siginfo{Signo: syscall.SIGUSR2})
			_, err := t.WaitSignal(SigBit(syscall.SIGUSR1), 0)
			return 0, err
		})
		if err != syscall.EAGAIN {
			t.Errorf("a signal is deliverable, and no time to wait: %v", err)
		}
	})
}

// An exception's code and address come from the architecture. An exception without a cause
// sends no signal.
func TestExceptionCause(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		var got Siginfo
		u.Handle(syscall.SIGFPE, 0, func(_ *user, info Siginfo) { got = info })
		u.doTrap(arch.Trap{Kind: arch.Arithmetic})
		if got != (Siginfo{}) {
			t.Errorf("an exception without a cause: %+v", got)
		}
		u.doTrap(arch.Trap{Kind: arch.Arithmetic, Code: 3, Addr: 0x1234})
		if got != (Siginfo{Signo: syscall.SIGFPE, Code: 3, Addr: 0x1234}) {
			t.Errorf("siginfo %+v", got)
		}
		if code, addr := u.t.LastFault(); code != 3 || addr != 0x1234 {
			t.Errorf("the frame shows %#x, %#x", code, addr)
		}
	})
}

// RLIMIT_SIGPENDING counts the signals that a user has queued in all its processes. Above
// it a real-time signal with a value gives EAGAIN, and any other signal is pending without
// siginfo. Standard signals sent by the kernel and kill(2) are not refused. All charges are
// given back: when signals are taken or discarded, and at the end of a thread and of the
// process.
func TestPendingLimit(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		const rt = syscall.Signal(40)
		all := ^Sigset(0)
		send := func(pid int, s syscall.Signal, code int32, value uint64) error {
			_, err := u.Sys(func(t *Thread) (uint64, error) {
				return 0, t.Kill(pid, &Siginfo{Signo: s, Code: code, Value: value})
			})
			return err
		}
		limit := func(n uint64) {
			u.must(func(t *Thread) (uint64, error) { return 0, t.p.SetLimit(rlimitSigpending, Rlimit{n, Unlimited}, true) })
		}
		take := func() (info Siginfo) {
			u.must(func(t *Thread) (uint64, error) {
				var err error
				info, err = t.WaitSignal(all, 0)
				return 0, err
			})
			return info
		}
		queued := func() int64 { return m.vm.Charges().Totals()[charge.Signal] }
		u.must(func(t *Thread) (uint64, error) { t.SetMask(all); return 0, nil })
		limit(3)
		base := queued()
		me := u.PID()
		for i := range uint64(3) {
			if err := send(me, rt, SI_QUEUE, i); err != nil {
				t.Fatal(err)
			}
		}
		if err := send(me, rt, SI_QUEUE, 3); err != syscall.EAGAIN {
			t.Errorf("a fourth real-time signal: %v, want EAGAIN", err)
		}
		if n := queued() - base; n != 3*signalCost {
			t.Errorf("charged %d bytes for 3 signals, want %d", n, 3*signalCost)
		}
		// With another number, by kill(2): only the bit.
		if err := send(me, rt+1, SI_USER, 7); err != nil {
			t.Errorf("kill(2) with a real-time signal: %v", err)
		}
		// Standard signals: with siginfo from kill(2) and the kernel, only the bit from
		// sigqueue(3).
		for _, e := range []error{send(me, syscall.SIGUSR1, SI_USER, 8), send(me, syscall.SIGHUP, SI_KERNEL, 9), send(me, syscall.SIGUSR2, SI_QUEUE, 10)} {
			if e != nil {
				t.Errorf("a standard signal: %v", e)
			}
		}
		for _, want := range []Siginfo{
			{Signo: syscall.SIGHUP, Code: SI_KERNEL, Value: 9},
			{Signo: syscall.SIGUSR1, Value: 8},
			{Signo: syscall.SIGUSR2},
			{Signo: rt, Code: SI_QUEUE, Value: 0},
			{Signo: rt, Code: SI_QUEUE, Value: 1},
			{Signo: rt, Code: SI_QUEUE, Value: 2},
			{Signo: rt + 1},
		} {
			if got := take(); got != want {
				t.Errorf("taken %+v, want %+v", got, want)
			}
		}
		if _, err := u.Sys(func(t *Thread) (uint64, error) { _, err := t.WaitSignal(all, 0); return 0, err }); err != syscall.EAGAIN {
			t.Errorf("then %v, want EAGAIN", err)
		}
		// A child's signals count with the parent's, and are given back at its end.
		ready := new(atomic.Bool)
		child := u.Fork(func(c *user) { ready.Store(true); c.Sleep() })
		u.Spin(ready.Load)
		for range 2 {
			if err := send(child, rt, SI_QUEUE, 0); err != nil {
				t.Fatal(err)
			}
		}
		send(me, rt, SI_QUEUE, 0)
		if err := send(me, rt, SI_QUEUE, 0); err != syscall.EAGAIN {
			t.Errorf("a fourth in two processes: %v, want EAGAIN", err)
		}
		send(child, syscall.SIGKILL, SI_USER, 0)
		u.Wait(child)
		if info := take(); info.Signo != syscall.SIGCHLD {
			t.Errorf("after the child's end: %+v", info)
		}
		if n := queued() - base; n != signalCost {
			t.Errorf("%d bytes charged, one signal is pending", n)
		}
		// The end of a thread, and a change of action.
		tid := u.Thread(func(c *user) { c.Spin(func() bool { return !ready.Load() }); c.Exit(0) })
		u.must(func(t *Thread) (uint64, error) {
			return 0, t.Tgkill(0, tid, &Siginfo{Signo: rt, Code: SI_QUEUE})
		})
		u.Action(rt, Sigaction{Handler: SIG_IGN})
		u.Action(rt, Sigaction{})
		u.must(func(t *Thread) (uint64, error) {
			return 0, t.Tgkill(0, tid, &Siginfo{Signo: rt, Code: SI_QUEUE})
		})
		ready.Store(false)
		eventually(t, "the thread's end", func() bool { return queued() == base })
		// This one is left for the process's end.
		send(me, rt, SI_QUEUE, 0)
	})
}

// The queue is compared with a simple model: real-time signals come in order, standard
// signals between them once, and a drop in the middle leaves the rest.
func TestSigQueueModel(t *testing.T) {
	m := newMachine(t, 64, nil)
	p := &Process{k: m.k}
	if err := p.openAccount(m.k.charges.Kernel(), 1); err != nil {
		t.Fatal(err)
	}
	defer p.endAccount()
	defer p.endThread()
	p.limits = DefaultLimits()
	r := rand.New(rand.NewSource(1))
	var q sigQueue
	var model []Siginfo
	for range 20000 {
		among := Sigset(r.Uint64())
		switch r.Intn(8) {
		case 0, 1, 2, 3:
			info := Siginfo{Signo: syscall.Signal(1 + r.Intn(64)), Code: SI_QUEUE, Value: r.Uint64()}
			if info.Signo >= SIGRTMIN || !slices.ContainsFunc(model, func(i Siginfo) bool { return i.Signo == info.Signo }) {
				model = append(model, info)
			}
			if err := q.add(p, &info); err != nil {
				t.Fatal(err)
			}
		case 4, 5, 6:
			best := -1
			for i, s := range model {
				sync := func(s Siginfo) bool { return synchronous.Has(s.Signo) }
				if among.Has(s.Signo) && (best < 0 || sync(s) && !sync(model[best]) ||
					sync(s) == sync(model[best]) && s.Signo < model[best].Signo) {
					best = i
				}
			}
			got, ok := q.take(p, among)
			if ok != (best >= 0) || ok && got != model[best] {
				t.Fatalf("taken %+v, %v", got, ok)
			}
			if ok {
				model = slices.Delete(model, best, best+1)
			}
		default:
			if r.Intn(10) == 0 {
				q.drop(p, among)
				model = slices.DeleteFunc(model, func(i Siginfo) bool { return among.Has(i.Signo) })
			}
		}
		var set Sigset
		for _, s := range model {
			set |= SigBit(s.Signo)
		}
		if set != q.set || (q.head == nil) != (q.tail == nil) {
			t.Fatalf("set %#x, want %#x", q.set, set)
		}
	}
	q.drop(p, ^Sigset(0))
}

// A timer that expires while it is being disarmed sends nothing afterwards. Broken by: fire
// that looks at the timer before it has the lock under which it sends the signal.
func TestDisarmedTimerSendsNothing(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		var took atomic.Int32
		u.Handle(syscall.SIGALRM, 0, func(*user, Siginfo) { took.Add(1) })
		u.must(func(t *Thread) (uint64, error) {
			p := t.p
			p.SetTimer(int64(time.Millisecond), 0)
			p.mu.Lock() // as SetTimer does, in the middle of which the timer expires
			r := p.timer
			expired := func() bool {
				r.mu.Lock()
				defer r.mu.Unlock()
				return r.at == 0
			}
			for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end) && !expired(); {
				time.Sleep(time.Millisecond)
			}
			r.mu.Lock()
			r.arm(0, 0)
			r.mu.Unlock()
			p.mu.Unlock()
			return 0, nil
		})
		for end := time.Now().Add(20 * time.Millisecond); time.Now().Before(end); {
			u.Turns()
		}
		if n := took.Load(); n != 0 {
			t.Errorf("%d signals of a timer that was disarmed", n)
		}
	})
}
