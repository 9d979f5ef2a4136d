package proc

import (
	"sync/atomic"

	"grim/proc/exit"
)

// Event is one entry of the trace ring.
type Event struct {
	When    int64 // Config.Clock, nanoseconds
	PID     int32
	TID     int32 // of a thread's own steps, else 0
	Step    exit.Step
	Context exit.Context
	Pages   int64 // exit.StepPurgeEnd: resident pages freed
	Tables  int32 // exit.StepPurgeEnd: table pages freed
}

// traceEvents is the size of the ring, a power of two: some sixteen events a
// process, so about sixty exits back.
const traceEvents = 1024

// traceRing keeps the last events. Writers take no lock: each has a slot of its
// own until the ring comes round. The words are atomic, by functions and not by
// types: those cost instructions.
type traceRing struct {
	n    uint64 // slots ever handed out; the next one's number
	ring [traceEvents]traceSlot
}

// traceSlot is an Event, or with stepFreed what the one before it freed: Pages in
// the low 33 bits of when, Tables above.
type traceSlot struct {
	when int64
	what uint64 // Step, Context << 5, PID << 7, TID << 29, the slot's round << 51
}

const (
	pidShift   = 7
	tidShift   = 29
	roundShift = 51

	// stepFreed marks the second slot of an event that freed memory.
	stepFreed = 31
)

// Numbers of processes fit their 22 bits, steps stay clear of the mark, and contexts fit
// their 2 bits.
const (
	_ = uint(1<<(tidShift-pidShift) - maxPIDs)
	_ = uint(stepFreed - exit.NumSteps)
	_ = uint(4 - exit.NumContexts)
)

// trace records a step of a process that frees nothing; see record.
func (k *Kernel) trace(s exit.Step, pid int, by exit.Context) {
	k.record(uint64(s) | uint64(by)<<5 | uint64(pid)<<pidShift)
}

// traceThread records a step of one thread.
func (k *Kernel) traceThread(s exit.Step, t *Thread) {
	k.record(uint64(s) | uint64(exit.InProcess)<<5 | uint64(t.p.pid)<<pidShift | uint64(t.TID())<<tidShift)
}

// record puts an event into the ring: a clock reading, an addition and two stores,
// 44 instructions in all, and is always on. May be called with any lock of this
// package held.
func (k *Kernel) record(what uint64) {
	when := k.now()
	r := k.traces
	n := atomic.AddUint64(&r.n, 1) - 1
	r.put(n, when, what)
	if f := k.onTrace.Load(); f != nil {
		tell(*f, when, what, 0)
	}
}

// traceFreed records a step that freed memory, less than 32 TB of it, in two slots.
func (k *Kernel) traceFreed(s exit.Step, pid int, by exit.Context, pages, tables int) {
	when := k.now()
	r := k.traces
	n := atomic.AddUint64(&r.n, 2) - 2
	what := uint64(s) | uint64(by)<<5 | uint64(pid)<<pidShift
	freed := int64(pages) | int64(tables)<<33
	r.put(n, when, what)
	r.put(n+1, freed, stepFreed|uint64(pid)<<pidShift)
	if f := k.onTrace.Load(); f != nil {
		tell(*f, when, what, freed)
	}
}

// put fills slot number n. Its round goes in last: see Events.
func (r *traceRing) put(n uint64, when int64, what uint64) {
	e := &r.ring[n%traceEvents]
	atomic.StoreInt64(&e.when, when)
	atomic.StoreUint64(&e.what, what|n/traceEvents<<roundShift)
}

// tell is apart from record so that the event is on the heap only if somebody
// looks: 150 instructions a step. It does not read the slot, which may be another
// event's by now.
//
//go:noinline
func tell(f func(*Event), when int64, what uint64, freed int64) {
	e := decodeEvent(when, what, freed)
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

// decodeEvent takes a slot's words apart, with the first one of the slot behind it
// if that goes with it.
func decodeEvent(when int64, what uint64, freed int64) Event {
	const number = 1<<(tidShift-pidShift) - 1
	return Event{When: when, PID: int32(what >> pidShift & number), TID: int32(what >> tidShift & number),
		Step: exit.Step(what & 31), Context: exit.Context(what >> 5 & 3),
		Pages: freed & (1<<33 - 1), Tables: int32(freed >> 33)}
}

// get is slot number n; false if it is not written yet, or another's by now. Who
// writes to it for the next round has counted n up before that, so a slot that
// was whole and is still ours after it was read was read as a whole.
func (r *traceRing) get(n uint64) (when int64, what uint64, ok bool) {
	e := &r.ring[n%traceEvents]
	what = atomic.LoadUint64(&e.what)
	when = atomic.LoadInt64(&e.when)
	ok = what>>roundShift == n/traceEvents&(1<<(64-roundShift)-1) && what&(1<<roundShift-1) != 0 &&
		atomic.LoadUint64(&r.n) <= n+traceEvents
	return when, what, ok
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
		when, what, ok := r.get(from)
		if !ok || what&31 == stepFreed {
			continue
		}
		freed, mark, ok := r.get(from + 1)
		if !ok || mark&31 != stepFreed {
			freed = 0
		}
		out = append(out, decodeEvent(when, what, freed))
	}
	return out, end
}
