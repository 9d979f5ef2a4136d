package bench

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"slices"
)

// Report has the results of one command of the laboratory: a section for the cases of each
// architecture and one for its workloads.
type Report struct {
	Title    string
	Command  string // command that makes it
	Runs     []*Run // runs with its figures
	Modelled bool   // its figures are the modelled cycles of a core
	sections []section
}

type section struct {
	title  string
	runs   []*Run
	ratios []*Ratio
	tables []*Table
	words  []string
}

// Add appends a section with runs and their tables. nil tables are left out.
func (r *Report) Add(title string, runs []*Run, tables ...*Table) {
	tables = slices.DeleteFunc(tables, func(t *Table) bool { return t == nil })
	r.sections = append(r.sections, section{title: title, runs: runs, tables: tables})
}

// Compare adds comparisons to the last section.
func (r *Report) Compare(ratios ...*Ratio) {
	r.sections[len(r.sections)-1].ratios = ratios
}

// Say adds paragraphs to the last section. Empty ones are left out.
func (r *Report) Say(text ...string) {
	s := &r.sections[len(r.sections)-1]
	for _, t := range text {
		if t != "" {
			s.words = append(s.words, t)
		}
	}
}

// Tables adds tables to the last section.
func (r *Report) Tables(tables ...*Table) {
	s := &r.sections[len(r.sections)-1]
	s.tables = append(s.tables, tables...)
}

// AllTables returns all tables in order.
func (r *Report) AllTables() (list []*Table) {
	for _, s := range r.sections {
		list = append(list, s.tables...)
	}
	return list
}

// Words returns all paragraphs in order.
func (r *Report) Words() (list []string) {
	for _, s := range r.sections {
		list = append(list, s.words...)
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

// HTML writes the whole report as one file without references to others. The pictures are
// SVG in the page.
func (r *Report) HTML(w io.Writer) error {
	var parts []part
	for i, s := range r.sections {
		parts = append(parts, s.part(fmt.Sprint("s", i)))
	}
	return page.Execute(w, map[string]any{
		"Title": r.Title, "Command": r.Command, "Modelled": r.Modelled, "Unit": r.unit(), "Parts": parts, "Phases": phases,
	})
}

// unit returns the unit of the report's figures.
func (r *Report) unit() string {
	if r.Modelled {
		return "cycles"
	}
	return "instructions"
}

// part is a section in the form of the page.
type part struct {
	ID, Title string
	Words     []string
	Means     []mean
	Legend    []legend
	RatioKeys []legend
	Ratios    template.HTML
	Cases     template.HTML
	Resident  []template.HTML
	Exits     []exitPicture
	Jobs      []jobPicture
	Tables    []*Table
	Boots     []boot
}

// boot describes how a run was made.
type boot struct{ Title, Command string }

// mean is a geometric mean, which is shown large.
type mean struct{ Value, Title string }

type exitPicture struct {
	Title, Parts string
	SVG          template.HTML
	Table        *Table
	Aside        bool // folded, as it differs little from the picture before it
}

type jobPicture struct {
	Title, About string
	Words        []string
	SVG          template.HTML
}

// picture makes a drawing a part of the page. That is safe: this package has written it,
// from numbers and escaped names.
func picture(d *drawing, label string) template.HTML {
	if d == nil {
		return ""
	}
	return template.HTML(d.svg(label))
}

func (s *section) part(id string) part {
	p := part{ID: id, Title: s.title, Words: s.words, Tables: s.tables, Legend: legendOf(s.runs)}
	for _, r := range s.ratios {
		if m := r.Mean(); m > 0 {
			p.Means = append(p.Means, mean{fmt.Sprintf("%.1f", m), r.Title()})
		}
	}
	p.RatioKeys = legendOfRatios(s.ratios)
	p.Ratios = picture(ratioBars(s.ratios), "ratios")
	p.Cases = picture(caseBars(s.runs), "every case")
	for _, d := range residentLines(s.runs) {
		p.Resident = append(p.Resident, picture(d, "cost against resident pages"))
	}
	p.Exits = s.exitPictures()
	for i, name := range Names(s.runs) {
		if s.runs[i].Command != "" {
			p.Boots = append(p.Boots, boot{name, s.runs[i].Command})
		}
	}
	for _, j := range jobs {
		if d := workloadBars(j.name, j.figures, s.runs); d != nil {
			p.Jobs = append(p.Jobs, jobPicture{j.title, j.about, WorkloadWords(j.name, s.runs), picture(d, j.title)})
		}
	}
	return p
}

// exitPictures returns the timelines. Those of one case follow each other. Those of the
// separate layout are folded.
func (s *section) exitPictures() (list []exitPicture) {
	var cases []string
	for _, r := range s.runs {
		for _, e := range r.Exits {
			if !slices.Contains(cases, e.Case) {
				cases = append(cases, e.Case)
			}
		}
	}
	names := Names(s.runs)
	for _, name := range cases {
		for i, r := range s.runs {
			e := r.ExitOf(name)
			if e == nil || e.Total() <= 0 {
				continue
			}
			title := name + ", " + names[i]
			list = append(list, exitPicture{title, e.Parts(), picture(timeline([]*Exit{e}, e.Total(), "instructions"), title), e.Table(), r.Layout == "separate"})
		}
	}
	return list
}
