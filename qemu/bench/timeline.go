package bench

import (
	"fmt"
	"slices"
	"strings"
)

// lanes are the lanes of the picture, from the top, with the kernel's names of their
// contexts.
var lanes = []struct{ context, title string }{
	{"process", "child"}, {"reaper", "reaper"}, {"parent", "parent"}, {"background", "background"},
}

// phases are what an exit does between its steps. Each has a colour, and the steps after
// which it begins.
var phases = []struct {
	Class, Title string
	steps        []string
}{
	{"ph-tell", "threads, futexes, signals", []string{"exit1"}},
	{"ph-close", "descriptors, timers", []string{"user-done", "files-done"}},
	{"ph-purge", "purge", []string{"purge-begin"}},
	{"ph-die", "dead: children to init, knotes, deadproc", []string{"purge-end", "dead", "note-exit", "thread-dead", "deadproc"}},
	{"ph-reap", "u-area, thread, root freed", []string{"reaper", "off-stack"}},
	{"ph-tell-parent", "zombie, SIGCHLD, wake-up", []string{"space-freed", "zombie", "sigchld", "wakeup"}},
	{"ph-wait", "wait", []string{"wait", "gone"}},
}

// phaseOf returns the colour of the bar from a step to the next.
func phaseOf(step string) string {
	for _, p := range phases {
		for _, s := range p.steps {
			if s == step {
				return p.Class
			}
		}
	}
	return "ph-die"
}

// Parts describes the parts of an exit's time.
func (e *Exit) Parts() string {
	total := e.Total()
	if total == 0 {
		return ""
	}
	var parts []string
	between := total
	for _, l := range lanes[:len(lanes)-1] {
		in := e.In(l.context)
		between -= in
		parts = append(parts, fmt.Sprintf("%s %s", l.title, percent(in, total)))
	}
	text := fmt.Sprintf("%s instructions: %s", Number(float64(total)), strings.Join(parts, ", "))
	if in := e.In("background"); in > 0 {
		return text + fmt.Sprintf("; background, with what others do meanwhile, %s", percent(in, total))
	}
	return text + fmt.Sprintf(", on the way between them %s", percent(between, total))
}

func percent(part, whole int64) string {
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

// row is a lane of a timeline, with the bars that are shown in it.
type row struct {
	title string
	has   func(exit int, s *Step) bool
}

// rowsOf returns the lanes that the exits need: one for the child, or one for each of
// several children; one for each other context; and if several CPUs took part, one for each
// CPU.
func rowsOf(exits []*Exit) (rows []row) {
	used, cpus := map[string]bool{}, 0
	for _, e := range exits {
		for _, s := range e.Steps {
			used[s.Context] = true
			cpus = max(cpus, s.CPU+1)
		}
	}
	for _, l := range lanes {
		switch {
		case l.context == lanes[0].context && len(exits) > 1:
			for i := range exits {
				rows = append(rows, row{fmt.Sprintf("%s %d", l.title, i+1), func(exit int, s *Step) bool { return exit == i && s.Context == l.context }})
			}
		case used[l.context] || l.context != "background":
			rows = append(rows, row{l.title, func(_ int, s *Step) bool { return s.Context == l.context }})
		}
	}
	for n := range cpus {
		if cpus > 1 {
			rows = append(rows, row{fmt.Sprintf("CPU %d", n), func(_ int, s *Step) bool { return s.CPU == n }})
		}
	}
	return rows
}

// timeline draws recorded exits. There is a bar from each step to the next, in the lane of
// the context of both and in the lane of its CPU, and thin lines where an exit changes from
// one context to another. hi is the time that the picture covers, from the first step of
// all, in unit.
func timeline(exits []*Exit, hi int64, unit string) *drawing {
	const (
		left, top, lane = 84.0, 6.0, 28.0
		letter          = 6.3 // a small letter's width
	)
	rows := rowsOf(exits)
	floor := top + float64(len(rows))*lane
	d := &drawing{width: pictureWidth, height: floor + 22}
	x := func(ns int64) float64 { return left + float64(ns)/float64(hi)*(pictureWidth-left-30) }
	for i, r := range rows {
		d.text("name right", left-8, top+float64(i)*lane+18, r.title)
		d.line("grid", left, top+float64(i+1)*lane, pictureWidth-30, top+float64(i+1)*lane)
		if i > 0 && strings.HasPrefix(r.title, "CPU") && !strings.HasPrefix(rows[i-1].title, "CPU") {
			d.line("axis", left, top+float64(i)*lane, pictureWidth-30, top+float64(i)*lane)
		}
	}
	shown, scale := unit, 1.0
	if unit == "ns" {
		shown, scale = "us", 1000
	}
	for _, v := range roundTicks(float64(hi), 8) {
		d.line("grid", x(int64(v)), top, x(int64(v)), floor)
		d.text("tick middle", x(int64(v)), floor+15, Number(v/scale))
	}
	d.text("tick right", left-12, floor+15, shown)
	start := exits[0].Steps[0].NS
	for _, e := range exits {
		start = min(start, e.Steps[0].NS)
	}
	for n, e := range exits {
		strands := e.strands()
		for _, steps := range strands {
			for i := 1; i < len(steps); i++ {
				from, to := &steps[i-1], &steps[i]
				drawStep(d, rows, n, from, to, x(from.NS-start), x(to.NS-start), top, lane, letter, unit)
			}
		}
	}
	return d
}

// drawStep draws the part between two steps of exit n.
func drawStep(d *drawing, rows []row, n int, from, to *Step, x0, x1, top, lane, letter float64, unit string) {
	middle := func(s *Step) float64 { // the middle of the context's lane
		i := slices.IndexFunc(rows, func(r row) bool { return r.has(n, s) })
		return top + float64(i)*lane + lane/2
	}
	if from.Context != to.Context {
		d.path("switch", [][2]float64{{x0, middle(from)}, {x1, middle(from)}, {x1, middle(to)}})
		return
	}
	note := fmt.Sprintf("%s to %s: %s %s", from.Name, to.Name, Number(float64(to.NS-from.NS)), unit)
	label := from.Name
	if to.Pages > 0 || to.Tables > 0 {
		freed := fmt.Sprintf("%s pages, %d table pages", Number(float64(to.Pages)), to.Tables)
		note += ", " + freed
		label = "purge: " + freed
	}
	for i, r := range rows {
		if !r.has(n, from) || !r.has(n, to) {
			continue
		}
		y := top + float64(i)*lane
		d.rect(phaseOf(from.Name), x0, y+4, x1-x0, lane-8, r.title+": "+note)
		if x1-x0 > letter*float64(len(label))+10 {
			d.text("inside", x0+5, y+lane/2+4, label)
		}
	}
}

// Table lists the steps of an exit.
func (e *Exit) Table() *Table {
	t := &Table{Head: []string{"step", "by", "since exit1", "until the next", "pages", "table pages"}}
	for i, s := range e.Steps {
		next := none
		if i+1 < len(e.Steps) {
			next = Number(float64(e.Steps[i+1].NS - s.NS))
		}
		t.Rows = append(t.Rows, []string{
			s.Name, s.Context, Number(float64(s.NS - e.Steps[0].NS)), next,
			Number(float64(s.Pages)), Number(float64(s.Tables)),
		})
	}
	return t
}
