package proc

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"testing"

	"grim/proc/exit"
)

// Watchers come to children at every moment of their end. Each is told of the exit and of
// the zombie once, or finds that it has missed them; OnExit calls its function once.
//
// Seen to fail: notify that tells what Attach has returned as missed.
func TestKnoteStorm(t *testing.T) {
	const children, watchers = 400, 3
	m := newMachine(t, 8192, nil)
	m.quiet = true
	m.run(0, func(u *user) {
		var all sync.WaitGroup
		for range children {
			var ended atomic.Bool
			pid := u.Fork(func(c *user) { c.ExitGroup(0) })
			p := m.k.Process(pid)
			for range watchers {
				all.Go(func() {
					var told [8]atomic.Int64
					count := func(ev Note) {
						for ; ev != 0; ev &= ev - 1 {
							told[bits.TrailingZeros8(uint8(ev))].Add(1)
						}
					}
					n := &Knote{Events: NoteExit | NoteReap, Told: count}
					count(p.Attach(n))
					exits := new(atomic.Int64)
					cancel := p.OnExit(func() { exits.Add(1) })
					eventually(t, "the child has been waited for", ended.Load)
					n.Detach()
					cancel()
					for i := range told {
						want := int64(0)
						if (NoteExit|NoteReap)>>i&1 != 0 {
							want = 1
						}
						if got := told[i].Load(); got != want {
							t.Errorf("note %#x of child %d was told %d times, want %d", 1<<i, pid, got, want)
						}
					}
					if exits.Load() != 1 {
						t.Errorf("OnExit of child %d was called %d times", pid, exits.Load())
					}
				})
			}
			u.Wait(pid)
			ended.Store(true)
		}
		all.Wait()
	})
}

// Threads make threads that end at once, on all CPUs: each is buried once, and makers wait
// before too many are dead (E5).
//
// Seen to fail: put without its lock (race detector); waitRoom that does not wait.
func TestDeadprocStorm(t *testing.T) {
	const makers, each, alive = 6, 500, 16 * 6
	m := newMachine(t, 8192, nil)
	m.quiet = true
	// A busy host may let many threads live at one time, and then let all of them die: the
	// bound is on the makers, not on them. So the makers keep their number down.
	var living atomic.Int64
	m.onStep = func(e *Event) {
		if e.Step == exit.StepDeadproc && e.TID != e.PID {
			living.Add(-1)
		}
	}
	before := m.k.Counts()
	most := 0
	m.run(0, func(u *user) {
		var ended atomic.Int64
		for range makers {
			u.Thread(func(c *user) {
				for range each {
					c.Spin(func() bool { return living.Load() < alive })
					living.Add(1)
					c.Thread(func(*user) {})
				}
				ended.Add(1)
			})
		}
		u.Spin(func() bool {
			most = max(most, m.k.dead.len())
			return ended.Load() == makers
		})
		u.ExitGroup(0)
	})
	m.settle()
	if now := m.k.Counts(); now.Threads != before.Threads {
		t.Errorf("%d threads left, want %d", now.Threads, before.Threads)
	}
	if limit := 2*deadBound + alive; most > limit {
		t.Errorf("%d threads were dead at one time, want up to %d", most, limit)
	}
}
