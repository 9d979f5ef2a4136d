package bench

import "html/template"

// Parts of this package that other reports use: qemu/debate.

// Style returns the style sheet of the pictures and tables, as an element.
func Style() template.HTML {
	return must("style", nil)
}

// HTML returns the table as an element.
func (t *Table) HTML() template.HTML { return must("table", t) }

func must(name string, data any) template.HTML {
	b := new(htmlBuffer)
	if err := page.ExecuteTemplate(b, name, data); err != nil {
		panic("bench: template " + name + ": " + err.Error())
	}
	return template.HTML(b.text)
}

type htmlBuffer struct{ text []byte }

func (b *htmlBuffer) Write(p []byte) (int, error) {
	b.text = append(b.text, p...)
	return len(p), nil
}

// Timeline returns the picture of one exit, or of several together. span is the time that
// the picture covers, in unit.
func Timeline(exits []*Exit, span int64, unit string) template.HTML {
	return picture(timeline(exits, span, unit), "timeline of "+exits[0].Case)
}

// Phase is a colour of timelines.
type Phase struct{ Class, Title string }

// Phases returns the phases of all timelines.
func Phases() (list []Phase) {
	for _, p := range phases {
		list = append(list, Phase{p.Class, p.Title})
	}
	return list
}

// Bar is one bar of a picture: the exit design, which gives the colour, and the note behind
// it.
type Bar struct {
	Design string
	Value  float64
	Note   string
}

// Bars draws a row for each bar, starting at zero.
func Bars(title string, bars []Bar) template.HTML {
	const row = 20.0
	hi := 0.0
	for _, b := range bars {
		hi = max(hi, b.Value)
	}
	if hi == 0 {
		return ""
	}
	floor := 26 + row*float64(len(bars))
	d := &drawing{width: pictureWidth, height: floor + 20}
	x := func(v float64) float64 { return barsLeft + v/hi*(pictureWidth-barsLeft-valueWidth) }
	d.text("family", 0, 14, title)
	for _, v := range roundTicks(hi, 8) {
		d.line("grid", x(v), 22, x(v), floor)
		d.text("tick middle", x(v), floor+15, Number(v))
	}
	for i, b := range bars {
		y := 26 + row*float64(i)
		d.text("name right", barsLeft-8, y+12, b.Design)
		d.rect("shared-"+b.Design, x(0), y, x(b.Value)-x(0), row-5, b.Design+": "+b.Note)
		d.text("value", x(b.Value)+5, y+11, b.Note)
	}
	return picture(d, title)
}

// barsLeft is the width of the names of designs.
const barsLeft = 84

// Strip is a count of a design over time.
type Strip struct {
	Design string
	Values []float64 // one for each part of the time
}

// Strips draws the strips below each other, on one scale.
func Strips(title string, strips []Strip) template.HTML {
	const row = 40.0
	hi := 1.0
	for _, s := range strips {
		for _, v := range s.Values {
			hi = max(hi, v)
		}
	}
	d := &drawing{width: pictureWidth, height: 26 + row*float64(len(strips))}
	d.text("family", 0, 14, title)
	for i, s := range strips {
		floor, most := 26+row*float64(i)+row-6, 0.0
		wide := (pictureWidth - barsLeft - valueWidth) / float64(max(1, len(s.Values)))
		for k, v := range s.Values {
			most = max(most, v)
			if tall := v / hi * (row - 10); v > 0 {
				d.rect("shared-"+s.Design, barsLeft+float64(k)*wide, floor-tall, wide, tall, "")
			}
		}
		d.line("grid", barsLeft, floor, pictureWidth-valueWidth, floor)
		d.text("name right", barsLeft-8, floor-8, s.Design)
		d.text("value", pictureWidth-valueWidth+6, floor-8, "most "+Number(most))
	}
	return picture(d, title)
}

// Resident draws the cost of exits with anonymous memory against resident pages. It returns
// "" if there are no figures.
func Resident(runs []*Run, title string) template.HTML {
	kind := residents[0]
	d := residentLine(runs, title, kind.prefix, kind.sizes)
	if d == nil {
		return ""
	}
	return picture(d, title)
}
