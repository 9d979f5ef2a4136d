package proc

import "testing"

// TestThreadLimitLeavesNumbers: one user may have half of all numbers at most, however much
// memory the machine has. hog/threads shows it on a machine with 8 GB. Broken by: a limit by
// memory only.
func TestThreadLimitLeavesNumbers(t *testing.T) {
	const numbers = 400
	m := newMachine(t, 1000, func(c *Config) { c.PIDMax = numbers })
	if l := m.k.defaultLimits()[rlimitNPROC]; l.Cur != numbers/2 || l.Max != numbers/2 {
		t.Errorf("RLIMIT_NPROC %+v, want %d", l, numbers/2)
	}
	few := newMachine(t, 1000, func(c *Config) { c.PIDMax = 20 })
	if l := few.k.defaultLimits()[rlimitNPROC]; l.Cur != 16 {
		t.Errorf("RLIMIT_NPROC %+v with few numbers, want 16", l)
	}
}
