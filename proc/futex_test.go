package proc

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"grim/arch"
	"grim/mm/vm"
)

func (u *user) futexWait(va arch.VA, val uint32) error {
	_, err := u.Sys(func(t *Thread) (uint64, error) { return 0, t.FutexWait(va, val, FutexAny, Forever, true) })
	return err
}

func (u *user) futexWake(va arch.VA, n int) int {
	return int(u.must(func(t *Thread) (uint64, error) {
		n, err := t.FutexWake(va, n, FutexAny, true)
		return uint64(n), err
	}))
}

// cas is a user instruction: atomic compare and swap.
func (u *user) cas(va arch.VA, old, new uint32) (done bool) {
	u.must(func(t *Thread) (_ uint64, err error) {
		done, err = t.VM().CompareAndSwapUint32(va, old, new)
		return 0, err
	})
	return done
}

// lock and unlock are the mutex of Drepper's "Futexes Are Tricky", section 5.
func (u *user) lock(va arch.VA) {
	if u.cas(va, 0, 1) {
		return
	}
	for !u.cas(va, 0, 2) {
		u.cas(va, 1, 2)
		u.futexWait(va, 2)
	}
}

func (u *user) unlock(va arch.VA) {
	if u.cas(va, 1, 0) {
		return
	}
	u.SetUint32(va, 0)
	u.futexWake(va, 1)
}

// A wake-up is never lost between the read of the word and the sleep: two threads take
// turns 20 000 times. It hangs if FutexWait reads the word before it takes the bucket's
// lock.
func TestFutexPingPong(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		va := u.Map(4096, vm.Anon, nil)
		u.SetUint32(va, 0)
		turns := func(mine uint32) func(t *Thread) (uint64, error) {
			return func(t *Thread) (uint64, error) {
				vs := t.VM()
				for turn := mine; turn < 20_000; turn += 2 {
					for {
						now, err := vs.ReadUint32(va)
						if err != nil || now == turn {
							break
						}
						if err := t.FutexWait(va, now, FutexAny, Forever, true); err != nil && err != syscall.EAGAIN {
							return 0, err
						}
					}
					vs.WriteUint32(va, turn+1)
					t.FutexWake(va, 1, FutexAny, true)
				}
				return 0, nil
			}
		}
		var done atomic.Int64
		u.Thread(func(c *user) { c.must(turns(1)); done.Add(1) })
		u.must(turns(0))
		u.Spin(func() bool { return done.Load() == 1 })
		u.ExitGroup(0)
	})
}

// A lock made of futexes excludes other threads.
func TestFutexMutex(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		const threads, rounds = 8, 200
		va := u.Map(4096, vm.Anon, nil)
		u.SetUint32(va, 0)
		var inside, done atomic.Int64
		count := 0
		for range threads {
			u.Thread(func(c *user) {
				for range rounds {
					c.lock(va)
					if inside.Add(1) != 1 {
						t.Error("two threads hold the lock")
					}
					count++
					inside.Add(-1)
					c.unlock(va)
				}
				done.Add(1)
			})
		}
		u.Spin(func() bool { return done.Load() == threads })
		if count != threads*rounds {
			t.Errorf("counted %d, want %d", count, threads*rounds)
		}
		u.ExitGroup(0)
	})
}

func TestFutexErrors(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		va := u.Map(4096, vm.Anon, nil)
		u.SetUint32(va, 5)
		wait := func(va arch.VA, val, bits uint32, deadline int64) error {
			_, err := u.Sys(func(t *Thread) (uint64, error) { return 0, t.FutexWait(va, val, bits, deadline, false) })
			return err
		}
		for _, c := range []struct {
			what string
			got  error
			want syscall.Errno
		}{
			{"another value", wait(va, 4, 1, Forever), syscall.EAGAIN},
			{"no bits", wait(va, 5, 0, Forever), syscall.EINVAL},
			{"misaligned", wait(va+2, 5, 1, Forever), syscall.EINVAL},
			{"unmapped", wait(0x2000, 5, 1, Forever), syscall.EFAULT},
			{"kernel", wait(arch.DirectBase, 5, 1, Forever), syscall.EFAULT},
			{"past deadline", wait(va, 5, 1, 0), syscall.ETIMEDOUT},
			{"deadline", wait(va, 5, 1, m.k.Now()+int64(2*time.Millisecond)), syscall.ETIMEDOUT},
		} {
			if c.got != c.want {
				t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
			}
		}
		for i := range m.k.futexes {
			if m.k.futexes[i].head != nil {
				t.Error("a waiter was left behind")
			}
		}
	})
}

// Waits that time out, wakes and requeues meet on three words, from eight threads. For each
// wake-up that is counted, one wait returns nil, and nothing stays queued. If a requeue
// takes a waiter off its bucket for an instant, or a wake-up marks a waiter before its
// links and bucket say that it is off, the counts differ, a list is corrupted, or (in the
// second case) the race detector reports it.
func TestFutexStorm(t *testing.T) {
	const threads, rounds, words = 8, 4000, 3
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		va := u.Map(4096, vm.Anon, nil)
		u.SetUint32(va, 0)
		word := func(n uint32) arch.VA { return va + arch.VA(n%words*64) }
		var waiting, done, woken, returned, moved atomic.Int64
		waiter := func(t *Thread) (uint64, error) {
			for i := range uint32(rounds) {
				waiting.Add(1)
				err := t.FutexWait(word(i), 0, 1<<(i%2), m.k.Now()+int64(i%7*2000), true)
				waiting.Add(-1)
				switch err {
				case nil:
					returned.Add(1)
				case syscall.ETIMEDOUT:
				default:
					return 0, err
				}
			}
			return 0, nil
		}
		waker := func(t *Thread) (uint64, error) {
			for i := uint32(0); done.Load() < threads; i++ {
				n, err := t.FutexWake(word(i), int(i%3), 1<<(i/5%2), true)
				woken.Add(int64(n))
				if err != nil {
					return 0, err
				}
				n, mv, err := t.FutexRequeue(word(i), int(i%2), 4, word(i+1+i/11%2), nil, true)
				woken.Add(int64(n))
				moved.Add(int64(mv))
				if err != nil {
					return 0, err
				}
				if waiting.Load() == 0 || i%64 == 0 {
					t.Yield()
				}
			}
			return 0, nil
		}
		for range threads {
			u.Thread(func(c *user) { c.must(waiter); done.Add(1) })
		}
		var ended atomic.Int64
		for range 2 {
			u.Thread(func(c *user) { c.must(waker); ended.Add(1) })
		}
		u.Spin(func() bool { return ended.Load() == 2 })
		if woken.Load() != returned.Load() {
			t.Errorf("%d waiters were woken, %d waits returned nil", woken.Load(), returned.Load())
		}
		if moved.Load() == 0 || woken.Load() == 0 {
			t.Errorf("nothing met: %d moved, %d woken", moved.Load(), woken.Load())
		}
		for i := range m.k.futexes {
			if b := &m.k.futexes[i]; b.head != nil || b.tail != nil {
				t.Error("a waiter was left behind")
			}
		}
		u.ExitGroup(0)
	})
}

// Bit sets, requeue and wake-op move and wake the right waiters. A shared word is the same
// word in two processes.
func TestFutexOperations(t *testing.T) {
	m := newMachine(t, 8192, nil)
	m.run(0, func(u *user) {
		page := u.Map(4096, vm.Anon|vm.Shared, nil)
		a, b := page, page+64
		u.SetUint32(a, 0)
		u.SetUint32(b, 0)
		var woken [4]atomic.Int64
		for i := range woken {
			u.Fork(func(c *user) {
				c.Sys(func(t *Thread) (uint64, error) { return 0, t.FutexWait(a, 0, 1<<i, Forever, false) })
				woken[i].Add(1)
			})
		}
		waiting := func(n int) {
			u.Spin(func() bool {
				have := 0
				for i := range m.k.futexes {
					bk := &m.k.futexes[i]
					bk.mu.Lock()
					for w := bk.head; w != nil; w = w.next {
						have++
					}
					bk.mu.Unlock()
				}
				return have == n
			})
		}
		waiting(4)
		wake := func(va arch.VA, n int, bits uint32) int {
			return int(u.must(func(t *Thread) (uint64, error) {
				n, err := t.FutexWake(va, n, bits, false)
				return uint64(n), err
			}))
		}
		if n := wake(a, 9, 1<<2); n != 1 {
			t.Errorf("woke %d with bit 2", n)
		}
		u.Wait(-1)
		if woken[2].Load() != 1 {
			t.Error("bit 2 woke another")
		}
		requeue := func(cmp uint32) (w, mv int, err error) {
			_, err = u.Sys(func(t *Thread) (uint64, error) {
				w, mv, err = t.FutexRequeue(a, 1, 1, b, &cmp, false)
				return 0, err
			})
			return w, mv, err
		}
		if _, _, err := requeue(7); err != syscall.EAGAIN {
			t.Errorf("requeue with another value: %v", err)
		}
		if w, mv, err := requeue(0); w != 1 || mv != 1 || err != nil {
			t.Errorf("requeue: woke %d, moved %d, %v", w, mv, err)
		}
		waiting(2)
		if n := wake(b, 9, FutexAny); n != 1 {
			t.Errorf("woke %d at the second word", n)
		}
		// FUTEX_OP(SET, 3, CMP_EQ, 0), in which only the 3 is not 0: *b = 3; wake a; also
		// wake b if *b was 0.
		n := u.must(func(t *Thread) (uint64, error) {
			n, err := t.FutexWakeOp(a, 1, b, 1, 3<<12, false)
			return uint64(n), err
		})
		if n != 1 || u.Uint32(b) != 3 {
			t.Errorf("wake-op woke %d, word is %d", n, u.Uint32(b))
		}
		for range 3 {
			if _, err := u.Wait(-1); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestFutexOps(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		va := u.Map(4096, vm.Anon, nil)
		for _, c := range []struct {
			op       uint32
			old, now uint32
			also     bool
		}{
			{0<<28 | 0<<24 | 7<<12 | 5, 5, 7, true},
			{1<<28 | 1<<24 | 7<<12 | 5, 5, 12, false},
			{2<<28 | 2<<24 | 3<<12 | 5, 4, 7, true},
			{3<<28 | 3<<24 | 1<<12 | 5, 5, 4, true},
			{4<<28 | 4<<24 | 0xfff<<12 | 0xfff, 0, ^uint32(0), true}, // argument -1, 0 > -1
			{8<<28 | 5<<24 | 4<<12 | 5, 4, 16, false},                // 1 << 4
		} {
			u.SetUint32(va, c.old)
			u.must(func(th *Thread) (uint64, error) {
				old, there, err := th.futexModify(va, c.op)
				also, err2 := futexCompare(old, c.op)
				if !there || old != c.old || also != c.also || err != nil || err2 != nil {
					t.Errorf("op %#x of %d: old %d, compares %v, %v %v", c.op, c.old, old, also, err, err2)
				}
				return 0, nil
			})
			if now := u.Uint32(va); now != c.now {
				t.Errorf("op %#x of %d: %d, want %d", c.op, c.old, now, c.now)
			}
		}
		for _, op := range []uint32{5 << 28, 6 << 24} {
			if _, err := u.Sys(func(t *Thread) (uint64, error) {
				n, err := t.FutexWakeOp(va, 1, va+4, 1, op, true)
				return uint64(n), err
			}); err != syscall.ENOSYS {
				t.Errorf("op %#x: %v, want ENOSYS", op, err)
			}
		}
	})
}

// A thread's end clears its tid word and wakes a joiner, before the process can lose its
// memory. It hangs without clearChildTID in exit1.
func TestClearChildTID(t *testing.T) {
	forDesigns(t, 4096, func(t *testing.T, m *machine) {
		m.run(0, func(u *user) {
			va := u.Map(4096, vm.Anon, nil)
			for range 50 {
				var seen atomic.Uint32
				tid, err := u.Clone(ForkArgs{
					Flags:     threadFlags | CloneChildClearTID | CloneParentSetTID | CloneChildSetTID,
					ParentTID: va + 8, ChildTID: va,
				}, func(c *user) { seen.Store(c.Uint32(va)); c.Exit(0) })
				if err != nil || u.Uint32(va+8) != uint32(tid) {
					t.Errorf("clone: %d, %v, stored %d", tid, err, u.Uint32(va+8))
				}
				for u.Uint32(va) != 0 {
					u.Sys(func(t *Thread) (uint64, error) {
						return 0, t.FutexWait(va, uint32(tid), FutexAny, Forever, false)
					})
				}
				if seen.Load() != uint32(tid) {
					t.Errorf("the thread saw %d, want %d", seen.Load(), tid)
				}
			}
			u.ExitGroup(0)
		})
	})
}

// robustNode writes an entry: link, then the futex word 16 bytes on.
func (u *user) robustNode(at, next arch.VA, word uint32) {
	u.must(func(t *Thread) (uint64, error) { return 0, t.VM().WriteUint64(at, uint64(next)) })
	u.SetUint32(at+16, word)
}

// Robust futexes of a dead owner are marked, and one waiter of each is woken; others are
// left alone. The walk of a list ends if the list is circular, broken or nonsense.
func TestRobustList(t *testing.T) {
	m := newMachine(t, 8192, nil)
	m.run(0, func(u *user) {
		page := u.Map(4096, vm.Anon|vm.Shared, nil)
		head, n1, n2, n3 := page, page+0x100, page+0x200, page+0x300
		set := func(first, pending arch.VA) {
			u.must(func(t *Thread) (uint64, error) {
				t.VM().WriteUint64(head, uint64(first))
				t.VM().WriteUint64(head+8, 16)
				return 0, t.VM().WriteUint64(head+16, uint64(pending))
			})
		}
		set(n1, n3)
		var waiting atomic.Int64
		waiter := u.Fork(func(c *user) {
			c.Spin(func() bool { return waiting.Load() == 1 })
			for w := c.Uint32(n1 + 16); w&futexOwnerDied == 0; w = c.Uint32(n1 + 16) {
				c.Sys(func(t *Thread) (uint64, error) { return 0, t.FutexWait(n1+16, w, FutexAny, Forever, false) })
			}
		})
		owner := u.Fork(func(c *user) {
			me := uint32(c.t.TID())
			c.robustNode(n1, n2, me|futexWaiters)
			c.robustNode(n2, head, me+1) // another thread's
			c.robustNode(n3, 0, me)      // about to be taken
			c.must(func(t *Thread) (uint64, error) { t.SetRobustList(head); return 0, nil })
			waiting.Store(1)
			c.Asleep(m.k.Thread(waiter))
			c.Kill(c.PID(), syscall.SIGKILL)
		})
		u.Wait(owner)
		u.Wait(waiter)
		for i, want := range []uint32{futexOwnerDied | futexWaiters, uint32(owner + 1), futexOwnerDied} {
			if w := u.Uint32(n1 + arch.VA(i*0x100) + 16); w != want {
				t.Errorf("futex %d: %#x, want %#x", i+1, w, want)
			}
		}
		// Walks of broken lists end all the same.
		for _, first := range []arch.VA{n1 /* circle */, 0, 0x123, arch.DirectBase, ^arch.VA(0), page + 4092} {
			set(first, ^arch.VA(0))
			u.robustNode(n1, n1, 0)
			pid := u.Fork(func(c *user) {
				c.must(func(t *Thread) (uint64, error) { t.SetRobustList(head); return 0, nil })
				c.ExitGroup(0)
			})
			if w, err := u.Wait(pid); err != nil || w.Status != 0 {
				t.Errorf("list at %#x: %+v, %v", first, w, err)
			}
		}
	})
}
