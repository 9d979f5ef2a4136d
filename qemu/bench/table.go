package bench

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// Table is text in rows and columns. The first column has the names of the rows.
type Table struct {
	Title string
	Head  []string
	Rows  [][]string
	// Folded: a page shows only the title, until the reader opens the table.
	Folded bool
}

// Write prints the table for a terminal.
func (t *Table) Write(w io.Writer) {
	width := make([]int, len(t.Head))
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		for i, c := range row {
			width[i] = max(width[i], len(c))
		}
	}
	if t.Title != "" {
		fmt.Fprintln(w, t.Title)
	}
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		for i, c := range row {
			if i == 0 {
				fmt.Fprintf(w, "%-*s", width[0], c)
			} else {
				fmt.Fprintf(w, "  %*s", width[i], c)
			}
		}
		fmt.Fprintln(w)
	}
}

// Markdown prints the table in GitHub's form.
func (t *Table) Markdown(w io.Writer) {
	switch {
	case t.Folded:
		fmt.Fprintf(w, "<details><summary>%s</summary>\n\n", t.Title)
		defer fmt.Fprint(w, "</details>\n\n")
	case t.Title != "":
		fmt.Fprintf(w, "%s\n\n", t.Title)
	}
	fmt.Fprintf(w, "| %s |\n|---%s|\n", strings.Join(t.Head, " | "), strings.Repeat("|--:", len(t.Head)-1))
	for _, row := range t.Rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
	fmt.Fprintln(w)
}

// Number returns a figure with separated thousands. It has decimals only if it is small.
func Number(v float64) string {
	if v < 100 && v != math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	s := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// none is shown if there is no figure.
const none = "-"

// Instructions is the title of a table of medians.
const Instructions = "median guest instructions"

// Medians makes the table of all cases of one architecture: a row for each case, a column
// for each run. The title names the unit of the medians.
func Medians(title string, runs []*Run) *Table {
	t := &Table{
		Title:  title,
		Head:   []string{"case"},
		Folded: true,
	}
	t.Head = append(t.Head, Names(runs)...)
	for _, name := range CaseNames(runs) {
		t.add(name, runs, func(r *Run) string { return median(r, name) })
	}
	t.derived(runs)
	return t
}

// median returns a case's figure for a run's column.
func median(r *Run, name string) string {
	if c := r.Case(name); c != nil {
		return Number(c.Median)
	}
	if why := r.failed(name); why != "" {
		return why
	}
	return none
}

func (t *Table) add(name string, runs []*Run, value func(*Run) string) {
	row := []string{name}
	for _, r := range runs {
		row = append(row, value(r))
	}
	t.Rows = append(t.Rows, row)
}

// derived adds the rows that are computed from others, if they have a figure.
func (t *Table) derived(runs []*Run) {
	for _, d := range derivations {
		some := false
		for _, r := range runs {
			some = some || d.value(r) != none
		}
		if some {
			t.add(d.name, runs, d.value)
		}
	}
}

var derivations = []struct {
	name  string
	value func(*Run) string
}{
	{"boot to user, guest ms", func(r *Run) string { return milliseconds(r.Boot) }},
	{"boot to user, host ms", func(r *Run) string { return milliseconds(r.Wall) }},
	{"touch in order, a page", perPage("touch_order_64MB")},
	{"touch at random, a page", perPage("touch_random_64MB")},
	{"touch one in each 2 MB, a page", perPage("touch_each_2MB")},
	{"exit of anonymous memory, a page", func(r *Run) string {
		lo, hi := r.Case("exit_anon_4MB"), r.Case("exit_anon_64MB")
		if lo == nil || hi == nil {
			return none
		}
		return fmt.Sprintf("%.1f", (hi.Median-lo.Median)/(60<<8))
	}},
	{"10 pages of 1 TB / 10 in a row", func(r *Run) string {
		dense, sparse := r.Case("exit_dense_10"), r.Case("exit_sparse_1TB_10")
		if dense == nil || sparse == nil {
			return none
		}
		return fmt.Sprintf("%.2f", sparse.Median/dense.Median)
	}},
	{"reaper's share of exit_anon_64MB", share("exit_anon_64MB")},
}

func milliseconds(d time.Duration) string {
	if d == 0 {
		return none
	}
	return fmt.Sprintf("%.1f", d.Seconds()*1e3)
}

func perPage(name string) func(*Run) string {
	return func(r *Run) string {
		c := r.Case(name)
		if c == nil || c.Pages == 0 {
			return none
		}
		return fmt.Sprintf("%.1f", c.Median/float64(c.Pages))
	}
}

func share(name string) func(*Run) string {
	return func(r *Run) string {
		e := r.ExitOf(name)
		if e == nil || e.Total() == 0 {
			return none
		}
		return fmt.Sprintf("%.1f %%", 100*float64(e.In("reaper"))/float64(e.Total()))
	}
}
