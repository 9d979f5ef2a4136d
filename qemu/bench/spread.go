package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// spreadLimit is how many medians the longest run of a case may take. A garbage
// collection inside an exit, or work put off to the hundredth, would be more.
const spreadLimit = 3

// grain is below what a longest run says more about the counter than the kernel.
const grain = 100

// spread is how many times a case's median its longest run took; 0: not known.
func (c *Case) spread() float64 {
	if c == nil || c.Median < grain {
		return 0
	}
	return c.Max / c.Median
}

// Spreads is the table of how far the longest run of each case lies above its
// median.
func Spreads(arch string, runs []*Run) *Table {
	t := &Table{Title: arch + ": longest run of a case, in medians", Head: append([]string{"case"}, Names(runs)...), Folded: true}
	for _, name := range CaseNames(runs) {
		some := false
		for _, r := range runs {
			some = some || r.Case(name).spread() > 0
		}
		if some {
			t.add(name, runs, func(r *Run) string { return times(r.Case(name).spread()) })
		}
	}
	if t.Rows == nil {
		return nil
	}
	return t
}

// Verdict names the cases of Grim whose longest run took more than three medians.
func Verdict(arch string, runs []*Run) string {
	worst := map[string]float64{}
	cases := 0
	for _, r := range runs {
		if r.Layout == "" {
			continue // not ours
		}
		for k := range r.Cases {
			c := &r.Cases[k]
			if c.Failed != "" || c.spread() == 0 {
				continue
			}
			cases++
			if c.spread() > spreadLimit {
				worst[c.Name] = max(worst[c.Name], c.spread())
			}
		}
	}
	if cases == 0 {
		return ""
	}
	if len(worst) == 0 {
		return fmt.Sprintf("%s: no run of a case took more than %d times its median.", arch, spreadLimit)
	}
	var over []string
	for _, name := range slices.Sorted(maps.Keys(worst)) {
		over = append(over, fmt.Sprintf("%s %.1f", name, worst[name]))
	}
	return fmt.Sprintf("%s: longest run over %d medians: %s.", arch, spreadLimit, strings.Join(over, ", "))
}
