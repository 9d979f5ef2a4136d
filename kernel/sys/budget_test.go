package sys

import (
	"strings"
	"syscall"
	"testing"
)

// With the budget spent, what could need much kernel memory fails with ENOMEM,
// and works again later.
func TestBudget(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.passes(func(u *user) {
			u.store(dataVA, make([]byte, 8*64))
			spent := transientBytes - 1000
			if !m.s.transient.take(spent) || m.s.transient.take(1001) {
				m.t.Error("take")
			}
			u.ok("ppoll", dataVA, 5, dataVA+4096, 0, 0)
			u.want(syscall.ENOMEM, "ppoll", dataVA, 60, dataVA+4096, 0, 0)
			u.want(syscall.ENOMEM, "pselect6", 60, dataVA, 0, 0, dataVA+4096, 0)
			u.want(syscall.ENOMEM, "execve", u.str("/dev/null"), u.strings(0x20_0000, strings.Repeat("a", 1200)), 0)
			m.s.transient.give(spent)
			u.ok("ppoll", dataVA, 60, dataVA+4096, 0, 0)
		})
		if m.s.transient.used.Load() != 0 {
			m.t.Errorf("%d bytes taken", m.s.transient.used.Load())
		}
	})
}
