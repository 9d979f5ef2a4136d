package bench

import (
	"bytes"
	"math"
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
	"exit=exit_anon_64MB 12 exit1 process 1000 0 0\n" +
	"exit=exit_anon_64MB 12 purge-end process 1800 16384 9\n" +
	"exit=exit_anon_64MB 12 reaper reaper 1850 0 0\n" +
	"exit=exit_anon_64MB 12 wakeup reaper 1950 1 1\n" +
	"exit=exit_anon_64MB 12 wait parent 2000 0 0\n" +
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

// A line of ours that cannot be read must not pass as a missing figure.
func TestParseErrors(t *testing.T) {
	for _, s := range []string{
		"case=a n=x min=1 median=1 max=1 mean=1",
		"case=a n=1 min=1 median=1 max=1",
		"exit=a 12 exit1 process soon 0 0",
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
		"failed",
		"touch in order, a page            ", "16.0",
		"10.0 %", // of the reaper: 100 of 1000
		"16.0",   // a page: 15360 ticks of 16 ns for 15360 pages
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
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

// The report is one file: no reference leads out of it.
func TestReport(t *testing.T) {
	other := purge
	other.Exit = "reaper"
	runs := []*Run{parsed(t, purge), parsed(t, other)}
	var r Report
	r.Title, r.Command = "A <report>", "make bench"
	r.Add("arm64", runs, Medians("arm64", runs))
	r.Add("arm64, workloads", nil, Figures("arm64", []*Run{{}})) // none was run
	r.Say(Words(runs[0], runs[1])...)
	var b bytes.Buffer
	if err := r.HTML(&b); err != nil {
		t.Fatal(err)
	}
	s := b.String()
	if n := len(r.Tables()); n != 1 {
		t.Errorf("%d tables, want 1", n)
	}
	for _, want := range []string{"A &lt;report&gt;", "<svg", "Exit timelines", "16385 pages and 10", "purge-end", "Cost against resident pages", "4 096 bytes"} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q in the report", want)
		}
	}
	for _, bad := range []string{" src=", "href=", "@import", "url("} {
		if strings.Contains(s, bad) {
			t.Errorf("%q in the report", bad)
		}
	}
	if strings.Count(s, "<svg") != strings.Count(s, "</svg>") || strings.Contains(s, "<?xml") {
		t.Error("the pictures are not elements of the page")
	}
}
