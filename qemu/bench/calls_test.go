package bench

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// calledProgram has a call inside of an inlined function, and a call by a variable.
const calledProgram = `package main

//go:noinline
func leaf(n int) int { return n + 1 }

func inlined(n int) int {
	return leaf(n)
}

//go:noinline
func outer(n int) int {
	n++
	return inlined(n)
}

//go:noinline
func a(n int) int { return n }

//go:noinline
func b(n int) int { return n }

//go:noinline
func c(n int) int { return n }

//go:noinline
func any(f func(int) int) int {
	return f(1)
}

func main() { println(outer(1), any(a), any(b), any(c)) }
`

// calledELF builds the program for a.
func calledELF(t *testing.T, a string) *elf.File {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": calledProgram, "go.mod": "module called\n\ngo 1.26\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("go", "build", "-o", "called", ".")
	c.Dir, c.Env = dir, append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0", "GOARCH="+a, "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := elf.Open(filepath.Join(dir, "called"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// A call in an inlined function is told as the line of the inlined function, which lies in
// the line of the function around it, each with the line where it begins. Calls of one
// instruction to many functions are left out, and each case has the same weight. Broken by a
// symbolizer that does not descend into inlined functions, and by mostTargets of 3.
func TestCalls(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		kernel := calledELF(t, arch)
		s, err := newSymbolizer(kernel)
		if err != nil {
			t.Fatal(err)
		}
		entry := map[string]uint64{}
		for _, f := range s.funcs {
			entry[f.name] = f.lo
		}
		// inside returns an address in the named function whose frames are want.
		inside := func(name string, want ...frame) uint64 {
			for pc := entry[name]; pc < entry[name]+200; pc++ {
				if slices.Equal(s.frames(pc), want) {
					return pc
				}
			}
			t.Fatalf("%s: no address in %s is in %v", arch, name, want)
			return 0
		}
		site := inside("main.outer", frame{"main.inlined", 6, 7}, frame{"main.outer", 11, 13})
		many := inside("main.any", frame{"main.any", 26, 27})

		var sum Calls
		for _, calls := range []map[call]int{
			{{site, entry["main.leaf"]}: 1000, {many, entry["main.a"]}: 1000},
			{{site, entry["main.leaf"]}: 1, {many, entry["main.b"]}: 1, {many, entry["main.c"]}: 2},
		} {
			sum.Add(&Profile{calls: &callCount{count: calls}})
		}
		p, err := sum.Profile(kernel)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.CheckValid(); err != nil {
			t.Error(err)
		}
		if len(p.Sample) != 1 {
			t.Fatalf("%s: %d calls, want that of leaf only", arch, len(p.Sample))
		}
		got := p.Sample[0]
		if v := got.Value[0]; v != 750_000 { // half of the first case's, a quarter of the second's
			t.Errorf("%s: weight %d, want 750000", arch, v)
		}
		for i, want := range [][]frame{{{"main.leaf", 4, 4}}, {{"main.inlined", 6, 7}, {"main.outer", 11, 13}}} {
			var lines []frame
			for _, l := range got.Location[i].Line {
				lines = append(lines, frame{l.Function.Name, l.Function.StartLine, l.Line})
			}
			if !slices.Equal(lines, want) {
				t.Errorf("%s: location %d is %v, want %v", arch, i, lines, want)
			}
		}
	}
}

// A call is counted where a function's first instruction follows an instruction of the
// kernel, and only in a window.
func TestCountCalls(t *testing.T) {
	const k = userEnd + 0x1000
	p := &Profile{
		window: Window{10, 20},
		funcs:  []Function{{Name: "f"}, {Name: "g"}}, addr: []uint64{k, k + 0x100}, end: []uint64{k + 0x100, k + 0x200},
	}
	p.CountCalls()
	for _, pc := range []uint64{k + 4, k + 0x100, 10, k, k + 8, k + 0x100, k + 0x104, k + 12, k + 0x100, 20, k + 8, k + 0x100} {
		p.Executed(pc)
	}
	want := map[call]int{{k + 8, k + 0x100}: 1, {k + 12, k + 0x100}: 1}
	if len(p.calls.count) != len(want) || p.calls.count[call{k + 8, k + 0x100}] != 1 || p.calls.count[call{k + 12, k + 0x100}] != 1 {
		t.Errorf("%v, want %v (an entry from user mode is no call)", p.calls.count, want)
	}
}
