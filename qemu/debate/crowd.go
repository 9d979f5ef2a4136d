package main

import (
	"os"
	"strings"

	"grim/proc/exit"
	"grim/qemu/bench"
)

// The duration of many exits that begin at the same moment, computed from the steps of one
// exit. It is not measured: real time on several CPUs depends on the host's other work, and
// an emulator's CPUs that run in turn are not faster together.
//
// Each exit is a chain of pieces. A piece needs a CPU. A piece of the reaper also needs the
// reaper; there is only one. A piece of the parent also needs the parent, which waits for
// one child after the other. Pieces have the length measured on one CPU. The time between
// two contexts belongs to the second. Waiting for cache lines, locks and interrupts is not
// included.

// piece is a part of an exit that one context does without a pause.
type piece struct {
	by string
	ns int64
}

// pieces returns the chain of an exit, and the pieces that run beside it, in the
// background.
func pieces(e *bench.Exit) (chain, beside []piece) {
	add := func(list []piece, by string, ns int64) []piece {
		if n := len(list); n > 0 && list[n-1].by == by {
			list[n-1].ns += ns
			return list
		}
		return append(list, piece{by, ns})
	}
	background := exit.InBackground.String()
	last := int64(-1) // time of the previous step in the chain
	begun, between := int64(-1), false
	for _, s := range e.Steps {
		if s.Context == background {
			if begun >= 0 {
				beside = add(beside, background, s.NS-begun)
			}
			begun, between = s.NS, true
			continue
		}
		// If the background ran in between, on the one CPU, the time was mostly the
		// background's.
		if last >= 0 && !between {
			chain = add(chain, s.Context, s.NS-last)
		}
		last, between = s.NS, false
	}
	return chain, beside
}

// crowd returns the time at which the last of n such exits has been collected, on cpus
// CPUs.
func crowd(e *bench.Exit, n, cpus int) (end int64) {
	chain, beside := pieces(e)
	type task struct {
		todo  []piece
		free  int64 // when its previous piece is done
		child bool  // it is a chain, not a background
	}
	var tasks []*task
	for range n {
		tasks = append(tasks, &task{todo: chain, child: true})
	}
	cpu := make([]int64, cpus) // when each is free
	var reaper, parent int64   // when these are free
	for len(tasks) > 0 {
		// The next piece is the one that can begin first; of several, the one that has
		// waited longest.
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

// hostLoad returns how busy the host is, as Linux reports it. It returns "" on other
// systems.
func hostLoad() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	load, _, _ := strings.Cut(string(text), " ")
	return load
}
