package selftest

import (
	"time"

	"grim/arch"
)

// cpuTests are about interrupts between CPUs.
var cpuTests = []test{
	{name: "cpus/interrupts", run: cpuInterrupts},
}

// cpuInterrupts: an interrupt to a CPU, be it the own one, arrives there, once, as the kind
// that was sent, and nowhere else. Broken by: a target list with all CPUs in it (GICv2).
func cpuInterrupts(t *T) {
	m := t.Machine.(interface {
		Counts(n int) arch.Counts
		Started(n int) bool
		Wake(n uint64)
	})
	shoots := func() (all uint64) {
		for n := range t.Machine.CPUs() {
			all += m.Counts(n).Shoot
		}
		return all
	}
	// A CPU takes interrupts while it idles, so this one has to sleep.
	wait := func(n int, what string, came func() bool) {
		for end := t.Proc.Now() + int64(5*time.Second); !came(); time.Sleep(100 * time.Microsecond) {
			if t.Proc.Now() > end {
				t.Errorf("CPU %d: no %s came", n, what)
				return
			}
		}
	}
	for n := range t.Machine.CPUs() {
		if !m.Started(n) {
			continue
		}
		for range 2 {
			before, all := m.Counts(n), shoots()
			t.Machine.Interrupt(n)
			wait(n, "shoot-down", func() bool { return m.Counts(n).Shoot > before.Shoot })
			m.Wake(uint64(n))
			wait(n, "wake-up", func() bool { return m.Counts(n).Wake > before.Wake })
			if got := shoots(); got != all+1 {
				t.Errorf("CPU %d was sent one shoot-down, and %d were taken", n, got-all)
			}
		}
	}
}
