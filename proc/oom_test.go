package proc

import (
	"sync/atomic"
	"syscall"
	"testing"

	"grim/arch"
	"grim/mm/vm"
)

// fill allocates memory until so many frames are left.
func (u *user) fill(left int) {
	for u.m.mem.FreeFrames() > left {
		const pages = 64
		va := u.Map(pages<<12, vm.Anon, nil)
		for i := arch.VA(0); i < pages && u.m.mem.FreeFrames() > left; i++ {
			u.Store(va+i<<12, 1)
		}
	}
}

// A fork that finds fewer frames than it needs gives back those that it got. Then there are
// free frames, but the fork must still know why it failed: the largest process is killed
// and the fork succeeds, however many frames there were. Broken by: findMemory that checks
// whether a frame is free instead of Shortages.
func TestForkWithFewFrames(t *testing.T) {
	for left := range 12 {
		m := newMachine(t, 800, nil)
		m.run(0, func(u *user) {
			var filled atomic.Bool
			big := u.Fork(func(c *user) {
				c.fill(left)
				filled.Store(true)
				c.Spin(nil)
			})
			u.Spin(filled.Load)
			pid, err := u.Clone(ForkArgs{ExitSignal: syscall.SIGCHLD}, func(c *user) { c.ExitGroup(0) })
			if err != nil {
				t.Errorf("fork with %d frames: %v", left, err)
				_ = u.Kill(big, syscall.SIGKILL)
			} else if w, err := u.Wait4(pid, 0); err != nil || w.Status != 0 {
				t.Errorf("with %d frames the child got %+v, %v", left, w, err)
			}
			if left == 0 || m.k.counts.oomKills.Load() > 0 {
				if w, err := u.Wait4(big, 0); err != nil || w.Status != SignalStatus(syscall.SIGKILL) {
					t.Errorf("with %d frames the largest process got %+v, %v", left, w, err)
				}
			} else {
				_ = u.Kill(big, syscall.SIGKILL)
				_, _ = u.Wait4(big, 0)
			}
			if n := m.k.counts.oomKills.Load(); n > 1 {
				t.Errorf("with %d frames %d processes were killed", left, n)
			}
			u.ExitGroup(0)
		})
	}
}

// A copy to memory that has no page yet gets one, at the cost of the largest process.
// Broken by: copyFault that does not call noMemory.
func TestCopyWithoutFrames(t *testing.T) {
	m := newMachine(t, 800, nil)
	m.run(0, func(u *user) {
		var filled atomic.Bool
		va := u.Map(16<<12, vm.Anon, nil)
		big := u.Fork(func(c *user) {
			c.fill(0)
			filled.Store(true)
			c.Spin(nil)
		})
		u.Spin(filled.Load)
		u.must(func(t *Thread) (uint64, error) { return 0, t.VM().CopyOut(va, make([]byte, 16<<12)) })
		if w, err := u.Wait4(big, 0); err != nil || w.Status != SignalStatus(syscall.SIGKILL) {
			t.Errorf("the largest process got %+v, %v", w, err)
		}
		u.ExitGroup(0)
	})
}

// A system call that has failed for want of a frame is tried again when memory is back. A
// call that failed for another reason is not. Broken by: MemoryBack that does not compare
// Shortages with the earlier value.
func TestMemoryBack(t *testing.T) {
	m := newMachine(t, 800, nil)
	m.run(0, func(u *user) {
		var filled atomic.Bool
		back := func() (b bool) {
			u.must(func(t *Thread) (uint64, error) { b = t.MemoryBack(false); return 0, nil })
			return b
		}
		big := u.Fork(func(c *user) {
			c.fill(1)
			filled.Store(true)
			c.Spin(nil)
		})
		u.Spin(filled.Load)
		if back() {
			t.Error("nothing has failed for want of a frame, but the call is tried again")
		}
		f, err := m.mem.Alloc(0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.mem.Alloc(0); err == nil {
			t.Fatal("a frame is left")
		}
		m.mem.Unref(f)
		if !back() {
			t.Error("a call that failed for want of a frame is not tried again")
		}
		if w, err := u.Wait4(big, 0); err != nil || w.Status != SignalStatus(syscall.SIGKILL) {
			t.Errorf("the largest process got %+v, %v", w, err)
		}
		if back() {
			t.Error("the shortage has been answered, but the call is tried again")
		}
		u.ExitGroup(0)
	})
}
