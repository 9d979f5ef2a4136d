package bench

import (
	"fmt"
	"math"
	"slices"
)

// residents are the series of cases that differ in the amount of memory.
var residents = []struct {
	title, prefix string
	sizes         []int // MB
}{
	{"exit: anonymous memory", "exit_anon_", []int{1, 4, 16, 64}},
	{"fork, exit, wait: memory of the parent", "fork_dirty_", []int{1, 16, 64}},
	{"exit: shared anonymous memory", "exit_shmem_", []int{1, 16}},
	{"exit: a shared file", "exit_file_", []int{1, 16}},
}

// residentLines draws the cost of an exit against the resident pages, with a picture for
// each kind of memory.
func residentLines(runs []*Run) (list []*drawing) {
	for _, kind := range residents {
		if d := residentLine(runs, kind.title, kind.prefix, kind.sizes); d != nil {
			list = append(list, d)
		}
	}
	return list
}

func residentLine(runs []*Run, title, prefix string, sizes []int) *drawing {
	const left, right, top, bottom = 54, 456, 30, 270
	lo, hi, points := math.Inf(1), 0.0, 0
	for _, r := range runs {
		for _, mb := range sizes {
			if c := r.sized(prefix, mb); c != nil {
				lo, hi, points = min(lo, c.Median), max(hi, c.Median), points+1
			}
		}
	}
	if points < 2 {
		return nil
	}
	d := &drawing{width: 540, height: 310}
	x, y := logScale{256, 16384, left, right}, decades(lo, hi, bottom, top)
	d.text("family", 0, 16, title)
	for _, v := range y.ticks() {
		d.line("grid", left, y.at(v), right, y.at(v))
		d.text("tick right", left-6, y.at(v)+4, compact(v))
	}
	for v := x.lo; v <= x.hi; v *= 4 {
		d.line("grid", x.at(v), top, x.at(v), bottom)
		d.text("tick middle", x.at(v), bottom+15, Number(v))
	}
	d.text("tick middle", (left+right)/2, bottom+32, "resident pages of 4 KB")
	names := Names(runs)
	var written []float64 // heights of the last figures of the lines
	for k, r := range runs {
		var pts [][2]float64
		last := ""
		for _, mb := range sizes {
			c := r.sized(prefix, mb)
			if c == nil {
				continue
			}
			pages := float64(mb << 8)
			p := [2]float64{x.at(pages), y.at(c.Median)}
			pts = append(pts, p)
			last = Number(c.Median)
			d.dot("dot "+r.class(), p[0], p[1], fmt.Sprintf("%s, %d MB: %s instructions, %.1f a page", names[k], mb, last, c.Median/pages))
		}
		if len(pts) < 2 {
			continue
		}
		d.path("line "+r.class(), pts)
		end := pts[len(pts)-1]
		if !slices.ContainsFunc(written, func(y float64) bool { return math.Abs(y-end[1]) < 12 }) {
			written = append(written, end[1])
			d.text("value", end[0]+8, end[1]+4, last)
		}
	}
	return d
}

// sized returns the case of a series with mb MB, or nil if it has no figures.
func (r *Run) sized(prefix string, mb int) *Case {
	c := r.Case(fmt.Sprintf("%s%dMB", prefix, mb))
	if c == nil || c.Median <= 0 {
		return nil
	}
	return c
}
