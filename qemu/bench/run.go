// Package bench reads the output of the benchmark programs of user/, and makes tables and
// reports of it. It starts no programs; qemu/lab does.
package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Setup describes the environment in which a program ran.
type Setup struct {
	Kernel string // "Grim", or Linux's own name
	Arch   string // GOARCH
	Layout string `json:",omitempty"` // Grim only, as on its command line
	Exit   string `json:",omitempty"` // Grim only, as on its command line
	Huge   bool   // 2 MB pages for anonymous memory
}

// Names returns the runs' headings in tables and pictures: layout and policy if all runs
// are Grim's, otherwise the kernel. Linux's 2 MB pages correspond to Grim's 2 MB blocks.
func Names(runs []*Run) (names []string) {
	alone := true
	for _, r := range runs {
		alone = alone && r.Layout != ""
	}
	for _, r := range runs {
		name := r.Kernel
		if alone {
			name = r.Layout + " " + r.Exit
		}
		switch {
		case !r.Huge:
			name += " 4 KB"
		case !alone:
			name += " 2 MB"
		}
		names = append(names, name)
	}
	return names
}

func (s *Setup) String() string {
	huge := "on"
	if !s.Huge {
		huge = "off"
	}
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s hugepages=%s", s.Kernel, s.Arch, s.Layout, s.Exit, huge)), " ")
}

// Case is one measured case. Times are in guest nanoseconds; with QEMU's -icount shift=0
// these are guest instructions.
type Case struct {
	Name             string
	N                int // repetitions
	Min, Median, Max float64
	Mean             float64
	Pages            int    `json:",omitempty"` // touched by one repetition, if known
	Failed           string `json:",omitempty"` // why there are no figures
	// Memory has an item for each modelled core.
	Memory []Memory `json:",omitempty"`
}

// Step is a line of /proc/exits.
type Step struct {
	Name    string
	Context string // process, reaper or parent
	NS      int64  // monotonic time
	Pages   int    // freed by this step
	Tables  int    // table pages freed by this step
	CPU     int    // the CPU that did it
}

// Exit is the record of one exit.
type Exit struct {
	Case  string // the case of the process
	Steps []Step
}

// Figure is a result of a workload: a number with its unit.
type Figure struct {
	Workload, Name string
	Value          float64
	Unit           string
}

// Run has all results of one boot.
type Run struct {
	Setup
	// Command is the boot's command line, followed by QEMU's version.
	Command string `json:",omitempty"`
	// Boot is the guest time from the machine's start to the program's first instruction.
	Boot time.Duration
	// Wall is the host time from QEMU's start to the program's first line.
	Wall    time.Duration
	Cases   []Case   `json:",omitempty"`
	Exits   []Exit   `json:",omitempty"`
	Figures []Figure `json:",omitempty"`
	// Done says that the program ran to its end.
	Done bool
}

// Case returns a case by name, or nil if it was not run or has failed.
func (r *Run) Case(name string) *Case {
	for i := range r.Cases {
		if c := &r.Cases[i]; c.Name == name && c.Failed == "" {
			return c
		}
	}
	return nil
}

// failed returns the reason why a case was run and has no figures. It returns "" if the
// case has figures, or was not run.
func (r *Run) failed(name string) string {
	for i := range r.Cases {
		c := &r.Cases[i]
		if c.Name != name || c.Failed == "" {
			continue
		}
		if c.Failed == "status=9" { // status of wait4: SIGKILL
			return "killed"
		}
		return "failed"
	}
	return ""
}

// ExitOf returns a recorded exit, or nil if there is none.
func (r *Run) ExitOf(name string) *Exit {
	for i := range r.Exits {
		if r.Exits[i].Case == name {
			return &r.Exits[i]
		}
	}
	return nil
}

// Figure returns a workload's figure, or nil if it was not run.
func (r *Run) Figure(workload, name string) *Figure {
	for i := range r.Figures {
		if f := &r.Figures[i]; f.Workload == workload && f.Name == name {
			return f
		}
	}
	return nil
}

// Total returns the time from the first step to the last.
func (e *Exit) Total() int64 {
	if len(e.Steps) == 0 {
		return 0
	}
	return e.Steps[len(e.Steps)-1].NS - e.Steps[0].NS
}

// Span returns the time of the first step of any exit, and of the last step of all.
func Span(exits []*Exit) (begin, end int64) {
	for i, e := range exits {
		for k, s := range e.Steps {
			if i == 0 && k == 0 {
				begin = s.NS
			}
			begin, end = min(begin, s.NS), max(end, s.NS)
		}
	}
	return begin, end
}

// strands returns the sequences of consecutive steps: those of the exit itself, and those
// in the background, which run beside it.
func (e *Exit) strands() (list [2][]Step) {
	for _, s := range e.Steps {
		i := 0
		if s.Context == "background" {
			i = 1
		}
		list[i] = append(list[i], s)
	}
	return list
}

// In returns the time between consecutive steps in one context: the cost of the exit in
// that context. Time between steps in different contexts is not counted.
func (e *Exit) In(context string) (ns int64) {
	for _, steps := range e.strands() {
		for i := 1; i < len(steps); i++ {
			if steps[i-1].Context == context && steps[i].Context == context {
				ns += steps[i].NS - steps[i-1].NS
			}
		}
	}
	return ns
}

// Contexts returns the contexts of the exit, in order of appearance.
func (e *Exit) Contexts() (list []string) {
	for _, s := range e.Steps {
		if !slices.Contains(list, s.Context) {
			list = append(list, s.Context)
		}
	}
	return list
}

// CaseNames returns the names of all runs' cases, in the order of the first run that has
// the case.
func CaseNames(runs []*Run) (names []string) {
	for _, r := range runs {
		for i := range r.Cases {
			if n := r.Cases[i].Name; !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return names
}
