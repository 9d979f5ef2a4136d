package bench

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// drawing is a finished plot.
type drawing struct {
	title, note string
	svg         string
}

// colors of runs, lanes and steps, told apart by eyes of every kind (Okabe and
// Ito's set).
var colors = []color.RGBA{
	{0, 114, 178, 255}, {230, 159, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255},
	{213, 94, 0, 255}, {86, 180, 233, 255}, {120, 120, 120, 255},
}

func colorOf(i int) color.RGBA { return colors[i%len(colors)] }

// plotsOf draws what one architecture's runs allow.
func plotsOf(runs []*Run) ([]drawing, error) {
	var list []drawing
	for _, make := range []func([]*Run) (*drawing, error){caseBars, residentLines, timelines} {
		d, err := make(runs)
		if err != nil {
			return nil, err
		}
		if d != nil {
			list = append(list, *d)
		}
	}
	return list, nil
}

// newPlot is an empty plot in the report's kind of letters.
func newPlot() *plot.Plot {
	p := plot.New()
	for _, f := range []*font.Font{
		&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font,
		&p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font,
	} {
		f.Variant = "Sans"
	}
	return p
}

// render draws a plot as an SVG element.
func render(p *plot.Plot, width, height vg.Length) (string, error) {
	c := vgsvg.New(width, height)
	const margin = 12 // points; the axes' longest labels reach over the edge
	p.Draw(draw.Crop(draw.New(c), margin, -margin, margin, -margin))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return "", err
	}
	s := b.String()
	// In a page the element stands alone, without the XML file's first lines.
	if i := strings.Index(s, "<svg"); i > 0 {
		s = s[i:]
	}
	return s, nil
}

// caseBars is a group of bars for each case, one a run, on a logarithmic scale.
func caseBars(runs []*Run) (*drawing, error) {
	names := CaseNames(runs)
	if len(names) == 0 {
		return nil, nil
	}
	p := newPlot()
	p.X.Label.Text = "median guest instructions"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades{}
	p.Legend.Top, p.Legend.Padding = true, vg.Points(2)
	rows := make([]string, len(names))
	for i, n := range names {
		rows[len(names)-1-i] = n // the first on top
	}
	p.NominalY(rows...)
	thick := 0.8 / float64(len(runs))
	for k, r := range runs {
		b := &bars{color: colorOf(k)}
		for i, n := range rows {
			if c := r.Case(n); c != nil && c.Median >= 1 {
				y := float64(i) + 0.4 - thick*(float64(k)+0.5)
				b.boxes = append(b.boxes, box{1, c.Median, y - thick/2, y + thick/2})
			}
		}
		p.Add(b)
		p.Legend.Add(r.Column(), b)
	}
	svg, err := render(p, 26*vg.Centimeter, vg.Length(len(names))*(0.28*vg.Length(len(runs))+0.25)*vg.Centimeter+4*vg.Centimeter)
	return &drawing{"Every case", "Shorter is better; the scale is logarithmic, a grid line is ten times the one before.", svg}, err
}

// residentLines is what an exit costs against the pages that were resident.
func residentLines(runs []*Run) (*drawing, error) {
	p := newPlot()
	p.X.Label.Text, p.Y.Label.Text = "resident pages of 4 KB", "guest instructions from exit to wait"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades{}
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, decades{}
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	some := false
	lo, hi := math.Inf(1), 0.0
	for k, r := range runs {
		var pts plotter.XYs
		for _, mb := range []int{1, 4, 16, 64} {
			if c := r.Case(fmt.Sprintf("exit_anon_%dMB", mb)); c != nil {
				pts = append(pts, plotter.XY{X: float64(mb << 8), Y: c.Median})
				lo, hi = min(lo, c.Median), max(hi, c.Median)
			}
		}
		if len(pts) < 2 {
			continue
		}
		line, marks, err := plotter.NewLinePoints(pts)
		if err != nil {
			return nil, err
		}
		line.Color, marks.Color, line.Width = colorOf(k), colorOf(k), vg.Points(1.5)
		p.Add(line, marks)
		p.Legend.Add(r.Column(), line, marks)
		some = true
	}
	if !some {
		return nil, nil
	}
	p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(lo))), math.Pow(10, math.Ceil(math.Log10(hi)))
	svg, err := render(p, 20*vg.Centimeter, 12*vg.Centimeter)
	return &drawing{"Cost against resident pages", "exit_anon_1MB to exit_anon_64MB. A 2 MB block is one entry to purge, whatever it holds; 4 KB pages cost each.", svg}, err
}

// box is a rectangle in the plot's coordinates.
type box struct{ x0, x1, y0, y1 float64 }

// bars draws boxes of one colour, with labels if there are any.
type bars struct {
	boxes []box
	color color.RGBA
}

// Plot implements plot.Plotter.
func (b *bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, r := range b.boxes {
		c.FillPolygon(b.color, []vg.Point{
			{X: x(r.x0), Y: y(r.y0)}, {X: x(r.x1), Y: y(r.y0)}, {X: x(r.x1), Y: y(r.y1)}, {X: x(r.x0), Y: y(r.y1)},
		})
	}
}

// DataRange implements plot.DataRanger.
func (b *bars) DataRange() (x0, x1, y0, y1 float64) {
	x0, x1, y0, y1 = math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, r := range b.boxes {
		x0, x1 = min(x0, r.x0), max(x1, r.x1)
		y0, y1 = min(y0, r.y0), max(y1, r.y1)
	}
	return x0, x1, y0, y1
}

// Thumbnail implements plot.Thumbnailer.
func (b *bars) Thumbnail(c *draw.Canvas) {
	c.FillPolygon(b.color, []vg.Point{
		{X: c.Min.X, Y: c.Min.Y}, {X: c.Max.X, Y: c.Min.Y}, {X: c.Max.X, Y: c.Max.Y}, {X: c.Min.X, Y: c.Max.Y},
	})
}

// decades marks the powers of ten in full numbers.
type decades struct{}

// Ticks implements plot.Ticker.
func (decades) Ticks(lo, hi float64) (ticks []plot.Tick) {
	for e := math.Floor(math.Log10(lo)); e <= math.Ceil(math.Log10(hi)); e++ {
		v := math.Pow(10, e)
		ticks = append(ticks, plot.Tick{Value: v, Label: Number(v)})
		for m := 2.0; m < 10; m++ {
			ticks = append(ticks, plot.Tick{Value: m * v})
		}
	}
	return ticks
}
