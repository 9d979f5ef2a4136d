package bench

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Parse reads a boot's serial output into r: the lines of user/exitbench and user/workload.
// Other lines are skipped. A line of these programs that cannot be read is an error.
func (r *Run) Parse(console io.Reader) error {
	p := parser{run: r, scale: 1}
	sc := bufio.NewScanner(console)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if err := p.line(line); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
	}
	return sc.Err()
}

type parser struct {
	run   *Run
	scale float64 // nanoseconds of guest time per tick
}

func (p *parser) line(s string) error {
	kind, rest, _ := strings.Cut(s, " ")
	name, value, _ := strings.Cut(kind, "=")
	switch {
	case s == "exitbench done" || s == "workload done":
		p.run.Done = true
	case kind == "exitbench" || kind == "workload":
		return p.header(rest)
	case name == "case" && strings.HasPrefix(rest, "failed "):
		p.run.Cases = append(p.run.Cases, Case{Name: value, Failed: strings.TrimPrefix(rest, "failed ")})
	case name == "case":
		return p.measured(value, rest)
	case name == "exit" && rest != "" && rest[0] >= '0' && rest[0] <= '9': // otherwise it is a heading of user/init
		return p.step(value, rest)
	case name == "figure":
		return p.figure(value, rest)
	}
	return nil
}

// fields returns the "name=value" words of a line.
func fields(s string) map[string]string {
	m := map[string]string{}
	for _, w := range strings.Fields(s) {
		name, value, _ := strings.Cut(w, "=")
		m[name] = value
	}
	return m
}

// header reads the first line of a program: the length of a tick, and the time of the
// start.
func (p *parser) header(s string) error {
	f := fields(s)
	if hz, ok := f["counter_hz"]; ok {
		n, err := strconv.ParseUint(hz, 10, 64)
		if err != nil || n == 0 {
			return fmt.Errorf("counter_hz=%s is no rate", hz)
		}
		p.scale = 1e9 / float64(n)
	}
	if start, ok := f["start"]; ok {
		ticks, err := strconv.ParseUint(start, 10, 64)
		if err != nil {
			return err
		}
		p.run.Boot = time.Duration(float64(ticks) * p.scale)
	}
	return nil
}

func (p *parser) measured(name, s string) error {
	c, f := Case{Name: name}, fields(s)
	var err error
	if c.N, err = strconv.Atoi(f["n"]); err != nil {
		return fmt.Errorf("n: %w", err)
	}
	if pages, ok := f["pages"]; ok {
		if c.Pages, err = strconv.Atoi(pages); err != nil {
			return fmt.Errorf("pages: %w", err)
		}
	}
	for key, dst := range map[string]*float64{"min": &c.Min, "median": &c.Median, "max": &c.Max, "mean": &c.Mean} {
		ticks, err := strconv.ParseFloat(f[key], 64)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		*dst = ticks * p.scale
	}
	p.run.Cases = append(p.run.Cases, c)
	return nil
}

// step is "PID STEP CONTEXT NS PAGES TABLES CPU".
func (p *parser) step(name, s string) error {
	var (
		st  Step
		pid int
	)
	if _, err := fmt.Sscan(s, &pid, &st.Name, &st.Context, &st.NS, &st.Pages, &st.Tables, &st.CPU); err != nil {
		return err
	}
	e := p.run.ExitOf(name)
	if e == nil {
		p.run.Exits = append(p.run.Exits, Exit{Case: name})
		e = &p.run.Exits[len(p.run.Exits)-1]
	}
	e.Steps = append(e.Steps, st)
	return nil
}

// figure reads "WORKLOAD.NAME value=N unit=UNIT". A value in ticks is converted to
// nanoseconds.
func (p *parser) figure(name, s string) error {
	f := fields(s)
	workload, name, ok := strings.Cut(name, ".")
	if !ok {
		return fmt.Errorf("no workload in the name")
	}
	v, err := strconv.ParseFloat(f["value"], 64)
	if err != nil {
		return fmt.Errorf("value: %w", err)
	}
	unit := f["unit"]
	if unit == "ticks" {
		v, unit = v*p.scale, "ns"
	}
	p.run.Figures = append(p.run.Figures, Figure{workload, name, v, unit})
	return nil
}
