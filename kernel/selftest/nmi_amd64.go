package selftest

import (
	"time"

	"golang.org/x/sys/unix"

	"grim/proc"
)

// machineTests are the tests that exist only on this architecture.
var machineTests = []test{
	{name: "user/nmi", run: userNMI, layouts: true},
}

// userNMI: an NMI in user mode, and one in the kernel or while it sleeps, is counted and
// has no other effect. Both ended the machine when the vector's stub was the one of fatal
// exceptions.
func userNMI(t *T) {
	m := t.Machine.(interface {
		NMIs() uint64
		NMISoon()
	})
	come := func(where string) {
		n := m.NMIs()
		m.NMISoon()
		for end := t.Proc.Now() + int64(time.Second); m.NMIs() == n; {
			if t.Proc.Now() > end {
				t.Errorf("no NMI came %s", where)
				return
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	come("while idle")
	var spin program
	spin.spin()
	p := t.start(t.space(&spin))
	for range 5 {
		come("with a process in user mode")
	}
	t.check("kill", p.Signal(&proc.Siginfo{Signo: unix.SIGKILL}))
	if st := p.Wait().Status; st != proc.SignalStatus(unix.SIGKILL) {
		t.Errorf("the process that the NMIs interrupted: %s", statusText(st))
	}
	n := m.NMIs()
	m.NMISoon()
	for end := t.Proc.Now() + int64(time.Second); m.NMIs() == n && t.Proc.Now() < end; {
	}
	if m.NMIs() == n {
		t.Errorf("no NMI came into kernel code")
	}
}
