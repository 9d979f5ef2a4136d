package main

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"grim/qemu/bench"
)

// buildTrace builds the program that runs the cache model on a given trace.
func buildTrace(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no C compiler")
	}
	t.Chdir("../..")
	out := filepath.Join(t.TempDir(), "trace")
	if err := compileC(t.Context(), out, "qemu/cache/trace.c", "qemu/cache/model.c"); err != nil {
		t.Fatal(err)
	}
	return out
}

func trace(t *testing.T, program, core, input string) []string {
	t.Helper()
	cmd := exec.Command(program, core)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", core, err, out)
	}
	return strings.Fields(string(out))
}

// Traces with answers computed by hand. Data and code have separate first levels and share
// the others. A line that was just used is not the one that is replaced. Without an L3,
// memory follows the L2. Broken by a cache that does not move a found line to the front of
// its set, and by code that is looked up among the data.
func TestCacheModel(t *testing.T) {
	program := buildTrace(t)
	// L1s of 1 KB: 8 sets, 2 ways. L2 of 1 KB: 1 set, 16 ways. L3 of 2 KB: 1 set.
	const tiny = "t/1:2/1:2/1:16/2:32/1:10:20:100"
	const noL3 = "t/1:2/1:2/1:16/0/1:10:10:100"
	for _, c := range []struct{ about, core, in, want string }{
		{"a line is 64 bytes", tiny, "d 1000 d 103f d 1040", "m 1 m"},
		{"code is not looked for among data, but in the L2", tiny, "d 1000 i 1000 i 1000", "m 2 1"},
		{"three lines in a set of two", tiny, "d 0 d 200 d 400 d 0", "m m m 2"},
		{"the line used last stays", tiny, "d 0 d 200 d 0 d 400 d 0 d 200", "m m 1 m 1 2"},
		{"other sets are not touched", tiny, "d 0 d 40 d 80 d 0", "m m m 1"},
		{"the set of lines", tiny, "a 0 a 3f a 40 c a 0", "new old new new"},
	} {
		if got := strings.Join(trace(t, program, c.core, c.in), " "); got != c.want {
			t.Errorf("%s: %q gives %q, want %q", c.about, c.in, got, c.want)
		}
	}
	// 20 lines are more than the L2 holds: the first line is in the L3, or in none.
	var in strings.Builder
	for i := range 20 {
		fmt.Fprintf(&in, "d %x\n", i<<6)
	}
	in.WriteString("d 0\n")
	for core, want := range map[string]string{tiny: "3", noL3: "m"} {
		if got := trace(t, program, core, in.String()); got[20] != want {
			t.Errorf("%s: the first of 20 lines is found in %q, want %q", core, got[20], want)
		}
	}
	for _, core := range []string{"t", "t/1:3/1:2/1:16/0/1:10:10:100", "t/1:2/0/1:16/0/1:10:10:100", "t/1:2/1:2/1:16/0/1:10:10"} {
		if err := exec.Command(program, core).Run(); err == nil {
			t.Errorf("core %q is taken", core)
		}
	}
}

// lru is a textbook cache: for each set it has the lines in the order of use.
type lru struct {
	sets, ways uint64
	order      map[uint64][]uint64
}

func (c *lru) use(line uint64) bool {
	set := line % c.sets
	list := c.order[set]
	i := slices.Index(list, line)
	if i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	list = append([]uint64{line}, list...)
	c.order[set] = list[:min(uint64(len(list)), c.ways)]
	return i >= 0
}

// For a long random trace, the model gives the same results as a textbook's caches, and the
// set of lines gives the same results as a map.
func TestCacheModelAtRandom(t *testing.T) {
	program := buildTrace(t)
	of := func(kilobytes, ways uint64) *lru {
		return &lru{kilobytes << 10 / 64 / ways, ways, map[uint64][]uint64{}}
	}
	data, code, l2, l3 := of(2, 4), of(2, 2), of(6, 3), of(16, 16)
	seen := map[uint64]bool{}
	r := rand.New(rand.NewPCG(1, 2))
	var in strings.Builder
	var want []string
	for range 30000 {
		at := r.Uint64N(1 << 16)
		if r.IntN(2) == 0 {
			at = r.Uint64N(1 << 12) // something that is looked up again
		}
		line := at >> 6
		switch k := r.IntN(40); {
		case k == 0 && r.IntN(100) == 0:
			in.WriteString("c\n")
			clear(seen)
		case k < 10:
			fmt.Fprintf(&in, "a %x\n", at)
			want = append(want, map[bool]string{true: "old", false: "new"}[seen[line]])
			seen[line] = true
		default:
			first, name := data, "d"
			if k < 20 {
				first, name = code, "i"
			}
			fmt.Fprintf(&in, "%s %x\n", name, at)
			answer := "m"
			switch {
			case first.use(line):
				answer = "1"
			case l2.use(line):
				answer = "2"
			case l3.use(line):
				answer = "3"
			}
			want = append(want, answer)
		}
	}
	if got := trace(t, program, "t/2:4/2:2/6:3/16:16/1:10:20:100", in.String()); !slices.Equal(got, want) {
		for i := range want {
			if i >= len(got) || got[i] != want[i] {
				t.Fatalf("answer %d differs: %d answers, want %d", i, len(got), len(want))
			}
		}
	}
}

// The plugin compiles, and gets the places where each case is measured.
func TestPluginArgument(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no C compiler")
	}
	t.Chdir("../..")
	o := &options{model: true, cases: "exit_anon", cores: strings.Fields(defaultCores)}
	if err := o.prepareModel(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		path, err := buildProgram(t.Context(), arch, "exitbench")
		if err != nil {
			t.Fatal(err)
		}
		arg, err := o.pluginArgument(path, o.names, "out", "")
		if err != nil || strings.Count(arg, ",case=") != len(o.names) || strings.Count(arg, ",core=") != 2 || strings.Contains(arg, "sites=") {
			t.Errorf("%s: %d cases, %q, %v", arch, len(o.names), arg, err)
		}
	}
}

// FROM= can read the name of a modelled run.
func TestModelTarget(t *testing.T) {
	r := benchReport([]*bench.Run{}, &options{model: true})
	if r.Command != "make bench MODEL=1" || !r.Modelled {
		t.Errorf("%+v", r)
	}
}
