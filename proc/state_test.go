package proc

import (
	"fmt"
	"grim/proc/exit"
	"testing"
)

// All transitions of processes and threads, legal and not.
func TestStateTransitions(t *testing.T) {
	process := map[[2]State]bool{
		{Live, Exiting}: true, {Exiting, Dead}: true, {Dead, Zombie}: true, {Dead, Gone}: true, {Zombie, Gone}: true,
	}
	thread := map[[2]State]bool{{Live, Exiting}: true, {Exiting, Dead}: true}
	k := &Kernel{now: func() int64 { return 0 }, traces: new(traceRing)}
	advances := func(fn func()) (ok bool, msg string) {
		defer func() {
			if r := recover(); r != nil {
				msg = fmt.Sprint(r)
			}
		}()
		fn()
		return true, ""
	}
	for from := Live; from <= Gone+1; from++ {
		for to := Live; to <= Gone+1; to++ {
			p := &Process{k: k, pid: 42}
			p.state.Store(uint32(from))
			ok, msg := advances(func() { p.advance(to, exit.InProcess) })
			if ok != process[[2]State{from, to}] {
				t.Errorf("process from %v to %v: allowed %v", from, to, ok)
			}
			want := fmt.Sprintf("proc: advance: process 42 from %v to %v", from, to)
			if !ok && (msg != want || p.State() != from) {
				t.Errorf("panic %q, state %v; want %q, %v", msg, p.State(), want, from)
			}
			if ok && p.State() != to {
				t.Errorf("state %v after advance to %v", p.State(), to)
			}
			th := &Thread{p: p, state: from}
			if ok, _ := advances(func() { th.advance(to) }); ok != thread[[2]State{from, to}] {
				t.Errorf("thread from %v to %v: allowed %v", from, to, ok)
			}
		}
	}
}
