package proc

import (
	"sync/atomic"

	"grim/proc/exit"
)

// Event is one entry of the trace ring.
type Event struct {
	When    int64 // Config.Clock, nanoseconds
	PID     int32
	TID     int32 // for steps of one thread, else 0
	Step    exit.Step
	Context exit.Context
	CPU     uint8 // the CPU that ran the step
	Pages   int64 // exit.StepPurgeEnd: resident pages freed
	Tables  int32 // exit.StepPurgeEnd: table pages freed
}

// traceEvents is the size of the ring, a power of two. An exit takes some sixteen events,
// so the ring holds about sixty exits.
const traceEvents = 1024

// traceRing keeps the last events. Writers take no lock: each has a slot of its own until
// the ring has come round. The words are accessed by atomic functions; atomic types would
// cost more instructions.
type traceRing struct {
	n    uint64 // number of slots handed out so far
	ring [traceEvents]traceSlot
}

// traceSlot is an Event. With stepFreed it is the second slot of an event and says what
// that freed: Pages in the low 33 bits of when, Tables above.
type traceSlot struct {
	when int64
	what uint64 // Step, Context << 5, PID << 7, TID << 29, CPU << 51, number of the round << 55
}

const (
	pidShift   = 7
	tidShift   = 29
	cpuShift   = 51
	roundShift = 55

	// stepFreed marks the second slot of an event that freed memory.
	stepFreed = 31
)

// The numbers of processes fit into 22 bits, contexts into 2 bits and CPUs into 4 bits, and
// no step equals stepFreed.
const (
	_ = uint(1<<(roundShift-cpuShift) - maxCPUs)
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

// record puts an event into the ring. It is always on, and costs a clock reading, an
// addition and two stores, 44 instructions in all. It may be called with any lock of this
// package held.
func (k *Kernel) record(what uint64) {
	when := k.now()
	if k.several {
		what |= uint64(k.m.CPU()) << cpuShift
	}
	r := k.traces
	n := atomic.AddUint64(&r.n, 1) - 1
	r.put(n, when, what)
	if f := k.onTrace.Load(); f != nil {
		tell(*f, when, what, 0)
	}
}

// traceFreed records a step that freed memory, at most 32 TB, in two slots.
func (k *Kernel) traceFreed(s exit.Step, pid int, by exit.Context, pages, tables int) {
	when := k.now()
	r := k.traces
	n := atomic.AddUint64(&r.n, 2) - 2
	what := uint64(s) | uint64(by)<<5 | uint64(pid)<<pidShift
	if k.several {
		what |= uint64(k.m.CPU()) << cpuShift
	}
	freed := int64(pages) | int64(tables)<<33
	r.put(n, when, what)
	r.put(n+1, freed, stepFreed|uint64(pid)<<pidShift)
	if f := k.onTrace.Load(); f != nil {
		tell(*f, when, what, freed)
	}
}

// put fills slot number n. The word with the number of the round is stored last: see
// Events.
func (r *traceRing) put(n uint64, when int64, what uint64) {
	e := &r.ring[n%traceEvents]
	atomic.StoreInt64(&e.when, when)
	atomic.StoreUint64(&e.what, what|n/traceEvents<<roundShift)
}

// tell is a separate function so that the event is on the heap only if there is a function
// to call; otherwise each step would cost 150 instructions more. It does not read the slot,
// which may hold another event by now.
//
//go:noinline
func tell(f func(*Event), when int64, what uint64, freed int64) {
	e := decodeEvent(when, what, freed)
	f(&e)
}

// SetTrace replaces Config.Trace; nil removes it. A call of the old function may still be
// running when SetTrace returns.
func (k *Kernel) SetTrace(f func(e *Event)) {
	if f == nil {
		k.onTrace.Store(nil)
		return
	}
	k.onTrace.Store(&f)
}

// decodeEvent decodes a slot's words. freed is the first word of the following slot, if
// that belongs to the event.
func decodeEvent(when int64, what uint64, freed int64) Event {
	const number = 1<<(tidShift-pidShift) - 1
	return Event{When: when, PID: int32(what >> pidShift & number), TID: int32(what >> tidShift & number),
		Step: exit.Step(what & 31), Context: exit.Context(what >> 5 & 3), CPU: uint8(what >> cpuShift & (maxCPUs - 1)),
		Pages: freed & (1<<33 - 1), Tables: int32(freed >> 33)}
}

// get returns slot number n. ok is false if the slot is not written yet, or has been
// overwritten. A writer for the next round raises n in the ring before it writes. So if the
// slot's round is right, and the ring's n has not got that far after the slot was read, the
// slot was read as a whole.
func (r *traceRing) get(n uint64) (when int64, what uint64, ok bool) {
	e := &r.ring[n%traceEvents]
	what = atomic.LoadUint64(&e.what)
	when = atomic.LoadInt64(&e.when)
	ok = what>>roundShift == n/traceEvents&(1<<(64-roundShift)-1) && what&(1<<roundShift-1) != 0 &&
		atomic.LoadUint64(&r.n) <= n+traceEvents
	return when, what, ok
}

// Events returns the events from number from on (0: as far back as the ring goes), oldest
// first, and the number to pass next time. An event that is being written, or was
// overwritten meanwhile, is left out.
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
