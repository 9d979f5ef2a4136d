package bench

import (
	"cmp"
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	pprof "github.com/google/pprof/profile"
)

// Calls counts the calls between functions of the kernel, for the Go compiler's
// profile-guided optimisation (go.dev/doc/pgo). The zero value has none.
type Calls struct {
	share map[call]float64 // of each case's calls, added up
}

// call is a call by its instruction and the function that begins there.
type call struct{ from, to uint64 }

// callCount counts the calls of one case.
type callCount struct {
	last  uint64 // the instruction before
	count map[call]int
}

// executed records the instruction at pc. first says that a function begins there.
func (c *callCount) executed(pc uint64, first bool) {
	if first && c.last >= userEnd {
		c.count[call{c.last, pc}]++
	}
	c.last = pc
}

// CountCalls makes p count calls too, until Add.
func (p *Profile) CountCalls() { p.calls = &callCount{count: map[call]int{}} }

// Add adds the calls that p has counted. Each case has the same weight, however many calls
// it makes.
func (c *Calls) Add(p *Profile) {
	total := 0
	for _, n := range p.calls.count {
		total += n
	}
	if c.share == nil {
		c.share = map[call]float64{}
	}
	for k, n := range p.calls.count {
		c.share[k] += float64(n) / float64(total)
	}
}

// symbolizer finds functions and lines of addresses in a kernel, functions that the
// compiler has inlined included.
type symbolizer struct {
	funcs []subprogram // by their address
	lines []dwarf.LineEntry
}

// subprogram is a function of the kernel, with the calls that were inlined into it.
type subprogram struct {
	name    string
	start   int64 // the line where it begins
	lo, hi  uint64
	inlined []*inlined
}

// inlined is an inlined call.
type inlined struct {
	name   string
	start  int64
	line   int64 // of the call, in the function around it
	ranges [][2]uint64
	inside []*inlined
}

func newSymbolizer(kernel *elf.File) (*symbolizer, error) {
	d, err := kernel.DWARF()
	if err != nil {
		return nil, fmt.Errorf("the kernel's debugging information: %w", err)
	}
	s := &symbolizer{}
	origins := map[dwarf.Offset]*subprogram{}
	type pending struct {
		of *inlined
		at dwarf.Offset
	}
	var wait []pending
	r := d.Reader()
	var read func(parent *[]*inlined) error
	// read reads the children of an entry.
	read = func(parent *[]*inlined) error {
		for {
			e, err := r.Next()
			if err != nil {
				return err
			}
			if e == nil || e.Tag == 0 {
				return nil
			}
			into := parent
			switch e.Tag {
			case dwarf.TagInlinedSubroutine:
				ranges, err := d.Ranges(e)
				if err != nil {
					return err
				}
				line, _ := e.Val(dwarf.AttrCallLine).(int64)
				i := &inlined{line: line, ranges: ranges}
				if parent != nil {
					*parent = append(*parent, i)
				}
				if at, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok {
					wait = append(wait, pending{i, at})
				}
				into = &i.inside
			case dwarf.TagSubprogram:
				f := &subprogram{}
				f.name, _ = e.Val(dwarf.AttrName).(string)
				f.start, _ = e.Val(dwarf.AttrDeclLine).(int64)
				if at, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok {
					if o := origins[at]; o != nil {
						f.name, f.start = o.name, o.start
					}
				}
				origins[e.Offset] = f
				if ranges, err := d.Ranges(e); err == nil && len(ranges) > 0 {
					f.lo, f.hi = ranges[0][0], ranges[0][1]
				}
				if e.Children {
					if err := read(&f.inlined); err != nil {
						return err
					}
				}
				if f.hi > f.lo {
					s.funcs = append(s.funcs, *f)
				}
				continue
			case dwarf.TagCompileUnit:
				lr, err := d.LineReader(e)
				if err != nil {
					return err
				}
				for lr != nil {
					var l dwarf.LineEntry
					if lr.Next(&l) != nil {
						break
					}
					if !l.EndSequence {
						s.lines = append(s.lines, l)
					}
				}
				into = nil
			}
			if e.Children {
				if err := read(into); err != nil {
					return err
				}
			}
		}
	}
	if err := read(nil); err != nil {
		return nil, err
	}
	for _, w := range wait {
		if o := origins[w.at]; o != nil {
			w.of.name, w.of.start = o.name, o.start
		}
	}
	slices.SortFunc(s.funcs, func(a, b subprogram) int { return cmp.Compare(a.lo, b.lo) })
	slices.SortStableFunc(s.lines, func(a, b dwarf.LineEntry) int { return cmp.Compare(a.Address, b.Address) })
	return s, nil
}

// frame is a function and a line in it.
type frame struct {
	name        string
	start, line int64
}

// frames returns the functions that pc is in, the innermost first: those inlined, then the
// one that they are inlined into. nil if pc is in no Go function.
func (s *symbolizer) frames(pc uint64) (list []frame) {
	i := sort.Search(len(s.funcs), func(i int) bool { return s.funcs[i].lo > pc }) - 1
	if i < 0 || pc >= s.funcs[i].hi {
		return nil
	}
	f := &s.funcs[i]
	if f.start == 0 {
		return nil // assembly
	}
	list = []frame{{name: f.name, start: f.start}}
	for in := f.inlined; in != nil; {
		k := slices.IndexFunc(in, func(i *inlined) bool {
			return slices.ContainsFunc(i.ranges, func(r [2]uint64) bool { return r[0] <= pc && pc < r[1] })
		})
		if k < 0 {
			break
		}
		list[0].line = in[k].line
		list = slices.Insert(list, 0, frame{name: in[k].name, start: in[k].start})
		in = in[k].inside
	}
	j := sort.Search(len(s.lines), func(i int) bool { return s.lines[i].Address > pc }) - 1
	if j < 0 {
		return nil
	}
	list[0].line = int64(s.lines[j].Line)
	return list
}

// mostTargets is how many functions an instruction may call. The compiler guards such a call
// for the most frequent function only, which costs all the others: the call of a system
// call's handler is one.
const mostTargets = 2

// Profile returns the calls in the form of package runtime/pprof. Functions that the
// compiler has generated (methods of an embedded type) are left out, as they are shorter
// than a call of their own.
func (c *Calls) Profile(kernel *elf.File) (*pprof.Profile, error) {
	s, err := newSymbolizer(kernel)
	if err != nil {
		return nil, err
	}
	targets := map[uint64]int{}
	for k := range c.share {
		targets[k.from]++
	}
	keys := slices.SortedFunc(maps.Keys(c.share), func(a, b call) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	out := &pprof.Profile{
		SampleType: []*pprof.ValueType{{Type: "samples", Unit: "count"}},
		PeriodType: &pprof.ValueType{Type: "samples", Unit: "count"},
		Period:     1,
	}
	functions := map[string]*pprof.Function{}
	location := func(frames []frame) *pprof.Location {
		l := &pprof.Location{ID: uint64(len(out.Location)) + 1}
		for _, f := range frames {
			fn := functions[f.name]
			if fn == nil {
				fn = &pprof.Function{ID: uint64(len(out.Function)) + 1, Name: f.name, SystemName: f.name, StartLine: f.start}
				functions[f.name] = fn
				out.Function = append(out.Function, fn)
			}
			l.Line = append(l.Line, pprof.Line{Function: fn, Line: f.line})
		}
		out.Location = append(out.Location, l)
		return l
	}
	for _, k := range keys {
		n := int64(c.share[k] * 1_000_000)
		callee, caller := s.frames(k.to), s.frames(k.from)
		if n == 0 || targets[k.from] > mostTargets || generated(callee) || generated(caller) {
			continue
		}
		out.Sample = append(out.Sample, &pprof.Sample{Location: []*pprof.Location{location(callee), location(caller)}, Value: []int64{n}})
	}
	if out.Sample == nil {
		return nil, errors.New("no calls were counted")
	}
	return out, nil
}

// generated reports whether one of the functions is not of any Go source.
func generated(frames []frame) bool {
	return frames == nil || slices.ContainsFunc(frames, func(f frame) bool { return f.start <= 1 })
}
