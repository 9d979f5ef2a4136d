package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// spreadLimit is how many medians the longest repetition of a case may take. A garbage
// collection inside an exit, or work delayed to the hundredth repetition, would take more.
const spreadLimit = 3

// grain is the median below which a longest repetition says more about the counter than
// about the kernel.
const grain = 100

// spread returns the longest repetition of a case divided by its median, or 0 if it is not
// known.
func (c *Case) spread() float64 {
	if c == nil || c.Median < grain {
		return 0
	}
	return c.Max / c.Median
}

// Spreads makes the table of the longest repetition of each case, in medians.
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

// Verdict names the cases of Grim whose longest repetition took more than spreadLimit
// medians.
func Verdict(arch string, runs []*Run) string {
	worst := map[string]float64{}
	cases := 0
	for _, r := range runs {
		if r.Layout == "" {
			continue // not Grim
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
