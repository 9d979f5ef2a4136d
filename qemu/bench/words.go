package bench

import (
	"fmt"
	"slices"
	"strings"
)

// Figures is the table of all workloads of one architecture; nil if none was run.
func Figures(arch string, runs []*Run) *Table {
	t := &Table{Title: arch + ": workloads", Head: []string{"figure"}}
	type key struct{ workload, name string }
	var keys []key
	for _, r := range runs {
		t.Head = append(t.Head, r.Column())
		for _, f := range r.Figures {
			if k := (key{f.Workload, f.Name}); !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	if keys == nil {
		return nil
	}
	for _, k := range keys {
		unit := ""
		for _, r := range runs {
			if f := r.Figure(k.workload, k.name); f != nil {
				unit = f.Unit
			}
		}
		t.add(fmt.Sprintf("%s: %s, %s", k.workload, strings.ReplaceAll(k.name, "_", " "), unit), runs, func(r *Run) string {
			if f := r.Figure(k.workload, k.name); f != nil {
				return Number(f.Value)
			}
			return none
		})
	}
	return t
}

// Words says for each workload what the other policy does to it, in a sentence
// made of the figures. Both runs differ in the policy only.
func Words(purge, reaper *Run) (text []string) {
	pair := func(workload, name string) (a, b float64, ok bool) {
		f, g := purge.Figure(workload, name), reaper.Figure(workload, name)
		if f == nil || g == nil {
			return 0, 0, false
		}
		return f.Value, g.Value, true
	}
	pages := "2 MB blocks"
	if !purge.Huge {
		pages = "4 KB pages"
	}
	say := func(format string, a ...any) {
		text = append(text, "With "+pages+": "+fmt.Sprintf(format, a...))
	}
	if a, b, ok := pair("build", "total"); ok {
		say("the build takes %s under purge; under reaper it takes %s.", duration(a), change(a, b))
	}
	if a, b, ok := pair("storm", "command"); ok {
		say("a command of the shell script costs %s under purge and %s under reaper.", duration(a), change(a, b))
	}
	if a, b, ok := pair("server", "exit"); ok {
		s := fmt.Sprintf("the server's 200 MB worker is gone after %s under purge and %s under reaper", duration(a), change(a, b))
		if a, b, ok := pair("server", "exit_max"); ok {
			s += fmt.Sprintf("; the longest request that meets an exit takes %s under purge, %s under reaper", duration(a), change(a, b))
		}
		say("%s.", s)
	}
	if a, b, ok := pair("threads", "thread"); ok {
		say("one of 100 000 threads costs %s under purge and %s under reaper: a thread that is not its process's last has no memory to purge, so the policies differ in nothing else.", duration(a), change(a, b))
	}
	if a, b, ok := pair("zombies", "each_holds"); ok {
		say("a child that nobody waits for holds %s bytes of page frames under purge and %s under reaper; both free its memory before it becomes a zombie.", Number(a), Number(b))
	}
	return text
}

// duration writes guest nanoseconds for people.
func duration(ns float64) string {
	switch {
	case ns >= 1e6:
		return fmt.Sprintf("%.2f ms", ns/1e6)
	case ns >= 1e3:
		return fmt.Sprintf("%.1f us", ns/1e3)
	}
	return fmt.Sprintf("%.0f ns", ns)
}

// change writes b, and how it differs from a.
func change(a, b float64) string {
	switch d := 100 * (b/a - 1); {
	case d >= 0.1:
		return fmt.Sprintf("%s (%.1f %% more)", duration(b), d)
	case d <= -0.1:
		return fmt.Sprintf("%s (%.1f %% less)", duration(b), -d)
	}
	return "as much"
}
