package proc

import "sync/atomic"

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
	Pages   int64 // StepPurgeEnd: resident pages freed
	Tables  int32 // StepPurgeEnd: table pages freed
}

// traceEvents is the size of the ring: a power of two, ten steps a process, so
// about a hundred exits back.
const traceEvents = 1024

// traceRing keeps the last events. Writers take no lock: each has a slot of its
// own until the ring comes round, and readers notice a slot that changes. The
// words are atomic, by functions and not by types: those cost instructions.
type traceRing struct {
	n    uint64 // events ever
	ring [traceEvents]traceSlot
}

// traceSlot is an Event in three words, valid for event number seq-1.
type traceSlot struct {
	seq  uint64 // 0: being written
	when int64
	ids  uint64 // PID, TID << 32
	what uint64 // Step, Context << 5, Pages << 7, Tables << 40
}

// trace records a step of a process that frees nothing; see record.
func (k *Kernel) trace(s Step, pid int, ctx Context) {
	k.record(uint64(s)|uint64(ctx)<<5, uint64(pid))
}

// traceThread records a step of one thread.
func (k *Kernel) traceThread(s Step, t *Thread) {
	k.record(uint64(s)|uint64(InProcess)<<5, uint64(t.p.pid)|uint64(t.TID())<<32)
}

// traceFreed records a step that freed memory: less than 32 TB and 2^24 tables.
func (k *Kernel) traceFreed(s Step, pid int, ctx Context, pages, tables int) {
	k.record(uint64(s)|uint64(ctx)<<5|uint64(pages)<<7|uint64(tables)<<40, uint64(pid))
}

// record puts an event into the ring: a clock reading and five stores, some forty
// instructions, and is always on. May be called with any lock of this package
// held.
func (k *Kernel) record(what, ids uint64) {
	when := k.now()
	r := k.traces
	n := atomic.AddUint64(&r.n, 1)
	e := &r.ring[(n-1)%traceEvents]
	atomic.StoreUint64(&e.seq, 0)
	atomic.StoreInt64(&e.when, when)
	atomic.StoreUint64(&e.ids, ids)
	atomic.StoreUint64(&e.what, what)
	atomic.StoreUint64(&e.seq, n)
	if f := k.onTrace.Load(); f != nil {
		tell(*f, when, ids, what)
	}
}

// tell is apart from record so that the event is on the heap only if somebody
// looks: 150 instructions a step. It does not read the slot, which may be another
// event's by now.
//
//go:noinline
func tell(f func(*Event), when int64, ids, what uint64) {
	e := decodeEvent(when, ids, what)
	f(&e)
}

// SetTrace replaces Config.Trace; nil: nobody looks. A call of the old function
// may still be running on return.
func (k *Kernel) SetTrace(f func(e *Event)) {
	if f == nil {
		k.onTrace.Store(nil)
		return
	}
	k.onTrace.Store(&f)
}

// decodeEvent takes a slot's three words apart.
func decodeEvent(when int64, ids, what uint64) Event {
	return Event{When: when, PID: int32(ids), TID: int32(ids >> 32),
		Step: Step(what & 31), Context: Context(what >> 5 & 3),
		Pages: int64(what >> 7 & (1<<33 - 1)), Tables: int32(what >> 40)}
}

// Events returns the events since number from (0: as far back as the ring
// holds), oldest first, and the number to pass next time. An event that is being
// written, or was overwritten meanwhile, is left out.
func (k *Kernel) Events(from uint64) ([]Event, uint64) {
	r := k.traces
	end := atomic.LoadUint64(&r.n)
	if end > traceEvents && from < end-traceEvents {
		from = end - traceEvents
	}
	var out []Event
	for ; from < end; from++ {
		s := &r.ring[from%traceEvents]
		before := atomic.LoadUint64(&s.seq)
		e := decodeEvent(atomic.LoadInt64(&s.when), atomic.LoadUint64(&s.ids), atomic.LoadUint64(&s.what))
		if before == from+1 && atomic.LoadUint64(&s.seq) == before {
			out = append(out, e)
		}
	}
	return out, end
}
