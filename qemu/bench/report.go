package bench

import (
	"bytes"
	"html/template"
	"io"
	"slices"
)

// Report is what one command of the laboratory found: a section for each
// architecture.
type Report struct {
	Title    string
	Command  string // that makes it
	sections []section
}

type section struct {
	arch   string
	runs   []*Run
	tables []*Table
	words  []string
}

// Add appends an architecture's runs with the tables made of them; a nil table,
// one of nothing, is left out.
func (r *Report) Add(arch string, runs []*Run, tables ...*Table) {
	tables = slices.DeleteFunc(tables, func(t *Table) bool { return t == nil })
	r.sections = append(r.sections, section{arch: arch, runs: runs, tables: tables})
}

// Say adds a paragraph to the section added last.
func (r *Report) Say(text ...string) {
	s := &r.sections[len(r.sections)-1]
	s.words = append(s.words, text...)
}

// Tables lists all tables in order.
func (r *Report) Tables() (list []*Table) {
	for _, s := range r.sections {
		list = append(list, s.tables...)
	}
	return list
}

// Runs lists all runs in order.
func (r *Report) Runs() (list []*Run) {
	for _, s := range r.sections {
		list = append(list, s.runs...)
	}
	return list
}

// Markdown writes the tables and the words.
func (r *Report) Markdown(w io.Writer) error {
	var b bytes.Buffer
	for _, s := range r.sections {
		for _, t := range s.tables {
			t.Markdown(&b)
		}
		for _, p := range s.words {
			b.WriteString(p + "\n\n")
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// HTML writes the whole report as one file that needs nothing else: the plots
// are SVG in the page.
func (r *Report) HTML(w io.Writer) error {
	type picture struct {
		Title, Note string
		SVG         template.HTML
	}
	type part struct {
		Arch     string
		Words    []string
		Tables   []*Table
		Pictures []picture
	}
	var parts []part
	for _, s := range r.sections {
		p := part{Arch: s.arch, Tables: s.tables, Words: s.words}
		plots, err := plotsOf(s.runs)
		if err != nil {
			return err
		}
		for _, pl := range plots {
			// The library wrote it, from names and numbers only.
			p.Pictures = append(p.Pictures, picture{pl.title, pl.note, template.HTML(pl.svg)})
		}
		parts = append(parts, p)
	}
	return page.Execute(w, map[string]any{"Title": r.Title, "Command": r.Command, "Parts": parts})
}

var page = template.Must(template.New("report").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Title}}</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em; color: #222 }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0 }
th, td { padding: .2em .7em; border-bottom: 1px solid #ddd; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
tr:hover td { background: #f3f6fa }
.wide { overflow-x: auto }
figure { margin: 1.5em 0 } figcaption { color: #555 }
svg { max-width: 100%; height: auto }
code { background: #f3f3f3; padding: .1em .3em }
</style></head><body>
<h1>{{.Title}}</h1>
<p>Made by <code>{{.Command}}</code>. Times are guest time in QEMU with <code>-icount shift=0</code>: one
executed guest instruction is one nanosecond, so the figures are the same from run to run and say nothing
of caches. <code>qemu/BENCH.md</code> says what is inside each number.</p>
{{range .Parts}}<h2>{{.Arch}}</h2>
{{range .Words}}<p>{{.}}</p>
{{end}}{{range .Pictures}}<figure><h3>{{.Title}}</h3>{{.SVG}}<figcaption>{{.Note}}</figcaption></figure>
{{end}}{{range .Tables}}<h3>{{.Title}}</h3>
<div class="wide"><table><tr>{{range .Head}}<th>{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>
{{end}}</table></div>
{{end}}{{end}}</body></html>
`))
