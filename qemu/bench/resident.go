package bench

import (
	"fmt"
	"math"
)

// residents are the series of cases that differ in how much memory there is.
var residents = []struct {
	title, prefix string
	sizes         []int // MB
}{
	{"exit: anonymous memory", "exit_anon_", []int{1, 4, 16, 64}},
	{"fork, exit, wait: memory of the parent", "fork_dirty_", []int{1, 16, 64}},
	{"exit: shared anonymous memory", "exit_shmem_", []int{1, 16}},
	{"exit: a shared file", "exit_file_", []int{1, 16}},
}

// residentLines draws what an exit costs against the pages that were resident,
// a picture for each kind of memory.
func residentLines(runs []*Run) (list []*drawing) {
	for _, kind := range residents {
		if d := residentLine(runs, kind.title, kind.prefix, kind.sizes); d != nil {
			list = append(list, d)
		}
	}
	return list
}

func residentLine(runs []*Run, title, prefix string, sizes []int) *drawing {
	const left, right, top, bottom = 54, 84, 30, 270
	d := &drawing{width: 540, height: 310}
	lo, hi := math.Inf(1), 0.0
	each := func(f func(r *Run, mb int, cost float64)) {
		for _, r := range runs {
			for _, mb := range sizes {
				if c := r.Case(fmt.Sprintf("%s%dMB", prefix, mb)); c != nil && c.Median > 0 {
					f(r, mb, c.Median)
				}
			}
		}
	}
	points := 0
	each(func(_ *Run, _ int, cost float64) { lo, hi, points = min(lo, cost), max(hi, cost), points+1 })
	if points < 2 {
		return nil
	}
	y := decades(lo, hi, bottom, top)
	x := logScale{256, 16384, left, 540 - right}
	d.text("family", 0, 16, title)
	for _, v := range y.ticks() {
		d.line("grid", left, y.at(v), 540-right, y.at(v))
		d.text("tick right", left-6, y.at(v)+4, compact(v))
	}
	for _, mb := range []int{1, 4, 16, 64} {
		at := x.at(float64(mb << 8))
		d.line("grid", at, top, at, bottom)
		d.text("tick middle", at, bottom+15, Number(float64(mb<<8)))
	}
	d.text("tick middle", (left+540-right)/2, bottom+32, "resident pages of 4 KB")
	names := Names(runs)
	var labels []float64 // where a figure is written already
	for _, r := range runs {
		var pts [][2]float64
		for _, mb := range sizes {
			if c := r.Case(fmt.Sprintf("%s%dMB", prefix, mb)); c != nil && c.Median > 0 {
				pts = append(pts, [2]float64{x.at(float64(mb << 8)), y.at(c.Median)})
			}
		}
		if len(pts) > 1 {
			d.path("line "+r.class(), pts)
		}
	}
	each(func(r *Run, mb int, cost float64) {
		name := ""
		for k := range runs {
			if runs[k] == r {
				name = names[k]
			}
		}
		px, py := x.at(float64(mb<<8)), y.at(cost)
		d.dot("dot "+r.class(), px, py, fmt.Sprintf("%s, %d MB: %s instructions, %.1f a page", name, mb, Number(cost), cost/float64(mb<<8)))
		if mb == sizes[len(sizes)-1] {
			for _, l := range labels {
				if math.Abs(l-py) < 12 {
					return
				}
			}
			labels = append(labels, py)
			d.text("value", px+8, py+4, Number(cost))
		}
	})
	return d
}
