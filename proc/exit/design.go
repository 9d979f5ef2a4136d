// Package exit holds the ways in which a process can end: exit designs, each a value
// of type Design in a file of its own. Package proc runs them, and everything that is
// done once for each design (the kernel's exit= argument, /proc/PID/exit_policy,
// self-tests, benchmarks, reports) ranges over Designs.
//
// What all designs share is in package proc: the order of the steps 1 to 3 and 5, the
// locks, and wait(2). A design decides who takes the memory apart, and when. It does
// so with the few operations of Process. qemu/LAB.md tells how to add one.
//
// The package knows no kernel: tools of the host and user programs import it too.
package exit

import "fmt"

// Designs are all exit designs. The first is the default.
var Designs = []*Design{
	&Purge,
	&Reaper,
	&Inline,
	&Parent,
	&Eager,
}

// Design is one way to end a process.
//
// The functions run in this order: Exiting, in the last thread; Last, when no CPU
// stands on a thread of the process any more; Owed, when the zombie is collected. A
// nil function does nothing. No lock is held in any of them, and each may sleep,
// unless it says otherwise.
type Design struct {
	// Name is what exit= and /proc/PID/exit_policy call it.
	Name string
	// Idea says in one paragraph how it works and what speaks for it and against it.
	Idea string
	// Source says who has argued for it or built it, and when.
	Source string

	// Exiting is step 4, in the exiting process's last thread.
	Exiting func(p Process)
	// Threads says what becomes of a dead thread: its u-area, and what else it holds.
	Threads Fate
	// Last runs once every thread of the process is dead and off its stack: in the
	// reaper if Threads is ToReaper, else at the end of the goroutine that ran the
	// thread which left its stack last. It must call Zombify.
	Last func(p Process, by Context)
	// Owed gives back what a zombie still holds. The thread that collects the zombie
	// runs it, after it has claimed the zombie and before wait(2) returns; if nobody
	// will ever wait, the kernel runs it.
	Owed func(p Process, by Context)

	// Order is the order of steps of an exit whose parent waits; Unwaited that of one
	// for which nobody will wait (SIGCHLD ignored). Apart are steps that run beside
	// those behind StepWakeup, in this order. Steps for which an exit has no reason are
	// left out of it: the purge if others use the address space, SIGCHLD if the parent
	// ignores it.
	Order, Unwaited, Apart []Stage

	// Breaks are the invariants that the design does not keep, each with the reason
	// that the tests of that invariant must see.
	Breaks []Breach
	// Unsound: a program can notice by a wrong result. Built to show that.
	Unsound bool
}

// Process is what a design may do with a process that ends. Each operation may be
// called when there is nothing left for it to do.
type Process interface {
	// Purge removes all user mappings, if no other process uses them. It may sleep.
	Purge(by Context)
	// FreeSpace purges if that is yet to be done, and lets go of the address space: the
	// last reference destroys the root. To be called when no thread of the process
	// stands on the root (step 2b has seen to that).
	FreeSpace(by Context)
	// FreeThreads frees the dead threads that Fate Kept has kept.
	FreeThreads()
	// Zombify makes the process a zombie, sends SIGCHLD and wakes the parent; if nobody
	// will wait, it runs Owed first and the process is gone. It does not sleep but in
	// Owed. What follows runs while the parent may have collected the process.
	Zombify(by Context)
	// Apart takes the address space off the process and runs zombify; then it purges
	// and frees the space, which is nobody's by then.
	Apart(zombify func())
}

// Fate is what becomes of a dead thread.
type Fate uint8

const (
	// ToReaper: exit2 puts it on deadproc and the reaper frees it.
	ToReaper Fate = iota
	// AtOnce: its goroutine frees it as soon as it has left the thread's stack.
	AtOnce
	// Kept: it stays with the process until FreeThreads.
	Kept
)

// Breach is an invariant that a design breaks. Reason is a part of what the tests that
// guard the invariant must say when they fail.
type Breach struct {
	Invariant Invariant
	Reason    string
}

// Invariant is one of E1 to E10 of DESIGN.md section 5.
type Invariant uint8

const (
	E1 Invariant = iota + 1
	E2
	E3
	E4
	E5
	E6
	E7
	E8
	E9
	E10
)

func (i Invariant) String() string { return fmt.Sprintf("E%d", uint8(i)) }

// Invariants says what each invariant asks for, in a few words; number 0 is none.
var Invariants = [E10 + 1]string{
	E1:  "wait returns no child whose shared-file writes are not visible",
	E2:  "the kernel half of a root is never changed",
	E3:  "no active root, stack or u-area is ever free",
	E4:  "nothing leaks, nothing is freed twice",
	E5:  "a process with many short-lived threads holds the live ones and a bound",
	E6:  "NOTE_EXIT, zombie, SIGCHLD, wake-up: in this order",
	E7:  "while one purge sleeps, others run, exit and are reaped",
	E8:  "at the final free map and pmap are empty",
	E9:  "a borrowed address space survives its borrower",
	E10: "a zombie holds status, usage and identity, and nothing else",
}

// String is the design's name.
func (d *Design) String() string { return d.Name }

// Named is the design of that name; nil if there is none.
func Named(name string) *Design {
	for _, d := range Designs {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// Names are the names of all designs.
func Names() (names []string) {
	for _, d := range Designs {
		names = append(names, d.Name)
	}
	return names
}

// Breach is how the design breaks an invariant; nil if it keeps it.
func (d *Design) Breach(i Invariant) *Breach {
	for n := range d.Breaks {
		if d.Breaks[n].Invariant == i {
			return &d.Breaks[n]
		}
	}
	return nil
}

// Index is the place of a step in Order; -1 if it is not there.
func (d *Design) Index(s Step) int {
	for i, at := range d.Order {
		if at.Step == s {
			return i
		}
	}
	return -1
}

// Purger is who purges in an exit whose parent waits.
func (d *Design) Purger() Context {
	for _, at := range append(d.Order[:len(d.Order):len(d.Order)], d.Apart...) {
		if at.Step == StepPurgeBegin {
			return at.By
		}
	}
	panic("exit: design " + d.Name + " never purges")
}

// Warning is what a boot says of a design that is unsound; empty for the others.
func (d *Design) Warning() string {
	if !d.Unsound {
		return ""
	}
	text := "exit=" + d.Name + " is unsound on purpose: it breaks"
	for i, b := range d.Breaks {
		if i > 0 {
			text += " and"
		}
		text += fmt.Sprintf(" %v (%s)", b.Invariant, Invariants[b.Invariant])
	}
	return text
}

// freeAndZombify is Last of the designs in which a zombie holds nothing.
func freeAndZombify(p Process, by Context) {
	p.FreeSpace(by)
	p.Zombify(by)
}

// stages makes a list of stages: steps that one context does, then those of the next.
func stages(lists ...[]Stage) (all []Stage) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func by(c Context, steps ...Step) (l []Stage) {
	for _, s := range steps {
		l = append(l, Stage{s, c})
	}
	return l
}

// What every order has: steps 1 to 3; step 5; the end of a process that is waited for.
var (
	begin = by(InProcess, StepExit1, StepUserDone, StepFilesDone)
	dead  = by(InProcess, StepDead, StepNoteExit)
	end   = by(InParent, StepWait, StepGone)
)
