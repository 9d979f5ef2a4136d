package bench

import (
	"fmt"
	"strings"
)

// lanes of the picture from above, and what the kernel calls their contexts.
var lanes = []struct{ context, title string }{
	{"process", "child"}, {"reaper", "reaper"}, {"parent", "parent"}, {"background", "background"},
}

// shownLanes is how many of them a picture has: the last one only if the exit uses it.
func (e *Exit) shownLanes() int {
	if e.In("background") > 0 {
		return len(lanes)
	}
	return len(lanes) - 1
}

func laneOf(context string) int {
	for i, l := range lanes {
		if l.context == context {
			return i
		}
	}
	return 0
}

// phases are what an exit does between its steps, each with a colour: the steps
// behind which it goes on.
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

// phaseOf is the colour of the bar from a step to the next.
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

// Parts says in words where an exit's time went.
func (e *Exit) Parts() string {
	total := e.Total()
	if total == 0 {
		return ""
	}
	var parts []string
	between := total
	for _, l := range lanes[:e.shownLanes()] {
		in := e.In(l.context)
		between -= in
		parts = append(parts, fmt.Sprintf("%s %s", l.title, percent(in, total)))
	}
	return fmt.Sprintf("%s instructions: %s, on the way between them %s", Number(float64(total)), strings.Join(parts, ", "), percent(between, total))
}

func percent(part, whole int64) string {
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

// timeline draws a recorded exit: a bar from each step to the next in the lane of
// whoever took it, and thin lines where the CPU goes from one to another. hi is
// how much time the picture spans.
func timeline(e *Exit, hi int64) *drawing {
	const (
		left, top, lane = 84.0, 6.0, 28.0
		letter          = 6.3 // a small letter's width
	)
	shown := e.shownLanes()
	floor := top + float64(shown)*lane
	d := &drawing{width: pictureWidth, height: floor + 22}
	x := func(ns int64) float64 { return left + float64(ns)/float64(hi)*(pictureWidth-left-30) }
	for i, l := range lanes[:shown] {
		d.text("name right", left-8, top+float64(i)*lane+18, l.title)
		d.line("grid", left, top+float64(i+1)*lane, pictureWidth-30, top+float64(i+1)*lane)
	}
	for _, v := range roundTicks(float64(hi), 8) {
		d.line("grid", x(int64(v)), top, x(int64(v)), floor)
		d.text("tick middle", x(int64(v)), floor+15, Number(v))
	}
	start := e.Steps[0].NS
	for i := 1; i < len(e.Steps); i++ {
		from, to := e.Steps[i-1], e.Steps[i]
		x0, x1 := x(from.NS-start), x(to.NS-start)
		y := top + float64(laneOf(from.Context))*lane
		if from.Context != to.Context {
			mid := y + lane/2
			d.path("switch", [][2]float64{{x0, mid}, {x1, mid}, {x1, top + float64(laneOf(to.Context))*lane + lane/2}})
			continue
		}
		note := fmt.Sprintf("%s to %s: %s instructions", from.Name, to.Name, Number(float64(to.NS-from.NS)))
		label := from.Name
		if to.Pages > 0 || to.Tables > 0 {
			freed := fmt.Sprintf("%s pages, %d table pages", Number(float64(to.Pages)), to.Tables)
			note += ", " + freed
			label = "purge: " + freed
		}
		d.rect(phaseOf(from.Name), x0, y+4, x1-x0, lane-8, note)
		if x1-x0 > letter*float64(len(label))+10 {
			d.text("inside", x0+5, y+lane/2+4, label)
		}
	}
	return d
}

// Table is the list of an exit's steps.
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
