package bench

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Memory has the use of the caches of one modelled core by a case: means over its
// repetitions.
type Memory struct {
	Core    string
	Windows int     // repetitions
	Cycles  float64 // the sum of the model
	// Executed ones, independent of the core.
	Instructions, Loads, Stores float64
	// DataLines and CodeLines are how many lines of 64 bytes were touched.
	DataLines, CodeLines float64
	// Roots, Flushes and Interrupts count the instructions that load a page-table root,
	// that drop translations, and that interrupt another CPU.
	Roots, Flushes, Interrupts float64
	// Data and Code have the accesses that missed the first level.
	Data, Code Missed
}

// Missed has the accesses that missed the first level, by the place of their line.
type Missed struct{ L2, L3, Memory float64 }

// All returns the number of misses of the first level.
func (m Missed) All() float64 { return m.L2 + m.L3 + m.Memory }

// MissesL2 and MissesL3 return the misses of code and data together. On a core without an
// L3, the misses of L2 go to memory.
func (m *Memory) MissesL2() float64 { return m.MissesL3() + m.Data.L3 + m.Code.L3 }
func (m *Memory) MissesL3() float64 { return m.Data.Memory + m.Code.Memory }

// memoryFields has the figures of a Memory, by their names in qemu/cache/plugin.c.
func memoryFields(m *Memory) map[string]*float64 {
	return map[string]*float64{
		"cycles": &m.Cycles, "instructions": &m.Instructions, "loads": &m.Loads, "stores": &m.Stores,
		"data_lines": &m.DataLines, "code_lines": &m.CodeLines,
		"roots": &m.Roots, "flushes": &m.Flushes, "interrupts": &m.Interrupts,
		"data_l2": &m.Data.L2, "data_l3": &m.Data.L3, "data_memory": &m.Data.Memory,
		"code_l2": &m.Code.L2, "code_l3": &m.Code.L3, "code_memory": &m.Code.Memory,
	}
}

// readMemory reads a line of the plugin. It returns the number that names the line (of a
// case or of a site), and the figures.
func readMemory(line, kind string, base int) (key uint64, m Memory, err error) {
	f := fields(line)
	if key, err = strconv.ParseUint(f[kind], base, 64); err != nil {
		return 0, m, fmt.Errorf("%s: %w", kind, err)
	}
	m.Core = f["core"]
	if n := f["windows"]; n != "" {
		if m.Windows, err = strconv.Atoi(n); err != nil {
			return 0, m, fmt.Errorf("windows: %w", err)
		}
	}
	for name, v := range memoryFields(&m) {
		if text, ok := f[name]; ok {
			if *v, err = strconv.ParseFloat(text, 64); err != nil {
				return 0, m, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return key, m, nil
}

// ReadMemory adds the plugin's output to the run's cases. names has the cases in the order
// in which the plugin was given them.
func (r *Run) ReadMemory(out io.Reader, names []string) error {
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		i, m, err := readMemory(sc.Text(), "case", 10)
		if err != nil {
			return fmt.Errorf("%q: %w", sc.Text(), err)
		}
		if i >= uint64(len(names)) {
			return fmt.Errorf("%q: there are %d cases", sc.Text(), len(names))
		}
		if c := r.Case(names[i]); c != nil {
			c.Memory = append(c.Memory, m)
		}
	}
	return sc.Err()
}

// Cores returns the modelled cores of the runs' cases.
func Cores(runs []*Run) (names []string) {
	for _, r := range runs {
		for i := range r.Cases {
			for _, m := range r.Cases[i].Memory {
				if !slices.Contains(names, m.Core) {
					names = append(names, m.Core)
				}
			}
		}
	}
	return names
}

// on returns a case's figures on a core, or nil if there are none.
func (c *Case) on(core string) *Memory {
	if c == nil {
		return nil
	}
	for i := range c.Memory {
		if c.Memory[i].Core == core {
			return &c.Memory[i]
		}
	}
	return nil
}

// Modelled returns the runs with a core's cycles in place of instructions, so that the same
// pictures and comparisons can be made. Cases without a model are left out.
func Modelled(runs []*Run, core string) (list []*Run) {
	for _, r := range runs {
		of := &Run{Setup: r.Setup, Command: r.Command, Done: r.Done}
		for _, c := range r.Cases {
			if m := c.on(core); m != nil {
				of.Cases = append(of.Cases, Case{
					Name: c.Name, N: m.Windows, Min: m.Cycles, Median: m.Cycles, Max: m.Cycles, Mean: m.Cycles, Memory: c.Memory,
				})
			} else if c.Failed != "" {
				of.Cases = append(of.Cases, c)
			}
		}
		list = append(list, of)
	}
	return list
}

// MemoryTables makes a table for each run, of the cases' use of a core's caches.
func MemoryTables(arch, core string, runs []*Run) (tables []*Table) {
	names := Names(runs)
	for k, r := range runs {
		t := &Table{
			Title: fmt.Sprintf("%s, %s core: %s", arch, core, names[k]),
			Head: []string{
				"case", "instructions", "L1D misses", "L1I misses", "L2 misses", "L3 misses", "data lines", "code lines",
				"flushes", "roots", "interrupts", "cycles",
			},
			Folded: true,
		}
		for i := range r.Cases {
			c := &r.Cases[i]
			m := c.on(core)
			if m == nil || c.Name == "null_timer" {
				continue
			}
			row := []string{c.Name}
			for _, v := range []float64{
				m.Instructions, m.Data.All(), m.Code.All(), m.MissesL2(), m.MissesL3(), m.DataLines, m.CodeLines,
				m.Flushes, m.Roots, m.Interrupts, m.Cycles,
			} {
				row = append(row, Number(v))
			}
			t.Rows = append(t.Rows, row)
		}
		if t.Rows != nil {
			tables = append(tables, t)
		}
	}
	return tables
}

// MemoryWords describes the comparison of a core's cycles.
func MemoryWords(core string, ratios []*Ratio) (text []string) {
	for _, r := range ratios {
		if m := r.Mean(); m > 0 && r.Base.Huge == r.Other.Huge {
			text = append(text, fmt.Sprintf("On the %s core %s is %.1f in modelled cycles, the geometric mean of %d cases.",
				core, strings.Replace(r.Title(), " / ", " over ", 1), m, len(r.Times)))
		}
	}
	return text
}
