package main

import (
	"bytes"
	"fmt"
	"html/template"
	"os"
	"regexp"
	"slices"

	"grim/proc/exit"
	"grim/qemu/bench"
)

// designsWith returns the designs whose exits were recorded.
func designsWith(f *findings) (list []*exit.Design) {
	for _, d := range exit.Designs {
		if f.exit(d, 16).Total() > 0 {
			list = append(list, d)
		}
	}
	return list
}

// shownClaim is a claim in the form of the page.
type shownClaim struct {
	N                                               int
	Text, Who, Experiment, Otherwise, Says, Verdict string
	Bars                                            template.HTML
	Tables                                          []*bench.Table
	Pictures                                        []picture
	Exits, Lines, Phased                            bool
}

var thousands = regexp.MustCompile(`([0-9]) ([0-9]{3})`)

// unbroken keeps the digits of a number on one line. Groups that follow each other share a
// digit, so every other one is found in a second look.
func unbroken(s string) string {
	for range 2 {
		s = thousands.ReplaceAllString(s, "$1\u00a0$2")
	}
	return s
}

// matrixRow is an invariant under each design.
type matrixRow struct {
	Name  string
	Cells []matrixCell
}

type matrixCell struct{ Text, Class string }

// timelineOf is one recorded exit.
type timelineOf struct {
	Title, Parts string
	SVG          template.HTML
}

func writePage(path, arch string, list []int, results map[int]result, f *findings) error {
	var shown []shownClaim
	exits, lines := false, false
	for _, n := range list {
		c, r := &claims[n-1], results[n]
		s := shownClaim{N: n, Text: c.text, Who: c.who, Experiment: c.experiment, Otherwise: c.otherwise, Says: unbroken(r.says), Verdict: r.verdict,
			Exits: r.exits, Lines: r.lines}
		s.Tables = r.tables
		s.Pictures = r.pictures
		s.Phased = slices.ContainsFunc(r.pictures, func(p picture) bool { return p.Title != "" })
		if r.bars != nil {
			var list []bench.Bar
			for _, d := range exit.Designs {
				v, note := r.bars.of(d)
				list = append(list, bench.Bar{Design: d.Name, Value: v, Note: note})
			}
			s.Bars = bench.Bars(r.bars.title, list)
		}
		exits, lines = exits || r.exits, lines || r.lines
		shown = append(shown, s)
	}
	var matrix []matrixRow
	for i := exit.E1; i <= exit.E10; i++ {
		row := matrixRow{Name: i.String() + ": " + exit.Invariants[i]}
		for _, d := range exit.Designs {
			text, class := f.guarded(d, i), "kept"
			if d.Breach(i) != nil {
				class = "breaks"
			}
			row.Cells = append(row.Cells, matrixCell{text, class})
		}
		matrix = append(matrix, row)
	}
	var timelines []timelineOf
	for _, d := range designsWith(f) {
		e := f.exit(d, 16)
		timelines = append(timelines, timelineOf{d.Name + ": a process of 16 MB", e.Parts(), bench.Timeline([]*bench.Exit{e}, longest(f), "instructions")})
	}
	var cost []template.HTML
	for _, b := range f.boots {
		title := "an exit, one CPU"
		if b.cpus > 0 {
			title = "an exit, " + b.name
		}
		if pic := bench.Resident(b.costRuns(), title); pic != "" {
			cost = append(cost, pic)
		}
	}
	var b bytes.Buffer
	err := page.Execute(&b, map[string]any{
		"Arch": arch, "Style": bench.Style(), "Claims": shown, "Designs": exit.Designs, "Matrix": matrix, "Named": f.boot(quick.name).run != nil,
		"Timelines": timelines, "Phases": bench.Phases(), "Cost": cost,
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("the page: %w", err)
	}
	return nil
}

// longest returns the time that all timelines cover.
func longest(f *findings) (ns int64) {
	for _, d := range designsWith(f) {
		ns = max(ns, f.exit(d, 16).Total())
	}
	return ns
}

var page = template.Must(template.New("debate").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Grim: the debate, replayed</title>
{{.Style}}<style>.claim dt { color: var(--dim); font-size: 13px } .claim dd { margin: 0 0 .4em; max-width: 52em }
.verdict { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: .5em .9em; margin: .6em 0; max-width: 50em }
.words td, .words th { text-align: left; white-space: normal; vertical-align: top } .words td:first-child { min-width: 11em }
.words .breaks { min-width: 11em } .breaks { color: var(--reaper); font-weight: 600 } .kept { color: var(--dim) }
.words .verdicts { min-width: 12em } h3 .legend i { width: 1em; height: 1em }</style></head><body>
<h1>The debate, replayed</h1>
<p>Made by <code>make debate</code> on {{.Arch}}. Each claim of the debate about exit paths that began on tech@openbsd.org in May 2025 is an
experiment here, run under five exit designs in one kernel. Times are guest instructions, unless the host's time is named: under QEMU's
<code>-icount shift=0</code> an executed instruction is a nanosecond of guest time, so that the figures are the same from run to run. They say
nothing of caches. The host's time is used where CPUs run in parallel; it depends on what else the host does.</p>
<p class="dim">Words: an exit begins at <i>exit1</i>. The <i>root</i> is the top page of a process's page tables. The <i>u-area</i> is a page of
the kernel with a thread's registers, which a CPU uses on its way to user mode and back. To <i>purge</i> is to remove all user mappings and to free their pages. A <i>pager</i> reads and writes
the pages of a file. A <i>zombie</i> is a process that has ended and that its parent has not waited for yet. The <i>reaper</i> is a kernel task;
it takes dead threads from the list <i>deadproc</i>. A <i>knote</i> tells a process of another's end.</p>
<h2 id="verdicts">Verdicts</h2>
<div class="words wide"><table><tr><th>claim</th><th>verdict</th></tr>
{{range .Claims}}<tr><td><a href="#c{{.N}}">{{.N}}. {{.Text}}</a></td><td class="verdicts">{{.Verdict}}</td></tr>
{{end}}</table></div>
<h2 id="designs">The designs</h2>
{{range .Designs}}<h3><span class="legend"><span><i class="shared-{{.Name}}"></i>{{.Name}}{{if .Unsound}}, unsound on purpose{{end}}</span></span></h3>
<p>{{.Idea}}</p><p class="dim">{{.Source}}</p>
{{end}}
<h2 id="invariants">Designs and invariants</h2>
<p>What a design breaks is stated with the design, and the self-tests of that invariant must fail under it, for the reason stated; those of all
others must pass.{{if .Named}} The reasons are those that the tests of this run gave.{{else}} This run booted no self-tests.{{end}}</p>
<div class="words wide"><table><tr><th>invariant</th>{{range .Designs}}<th>{{.Name}}</th>{{end}}</tr>
{{range .Matrix}}<tr><td>{{.Name}}</td>{{range .Cells}}<td class="{{.Class}}">{{.Text}}</td>{{end}}</tr>
{{end}}</table></div>
{{with .Timelines}}<h2 id="timelines">One exit under each design</h2>
<p>Who worked when, from exit1 to the last step, on the same scale. Where the CPU goes from one context to another the line is dashed.</p>
<div class="legend">{{range $.Phases}}<span><i class="{{.Class}}"></i>{{.Title}}</span>{{end}}</div>
{{range .}}<h4>{{.Title}}</h4><div class="dim">{{.Parts}}</div><figure>{{.SVG}}</figure>
{{end}}{{end}}
{{with .Cost}}<h2 id="cost">Cost against resident pages</h2>
<div class="legend">{{range $.Designs}}<span><i class="shared-{{.Name}}"></i>{{.Name}}</span>{{end}}</div>
<div class="pair">{{range .}}<div>{{.}}</div>{{end}}</div>
<p class="dim">From exit1 to the last step; both scales are logarithmic. Pages of 4 KB.</p>{{end}}
{{range .Claims}}<h2 id="c{{.N}}">{{.N}}. {{.Text}}</h2>
<dl class="claim"><dt>who says so</dt><dd>{{.Who}}</dd><dt>experiment</dt><dd>{{.Experiment}}</dd><dt>how it was checked that it can come out the other way</dt><dd>{{.Otherwise}}</dd></dl>
<div class="verdict"><b>{{.Verdict}}</b><br>{{.Says}}</div>
{{range .Tables}}<h4>{{.Title}}</h4>{{.HTML}}{{end}}
{{with .Bars}}<figure>{{.}}</figure>{{end}}
{{if .Phased}}<div class="legend">{{range $.Phases}}<span><i class="{{.Class}}"></i>{{.Title}}</span>{{end}}</div>{{end}}
{{range .Pictures}}{{with .Title}}<h4>{{.}}</h4>{{end}}<div class="wide">{{.SVG}}</div>
{{end}}
{{if .Exits}}<p>See <a href="#timelines">the timelines</a>.</p>{{end}}{{if .Lines}}<p>See <a href="#cost">cost against resident pages</a>.</p>{{end}}
{{end}}</body></html>
`))
