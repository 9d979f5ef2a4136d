package bench

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Sizes of the pictures, in pixels.
const (
	pictureWidth = 1100
	nameWidth    = 170 // for the name of a row
	valueWidth   = 80  // for the figure behind a bar
	barHeight    = 10
	rowGap       = 8
)

// families are groups of cases, for the reader's overview.
var families = []struct {
	title    string
	prefixes []string
}{
	{"into the kernel and back", []string{"null_getpid", "page_fault"}},
	{"a process or a thread, from its making to its end", []string{"fork_", "exec_", "thread_"}},
	{"an exit alone, to the parent's return from wait", []string{"exit_"}},
	{"memory without an exit", []string{"munmap_", "touch_"}},
}

// barGroup has the cases of a family.
type barGroup struct {
	title string
	names []string
}

// grouped sorts names into their families. Other names come last. The counter's own cost is
// left out, as it is no case of a kernel.
func grouped(names []string) (groups []barGroup) {
	rest := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "null_timer" })
	for _, f := range families {
		g := barGroup{title: f.title}
		rest = slices.DeleteFunc(rest, func(n string) bool {
			for _, p := range f.prefixes {
				if strings.HasPrefix(n, p) {
					g.names = append(g.names, n)
					return true
				}
			}
			return false
		})
		if g.names != nil {
			groups = append(groups, g)
		}
	}
	if len(rest) > 0 {
		groups = append(groups, barGroup{"others", rest})
	}
	return groups
}

// bar is one bar of a row. With a value of 0 only the note is drawn.
type bar struct {
	class, series string
	value         float64
	note          string
}

// logBars draws rows of bars on a logarithmic scale, each with its figure behind it. The
// bars start at the start of the scale; fromOne adds a mark at 1.
func logBars(groups []barGroup, bars func(name string) []bar, fromOne bool) *drawing {
	lo, hi, height := math.Inf(1), 0.0, 24.0
	for _, g := range groups {
		height += 30
		for _, n := range g.names {
			list := bars(n)
			height += float64(len(list))*barHeight + rowGap
			for _, b := range list {
				if b.value > 0 {
					lo, hi = min(lo, b.value), max(hi, b.value)
				}
			}
		}
	}
	if hi == 0 {
		return nil
	}
	if fromOne {
		lo = min(lo, 1)
	}
	d := &drawing{width: pictureWidth, height: height + 24}
	x := decades(lo, hi, nameWidth, pictureWidth-valueWidth)
	for _, v := range x.ticks() {
		d.line("grid", x.at(v), 18, x.at(v), height)
		d.text("tick middle", x.at(v), 12, compact(v))
		d.text("tick middle", x.at(v), height+14, compact(v))
	}
	start := x.at(x.lo)
	if fromOne {
		start = x.at(1)
		d.line("axis", start, 18, start, height)
	}
	y := 24.0
	for _, g := range groups {
		d.text("family", 0, y+16, g.title)
		y += 30
		for _, n := range g.names {
			list := bars(n)
			d.text("name right", nameWidth-8, y+float64(len(list))*barHeight/2+4, n)
			for _, b := range list {
				if b.value > 0 {
					from, to := min(start, x.at(b.value)), max(start, x.at(b.value))
					d.rect(b.class, from, y, to-from, barHeight-1, fmt.Sprintf("%s, %s: %s", n, b.series, b.note))
					d.text("value", to+4, y+barHeight-1.5, b.note)
				} else {
					d.text("value", start+4, y+barHeight-1.5, b.note)
				}
				y += barHeight
			}
			y += rowGap
		}
	}
	return d
}

// compact returns a power of ten, for an axis.
func compact(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%g M", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%g k", v/1e3)
	}
	return fmt.Sprintf("%g", v)
}

// caseBars draws a group of bars for each case, with one bar for each run.
func caseBars(runs []*Run) *drawing {
	names := Names(runs)
	return logBars(grouped(CaseNames(runs)), func(name string) (list []bar) {
		for k, r := range runs {
			b := bar{class: r.class(), series: names[k]}
			if c := r.Case(name); c != nil {
				b.value, b.note = c.Median, Number(c.Median)
			} else {
				b.note = r.failed(name)
			}
			list = append(list, b)
		}
		return list
	}, false)
}

// ratioBars draws how many times Grim's instructions the other kernels need.
func ratioBars(ratios []*Ratio) *drawing {
	var names []string
	for _, r := range ratios {
		for _, n := range r.Names {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return logBars(grouped(names), func(name string) (list []bar) {
		for _, r := range ratios {
			b := bar{class: r.class(), series: r.Title(), value: r.Of(name)}
			if b.value > 0 {
				b.note = timesText(b.value)
			} else {
				b.note = r.Other.failed(name)
			}
			list = append(list, b)
		}
		return list
	}, true)
}

// class returns the colour of a comparison: the other kernel's, or a colour of its own if
// the page sizes differ.
func (r *Ratio) class() string {
	if r.Other.Huge != r.Base.Huge {
		return "unlike"
	}
	return r.Other.class()
}

// timesText returns a ratio with its significant digits.
func timesText(v float64) string {
	switch {
	case v >= 10:
		return fmt.Sprintf("%.0f times", v)
	case v >= 1:
		return fmt.Sprintf("%.1f times", v)
	}
	return fmt.Sprintf("%.2g times", v)
}

// legend explains the colours of the bars.
type legend struct{ Class, Title string }

func legendOf(runs []*Run) (list []legend) {
	for i, n := range Names(runs) {
		list = append(list, legend{runs[i].class(), n})
	}
	return list
}

func legendOfRatios(ratios []*Ratio) (list []legend) {
	for _, r := range ratios {
		list = append(list, legend{r.class(), r.Title()})
	}
	return list
}
