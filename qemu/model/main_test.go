package main

import (
	"slices"
	"strings"
	"testing"
)

func TestPlan(t *testing.T) {
	var got []string
	for _, r := range plan("x.pml", "// A model.\n//\n// run: A=1 B=2\n// run: A=2\n// mutant: FAULT violates E1\n// mutant: LOST violates end-state\n") {
		got = append(got, strings.Join(r.macros, "+")+" "+r.mutant+" "+r.prop)
	}
	want := []string{"A=1+B=2  ", "A=2  ", "FAULT FAULT E1", "LOST LOST end-state"}
	if !slices.Equal(got, want) {
		t.Errorf("runs %q, want %q", got, want)
	}
	if runs := plan("x.pml", "byte x;"); len(runs) != 1 || runs[0].macros != nil {
		t.Errorf("a model without directives: %d runs", len(runs))
	}
}

// The checker's output in each case, shortened.
func TestJudge(t *testing.T) {
	const (
		fine  = "State-vector 20 byte, depth reached 9, errors: 0\n    12 states, stored\nunreached in proctype A\n\t(0 of 9 states)\n"
		dead  = "pan:1: invalid end state (at depth 3)\nsearch not completed\nerrors: 1\n"
		e1    = "pan:1: assertion violated (x||E1) (at depth 3)\nsearch not completed\nerrors: 1\n"
		small = "error: max search depth too small\nerrors: 0\n"
		full  = "pan: reached -DMEMLIM bound\nWarning: search not completed\nerrors: 0\n"
	)
	for _, c := range []struct {
		name, mutant, prop, out string
		ok                      bool
	}{
		{"model holds", "", "", fine, true},
		{"model is wrong", "", "", e1, false},
		{"model is stuck", "", "", dead, false},
		{"not deep enough", "", "", small, false},
		{"out of memory", "", "", full, false},
		{"no output", "", "", "", false},
		{"mutant caught", "M", "E1", e1, true},
		{"mutant lives", "M", "E1", fine, false},
		{"mutant caught by another", "M", "E10", e1, false},
		{"stuck mutant caught", "M", endState, dead, true},
		{"stuck mutant caught by another", "M", endState, e1, false},
	} {
		r := run{mutant: c.mutant, prop: c.prop}
		if r.judge(c.out); r.ok != c.ok {
			t.Errorf("%s: %v, %q", c.name, r.ok, r.verdict)
		}
	}
}

// A statement may be unreachable in one run of a model, but not in all.
func TestNeedAll(t *testing.T) {
	const (
		all  = "errors: 0\nunreached in proctype A\n\t/d/x.pml:9, state 5, \"-end-\"\n"
		less = "errors: 0\nunreached in proctype A\n\t/d/x.pml:7, state 4, \"x = 1\"\n"
	)
	for _, c := range []struct {
		outs []string
		ok   bool
	}{{[]string{all}, true}, {[]string{less}, false}, {[]string{less, all}, true}, {[]string{less, less}, false}} {
		var runs []*run
		for _, out := range c.outs {
			r := &run{file: "x.pml"}
			r.judge(out)
			runs = append(runs, r)
		}
		if needAll(runs); runs[0].ok != c.ok {
			t.Errorf("%q: %v, %s", c.outs, runs[0].ok, runs[0].verdict)
		}
	}
}
