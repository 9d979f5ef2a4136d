package proc

import "testing"

// BenchmarkForkExitWait measures the cost of the protocol alone: user code, page tables of
// an empty space and the machine cost little here.
func BenchmarkForkExitWait(b *testing.B) {
	m := newMachine(b, 1<<14, nil)
	m.quiet = true
	b.ReportAllocs()
	m.run(0, func(u *user) {
		for b.Loop() {
			u.Fork(func(c *user) { c.ExitGroup(0) })
			u.Wait(-1)
		}
		u.ExitGroup(0)
	})
}

func BenchmarkThread(b *testing.B) {
	m := newMachine(b, 1<<14, nil)
	m.quiet = true
	b.ReportAllocs()
	m.run(0, func(u *user) {
		for b.Loop() {
			u.Thread(func(c *user) { c.Exit(0) })
		}
		u.ExitGroup(0)
	})
}

func BenchmarkNullSyscall(b *testing.B) {
	m := newMachine(b, 1<<12, nil)
	b.ReportAllocs()
	m.run(0, func(u *user) {
		null := func(*Thread) (uint64, error) { return 0, nil }
		for b.Loop() {
			u.Sys(null)
		}
		u.ExitGroup(0)
	})
}
