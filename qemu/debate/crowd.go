package main

import (
	"os"
	"strings"

	"grim/proc/exit"
	"grim/qemu/bench"
)

// How long many exits take that begin at the same moment, worked out from the steps of one:
// real time on several CPUs depends on what else the host does, and an emulator's CPUs that
// run in turn gain nothing by being several.
//
// Each exit is a chain of pieces. A piece needs a CPU. One of the reaper also needs the
// reaper, of which there is one, and one of the parent the parent, who waits for one child
// after the other. Pieces are as long as they were measured on one CPU; the way from one
// context to the next belongs to the next. Waiting for cache lines, locks and interrupts
// is left out.

// piece is a part of an exit that one context does without a pause.
type piece struct {
	by string
	ns int64
}

// pieces are the chain of an exit, and the one that goes on beside it.
func pieces(e *bench.Exit) (chain, beside []piece) {
	add := func(list []piece, by string, ns int64) []piece {
		if n := len(list); n > 0 && list[n-1].by == by {
			list[n-1].ns += ns
			return list
		}
		return append(list, piece{by, ns})
	}
	background := exit.InBackground.String()
	last := int64(-1) // of the step before, in the chain
	begun, between := int64(-1), false
	for _, s := range e.Steps {
		if s.Context == background {
			if begun >= 0 {
				beside = add(beside, background, s.NS-begun)
			}
			begun, between = s.NS, true
			continue
		}
		// If the background came in between, on the one CPU, the time was mostly its own.
		if last >= 0 && !between {
			chain = add(chain, s.Context, s.NS-last)
		}
		last, between = s.NS, false
	}
	return chain, beside
}

// crowd is when the last of n such exits has been collected, on so many CPUs.
func crowd(e *bench.Exit, n, cpus int) (end int64) {
	chain, beside := pieces(e)
	type task struct {
		todo  []piece
		free  int64 // when its piece before is done
		child bool  // of the chain
	}
	var tasks []*task
	for range n {
		tasks = append(tasks, &task{todo: chain, child: true})
	}
	cpu := make([]int64, cpus) // when each is free
	var reaper, parent int64   // when these are free
	for len(tasks) > 0 {
		// The piece that can begin first is next; of several, the one that has waited longest.
		var next *task
		begin := int64(0)
		soonest := 0
		for i := range cpu {
			if cpu[i] < cpu[soonest] {
				soonest = i
			}
		}
		for _, k := range tasks {
			at := max(k.free, cpu[soonest])
			switch k.todo[0].by {
			case exit.InReaper.String():
				at = max(at, reaper)
			case exit.InParent.String():
				at = max(at, parent)
			}
			if next == nil || at < begin || at == begin && k.free < next.free {
				next, begin = k, at
			}
		}
		p := next.todo[0]
		done := begin + p.ns
		cpu[soonest], next.free = done, done
		switch p.by {
		case exit.InReaper.String():
			reaper = done
		case exit.InParent.String():
			parent = done
		}
		if next.todo = next.todo[1:]; len(next.todo) == 0 {
			if next.child {
				end = max(end, done)
			}
			for i, k := range tasks {
				if k == next {
					tasks = append(tasks[:i], tasks[i+1:]...)
					break
				}
			}
		}
		if next.child && len(beside) > 0 && p.by == exit.InProcess.String() { // it is a zombie now
			tasks = append(tasks, &task{todo: beside, free: done})
		}
	}
	return end
}

// hostLoad is how busy the host is, as Linux tells it; empty elsewhere.
func hostLoad() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	load, _, _ := strings.Cut(string(text), " ")
	return load
}
