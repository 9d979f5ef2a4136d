package proc

import "sync"

// Step names a point of the exit contract (DESIGN.md section 5).
type Step uint8

const (
	StepExit1      Step = iota // the process was told to exit, or its last thread did
	StepUserDone               // robust futexes, clear_child_tid, vfork parent: done
	StepFilesDone              // descriptors closed, timers stopped
	StepPurgeBegin             // VMSpace.Purge begins
	StepPurgeEnd               // and ends; Pages and Tables say what it freed
	StepDead                   // the process is dead: point of no sleep passed
	StepNoteExit               // knotes were told
	StepThreadDead             // a thread is dead and off the look-up lists
	StepDeadproc               // exit2: a thread was put on deadproc
	StepReaper                 // the reaper took the process from deadproc
	StepSpaceFreed             // uvmspace_free: root destroyed (or not its last reference)
	StepZombie                 // the process is a zombie
	StepSIGCHLD                // SIGCHLD was sent
	StepWakeup                 // the parent was woken
	StepWait                   // wait4 returned it
	StepGone                   // the process is gone
	numSteps
)

var stepNames = [numSteps]string{
	"exit1", "user-done", "files-done", "purge-begin", "purge-end", "dead",
	"note-exit", "thread-dead", "deadproc", "reaper", "space-freed", "zombie",
	"sigchld", "wakeup", "wait", "gone",
}

func (s Step) String() string {
	if s < numSteps {
		return stepNames[s]
	}
	return "?"
}

// Context says who did a step.
type Context uint8

const (
	InProcess Context = iota // a thread of the process itself
	InReaper
	InParent // a waiting parent, or who killed it
)

func (c Context) String() string { return [...]string{"process", "reaper", "parent"}[c] }

// Event is one entry of the trace ring.
type Event struct {
	When    int64 // Config.Clock, nanoseconds
	PID     int32
	TID     int32 // of a thread's own steps, else 0
	Step    Step
	Context Context
	Pages   int32 // StepPurgeEnd: resident pages freed
	Tables  int32 // StepPurgeEnd: table pages freed
}

// traceEvents is the size of the ring: a power of two, ten steps a process, so
// about a hundred exits back.
const traceEvents = 1024

// traceRing keeps the last events.
type traceRing struct {
	mu   sync.Mutex
	n    uint64 // events ever
	ring [traceEvents]Event
}

// trace records a step. It costs a clock reading and a store, and is always on.
// May be called with any lock of this package held.
func (k *Kernel) trace(s Step, pid, tid int, ctx Context, pages, tables int) {
	r := &k.traces
	now := k.now()
	r.mu.Lock()
	e := &r.ring[r.n%traceEvents]
	r.n++
	e.When, e.PID, e.TID, e.Step, e.Context = now, int32(pid), int32(tid), s, ctx
	e.Pages, e.Tables = int32(pages), int32(tables)
	var told Event
	if k.cfg.Trace != nil {
		told = *e
	}
	r.mu.Unlock()
	if k.cfg.Trace != nil {
		k.tell(told)
	}
}

// tell is apart from trace so that the event is copied to the heap only if
// somebody looks: 150 instructions a step.
//
//go:noinline
func (k *Kernel) tell(e Event) { k.cfg.Trace(&e) }

// Events returns the events since number from (0: as far back as the ring
// holds), oldest first, and the number to pass next time.
func (k *Kernel) Events(from uint64) ([]Event, uint64) {
	r := &k.traces
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n > traceEvents && from < r.n-traceEvents {
		from = r.n - traceEvents
	}
	var out []Event
	for ; from < r.n; from++ {
		out = append(out, r.ring[from%traceEvents])
	}
	return out, r.n
}
