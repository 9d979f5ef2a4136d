// Package exit holds the ways in which a process can end: exit designs. Each is a value of
// type Design in a file of its own. Package proc runs them. Everything that is done once
// for each design (the kernel's exit= argument, /proc/PID/exit_policy, self-tests,
// benchmarks, reports) ranges over Designs.
//
// Package proc has what all designs share: the order of steps 1 to 3 and 5, the locks, and
// wait(2). A design decides in which context, and when, the memory is taken apart. It does
// so with the few operations of Process. qemu/LAB.md explains how to add a design.
//
// The package does not depend on the kernel: host tools and user programs import it too.
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
// The functions run in this order. Exiting runs in the last thread. Last runs when no CPU
// uses the stack of any thread of the process any more. Owed runs when the zombie is
// collected. A nil function does nothing. No lock is held in any of them, and each may
// sleep, unless its comment says otherwise.
type Design struct {
	// Name is the design's name for exit= and /proc/PID/exit_policy.
	Name string
	// Idea says in one paragraph how the design works, and what its advantages and
	// drawbacks are.
	Idea string
	// Source says who proposed the design or built it, and when.
	Source string

	// Exiting is step 4. It runs in the exiting process's last thread, so by is InProcess.
	Exiting func(p Process, by Context)
	// Threads says what happens to a dead thread, with its u-area and whatever else it
	// holds.
	Threads Fate
	// Last runs once, when every thread of the process is dead and off its stack. It runs
	// in the reaper if Threads is ToReaper, else at the end of the goroutine whose thread
	// left its stack last. It must call Zombify.
	Last func(p Process, by Context)
	// Owed gives back what a zombie still holds. It runs in the thread that collects the
	// zombie, after that thread has claimed it and before wait(2) returns. If no process
	// will ever wait, the kernel runs it.
	Owed func(p Process, by Context)

	// Order is the order of steps of an exit whose parent waits. Unwaited is that of an
	// exit for which no process will wait (SIGCHLD ignored). Apart are steps, in this
	// order, that run in parallel with the steps after StepWakeup. Steps for which an exit
	// has no reason do not occur in it: the purge if others use the address space, SIGCHLD
	// if the parent ignores it.
	Order, Unwaited, Apart []Stage

	// Breaks are the invariants that the design breaks, each with the reason that the tests
	// of that invariant must report.
	Breaks []Breach
	// Unsound: a program can notice the design by a wrong result. The design was built to
	// show that.
	Unsound bool
}

// Process is what a design may do with a process that ends. An operation may also be called
// when there is nothing left for it to do.
type Process interface {
	// Purge removes all user mappings, if no other process uses them. It may sleep.
	Purge(by Context)
	// FreeSpace purges if that is yet to be done, and gives up the process's reference to
	// the address space. The last reference destroys the root. It must be called only when
	// no thread of the process uses the root (step 2b makes sure of that).
	FreeSpace(by Context)
	// FreeThreads frees the dead threads that were kept because of Fate Kept.
	FreeThreads()
	// Zombify makes the process a zombie, sends SIGCHLD and wakes the parent. If no process
	// will wait, it runs Owed first, and the process is gone. It sleeps in Owed only. After
	// it returns, the parent may have collected the process.
	Zombify(by Context)
	// Apart takes the address space off the process and runs zombify. Then it purges and
	// frees the space, which no longer belongs to a process.
	Apart(zombify func())
}

// Fate says what happens to a dead thread.
type Fate uint8

const (
	// ToReaper: exit2 puts the thread on deadproc, and the reaper frees it.
	ToReaper Fate = iota
	// AtOnce: the thread's goroutine frees the thread as soon as it has left the thread's
	// stack.
	AtOnce
	// Kept: the thread stays with the process until FreeThreads.
	Kept
)

// Breach is an invariant that a design breaks. Reason is a part of what the invariant's
// tests must print when they fail.
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

// Invariants says in a few words what each invariant demands. Element 0 is not used.
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

// String returns the design's name.
func (d *Design) String() string { return d.Name }

// Named returns the design with that name, or nil.
func Named(name string) *Design {
	for _, d := range Designs {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// Names returns the names of all designs.
func Names() (names []string) {
	for _, d := range Designs {
		names = append(names, d.Name)
	}
	return names
}

// Breach returns how the design breaks an invariant, or nil if it keeps it.
func (d *Design) Breach(i Invariant) *Breach {
	for n := range d.Breaks {
		if d.Breaks[n].Invariant == i {
			return &d.Breaks[n]
		}
	}
	return nil
}

// Index returns the place of a step in Order, or -1 if it is not there.
func (d *Design) Index(s Step) int {
	for i, at := range d.Order {
		if at.Step == s {
			return i
		}
	}
	return -1
}

// Purger returns the context that purges in an exit whose parent waits.
func (d *Design) Purger() Context {
	for _, at := range append(d.Order[:len(d.Order):len(d.Order)], d.Apart...) {
		if at.Step == StepPurgeBegin {
			return at.By
		}
	}
	panic("exit: design " + d.Name + " never purges")
}

// Warning returns what a boot prints about an unsound design, or "" for a sound one.
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

// freeAndZombify is Last for the designs whose zombies hold nothing.
func freeAndZombify(p Process, by Context) {
	p.FreeSpace(by)
	p.Zombify(by)
}

// stages joins lists of stages.
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

// Parts of every order: steps 1 to 3; step 5; the end of a process that is waited for.
var (
	begin = by(InProcess, StepExit1, StepUserDone, StepFilesDone)
	dead  = by(InProcess, StepDead, StepNoteExit)
	end   = by(InParent, StepWait, StepGone)
)
