package bench

import (
	"bufio"
	"cmp"
	"debug/elf"
	"fmt"
	"html/template"
	"io"
	"slices"
)

// MemoryProfile is the modelled cycles of one case, by function of the kernel.
type MemoryProfile struct {
	Case  string
	parts []*memoryPart
}

// memoryPart is the profile of one setup on one core.
type memoryPart struct {
	setup, core string
	total       Memory // of one repetition
	funcs       []memoryFunction
}

// memoryFunction is the cost of one function in one repetition.
type memoryFunction struct {
	Name string
	Memory
}

// add adds the cost of another piece of code.
func (m *Memory) add(o *Memory) {
	from := memoryFields(o)
	for name, v := range memoryFields(m) {
		*v += *from[name]
	}
}

// scale divides sums over n repetitions by n.
func (m *Memory) scale(n float64) {
	for _, v := range memoryFields(m) {
		*v /= n
	}
}

// Add reads the plugin's output of a boot: the figures of the cases, and those of the code.
func (p *MemoryProfile) Add(setup string, kernel *elf.File, cases, sites io.Reader) error {
	names, err := NewProfile(kernel, Window{}, 0)
	if err != nil {
		return err
	}
	return p.add(setup, names, cases, sites)
}

func (p *MemoryProfile) add(setup string, names *Profile, cases, sites io.Reader) error {
	parts := map[string]*memoryPart{}
	sc := bufio.NewScanner(cases)
	for sc.Scan() {
		_, m, err := readMemory(sc.Text(), "case", 10)
		if err != nil {
			return fmt.Errorf("%q: %w", sc.Text(), err)
		}
		parts[m.Core] = &memoryPart{setup: setup, core: m.Core, total: m}
		p.parts = append(p.parts, parts[m.Core])
	}
	if err := sc.Err(); err != nil {
		return err
	}
	if len(parts) == 0 {
		return fmt.Errorf("%s: the case was not measured more often than its warm-up", setup)
	}
	sums := map[string]map[string]*Memory{}
	sc = bufio.NewScanner(sites)
	for sc.Scan() {
		pc, m, err := readMemory(sc.Text(), "site", 16)
		if err != nil {
			return fmt.Errorf("%q: %w", sc.Text(), err)
		}
		f, _ := names.function(pc)
		if sums[m.Core] == nil {
			sums[m.Core] = map[string]*Memory{}
		}
		if sums[m.Core][f.Name] == nil {
			sums[m.Core][f.Name] = &Memory{}
		}
		sums[m.Core][f.Name].add(&m)
	}
	for core, funcs := range sums {
		part := parts[core]
		if part == nil {
			return fmt.Errorf("%s: code of a core %q that has no case", setup, core)
		}
		for name, m := range funcs {
			m.scale(float64(part.total.Windows))
			part.funcs = append(part.funcs, memoryFunction{name, *m})
		}
		slices.SortFunc(part.funcs, func(a, b memoryFunction) int {
			return cmp.Or(cmp.Compare(b.Cycles, a.Cycles), cmp.Compare(a.Name, b.Name))
		})
	}
	return sc.Err()
}

// title returns the title of a part.
func (p *memoryPart) title(name string) string {
	return fmt.Sprintf("%s on %s, %s core: %s cycles, mean of %d", name, p.setup, p.core, Number(p.total.Cycles), p.total.Windows)
}

// shown returns the functions with at least a thousandth of the cycles.
func (p *memoryPart) shown() []memoryFunction {
	n := slices.IndexFunc(p.funcs, func(f memoryFunction) bool { return f.Cycles*1000 < p.total.Cycles })
	if n < 0 {
		n = len(p.funcs)
	}
	return p.funcs[:n]
}

// Tables makes a table for each setup and core, with the functions by their cycles. A line
// is counted in the function that touches it first in a repetition.
func (p *MemoryProfile) Tables() (tables []*Table) {
	for _, part := range p.parts {
		t := &Table{
			Title: part.title(p.Case),
			Head: []string{
				"function", "cycles", "share", "instructions", "L1D misses", "from memory", "L1I misses", "from memory",
				"data lines", "code lines",
			},
		}
		row := func(name string, m *Memory) {
			t.Rows = append(t.Rows, []string{
				name, Number(m.Cycles), fmt.Sprintf("%.1f %%", 100*m.Cycles/part.total.Cycles), Number(m.Instructions),
				Number(m.Data.All()), Number(m.Data.Memory), Number(m.Code.All()), Number(m.Code.Memory),
				Number(m.DataLines), Number(m.CodeLines),
			})
		}
		row("(all)", &part.total)
		for _, f := range part.shown() {
			row(f.Name, &f.Memory)
		}
		tables = append(tables, t)
	}
	return tables
}

// most is how many functions a picture shows.
const most = 40

// picture draws the misses of each function: lines of code to the left of the axis, lines
// of data to the right. Misses that go to memory have the full colour.
func (p *memoryPart) picture() *drawing {
	const name, middle = 330, 600
	funcs := p.shown()
	funcs = funcs[:min(len(funcs), most)]
	d := &drawing{width: pictureWidth, height: 30}
	hi := 1.0
	for _, f := range funcs {
		hi = max(hi, f.Code.All(), f.Data.All())
	}
	const half = 210
	width := func(v float64) float64 { return v / hi * half }
	d.text("tick right", middle-4, 14, "lines of code")
	d.text("tick", middle+4, 14, "lines of data")
	for _, f := range funcs {
		hint := fmt.Sprintf("%s: %s cycles, %s instructions; code: %s lines missed, %s from memory; data: %s, %s",
			f.Name, Number(f.Cycles), Number(f.Instructions), Number(f.Code.All()), Number(f.Code.Memory), Number(f.Data.All()), Number(f.Data.Memory))
		d.text("name right", name-8, d.height+10, short(f.Name))
		if v := f.Code.All(); v > 0 {
			d.rect("m-code pale", middle-width(v), d.height, width(v), barHeight+2, hint)
			d.rect("m-code", middle-width(f.Code.Memory), d.height, width(f.Code.Memory), barHeight+2, hint)
		}
		if v := f.Data.All(); v > 0 {
			d.rect("m-data pale", middle, d.height, width(v), barHeight+2, hint)
			d.rect("m-data", middle, d.height, width(f.Data.Memory), barHeight+2, hint)
		}
		d.text("value", middle+half+40, d.height+10, fmt.Sprintf("%s cycles, %.1f %%", Number(f.Cycles), 100*f.Cycles/p.total.Cycles))
		d.height += barHeight + 7
	}
	d.line("axis", middle, 20, middle, d.height)
	d.height += 6
	return d
}

// short returns a function's name without the path of its package, cut if it is long.
func short(name string) string {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			name = name[i+1:]
			break
		}
	}
	if len(name) > 46 {
		name = name[:45] + "…"
	}
	return name
}

// HTML writes the pictures and the tables as one file.
func (p *MemoryProfile) HTML(w io.Writer) error {
	type part struct {
		Title   string
		Picture template.HTML
		Table   *Table
	}
	var parts []part
	for i, t := range p.Tables() {
		parts = append(parts, part{t.Title, picture(p.parts[i].picture(), t.Title), t})
	}
	return page.ExecuteTemplate(w, "memory", map[string]any{"Case": p.Case, "Parts": parts})
}
