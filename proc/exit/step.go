package exit

// Step names a point of an exit (DESIGN.md section 5).
type Step uint8

const (
	StepExit1      Step = iota // the process was told to exit, or its last thread did
	StepUserDone               // robust futexes, clear_child_tid, vfork parent: done
	StepFilesDone              // descriptors closed, timers stopped
	StepPurgeBegin             // VMSpace.Purge begins
	StepPurgeEnd               // and ends; the event says what it freed
	StepDead                   // the process is dead: point of no sleep passed
	StepNoteExit               // knotes were told
	StepThreadDead             // a thread is dead and off the look-up lists
	StepDeadproc               // exit2: a thread was put on deadproc
	StepReaper                 // the reaper took the process's last thread from deadproc
	StepOffStack               // or, without a reaper: its goroutine has left the last thread
	StepSpaceFreed             // uvmspace_free: root destroyed (or not its last reference)
	StepZombie                 // the process is a zombie
	StepSIGCHLD                // SIGCHLD was sent
	StepWakeup                 // the parent was woken
	StepWait                   // wait4 took it
	StepGone                   // the process is gone
	NumSteps
)

var stepNames = [NumSteps]string{
	"exit1", "user-done", "files-done", "purge-begin", "purge-end", "dead",
	"note-exit", "thread-dead", "deadproc", "reaper", "off-stack", "space-freed", "zombie",
	"sigchld", "wakeup", "wait", "gone",
}

func (s Step) String() string {
	if s < NumSteps {
		return stepNames[s]
	}
	return "?"
}

// Context says who does a step.
type Context uint8

const (
	InProcess    Context = iota // a thread of the process itself, or its goroutine once that has left the thread
	InReaper                    // the reaper
	InParent                    // a waiting parent, or a task that acts for a parent that will not wait
	InBackground                // after the process is a zombie, while nobody waits for it
	NumContexts
)

var contextNames = [NumContexts]string{"process", "reaper", "parent", "background"}

func (c Context) String() string {
	if c < NumContexts {
		return contextNames[c]
	}
	return "?"
}

// Stage is a step and who does it.
type Stage struct {
	Step Step
	By   Context
}
