package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"grim/proc/exit"
	"grim/qemu/bench"
)

// lab builds findings by hand.
type lab struct {
	t   *testing.T
	f   *findings
	run *bench.Run
}

func (l *lab) figure(design, name string, v float64) {
	for i := range l.run.Figures {
		if f := &l.run.Figures[i]; f.Workload == design && f.Name == name {
			f.Value = v
			return
		}
	}
	l.run.Figures = append(l.run.Figures, bench.Figure{Workload: design, Name: name, Value: v})
}

// all sets a figure for every design: v, or the value in but.
func (l *lab) all(name string, v float64, but map[string]float64) {
	for _, d := range exit.Designs {
		if w, ok := but[d.Name]; ok {
			l.figure(d.Name, name, w)
		} else {
			l.figure(d.Name, name, v)
		}
	}
}

// exit records one exit, with a step every 100 instructions, and purge for its purge.
func (l *lab) exit(d *exit.Design, name string, purge, free int64) {
	e, at := bench.Exit{Case: name}, int64(0)
	for _, s := range append(d.Order[:len(d.Order):len(d.Order)], d.Apart...) {
		at += 100
		switch s.Step {
		case exit.StepPurgeEnd:
			at += purge
		case exit.StepZombie:
			at += free
		}
		e.Steps = append(e.Steps, bench.Step{Name: s.Step.String(), Context: s.By.String(), NS: at})
	}
	l.run.Exits = append(l.run.Exits, e)
}

// boot adds a boot with this serial output, after the banner.
func (l *lab) boot(name string, cpus int, output string, run *bench.Run) {
	log := filepath.Join(l.t.TempDir(), "log")
	if err := os.WriteFile(log, []byte("Grim, amd64, go1.26.8\n"+output), 0o644); err != nil {
		l.t.Fatal(err)
	}
	l.f.boots = append(l.f.boots, &boot{name: name, cpus: cpus, log: log, run: run})
}

// usual returns findings like those of the real kernel.
func usual(t *testing.T) *lab {
	l := &lab{t: t, f: &findings{}, run: &bench.Run{}}
	l.all("build_time", 1000, nil)
	l.all("build_longest_wait", 100, nil)
	l.all("build_queue_most", 1, map[string]float64{"reaper": 3})
	l.all("build_reaper", 0, map[string]float64{"reaper": 500})
	l.all("threads_ended", 100_000, map[string]float64{"parent": 4000})
	l.all("threads_most", 80, map[string]float64{"parent": 4000})
	l.all("threads_each", 5000, nil)
	l.all("charged_child", 800, map[string]float64{"purge": 100_000, "inline": 100_000})
	l.all("coherent_slow_disk", 0, map[string]float64{"eager": 8})
	l.all("zombies_frames", 100, map[string]float64{"parent": 280_000})
	l.figure("purge", "roots_kept", 480)
	l.figure("purge", "roots_fresh", 1200)
	l.figure("purge", "frames_single", 150_000)
	l.figure("purge", "frames_stock", 30_000)
	for _, s := range []string{"zombie", "sigchld", "wakeup"} {
		l.all("observers_"+s, 1, nil)
	}
	l.boot("experiments", 0, "", l.run)
	healthy := "ok 1 - kernelmap/kernel-half-stays [shared purge]\nok 2 - reaper/roots-and-uareas [shared purge]\n2 passed, 0 failed\n"
	l.boot(quick.name, 0, healthy, nil)
	caught := ""
	for _, layout := range []string{"shared", "separate"} {
		caught += "# kernelmap/kernel-half-stays [" + layout + " purge]: changed\nnot ok 1 - kernelmap/kernel-half-stays [" + layout + " purge]\n"
		l.boot("wrong half, "+layout, 0, "panic: x\n", nil)
	}
	l.boot("wrong half", 0, caught, nil)
	for _, name := range []string{"wrong root", "wrong root, 2 CPUs", "wrong wake, threads", "wrong wake, 2 CPUs"} {
		l.boot(name, 0, "panic: gone\n", nil)
	}
	l.boot("wrong wake", 0, "5 passed, 0 failed\n", nil)
	whole := ""
	for _, d := range exit.Designs {
		whole += "ok 1 - reaper/roots-and-uareas [shared " + d.Name + "]\n"
	}
	l.boot(inTurn(2, "").name, 2, whole, &bench.Run{})
	for _, cpus := range []int{2, 4} {
		run := &bench.Run{}
		for _, d := range exit.Designs {
			run.Figures = append(run.Figures, bench.Figure{Workload: d.Name, Name: "rounds_time", Value: 1000}, bench.Figure{Workload: d.Name, Name: "together_time", Value: 1000})
		}
		l.boot(parallel(cpus, "").name, cpus, whole, run)
	}
	for _, kind := range []string{"plain", "slow", "failing"} {
		l.boot(onDisk(kind).name, 0, "", &bench.Run{})
	}
	return l
}

func (l *lab) exits(purge map[string]int64, free int64) {
	for _, d := range exit.Designs {
		l.exit(d, d.Name+"/0", 0, free)
		for _, mb := range []string{"/1", "/4", "/16", "/64"} {
			l.exit(d, d.Name+mb, purge[d.Name], free)
		}
	}
}

// Every judge gives the opposite verdict for other figures.
// Broken by: a limit in judgeThreads that is above any figure.
func TestVerdictsTurn(t *testing.T) {
	slow := map[string]int64{"purge": 100_000, "reaper": 100_000, "inline": 100_000, "parent": 100_000, "eager": 100_000}
	turned := map[int]bool{}
	for _, c := range []struct {
		n    int
		turn func(l *lab)
	}{
		{1, func(l *lab) { l.figure("reaper", "build_queue_most", 1) }},
		{2, func(l *lab) { l.figure("parent", "threads_ended", 100_000) }},
		{3, func(l *lab) { l.run.Exits = nil; l.exits(slow, 50_000) }},
		{4, func(l *lab) { l.figure("eager", "coherent_slow_disk", 0) }},
		{5, func(l *lab) { l.figure("purge", "charged_child", 800) }},
		{6, func(l *lab) { l.reboot("wrong half", "ok 1 - kernelmap/kernel-half-stays [shared purge]\n") }},
		{7, func(l *lab) { l.reboot("wrong root", "20 passed, 0 failed\n") }},
		{8, func(l *lab) { l.run.Exits = nil; l.exits(map[string]int64{}, 0) }},
		{9, func(l *lab) { l.reboot("wrong wake, 2 CPUs", "5 passed, 0 failed\n") }},
		{10, func(l *lab) { l.figure("parent", "zombies_frames", 100) }},
		{11, func(l *lab) { l.figure("purge", "roots_fresh", 480) }},
		{11, func(l *lab) { l.figure("purge", "frames_stock", 150_000) }},
		{12, func(l *lab) { l.figure("inline", "observers_sigchld", 0) }},
	} {
		l := usual(t)
		l.exits(slow, 100)
		before := claims[c.n-1].judge(l.f).verdict
		c.turn(l)
		after := claims[c.n-1].judge(l.f).verdict
		if first(before) == first(after) || strings.HasPrefix(before, "ERROR") {
			t.Errorf("claim %d: %q before, %q after", c.n, before, after)
		}
		turned[c.n] = true
	}
	for n := range claims {
		if !turned[n+1] {
			t.Errorf("claim %d has no turn here", n+1)
		}
	}
}

// first returns the first word of a verdict.
func first(verdict string) string {
	s, _, _ := strings.Cut(strings.NewReplacer(";", " ", ":", " ").Replace(verdict), " ")
	rest := strings.TrimPrefix(verdict, s)
	if strings.HasPrefix(rest, " does not") {
		return "no"
	}
	return s
}

func (l *lab) reboot(name, output string) {
	for i, b := range l.f.boots {
		if b.name == name {
			l.f.boots = append(l.f.boots[:i], l.f.boots[i+1:]...)
			break
		}
	}
	l.boot(name, 0, output, nil)
}

// Broken by: one look only.
func TestUnbroken(t *testing.T) {
	if got, want := unbroken("28 477 783 instructions in 12 files"), "28\u00a0477\u00a0783 instructions in 12 files"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The page has every claim, every design and the timelines.
func TestPage(t *testing.T) {
	l := usual(t)
	l.exits(map[string]int64{"purge": 1000}, 100)
	results := map[int]result{}
	var list []int
	for n := range claims {
		list = append(list, n+1)
		results[n+1] = claims[n].judge(l.f)
	}
	path := filepath.Join(t.TempDir(), "page.html")
	if err := writePage(path, "amd64", list, results, l.f); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`id="c12"`, "shared-eager", "<svg", "timeline of inline/16", "breaks it", "E10: a zombie"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page has no %q", want)
		}
	}
}

// A claim has no verdict if a boot that it needs has not run. A missing output must not pass
// for the silence of a kernel that has died.
// Broken by: ran that is always true.
func TestNotRun(t *testing.T) {
	l := usual(t)
	l.exits(map[string]int64{"purge": 1000}, 100)
	for i := range l.f.boots {
		if l.f.boots[i].name == "wrong root" {
			l.f.boots[i].log = filepath.Join(t.TempDir(), "none")
		}
	}
	for n, want := range map[int]bool{6: true, 7: false} {
		if got := l.f.answer(n).verdict; (got != "no verdict") != want {
			t.Errorf("claim %d: %q", n, got)
		}
	}
	if v := (&boot{name: "wrong root", log: "/nowhere", ends: true}).verdict(); v != "has not run" {
		t.Errorf("a boot without output: %q", v)
	}
}
