package proc

import (
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestSleep(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		sleep := func(ch chan struct{}, d time.Duration) error {
			_, err := u.Sys(func(t *Thread) (uint64, error) { return 0, t.Sleep(ch, t.Kernel().Now()+int64(d)) })
			return err
		}
		begin := m.k.Now()
		if err := sleep(nil, 3*time.Millisecond); err != syscall.ETIMEDOUT || m.k.Now()-begin < int64(3*time.Millisecond) {
			t.Errorf("sleep: %v after %d ns", err, m.k.Now()-begin)
		}
		ready := make(chan struct{}, 1)
		ready <- struct{}{}
		if err := sleep(ready, -time.Second); err != nil {
			t.Errorf("ready and past the deadline: %v, want nil", err)
		}
		if err := sleep(ready, -time.Second); err != syscall.ETIMEDOUT {
			t.Errorf("past the deadline: %v", err)
		}
		// A stale wake-up has no effect.
		u.t.Wake()
		if err := sleep(ready, time.Millisecond); err != syscall.ETIMEDOUT {
			t.Errorf("after a stale wake-up: %v", err)
		}
	})
}

// A relative sleep that is interrupted without a handler goes on to its first deadline.
// With a handler it fails. The clock goes on only when this test says so. Seen to hang:
// SavedDeadline that returns none.
func TestSavedDeadline(t *testing.T) {
	const length = 1000
	var now atomic.Int64
	m := newMachine(t, 4096, func(c *Config) { c.Clock = now.Load })
	m.run(0, func(u *user) {
		var calls atomic.Int64
		nap := func(t *Thread) (uint64, error) {
			deadline, ok := t.SavedDeadline()
			if !ok {
				deadline = t.Kernel().Now() + length
			}
			calls.Add(1)
			err := t.Sleep(nil, deadline)
			switch err {
			case syscall.ETIMEDOUT:
				return 0, nil
			case ERESTARTSYS:
				err = t.SaveDeadline(deadline)
			}
			return 0, err
		}
		// interrupt starts a process that does what fn does when this thread naps.
		interrupt := func(fn func(c *user)) {
			calls.Store(0)
			u.Fork(func(c *user) {
				c.Spin(func() bool { return calls.Load() == 1 })
				c.Asleep(u.t)
				fn(c)
			})
		}
		interrupt(func(c *user) {
			c.Kill(u.PID(), syscall.SIGSTOP)
			c.Spin(u.t.p.Stopped)
			now.Add(length / 2)
			c.Kill(u.PID(), syscall.SIGCONT)
			c.Spin(func() bool { return calls.Load() == 2 })
			c.Asleep(u.t)
			now.Add(length / 2) // the first deadline
			u.t.Wake()
		})
		if _, err := u.Sys(nap); err != nil || calls.Load() != 2 {
			t.Errorf("stopped and continued: %v after %d calls", err, calls.Load())
		}
		u.Wait(-1)
		u.Handle(syscall.SIGUSR1, SA_RESTART, func(*user, Siginfo) {})
		interrupt(func(c *user) { c.Kill(u.PID(), syscall.SIGUSR1) })
		if _, err := u.Sys(nap); err != syscall.EINTR || calls.Load() != 1 {
			t.Errorf("with a handler: %v after %d calls", err, calls.Load())
		}
		if _, ok := u.t.SavedDeadline(); ok {
			t.Error("a deadline outlived its call")
		}
		u.Wait(-1)
	})
}

// The loop programs the timer for the end of the thread's turn or the next runtime timer,
// whichever comes first, and only when that has changed. A thread that spins gives way at
// the end of its turn.
func TestTurns(t *testing.T) {
	var now, sets, last atomic.Int64
	var next [2]int64
	var ready Waiting
	var words *[2]int64
	tm := &timedMachine{sets: &sets, last: &last}
	m := newMachine(t, 4096, func(c *Config) {
		tm.machine = c.Machine.(*machine)
		c.Machine = tm
		c.Slice = time.Millisecond
		c.Clock = now.Load
		c.Timers = func(int) *[2]int64 { return &next }
		c.Waits = func() (w Waiting) { w, ready = ready, 0; return w }
		c.TimerWords = func(_ int, w *[2]int64) { words = w }
	})
	m.run(0, func(u *user) {
		null := func() { u.must(func(*Thread) (uint64, error) { return 0, nil }) }
		// wake is what the scheduler does when a goroutine becomes ready.
		wake := func(w Waiting) {
			if ready, words[0] = w, Forever; w == WaitsUrgent {
				words[1] = Forever
			}
		}
		null()
		yields := func() int64 { return u.t.usage.involuntary.Load() }
		spin := func(at int64) (yielded bool) {
			now.Store(at)
			y := yields()
			u.Spin(func() bool { ok := now.Load() != at; now.Add(1); return ok })
			return yields() != y
		}
		base, first := sets.Load(), last.Load()
		for range 100 {
			null()
		}
		if sets.Load() != base {
			t.Errorf("%d settings of the timer in 100 system calls", sets.Load()-base)
		}
		// Any interrupt may have been that of a timer that fires early. Broken by a
		// dispatch that takes the timer for set until its time has come: then no interrupt
		// ends user mode any more.
		begin := first - 1e6
		if spin(begin + 100) {
			t.Error("gave way at the start of the slice with nothing ready")
		}
		if sets.Load() != base+1 || last.Load() != first {
			t.Errorf("timer set %d times after an interrupt, to %d; want once, to %d", sets.Load()-base, last.Load(), first)
		}
		atomic.StoreInt64(&next[1], begin+40_000) // a runtime timer comes first
		words[0], words[1] = Forever, Forever
		null()
		if last.Load() != begin+40_000 {
			t.Errorf("timer at %d, want %d", last.Load()-begin, 40_000)
		}
		atomic.StoreInt64(&next[1], 0)
		null()
		if last.Load() != begin+40_000 {
			t.Errorf("timer put off to %d: it comes early once, and is set again then", last.Load()-begin)
		}
		if spin(begin + 50_000) {
			t.Error("gave way inside the slice with nothing ready")
		}
		wake(WaitsLast)
		if spin(begin + 60_000) {
			t.Error("gave way to a thread that has used up a slice, before it has had its long share")
		}
		if last.Load() != begin+longShare {
			t.Errorf("timer at %d, want %d", last.Load()-begin, longShare)
		}
		wake(WaitsWoken)
		left := u.t.sliceEnd - now.Load()
		if !spin(begin + 61_000) {
			t.Error("did not give way to a woken thread, after its share")
		}
		if got := u.t.sliceEnd - now.Load(); got < left-2000 || got > left {
			t.Errorf("%d ns of the slice left, want %d", got, left)
		}
		begin = u.t.turn
		if wake(WaitsWoken); !spin(begin + 10) {
			t.Error("did not give way at once, though it had not waited itself")
		}
		begin, u.t.share = u.t.turn, share
		if wake(WaitsWoken); spin(begin + share - 1000) {
			t.Error("gave way to a woken thread before it has had its share")
		}
		if last.Load() != begin+share {
			t.Errorf("timer at %d, want %d", last.Load()-begin, share)
		}
		if wake(WaitsUrgent); !spin(begin + share - 900) {
			t.Error("did not give way to a real-time thread at once")
		}
		wake(0)
		if !spin(u.t.sliceEnd) {
			t.Error("did not give way at the end of the slice")
		}
		// Now it computes.
		begin = u.t.turn
		if wake(WaitsLast); spin(begin + longShare + 1) {
			t.Error("gave way to another that has used up a slice, before the end of its own")
		}
		if wake(WaitsCut); !spin(begin + longShare + 2) {
			t.Error("did not give way to a thread that has not used up a slice")
		}
		wake(0)
		base = sets.Load()
		m.k.TimerMoved()
		null()
		if sets.Load() != base+1 {
			t.Errorf("timer set %d times after the idle hook moved it", sets.Load()-base)
		}
	})
}

// A thread that had to let others run before it entered user mode has its whole turn
// afterwards. Broken by: runSeveral without the resume after rejoin.
func TestTurnAfterRejoin(t *testing.T) {
	var now, refuse atomic.Int64
	tm := &timedMachine{sets: new(atomic.Int64), last: new(atomic.Int64)}
	m := newMachine(t, 4096, func(c *Config) {
		tm.machine = c.Machine.(*machine)
		c.Machine = severalCPUs{tm}
		c.Slice = time.Duration(2 * minSlice)
		c.Clock = now.Load
	})
	others := func() { now.Add(100 * minSlice) }
	ask := func() func() {
		if refuse.Add(-1) == 0 {
			return others
		}
		return nil
	}
	waits.Store(&ask)
	defer waits.Store(nil)
	m.run(0, func(u *user) {
		before := u.t.usage.involuntary.Load()
		refuse.Store(1)
		u.must(func(*Thread) (uint64, error) { return 0, nil })
		if now.Load() == 0 {
			t.Error("the others have not run")
		}
		if n := u.t.usage.involuntary.Load() - before; n != 0 {
			t.Error("its turn was over before the first instruction")
		}
	})
}

// severalCPUs is a machine whose kernel believes that there are two CPUs.
type severalCPUs struct{ *timedMachine }

func (severalCPUs) CPUs() int { return 2 }

// CPUs on which threads begin slices at the same time set their timers to different times.
// Broken by a turnEnd without skew.
func TestSlicesOutOfStep(t *testing.T) {
	var now, cpu atomic.Int64
	tm := &timedMachine{sets: new(atomic.Int64), last: new(atomic.Int64)}
	m := newMachine(t, 4096, func(c *Config) {
		tm.machine = c.Machine.(*machine)
		c.Machine = numberedCPUs{severalCPUs{tm}, &cpu}
		c.Slice = DefaultSlice
		c.Clock = now.Load
	})
	m.run(0, func(u *user) {
		var ends []int64
		for n := range int64(2) {
			cpu.Store(n)
			u.must(func(*Thread) (uint64, error) { return 0, nil })
			ends = append(ends, tm.last.Load())
		}
		if ends[1]-ends[0] < int64(DefaultSlice)/maxCPUs {
			t.Errorf("slices that began together end at %v", ends)
		}
	})
}

// numberedCPUs is severalCPUs that says on which CPU it runs.
type numberedCPUs struct {
	severalCPUs
	n *atomic.Int64
}

func (m numberedCPUs) CPU() int { return int(m.n.Load()) }

// While another CPU moves the time of a modified timer from the second word to the first, as
// the runtime does, nextTimer does not miss it. Broken by reading the first word first.
func TestNextTimerWhileMoved(t *testing.T) {
	const early, late = 10, 1000
	words := [2]int64{late, early}
	c := cpu{timers: &words}
	var stop atomic.Bool
	var resets atomic.Uint64 // odd during a reset
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			atomic.StoreInt64(&words[0], early)
			atomic.StoreInt64(&words[1], 0)
			resets.Add(1)
			atomic.StoreInt64(&words[1], early)
			atomic.StoreInt64(&words[0], late)
			resets.Add(1)
		}
	})
	for range 300_000 {
		before := resets.Load()
		at := c.nextTimer()
		if at != early && before%2 == 0 && resets.Load() == before {
			t.Errorf("next timer at %d, want %d", at, early)
			break
		}
	}
	stop.Store(true)
	wg.Wait()
}

// timedMachine records the settings of the timer.
type timedMachine struct {
	*machine
	sets, last *atomic.Int64
}

func (m *timedMachine) Dispatch() {}

func (m *timedMachine) SetTimer(at int64) {
	m.sets.Add(1)
	m.last.Store(at)
}
