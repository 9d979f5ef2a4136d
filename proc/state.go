package proc

import (
	"fmt"

	"grim/proc/exit"
)

// State is how far a process or a thread has got on its way out. Only advance changes it.
//
//	Live -exit1-> Exiting -die-> Dead -zombify-> Zombie -wait4-> Gone
//	                                \------- zombify --------/
type State uint8

const (
	// Live: visible by pid; owns vmspace, files and u-areas.
	Live State = iota
	// Exiting: its threads are in exit1 or on their way to it, and may block. The last one
	// takes the process apart. It takes no more signals.
	Exiting
	// Dead: of a process the pid and the last u-area remain, and as much of the vmspace as
	// its exit design leaves for later (package exit). Of a thread only the u-area remains;
	// it is off the look-up lists. Dead is a thread's last state: bury frees the rest.
	Dead
	// Zombie: identity, status and usage remain; the parent may wait for it. Under a design
	// that leaves the memory to the parent, the memory remains too. Threads are never
	// zombies.
	Zombie
	// Gone: the pid may be used again once no group or session has it. A process goes from
	// Dead to Gone directly if no process will wait for it. Threads are never Gone.
	Gone
)

var stateNames = [...]string{"live", "exiting", "dead", "zombie", "gone"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// follows reports whether a process may go from s to next.
func (s State) follows(next State) bool {
	return next == s+1 && next <= Gone || s == Dead && next == Gone
}

// followsThread is follows for a thread, whose last state is Dead.
func (s State) followsThread(next State) bool { return next == s+1 && next <= Dead }

// advance moves p to its next state and traces it.
//
// Preconditions: p.mu held up to Dead (the fields of a live process are behind that lock);
// k.treeMu held from Zombie on.
func (p *Process) advance(next State, by exit.Context) {
	old := State(p.state.Load())
	if !old.follows(next) {
		panic(fmt.Sprintf("proc: advance: process %d from %v to %v", p.pid, old, next))
	}
	p.state.Store(uint32(next))
	p.k.trace(stateSteps[next], p.pid, by)
}

// stateSteps are the steps at which a process enters its states.
var stateSteps = [...]exit.Step{Exiting: exit.StepExit1, Dead: exit.StepDead, Zombie: exit.StepZombie, Gone: exit.StepGone}

// advance moves t to its next state. Preconditions: t.p.mu held.
func (t *Thread) advance(next State) {
	if !t.state.followsThread(next) {
		panic(fmt.Sprintf("proc: advance: thread %d of process %d from %v to %v",
			t.TID(), t.p.pid, t.state, next))
	}
	t.state = next
	if next == Dead {
		t.p.k.traceThread(exit.StepThreadDead, t)
	}
}
