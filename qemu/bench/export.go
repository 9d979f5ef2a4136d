package bench

import "html/template"

// What other reports than this package's own use of it: qemu/debate.

// Style is the style sheet of the pictures and tables, as an element.
func Style() template.HTML {
	return must("style", nil)
}

// HTML is the table as an element.
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

// Picture is the exit's timeline; span is how much time the picture is to hold.
func (e *Exit) Picture(span int64) template.HTML {
	return picture(timeline(e, span), "timeline of "+e.Case)
}

// Phase is a colour of timelines.
type Phase struct{ Class, Title string }

// Phases are all of them.
func Phases() (list []Phase) {
	for _, p := range phases {
		list = append(list, Phase{p.Class, p.Title})
	}
	return list
}

// Bar is one bar of a picture: the colour of an exit design, and what is behind it.
type Bar struct {
	Design string
	Value  float64
	Note   string
}

// Bars draws a row of bars for each name, on a logarithmic scale.
func Bars(title string, names []string, bars func(name string) []Bar) template.HTML {
	d := logBars([]barGroup{{title, names}}, func(name string) (list []bar) {
		for _, b := range bars(name) {
			list = append(list, bar{class: "shared-" + b.Design, series: b.Design, value: b.Value, note: b.Note})
		}
		return list
	}, false)
	return picture(d, title)
}

// Resident draws what the runs' exits cost against resident pages.
func Resident(runs []*Run) (list []template.HTML) {
	for _, d := range residentLines(runs) {
		list = append(list, picture(d, "cost against resident pages"))
	}
	return list
}
