// Model checks the SPIN models of the protocols in which CPUs meet: every *.pml file
// below a folder named model. For "make model".
//
// A model's first comment says how it is to be run:
//
//	// run: NAME=value ...         one exhaustive run with these macros; none: one run without
//	// mutant: NAME violates PROP  with the macro NAME the property PROP must be found broken
//
// PROP is a name that occurs in an assertion, or end-state: no process may be stuck.
// A run of the model itself must find no error, and not stop for lack of depth or memory.
// Each statement must be reached in one of them.
package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// endState is the property that every model must have.
const endState = "end-state"

// memoryMB bounds the memory of a run. The largest run needs about a fifth of it.
const memoryMB = 3000

// run is one call of the checker.
type run struct {
	file    string
	macros  []string
	mutant  string // name of the fault; empty: the model itself
	prop    string // the property that the fault breaks
	verdict string
	states  string
	took    time.Duration
	ok      bool
	dead    []string // statements that were not reached
}

func main() {
	only := flag.String("only", "", "only models and mutants with this in their name")
	flag.Parse()
	runs, err := find(".")
	if err != nil || len(runs) == 0 {
		fmt.Fprintln(os.Stderr, "model:", cmp.Or(err, fmt.Errorf("no *.pml files")))
		os.Exit(2)
	}
	runs = slices.DeleteFunc(runs, func(r *run) bool {
		return !strings.Contains(r.file+" "+r.mutant, *only)
	})
	// The long runs start first, so that none is alone at the end.
	slices.SortStableFunc(runs, func(a, b *run) int { return strings.Compare(a.mutant, b.mutant) })
	each(runs, (*run).check)
	slices.SortStableFunc(runs, func(a, b *run) int { return strings.Compare(a.file, b.file) })
	needAll(runs)
	failed := 0
	for _, r := range runs {
		fmt.Println(r)
		if !r.ok {
			failed++
		}
	}
	fmt.Printf("%d runs, %d failed\n", len(runs), failed)
	if failed != 0 {
		os.Exit(1)
	}
}

// each calls fn for all runs, on all CPUs.
func each(runs []*run, fn func(*run)) {
	var wg sync.WaitGroup
	next := make(chan *run)
	for range runtime.NumCPU() {
		wg.Go(func() {
			for r := range next {
				fn(r)
			}
		})
	}
	for _, r := range runs {
		next <- r
	}
	close(next)
	wg.Wait()
}

var (
	runLine    = regexp.MustCompile(`(?m)^// run: (.+)$`)
	mutantLine = regexp.MustCompile(`(?m)^// mutant: (\w+) violates ([\w-]+)$`)
)

// find returns the runs that the models below dir request.
func find(dir string) (runs []*run, err error) {
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && d.Name() == "build" {
			return cmp.Or(err, error(fs.SkipDir))
		}
		if filepath.Ext(name) != ".pml" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		runs = append(runs, plan(name, string(text))...)
		return nil
	})
	return runs, err
}

// plan returns the runs that a model's text requests.
func plan(name, text string) (runs []*run) {
	for _, m := range runLine.FindAllStringSubmatch(text, -1) {
		runs = append(runs, &run{file: name, macros: strings.Fields(m[1])})
	}
	if len(runs) == 0 {
		runs = append(runs, &run{file: name})
	}
	for _, m := range mutantLine.FindAllStringSubmatch(text, -1) {
		runs = append(runs, &run{file: name, macros: []string{m[1]}, mutant: m[1], prop: m[2]})
	}
	return runs
}

func (r *run) String() string {
	verdict := "ok  "
	if !r.ok {
		verdict = "FAIL"
	}
	what := "holds"
	if r.mutant != "" {
		what = "mutant " + r.mutant
	}
	if r.mutant == "" && len(r.macros) > 0 {
		what += " with " + strings.Join(r.macros, " ")
	}
	return fmt.Sprintf("%s %-34s %-28s %10s states %5.1f s  %s", verdict, r.file, what, r.states, r.took.Seconds(), r.verdict)
}

// check builds the checker, runs it, and judges the result.
func (r *run) check() {
	begin := time.Now()
	defer func() { r.took = time.Since(begin) }()
	dir, err := os.MkdirTemp("", "model")
	if err != nil {
		r.verdict = err.Error()
		return
	}
	defer os.RemoveAll(dir)
	file, err := filepath.Abs(r.file)
	if err != nil {
		r.verdict = err.Error()
		return
	}
	spin := []string{"-a"}
	for _, m := range r.macros {
		spin = append(spin, "-D"+m)
	}
	if out, err := command(dir, "spin", append(spin, file)...); err != nil || strings.Contains(out, "rror") {
		r.verdict = "spin: " + out
		return
	}
	if out, err := command(dir, "gcc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", fmt.Sprintf("-DMEMLIM=%d", memoryMB), "-o", "pan", "pan.c"); err != nil {
		r.verdict = "gcc: " + out
		return
	}
	pan := []string{"-m100000", "-w22"}
	switch r.prop {
	case "": // everything
	case endState:
		pan = append(pan, "-A") // assertions are other properties
	default:
		pan = append(pan, "-E") // end states are another property
	}
	out, _ := command(dir, "./pan", pan...)
	r.judge(out)
}

func command(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil {
		fmt.Fprintln(&out, err)
	}
	return out.String(), err
}

var (
	stored    = regexp.MustCompile(`(\S+) states, stored`)
	violation = regexp.MustCompile(`(?m)^pan:1: (.*) \(at depth`)
	unreached = regexp.MustCompile(`(?m)^\t(\S+:\d+), state \d+, "(.*)"$`)
)

// judge reads the checker's output.
func (r *run) judge(out string) {
	if m := stored.FindStringSubmatch(out); m != nil {
		r.states = m[1]
	}
	found := ""
	if m := violation.FindStringSubmatch(out); m != nil {
		found = m[1]
	}
	switch {
	case !strings.Contains(out, "errors: "):
		r.verdict = "no result: " + out
	case strings.Contains(out, "search not completed") && found == "",
		strings.Contains(out, "search depth too small"):
		r.verdict = "not exhaustive (depth or memory)"
	case r.mutant == "" && found != "":
		r.verdict = found
	case r.mutant == "":
		r.verdict, r.ok = "exhaustive, no error", true
		for _, m := range unreached.FindAllStringSubmatch(out, -1) {
			if m[2] != "-end-" {
				r.dead = append(r.dead, filepath.Base(m[1])+" "+m[2])
			}
		}
	case r.prop == endState && strings.HasPrefix(found, "invalid end state"),
		r.prop != endState && strings.HasSuffix(found, "||"+r.prop+")"):
		r.verdict, r.ok = "caught: "+r.prop, true
	case found != "":
		r.verdict = "caught, but not by " + r.prop + ": " + found
	default:
		r.verdict = "NOT caught"
	}
}

// needAll fails the runs of a model, in order of file, if there is a statement that none of
// them has reached.
func needAll(runs []*run) {
	for i, r := range runs {
		if r.mutant != "" {
			continue
		}
		for _, d := range r.dead {
			if !slices.ContainsFunc(runs, func(o *run) bool {
				return o.file == r.file && o.mutant == "" && !slices.Contains(o.dead, d)
			}) {
				runs[i].verdict, runs[i].ok = "never reached: "+d, false
			}
		}
	}
}
