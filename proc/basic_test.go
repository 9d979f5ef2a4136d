package proc

import (
	"syscall"
	"testing"
)

// A process runs, forks a child, waits for it and ends.
func TestForkWaitExit(t *testing.T) {
	forDesigns(t, 4096, func(t *testing.T, m *machine) {
		m.run(ExitStatus(7), func(u *user) {
			pid := u.Fork(func(c *user) { c.ExitGroup(3) })
			w, err := u.Wait(-1)
			if err != nil || w.PID != pid || w.Status != ExitStatus(3) {
				t.Errorf("wait: %+v, %v; want pid %d", w, err, pid)
			}
			if _, err := u.Wait(-1); err != syscall.ECHILD {
				t.Errorf("second wait: %v, want ECHILD", err)
			}
			u.ExitGroup(7)
		})
	})
}
