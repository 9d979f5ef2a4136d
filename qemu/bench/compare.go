package bench

import (
	"fmt"
	"math"
)

// Ratio compares two runs case by case: it has the median of Other divided by Base's
// median.
// Cases that one of them lacks are left out, and so is the counter's own cost.
type Ratio struct {
	Base, Other *Run
	Names       []string
	Times       []float64
}

// NewRatio compares other with base.
func NewRatio(base, other *Run) *Ratio {
	r := &Ratio{Base: base, Other: other}
	for _, name := range CaseNames([]*Run{base}) {
		b, o := base.Case(name), other.Case(name)
		if name == "null_timer" || b == nil || o == nil || b.Median <= 0 || o.Median <= 0 {
			continue
		}
		r.Names = append(r.Names, name)
		r.Times = append(r.Times, o.Median/b.Median)
	}
	return r
}

// Mean returns the geometric mean of all cases, or 0 if there are none.
func (r *Ratio) Mean() float64 {
	if len(r.Times) == 0 {
		return 0
	}
	sum := 0.0
	for _, t := range r.Times {
		sum += math.Log(t)
	}
	return math.Exp(sum / float64(len(r.Times)))
}

// Of returns the ratio of one case, or 0 if it is not compared.
func (r *Ratio) Of(name string) float64 {
	for i, n := range r.Names {
		if n == name {
			return r.Times[i]
		}
	}
	return 0
}

// Title names the two runs of the ratio.
func (r *Ratio) Title() string {
	n := Names([]*Run{r.Base, r.Other})
	return n[1] + " / " + n[0]
}

// Comparison makes the table of one architecture: the medians of all runs, which title
// names, and then the ratios of the other kernels to Grim.
func Comparison(title string, runs []*Run, ratios []*Ratio) *Table {
	t := &Table{
		Title: title + ", and how many times Grim's they are",
		Head:  append([]string{"case"}, Names(runs)...),
	}
	for _, r := range ratios {
		t.Head = append(t.Head, r.Title())
	}
	for _, name := range CaseNames(runs) {
		if name == "null_timer" {
			continue // the counter's own cost
		}
		t.add(name, runs, func(r *Run) string { return median(r, name) })
		row := &t.Rows[len(t.Rows)-1]
		for _, r := range ratios {
			*row = append(*row, times(r.Of(name)))
		}
	}
	row := append([]string{"geometric mean"}, make([]string, len(runs))...)
	for _, r := range ratios {
		row = append(row, times(r.Mean()))
	}
	t.Rows = append(t.Rows, row)
	return t
}

func times(v float64) string {
	if v == 0 {
		return none
	}
	return fmt.Sprintf("%.2f", v)
}
