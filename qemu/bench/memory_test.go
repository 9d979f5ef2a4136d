package bench

import (
	"bytes"
	"strings"
	"testing"
)

const pluginOutput = "case=0 core=large windows=5 cycles=900.0 instructions=100.0 loads=20.0 stores=10.0 data_lines=5.0 code_lines=7.0 " +
	"roots=2.0 flushes=1.0 interrupts=0.0 data_l2=1.0 data_l3=2.0 data_memory=3.0 code_l2=4.0 code_l3=5.0 code_memory=6.0\n" +
	"case=0 core=small windows=5 cycles=1800.0 instructions=100.0\n" +
	"case=2 core=large windows=1 cycles=30.0 instructions=3.0\n"

func modelled(t *testing.T, cycles string) *Run {
	t.Helper()
	r := &Run{Setup: purge, Cases: []Case{{Name: "a", Median: 100}, {Name: "b", Failed: "status=9"}, {Name: "c", Median: 3}}}
	if err := r.ReadMemory(strings.NewReader(strings.ReplaceAll(pluginOutput, "900.0", cycles)), []string{"a", "b", "c"}); err != nil {
		t.Fatal(err)
	}
	return r
}

// The plugin's figures are assigned to the cases by their numbers, and appear in the
// tables.
func TestReadMemory(t *testing.T) {
	r := modelled(t, "900.0")
	m := r.Cases[0].on("large")
	if m == nil || m.Windows != 5 || m.Cycles != 900 || m.Data.All() != 6 || m.MissesL2() != 16 || m.MissesL3() != 9 || m.Roots != 2 {
		t.Fatalf("%+v", m)
	}
	if cores := Cores([]*Run{r}); strings.Join(cores, " ") != "large small" {
		t.Errorf("cores %q", cores)
	}
	tables := MemoryTables("arm64", "large", []*Run{r})
	if len(tables) != 1 || len(tables[0].Rows) != 2 {
		t.Fatalf("%+v", tables)
	}
	if got := strings.Join(tables[0].Rows[0], " "); got != "a 100 6 15 16 9 5 7 1 2 0 900" {
		t.Errorf("row %q", got)
	}
	for _, line := range []string{"case=7 core=large", "case=x", "case=0 cycles=many"} {
		if err := new(Run).ReadMemory(strings.NewReader(line+"\n"), []string{"a"}); err == nil {
			t.Errorf("%q is no error", line)
		}
	}
}

// A comparison of cycles has the ratios of cycles, not of instructions. Cases without a
// model are left out.
func TestModelled(t *testing.T) {
	runs := Modelled([]*Run{modelled(t, "900.0"), modelled(t, "2700.0")}, "large")
	ratio := NewRatio(runs[0], runs[1])
	if ratio.Of("a") != 3 || ratio.Of("c") != 1 || ratio.Of("b") != 0 || runs[0].failed("b") != "killed" {
		t.Errorf("%+v", ratio)
	}
	if words := MemoryWords("large", []*Ratio{ratio}); len(words) != 1 || !strings.Contains(words[0], "is 1.7 in modelled cycles") {
		t.Errorf("%q", words)
	}
	if small := Modelled([]*Run{modelled(t, "1.0")}, "small")[0]; len(small.Cases) != 2 || small.Case("a").Median != 1800 {
		t.Errorf("%+v", small.Cases)
	}
}

// Costs are assigned to the function that contains the code, whatever its address in it.
// They are means of the repetitions.
func TestMemoryProfile(t *testing.T) {
	const sites = "site=ffffffff80200010 core=large cycles=500.0 instructions=50 data_lines=5 code_lines=10 data_memory=5\n" +
		"site=ffffffff80200040 core=large cycles=250.0 instructions=25 code_l2=15\n" +
		"site=401000 core=large cycles=10.0 instructions=5\n"
	p := &MemoryProfile{Case: "a"}
	if err := p.add("Grim", testProfile(), strings.NewReader("case=0 core=large windows=5 cycles=152.0 instructions=16.0\n"), strings.NewReader(sites)); err != nil {
		t.Fatal(err)
	}
	tables := p.Tables()
	if len(tables) != 1 || len(tables[0].Rows) != 3 {
		t.Fatalf("%+v", tables)
	}
	if got := strings.Join(tables[0].Rows[1], " "); got != "one 150 98.7 % 15 1 1 3 0 1 2" {
		t.Errorf("row %q", got)
	}
	var b bytes.Buffer
	if err := p.HTML(&b); err != nil {
		t.Fatal(err)
	}
	if s := b.String(); !strings.Contains(s, "<svg") || !strings.Contains(s, "(user mode)") || strings.Contains(s, "NaN") {
		t.Errorf("the page: %s", s)
	}
	if err := p.add("Grim", testProfile(), strings.NewReader(""), strings.NewReader("")); err == nil {
		t.Error("a profile of nothing is no error")
	}
}
