package exit

// Step names a point of an exit (DESIGN.md section 5).
type Step uint8

const (
	StepExit1      Step = iota // the process was told to exit, or its last thread exited
	StepUserDone               // robust futexes, clear_child_tid, vfork parent: done
	StepFilesDone              // descriptors closed, timers stopped
	StepPurgeBegin             // VMSpace.Purge begins
	StepPurgeEnd               // VMSpace.Purge ends; the event says what it freed
	StepDead                   // the process is dead: it may not sleep any more
	StepNoteExit               // knotes were told
	StepThreadDead             // a thread is dead and off the look-up lists
	StepDeadproc               // exit2: a thread was put on deadproc
	StepReaper                 // the reaper took the process's last thread from deadproc
	StepOffStack               // the same without a reaper: the last thread's goroutine has left the thread's stack
	StepSpaceFreed             // uvmspace_free: the reference was given up, and the root destroyed if it was the last
	StepZombie                 // the process is a zombie
	StepSIGCHLD                // SIGCHLD was sent
	StepWakeup                 // the parent was woken
	StepWait                   // wait4 has collected the process
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

// Context says in which context a step runs.
type Context uint8

const (
	InProcess    Context = iota // a thread of the process itself, or its goroutine after it has left the thread's stack
	InReaper                    // the reaper
	InParent                    // a waiting parent, or a task that acts for a parent that will not wait
	InBackground                // a task, after the process has become a zombie, while nothing waits for the task
	NumContexts
)

var contextNames = [NumContexts]string{"process", "reaper", "parent", "background"}

func (c Context) String() string {
	if c < NumContexts {
		return contextNames[c]
	}
	return "?"
}

// Stage is a step and the context in which it runs.
type Stage struct {
	Step Step
	By   Context
}
