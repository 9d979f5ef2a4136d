package bench

import (
	"fmt"
	"html"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// lanes of the picture from below, and what the kernel calls their contexts.
var lanes = []struct{ context, title string }{
	{"parent", "parent"}, {"reaper", "reaper"}, {"process", "child"},
}

func laneOf(context string) int {
	for i, l := range lanes {
		if l.context == context {
			return i
		}
	}
	return 0
}

// timelines draws the recorded exits of all runs under each other: a bar from
// each step to the next in the lane of whoever took it.
func timelines(runs []*Run) (*drawing, error) {
	var all strings.Builder
	shades := map[string]int{} // a step has the same colour in all pictures
	for _, r := range runs {
		for i := range r.Exits {
			svg, err := timeline(r, &r.Exits[i], shades)
			if err != nil {
				return nil, err
			}
			all.WriteString(svg)
			if svg != "" {
				all.WriteString(steps(&r.Exits[i]))
			}
		}
	}
	if all.Len() == 0 {
		return nil, nil
	}
	return &drawing{
		"Exit timelines", "Who worked when, from exit1 to the last step, as /proc/exits recorded it. " +
			"A bar lasts from a step to the next one and is named after the step that it follows; gaps are switches between lanes.",
		all.String(),
	}, nil
}

func timeline(r *Run, e *Exit, shades map[string]int) (string, error) {
	if e.Total() <= 0 {
		return "", nil
	}
	p := newPlot()
	pages, tables := 0, 0
	for _, s := range e.Steps {
		pages, tables = pages+s.Pages, tables+s.Tables
	}
	p.Title.Text = fmt.Sprintf("%s, %s: %s instructions, %d pages and %d table pages freed",
		e.Case, r.Column(), Number(float64(e.Total())), pages, tables)
	p.X.Label.Text = "guest instructions since exit1"
	p.X.Tick.Marker = thousands{}
	p.Legend.Top = true
	names := make([]string, len(lanes))
	for i, l := range lanes {
		names[i] = l.title
	}
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0, float64(e.Total())
	p.Y.Min, p.Y.Max = -0.5, float64(len(lanes))-0.5
	start := e.Steps[0].NS
	var labels plotter.XYLabels
	for i := 1; i < len(e.Steps); i++ {
		from, to := e.Steps[i-1], e.Steps[i]
		if from.Context != to.Context {
			continue
		}
		lane := float64(laneOf(from.Context))
		shade, ok := shades[from.Name]
		if !ok {
			shade = len(shades)
			shades[from.Name] = shade
		}
		b := &bars{color: colorOf(shade)}
		x0, x1 := float64(from.NS-start), float64(to.NS-start)
		b.boxes = []box{{x0, x1, lane - 0.3, lane + 0.3}}
		p.Add(b)
		if x1-x0 > 0.06*float64(e.Total()) { // room for a name
			labels.XYs = append(labels.XYs, plotter.XY{X: x0, Y: lane})
			labels.Labels = append(labels.Labels, " "+from.Name)
		}
	}
	if len(labels.Labels) > 0 {
		l, err := plotter.NewLabels(labels)
		if err != nil {
			return "", err
		}
		for i := range l.TextStyle {
			l.TextStyle[i].YAlign = draw.YCenter
			l.TextStyle[i].Font.Variant = "Sans"
		}
		p.Add(l)
	}
	return render(p, 26*vg.Centimeter, 5.5*vg.Centimeter)
}

// steps is the list that folds out below the picture.
func steps(e *Exit) string {
	var b strings.Builder
	b.WriteString("<details><summary>every step</summary><table><tr><th>step</th><th>by</th><th>since exit1</th><th>until the next</th><th>pages</th><th>table pages</th></tr>")
	for i, s := range e.Steps {
		next := none
		if i+1 < len(e.Steps) {
			next = Number(float64(e.Steps[i+1].NS - s.NS))
		}
		fmt.Fprintf(&b, "<tr><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%d</td><td>%d</td></tr>\n",
			html.EscapeString(s.Name), html.EscapeString(s.Context), Number(float64(s.NS-e.Steps[0].NS)), next, s.Pages, s.Tables)
	}
	b.WriteString("</table></details>\n")
	return b.String()
}

// thousands marks a linear axis in numbers with their thousands set apart.
type thousands struct{}

// Ticks implements plot.Ticker.
func (thousands) Ticks(lo, hi float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(lo, hi)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = Number(ticks[i].Value)
		}
	}
	return ticks
}
