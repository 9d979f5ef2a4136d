package proc

import (
	"testing"

	"grim/proc/exit"
)

// The ring keeps the last events, with what a purge freed, whatever a writer is doing: an
// event is read as a whole or not at all. Seen to fail: get without the round, get without
// the second read of n, Events without the following slot.
func TestTraceRing(t *testing.T) {
	k := &Kernel{now: func() int64 { return 7 }, traces: new(traceRing)}
	if e, n := k.Events(0); len(e) != 0 || n != 0 {
		t.Errorf("empty: %v, %d", e, n)
	}
	for pid := 1; pid <= 3*traceEvents; pid++ {
		k.trace(exit.StepExit1, pid, exit.InParent)
		k.traceFreed(exit.StepPurgeEnd, pid, exit.InReaper, 1<<32+pid, pid)
	}
	events, n := k.Events(0)
	if n != 9*traceEvents || len(events) < traceEvents*2/3-1 {
		t.Fatalf("%d events, %d slots", len(events), n)
	}
	for i, e := range events {
		pid := int32(3*traceEvents - (len(events)-1-i)/2)
		want := Event{When: 7, PID: pid, Step: exit.StepPurgeEnd, Context: exit.InReaper, Pages: 1<<32 + int64(pid), Tables: pid}
		if (len(events)-i)%2 == 0 {
			want = Event{When: 7, PID: pid, Step: exit.StepExit1, Context: exit.InParent}
		}
		if e != want {
			t.Fatalf("event %d of %d is %+v, want %+v", i, len(events), e, want)
		}
	}

	// A writer that has its number and has stored nothing, or only the time.
	r := new(traceRing)
	k.traces = r
	count := func(what string, want int) {
		t.Helper()
		if e, _ := k.Events(0); len(e) != want {
			t.Errorf("%s: %d events, want %d: %v", what, len(e), want, e)
		}
	}
	r.n = 1
	count("first event begun", 0)
	r.n = 0
	for range traceEvents {
		k.trace(exit.StepWait, 1, exit.InParent)
	}
	count("full ring", traceEvents)
	r.n++ // slot 0 is being written anew
	count("next round begun", traceEvents-1)
	if _, _, ok := r.get(0); ok {
		t.Error("an event whose slot is being written anew was read")
	}
	r.ring[0].when = 8
	count("next round's time stored", traceEvents-1)
	r.put(traceEvents, 8, uint64(exit.StepWait)|1<<pidShift)
	count("next round's first event", traceEvents)
}
