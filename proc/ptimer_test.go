package proc

import (
	"testing"
	"time"
)

// TestDeletedTimerSendsNothing: a timer whose expiry has begun on another CPU when it is
// deleted sends no signal afterwards. program/timer-posix failed by it on a machine with two
// CPUs. Broken by: postTimer that does not look whether the timer is still its process's.
func TestDeletedTimerSendsNothing(t *testing.T) {
	m := newMachine(t, 1000, nil)
	m.run(0, func(u *user) {
		p := u.t.p
		for _, deleted := range []bool{false, true} {
			tm, err := p.NewTimer(TimerArgs{Signal: SIGRTMIN + 3, Target: u.t})
			if err != nil {
				t.Fatal(err)
			}
			u.t.SetMask(u.t.Mask() | 1<<(SIGRTMIN+3-1))
			tm.Set(m.k.now()+int64(time.Hour), 0)
			if deleted {
				p.DeleteTimer(tm.ID())
			}
			info := &Siginfo{Signo: tm.sig, Code: SI_TIMER, PID: int32(tm.id), timer: tm}
			if posted := p.postTimer(info, u.t); posted == deleted {
				t.Errorf("deleted %v: signal posted: %v", deleted, posted)
			}
		}
	})
}
