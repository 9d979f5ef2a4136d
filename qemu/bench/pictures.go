package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Pictures writes the pictures of the readme as SVG files into dir, each for a light and
// for a dark page: an exit, and Grim beside another kernel. Figures are of amd64, with 2 MB
// pages in both kernels. It returns an error if a run that the pictures need is missing.
func Pictures(dir string, runs []*Run) error {
	var grim, other *Run
	for _, r := range runs {
		switch {
		case r.Arch != "amd64" || !r.Huge || len(r.Cases) == 0:
		case r.Layout != "":
			grim = r
		default:
			other = r
		}
	}
	if grim == nil || other == nil {
		return fmt.Errorf("the pictures need figures of both kernels with 2 MB pages on amd64")
	}
	exit := grim.ExitOf(picturedExit)
	if exit == nil {
		return fmt.Errorf("the pictures need the steps of %s, which %s has not recorded", picturedExit, grim.Setup.String())
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	exitPicture := exitDrawing(exit).svg("An exit, from the end of the process to its parent's return from wait")
	besidePicture := besideDrawing(grim, other).svg("Instructions that " + grim.Kernel + " and " + other.Kernel + " need for the same work")
	for name, text := range map[string]string{"exit": exitPicture, "linux": besidePicture} {
		for theme, colours := range map[string]string{"light": lightColours, "dark": darkColours} {
			file := filepath.Join(dir, name+"-"+theme+".svg")
			if err := os.WriteFile(file, []byte(alone(text, colours)), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// alone makes a file of a page's picture, with its own colours and ground.
func alone(svg, colours string) string {
	tag, rest, _ := strings.Cut(svg, ">\n")
	tag = strings.Replace(tag, "<svg ", `<svg xmlns="http://www.w3.org/2000/svg" `, 1)
	return tag + ">\n<style>\n:root { " + colours + " }\nsvg { font: 12px system-ui, \"Segoe UI\", \"DejaVu Sans\", sans-serif }\n" + drawingStyle + "</style>\n" +
		`<rect width="100%" height="100%" fill="var(--bg)"/>` + "\n" + rest
}

// margin is the space to the left of a picture's title.
const margin = 12.0

// picturedExit is the case whose exit is drawn: large enough for a purge, and so short that
// its other parts can be seen.
const picturedExit = "exit_anon_64MB"

// exitParts says what the phases of an exit are for, to a reader who has never seen one.
var exitParts = map[string]string{
	"ph-tell":        "The process ends its other threads and releases its robust futexes.",
	"ph-close":       "It closes its files and stops its timers.",
	"ph-purge":       "Purge: it gives back its memory and page tables. It may sleep here, and holds no lock.",
	"ph-die":         "It is dead: its children go to init, watchers are told, and it leaves its CPU for good.",
	"ph-reap":        "The reaper frees what the process stood on: kernel stack, thread, page-table root.",
	"ph-tell-parent": "The reaper makes the process a zombie, and signals and wakes the parent.",
	"ph-wait":        "The parent's wait returns. All that the child has written is visible.",
}

// exitDrawing draws the parts of an exit to scale, in the lanes of those who do them, and
// explains them below.
func exitDrawing(e *Exit) *drawing {
	const (
		left, right, top, lane = 120.0, 880.0, 36.0, 44.0
		line                   = 22.0
	)
	titles := []string{"the process", "the reaper", "its parent"}
	floor := top + lane*float64(len(titles))
	d := &drawing{width: 900, height: floor + 36 + line*float64(len(phases)+1)}
	start, total := e.Steps[0].NS, e.Total()
	x := func(ns int64) float64 { return left + float64(ns-start)/float64(total)*(right-left) }
	row := func(context string) float64 {
		for i := range titles {
			if lanes[i].context == context {
				return top + float64(i)*lane
			}
		}
		return top
	}
	d.text("family", margin, 20, fmt.Sprintf("A process of 64 MB ends: %s instructions from its last one to its parent's return from wait", Number(float64(total))))
	for i, t := range titles {
		d.text("name right", left-10, top+float64(i)*lane+lane/2+4, t)
		d.line("grid", left, top+float64(i+1)*lane, right, top+float64(i+1)*lane)
	}
	spent := map[string]int64{}
	for i := 0; i+1 < len(e.Steps); {
		from := &e.Steps[i]
		phase := phaseOf(from.Name)
		j := i + 1
		for j+1 < len(e.Steps) && e.Steps[j].Context == from.Context && phaseOf(e.Steps[j].Name) == phase {
			j++
		}
		last := &e.Steps[j] // the next phase begins here, or another context
		if last.Context != from.Context {
			last = &e.Steps[j-1]
		}
		if last.NS > from.NS {
			d.rect(phase, x(from.NS), row(from.Context)+8, x(last.NS)-x(from.NS)-1, lane-16, exitParts[phase])
			spent[phase] += last.NS - from.NS
		}
		if next := &e.Steps[j]; next.Context != from.Context {
			d.path("switch", [][2]float64{{x(last.NS), row(from.Context) + lane/2}, {x(next.NS), row(from.Context) + lane/2}, {x(next.NS), row(next.Context) + lane/2}})
		}
		i = j
	}
	for _, v := range roundTicks(float64(total), 8) {
		d.line("grid", x(start+int64(v)), floor, x(start+int64(v)), floor+5)
		d.text("tick middle", x(start+int64(v)), floor+18, Number(v))
	}
	y := floor + 36
	for _, p := range phases {
		d.rect(p.Class, left, y, 14, 12, "")
		d.text("name", left+22, y+11, exitParts[p.Class])
		d.text("tick right", left-10, y+11, Number(float64(spent[p.Class])))
		y += line
	}
	d.text("tick", left, y+11, "Dashed: the CPU goes from one to the other. One CPU, an emulator that counts instructions.")
	return d
}

// besideCases are the cases of the picture that compares kernels, with their names for a
// reader who does not know them.
var besideCases = []struct{ name, title string }{
	{"null_getpid", "a system call"},
	{"page_fault", "a page of new memory"},
	{"switch_process", "two switches of processes"},
	{"thread_create_exit", "a thread, made and ended"},
	{"fork_exit_wait", "fork, exit, wait"},
	{"exec_exit_wait", "fork, exec, exit, wait"},
	{"exit_anon_0MB", "exit of a small process"},
	{"exit_file_16MB", "exit, 16 MB of a file mapped"},
	{"exit_shmem_16MB", "exit, 16 MB of shared memory"},
	{"exit_anon_64MB", "exit, 64 MB of memory"},
}

// besideDrawing draws the cases of two runs as bars on a logarithmic scale.
func besideDrawing(base, other *Run) *drawing {
	const left, right, top, thick, gap = 210.0, 700.0, 66.0, 13.0, 10.0
	d := &drawing{width: 900}
	runs := []*Run{other, base}
	hi := 0.0
	for _, r := range runs {
		for _, n := range besideCases {
			if c := r.Case(n.name); c != nil {
				hi = max(hi, c.Median)
			}
		}
	}
	x := decades(100, hi, left, right)
	d.text("family", margin, 20, "Instructions for the same work in the same machine; shorter is better, each line is ten times the one before")
	for i, r := range runs {
		d.rect(r.class(), left+float64(i)*130, 32, 14, 12, "")
		d.text("name", left+float64(i)*130+20, 42, r.Kernel)
	}
	y := top + float64(len(besideCases))*(2*thick+gap)
	for _, v := range x.ticks() {
		d.line("grid", x.at(v), top-8, x.at(v), y)
	}
	y = top
	ratio := NewRatio(base, other)
	for _, n := range besideCases {
		b, o := base.Case(n.name), other.Case(n.name)
		if b == nil || o == nil {
			continue
		}
		d.text("name right", left-10, y+thick+4, n.title)
		for _, r := range runs {
			v := r.Case(n.name).Median
			d.rect(r.class(), left, y, x.at(v)-left, thick-1, r.Kernel+": "+Number(v))
			d.text("value", x.at(v)+5, y+thick-3, Number(v))
			y += thick
		}
		d.text("family right", d.width-8, y-thick+5, timesText(ratio.Of(n.name)))
		y += gap
	}
	d.text("tick", left, y+16, "amd64, 2 MB pages in both kernels, one CPU. The figure at the right: Linux's instructions over Grim's.")
	d.height = y + 28
	return d
}
