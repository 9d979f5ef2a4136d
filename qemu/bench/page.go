package bench

import (
	"fmt"
	"html/template"

	"grim/proc/exit"
)

// designColours has the colours of the exit designs, in the order of the registry, for a
// light and for a dark page. Designs after the last colour start again with the first.
// People with any kind of colour vision can tell the colours apart (after Okabe and Ito).
var designColours = [...][2]string{
	{"#0072b2", "#4aa3df"}, {"#d55e00", "#f0883e"}, {"#009e73", "#2fbf95"}, {"#b8578f", "#dd8fbd"}, {"#b38600", "#e0b33a"},
	{"#2c8fb8", "#7cc7ee"}, {"#6b5bb5", "#a99be8"}, {"#6d6d6d", "#b0b0b0"},
}

// Colours of what is no design, as variables of a style sheet.
const (
	lightPalette = "--bg: #fff; --fg: #1b2025; --dim: #59636d; --rule: #dde2e7; --card: #f5f7f9;" +
		" --purge: #0072b2; --reaper: #d55e00; --linux: #d55e00; --inside: #fff;" +
		" --tell: #7a8590; --close: #b38600; --die: #56707f; --reap: #b4530a; --announce: #00805d; --wait: #a3457c;"
	darkPalette = "--bg: #13171b; --fg: #e4e8ec; --dim: #98a3ad; --rule: #2f3840; --card: #1b2127;" +
		" --purge: #4aa3df; --reaper: #f0883e; --linux: #f0883e; --inside: #0c1013;" +
		" --tell: #9aa5af; --close: #e0b33a; --die: #86a3b3; --reap: #ee8b4a; --announce: #35c096; --wait: #de85b6;"
)

// lightColours and darkColours are all variables of the style sheet, for the two themes, and
// drawingStyle has the classes of drawings, which use them. Each layout and design has a
// class. The separate layout has the design's colour, closer to the letters'.
var lightColours, darkColours, drawingStyle = func() (light, dark, style string) {
	light, dark, style = lightPalette, darkPalette, drawingClasses
	for i, d := range exit.Designs {
		c := designColours[i%len(designColours)]
		light += fmt.Sprintf(" --design-%s: %s;", d.Name, c[0])
		dark += fmt.Sprintf(" --design-%s: %s;", d.Name, c[1])
		own := "var(--design-" + d.Name + ")"
		style += fmt.Sprintf(".shared-%s { fill: %s; stroke: %s; background: %s }\n", d.Name, own, own, own)
		mixed := "color-mix(in srgb, " + own + " 55%, var(--fg))"
		style += fmt.Sprintf(".separate-%s { fill: %s; stroke: %s; background: %s }\n", d.Name, mixed, mixed, mixed)
	}
	return light, dark, style + ".pale { opacity: .55 } rect { stroke: none !important }\n"
}()

func palettes() template.CSS {
	return template.CSS(fmt.Sprintf(":root { color-scheme: light dark; %s }\n@media (prefers-color-scheme: dark) { :root { %s } }", lightColours, darkColours))
}

func drawings() template.CSS { return template.CSS(drawingStyle) }

const drawingClasses = `svg text { fill: var(--fg) } svg .right { text-anchor: end } svg .middle { text-anchor: middle }
svg .tick { fill: var(--dim); font-size: 11px } svg .value { font-size: 10px } svg .family { font-weight: 600 } svg .name { font-size: 12px }
svg .inside { fill: var(--inside); font-size: 11px; pointer-events: none }
svg .grid { stroke: var(--rule) } svg .axis { stroke: var(--fg) } svg .switch { stroke: var(--dim); stroke-dasharray: 3 3; fill: none }
.linux { fill: var(--linux); stroke: var(--linux); background: var(--linux) } .unlike { fill: var(--dim); background: var(--dim) }
.line { fill: none; stroke-width: 2 } .line.pale { stroke-dasharray: 5 4; opacity: .9 } .dot { stroke: none }
.ph-tell { fill: var(--tell); background: var(--tell) } .ph-close { fill: var(--close); background: var(--close) } .ph-purge { fill: var(--purge); background: var(--purge) }
.ph-die { fill: var(--die); background: var(--die) } .ph-reap { fill: var(--reap); background: var(--reap) }
.ph-tell-parent { fill: var(--announce); background: var(--announce) } .ph-wait { fill: var(--wait); background: var(--wait) }
`

// page is the report. Colours are variables, a set for each theme.
var page = template.Must(template.New("report").Funcs(template.FuncMap{"palettes": palettes, "drawings": drawings}).Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Title}}</title>
{{template "style"}}</head><body>
<h1>{{.Title}}</h1>
<p>Made by <code>{{.Command}}</code>. {{if .Modelled}}Figures are cycles of a core whose caches are modelled: instructions,
and what waiting for lines costs. The model prefetches nothing, walks no tables and overlaps nothing.
{{else}}Figures are guest instructions: under QEMU's <code>-icount shift=0</code> an
executed instruction is a nanosecond of guest time, so they are the same from run to run, and say nothing of caches.
{{end}}<code>qemu/BENCH.md</code> tells what is inside each number.</p>
<nav>{{range .Parts}}<a href="#{{.ID}}">{{.Title}}</a>{{end}}</nav>
{{range .Parts}}<h2 id="{{.ID}}">{{.Title}}</h2>
{{if .Means}}<div class="means">{{range .Means}}<div><b>{{.Value}} times</b><span class="dim">{{.Title}}, geometric mean</span></div>{{end}}</div>{{end}}
{{range .Words}}<p>{{.}}</p>
{{end}}{{$legend := .Legend}}
{{- if .Ratios}}<h3>How many times Grim's {{$.Unit}} the other needs</h3>{{template "legend" .RatioKeys}}
<figure>{{.Ratios}}<figcaption>Right of the line Grim needs fewer, left of it more. The scale is logarithmic.</figcaption></figure>
{{end}}{{with .Cases}}<h3>Every case</h3>{{template "legend" $legend}}
<figure>{{.}}<figcaption>{{if $.Modelled}}Modelled cycles{{else}}Median instructions{{end}}; shorter is better. The scale is logarithmic: a grid line is ten times the one before.</figcaption></figure>
{{end}}{{with .Resident}}<h3>Cost against resident pages</h3>{{template "legend" $legend}}
<div class="pair">{{range .}}<div>{{.}}</div>{{end}}</div>
<p class="dim">{{if $.Modelled}}Cycles{{else}}Instructions{{end}}; both scales are logarithmic. A flat line is memory in 2 MB blocks, of which an exit frees one at a time whatever it holds; a rising one pays for every page.</p>
{{end}}{{if .Exits}}<h3>Exit timelines</h3>
<p>Who worked when, from exit1 to the last step, as <code>/proc/exits</code> recorded it. A bar lasts from one step to the next; where the CPU goes from one context to another the line is dashed. Point at a bar for its figures.</p>
<div class="legend">{{range $.Phases}}<span><i class="{{.Class}}"></i>{{.Title}}</span>{{end}}</div>
{{range .Exits}}{{if .Aside}}<details><summary>{{.Title}}</summary>{{else}}<h4>{{.Title}}</h4>{{end}}
<div class="dim">{{.Parts}}</div><figure>{{.SVG}}</figure><details><summary>every step</summary>{{template "table" .Table}}</details>{{if .Aside}}</details>{{end}}
{{end}}{{end}}{{range .Jobs}}<h3>{{.Title}}</h3>
<p>{{.About}}</p>{{template "legend" $legend}}
<figure>{{.SVG}}</figure>
{{range .Words}}<p>{{.}}</p>
{{end}}{{end}}{{range .Tables}}<details><summary>table: {{.Title}}</summary>{{template "table" .}}</details>
{{end}}{{with .Boots}}<details><summary>how each was booted</summary>{{range .}}<p>{{.Title}}</p><pre>{{.Command}}</pre>{{end}}</details>
{{end}}{{end}}</body></html>
{{define "style"}}<style>
{{palettes}}
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; margin: 0 auto; max-width: 1130px; padding: 1.5em 1.2em 4em; color: var(--fg); background: var(--bg) }
h1 { font-size: 1.7em; margin: .2em 0 } h2 { font-size: 1.4em; margin: 2.2em 0 .5em; border-top: 1px solid var(--rule); padding-top: 1em }
h3 { font-size: 1.1em; margin: 2em 0 .3em } h4 { font-size: 1em; margin: 1.2em 0 .1em }
p { max-width: 52em; margin: .5em 0 } .dim, figcaption { color: var(--dim) } figcaption { max-width: 56em }
a { color: var(--purge) } nav a { margin-right: 1.2em }
table { border-collapse: collapse; font-size: 13px; margin: .6em 0 }
th, td { padding: .2em .7em; border-bottom: 1px solid var(--rule); text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
th { white-space: normal; vertical-align: bottom }
th:first-child, td:first-child { text-align: left } tr:hover td { background: var(--card) }
.wide, figure, .pair > div { overflow-x: auto } figure { margin: 1em 0 }
summary { cursor: pointer; color: var(--dim); margin: .3em 0 }
pre { background: var(--card); padding: .5em .8em; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px }
code { background: var(--card); padding: .1em .3em }
.means { display: grid; grid-template-columns: repeat(auto-fit, minmax(16em, 1fr)); gap: 1em; margin: 1em 0 }
.means div { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: .6em 1em }
.means b { display: block; font-size: 1.8em; line-height: 1.2 } .means span { font-size: 13px }
.legend { display: flex; flex-wrap: wrap; gap: .3em 1.4em; font-size: 13px; margin: .5em 0 }
.legend i { display: inline-block; width: 1.6em; height: .8em; margin-right: .45em }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26em, 100%), 1fr)); gap: 1em }
svg { display: block; max-width: 100%; min-width: 760px; height: auto; font: 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif }
.pair svg { min-width: 360px }
{{drawings}}
.m-code { fill: var(--purge) } .m-data { fill: var(--reaper) }
</style>{{end}}
{{define "legend"}}<div class="legend">{{range .}}<span><i class="{{.Class}}"></i>{{.Title}}</span>{{end}}</div>{{end}}
{{define "table"}}<div class="wide"><table><tr>{{range .Head}}<th>{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>
{{end}}</table></div>{{end}}
{{define "memory"}}<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Case}}: where its cycles go</title>
{{template "style"}}</head><body>
<h1>{{.Case}}: where its cycles go</h1>
<p>Made by <code>make profile CASE={{.Case}} MODEL=1</code>. To the left of the line are the lines of code that a function
did not find in the first-level cache, to the right the lines of data that it did not find; those in full colour came
from memory. <code>qemu/BENCH.md</code> tells of the model.</p>
{{range .Parts}}<h2>{{.Title}}</h2>
<figure>{{.Picture}}</figure>
<details><summary>every function</summary>{{template "table" .Table}}</details>
{{end}}</body></html>
{{end}}
`))
