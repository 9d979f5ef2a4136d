package bench

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// drawing is a picture as an SVG element. Colours and fonts are classes and variables of
// the page's style (page.go), so the picture follows the reader's theme.
type drawing struct {
	b             strings.Builder
	width, height float64 // in the page's pixels
}

// rect draws a bar. hint is shown under the pointer.
func (d *drawing) rect(class string, x, y, w, h float64, hint string) {
	fmt.Fprintf(&d.b, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f">%s</rect>`+"\n",
		class, x, y, max(w, 0.5), h, hinted(hint))
}

// text writes s with its base line at y. class may contain right or middle.
func (d *drawing) text(class string, x, y float64, s string) {
	fmt.Fprintf(&d.b, `<text class="%s" x="%.1f" y="%.1f">%s</text>`+"\n", class, x, y, html.EscapeString(s))
}

func (d *drawing) line(class string, x0, y0, x1, y1 float64) {
	fmt.Fprintf(&d.b, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", class, x0, y0, x1, y1)
}

// path connects points with lines.
func (d *drawing) path(class string, pts [][2]float64) {
	fmt.Fprintf(&d.b, `<path class="%s" d="`, class)
	for i, p := range pts {
		fmt.Fprintf(&d.b, "%c%.1f %.1f", "ML"[min(i, 1)], p[0], p[1])
	}
	d.b.WriteString(`"/>` + "\n")
}

func (d *drawing) dot(class string, x, y float64, hint string) {
	fmt.Fprintf(&d.b, `<circle class="%s" cx="%.1f" cy="%.1f" r="3.5">%s</circle>`+"\n", class, x, y, hinted(hint))
}

func hinted(hint string) string {
	if hint == "" {
		return ""
	}
	return "<title>" + html.EscapeString(hint) + "</title>"
}

// svg returns the finished element.
func (d *drawing) svg(label string) string {
	return fmt.Sprintf(`<svg viewBox="0 0 %.0f %.0f" width="%.0f" role="img" aria-label="%s">`+"\n%s</svg>\n",
		d.width, d.height, d.width, html.EscapeString(label), d.b.String())
}

// logScale maps values from lo to hi to pixels from..to, by their logarithm.
type logScale struct{ lo, hi, from, to float64 }

// decades returns a scale that begins and ends at powers of ten.
func decades(lo, hi, from, to float64) logScale {
	lo, hi = math.Pow(10, math.Floor(math.Log10(lo))), math.Pow(10, math.Ceil(math.Log10(hi)))
	if lo == hi {
		hi *= 10
	}
	return logScale{lo, hi, from, to}
}

func (s logScale) at(v float64) float64 {
	return s.from + (s.to-s.from)*math.Log(v/s.lo)/math.Log(s.hi/s.lo)
}

// ticks returns the powers of ten of the scale.
func (s logScale) ticks() (list []float64) {
	for v := s.lo; v <= s.hi*1.001; v *= 10 {
		list = append(list, v)
	}
	return list
}

// roundTicks returns about n round numbers from 0 to hi.
func roundTicks(hi float64, n int) (list []float64) {
	step := math.Pow(10, math.Floor(math.Log10(hi/float64(n))))
	for _, m := range []float64{1, 2, 5, 10} {
		if hi/(step*m) <= float64(n) {
			step *= m
			break
		}
	}
	for v := 0.0; v <= hi; v += step {
		list = append(list, v)
	}
	return list
}

// class returns the colour of a setup's bars: one for each kernel, layout and policy, paler
// with 4 KB pages.
func (s *Setup) class() string {
	c := "linux"
	if s.Layout != "" {
		c = s.Layout + "-" + s.Exit
	}
	if !s.Huge {
		c += " pale"
	}
	return c
}
