package bench

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const console = "Grim on arm64\r\n" +
	"exitbench arch=arm64 unit=cntvct counter_hz=62500000 start=1000\r\n" +
	"cal loop insns=200000 ticks=12500\r\n" +
	"case=null_getpid n=200 min=18 median=19 max=20 unit=cntvct mean=19.50 median_ns=304\r\n" +
	"case=exit_anon_4MB n=10 min=1 median=1000 max=2000 unit=cntvct mean=1000.00\r\n" +
	"case=exit_anon_64MB n=10 min=1 median=16360 max=20000 unit=cntvct mean=1000.00\r\n" +
	"case=touch_order_64MB n=2 min=1 median=16384 max=20000 unit=cntvct mean=1000.00 pages=16384\r\n" +
	"case=exit_sparse_1024 failed status=9\r\n" +
	"exit=exit_anon_64MB 12 exit1 process 1000 0 0 0\n" +
	"exit=exit_anon_64MB 12 purge-end process 1800 16384 9 0\n" +
	"exit=exit_anon_64MB 12 reaper reaper 1850 0 0 0\n" +
	"exit=exit_anon_64MB 12 wakeup reaper 1950 1 1 0\n" +
	"exit=exit_anon_64MB 12 wait parent 2000 0 0 0\n" +
	"figure=server.exit_max value=10 unit=ticks\nfigure=zombies.each_holds value=4096 unit=bytes\n" +
	"exitbench done\nok 1 - init\n"

func parsed(t *testing.T, s Setup) *Run {
	t.Helper()
	r := &Run{Setup: s}
	if err := r.Parse(strings.NewReader(console)); err != nil {
		t.Fatal(err)
	}
	return r
}

var purge = Setup{Kernel: "Grim", Arch: "arm64", Layout: "shared", Exit: "purge", Huge: true}

func TestParse(t *testing.T) {
	r := parsed(t, purge)
	if !r.Done || r.Boot != 16*time.Microsecond || len(r.Cases) != 5 {
		t.Errorf("done %v, boot %v, %d cases; want true, 16us (1000 ticks of 16 ns), 5", r.Done, r.Boot, len(r.Cases))
	}
	if c := r.Case("null_getpid"); c == nil || c.N != 200 || c.Min != 288 || c.Median != 304 || c.Max != 320 || c.Mean != 312 {
		t.Errorf("null_getpid: %+v", c)
	}
	if r.Case("exit_sparse_1024") != nil || r.Cases[4].Failed != "status=9" {
		t.Errorf("a failed case: %+v", r.Cases[4])
	}
	e := r.ExitOf("exit_anon_64MB")
	if e == nil || len(e.Steps) != 5 || e.Total() != 1000 || e.In("process") != 800 || e.In("reaper") != 100 || e.In("parent") != 0 {
		t.Errorf("the exit: %+v", e)
	}
	if f := r.Figure("server", "exit_max"); f == nil || f.Value != 160 || f.Unit != "ns" {
		t.Errorf("figure in ticks: %+v", f)
	}
	if f := r.Figure("zombies", "each_holds"); f == nil || f.Value != 4096 || f.Unit != "bytes" {
		t.Errorf("figure in bytes: %+v", f)
	}
}

// A line of the benchmark programs that cannot be read must not count as a missing figure.
func TestParseErrors(t *testing.T) {
	for _, s := range []string{
		"case=a n=x min=1 median=1 max=1 mean=1",
		"case=a n=1 min=1 median=1 max=1",
		"exit=a 12 exit1 process soon 0 0 0",
		"figure=server value=1 unit=ticks",
		"figure=a.b unit=ticks",
		"exitbench arch=arm64 counter_hz=0",
	} {
		if err := new(Run).Parse(strings.NewReader(s + "\n")); err == nil {
			t.Errorf("%q is no error", s)
		}
	}
}

func TestMedians(t *testing.T) {
	r := parsed(t, purge)
	var b bytes.Buffer
	Medians("arm64", []*Run{r, {Setup: Setup{Kernel: "Grim", Layout: "separate", Exit: "reaper"}}}).Write(&b)
	for _, want := range []string{
		"shared purge  separate reaper 4 KB\n",
		"exit_anon_64MB", "261 760", // 16360 ticks
		"killed",
		"touch in order, a page            ", "16.0",
		"10.0 %", // of the reaper: 100 of 1000
		"16.0",   // a page: 15360 ticks of 16 ns for 15360 pages
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// The verdict names cases of Grim above the limit, but none below the counter's grain.
// Broken by Verdict without its Layout, and by spread without its grain.
func TestVerdict(t *testing.T) {
	run := func(layout string, longest float64) *Run {
		return &Run{Setup: Setup{Kernel: "K", Layout: layout}, Cases: []Case{
			{Name: "a", Median: 1000, Max: longest}, {Name: "b", Median: 200, Max: 250}, {Name: "null", Median: 4, Max: 400},
		}}
	}
	for _, c := range []struct {
		runs []*Run
		want string
	}{
		{[]*Run{run("shared", 2999)}, "x: no run of a case took more than 3 times its median."},
		{[]*Run{run("shared", 3500), run("separate", 4100), run("", 9000)}, "x: longest run over 3 medians: a 4.1."},
		{[]*Run{run("shared", 1000), run("", 9000)}, "x: no run of a case took more than 3 times its median."},
		{nil, ""},
	} {
		if got := Verdict("x", c.runs); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	table := Spreads("x", []*Run{run("shared", 3500)})
	if table == nil || len(table.Rows) != 2 || table.Rows[0][1] != "3.50" {
		t.Errorf("%+v", table)
	}
}

// The comparison's columns name the kernels, and its last rows are the means.
func TestComparison(t *testing.T) {
	grim := &Run{Setup: Setup{Kernel: "Grim", Layout: "shared", Exit: "purge", Huge: true}, Cases: []Case{{Name: "a", Median: 10}, {Name: "b", Median: 10}}}
	linux := &Run{Setup: Setup{Kernel: "Linux 6"}, Cases: []Case{{Name: "a", Median: 90}, {Name: "b", Failed: "status=9"}}}
	var b bytes.Buffer
	Comparison("x", []*Run{linux, grim}, []*Ratio{NewRatio(grim, linux)}).Markdown(&b)
	want := "| case | Linux 6 4 KB | Grim 2 MB | Linux 6 4 KB / Grim 2 MB |\n|---|--:|--:|--:|\n" +
		"| a | 90 | 10 | 9.00 |\n| b | killed | 10 | - |\n| geometric mean |  |  | 9.00 |\n"
	if got := b.String(); !strings.Contains(got, want) {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// Only the text between a command's marks changes. Broken by Paste without the end mark.
func TestPaste(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	const before = "a\n<!-- make x -->\nold\n<!-- end of make x -->\nb\n<!-- make y -->\n<!-- end of make y -->\n"
	if err := os.WriteFile(file, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // once more changes nothing
		if err := Paste(file, "make x", "| new |\n\n"); err != nil {
			t.Fatal(err)
		}
		want := strings.Replace(before, "old\n", "\n| new |\n\n", 1)
		if got, _ := os.ReadFile(file); string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if err := Paste(file, "make z", ""); err == nil {
		t.Error("a file without marks is no error")
	}
}

func TestRatio(t *testing.T) {
	run := func(a, b, c float64) *Run {
		return &Run{Cases: []Case{{Name: "null_timer", Median: 1}, {Name: "a", Median: a}, {Name: "b", Median: b}, {Name: "c", Median: c, Failed: "x"}}}
	}
	r := NewRatio(run(10, 100, 1), run(20, 800, 1))
	if r.Of("a") != 2 || r.Of("b") != 8 || r.Of("c") != 0 || r.Of("null_timer") != 0 {
		t.Errorf("ratios: %+v", r)
	}
	if m := r.Mean(); math.Abs(m-4) > 1e-9 {
		t.Errorf("geometric mean %v, want 4", m)
	}
	if m := NewRatio(&Run{}, &Run{}).Mean(); m != 0 {
		t.Errorf("mean of nothing: %v", m)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 7.25: "7.2", 999: "999", 1000: "1 000", 1234567: "1 234 567", -1234: "-1 234", 12345.6: "12 346"} {
		if got := Number(v); got != want {
			t.Errorf("Number(%v) = %q, want %q", v, got, want)
		}
	}
}

// The report is one file without references to others.
func TestReport(t *testing.T) {
	other, linux := purge, Setup{Kernel: "Linux 6", Arch: "arm64", Huge: true}
	other.Exit = "reaper"
	runs := []*Run{parsed(t, purge), parsed(t, other), parsed(t, linux)}
	var r Report
	r.Title, r.Command = "A <report>", "make bench"
	r.Add("arm64", runs, Medians("arm64", runs))
	r.Compare(NewRatio(runs[0], runs[2]))
	r.Add("arm64, workloads", nil, Figures("arm64", []*Run{{}})) // none was run
	r.Say("", "a word")
	var b bytes.Buffer
	if err := r.HTML(&b); err != nil {
		t.Fatal(err)
	}
	s := b.String()
	if n := len(r.AllTables()); n != 1 {
		t.Errorf("%d tables, want 1", n)
	}
	for _, want := range []string{
		"A &lt;report&gt;", "<svg", "Exit timelines", "purge: 16 384 pages, 9 table pages", "purge-end", "Cost against resident pages",
		"1 000 instructions: child 80.0 %, reaper 10.0 %, parent 0.0 %, on the way between them 10.0 %", "the other needs", "1.0 times",
		"each holds 4 096 bytes under purge and as much under reaper.", "each holds 4 096 bytes on Grim and 4 096 bytes (1.0 times) on Linux 6.", "a word",
	} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q in the report", want)
		}
	}
	if m := regexp.MustCompile(`(src=|href="[^#]|@import|url\()[^>]*`).FindString(s); m != "" {
		t.Errorf("%q in the report", m)
	}
	if strings.Count(s, "<svg") != strings.Count(s, "</svg>") || strings.Contains(s, "NaN") || strings.Contains(s, "Inf") {
		t.Error("a picture is not well formed")
	}
}
