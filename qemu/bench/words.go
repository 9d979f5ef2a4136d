package bench

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"grim/proc/exit"
)

// shown is a workload's figure in the report's pictures and tables. said: the sentences
// mention it too.
type shown struct {
	name, title string
	said        bool
}

// jobs describe the workloads for the report: what each does, what an exit policy and
// another kernel change, and its figures.
var jobs = []struct {
	name, title, about, policies, kernels string
	figures                               []shown
}{
	{"build", "A build",
		"40 files, four at a time: for each a driver process that starts a compiler, which touches 1 to 30 MB, computes, writes a file and exits.",
		"Under purge a compiler gives its memory back in its own turn, before make hears of its end. Under reaper all of them queue for one task, and make's wait for the next free place includes what is in front in that queue. The work is the same.",
		"Most of it is the compilers' first touch of their memory, then giving it back.",
		[]shown{{"total", "the whole build takes", true}}},
	{"storm", "A shell script",
		"500 tiny commands, one after another: fork, exec, exit, wait.",
		"Such a process has a few dozen pages. What the policies can move from one context to the other is that little, so they differ by the way to the reaper only.",
		"",
		[]shown{{"command", "a command takes", true}, {"command_max", "the longest command", false}}},
	{"server", "A server whose workers end",
		"A service answers a client that asks 50 us after each answer, while five workers, one after the other, touch 200 MB, sleep and exit. A request begins when it is due, so it includes what keeps the client itself from the CPU.",
		"Under purge a worker takes its own memory apart, in its own turns on the CPU, and lets others run at bounded intervals. Under reaper a kernel task does, and every other exit of the machine waits behind it. Requests that meet no exit tell what a computing process costs the others, whatever its exit does.",
		"Linux lets a process that wakes up take the CPU from one that computes; Grim lets that one finish its time slice of 5 ms, or its purge come to its next pause, and a request has three turns to wait for: the client's, the service's, the client's again. The longest requests without an exit show this.",
		[]shown{
			{"exit", "a worker's exit takes", true},
			{"exit_median", "a request during an exit, median", false},
			{"exit_p99", "a request during an exit, 99th percentile", false},
			{"exit_max", "the longest request during an exit", true},
			{"exit_requests", "requests during an exit", false},
			{"other_median", "a request without an exit, median", false},
			{"other_p99", "a request without an exit, 99th percentile", false},
			{"other_max", "the longest request without an exit", true},
		}},
	{"threads", "100 000 threads",
		"One process makes and ends them, one after another, until it has made all or the system refuses more.",
		"A thread that is not its process's last has no memory to purge; the reaper frees its u-area at once, or its own goroutine does (inline, eager). Under parent it is not freed, and the system runs out. Under the others what is held stays bounded, however many there were.",
		"",
		[]shown{{"thread", "a thread costs", true}, {"made", "threads made", false}, {"held_most", "memory held at the worst moment", false}}},
	{"zombies", "Children nobody waits for",
		"Children of 256 KB each that have ended while their parent does something else: 500 that fill the kernel's stocks, then 500 that are measured.",
		"A zombie is what wait still wants to know. The designs free its memory, its u-area and its page tables before it becomes one, or soon after (eager); parent does not.",
		"Linux takes a zombie's objects from page frames, a slab at a time, and frees some things later; Grim takes them from its heap. Both are counted.",
		[]shown{{"made", "zombies made", false}, {"each_holds", "each holds", true}, {"each_frames", "of it page frames", false}, {"each_heap", "of it kernel heap", false}, {"wait", "waiting for one", false}}},
}

// Amount returns a figure with its unit, for people.
func (f *Figure) Amount() string {
	switch f.Unit {
	case "ns":
		return duration(f.Value)
	case "bytes":
		return size(f.Value)
	}
	return Number(f.Value) + " " + f.Unit
}

// duration returns guest nanoseconds, for people.
func duration(ns float64) string {
	switch {
	case ns >= 1e6:
		return fmt.Sprintf("%.2f ms", ns/1e6)
	case ns >= 1e3:
		return fmt.Sprintf("%.1f us", ns/1e3)
	}
	return fmt.Sprintf("%.0f ns", ns)
}

func size(bytes float64) string {
	switch {
	case bytes >= 10<<20:
		return fmt.Sprintf("%.1f MB", bytes/(1<<20))
	case bytes >= 10<<10:
		return fmt.Sprintf("%.1f KB", bytes/(1<<10))
	}
	return Number(bytes) + " bytes"
}

// change returns b, and its difference from a.
func change(a, b *Figure) string {
	switch d := 100 * (b.Value/a.Value - 1); {
	case a.Value == 0 && b.Value != 0:
		return b.Amount()
	case d >= 0.1:
		return fmt.Sprintf("%s, %.1f %% more", b.Amount(), d)
	case d <= -0.1:
		return fmt.Sprintf("%s, %.1f %% less", b.Amount(), -d)
	}
	return "as much"
}

// setupOf returns the run with a setup, or nil if there is none.
func setupOf(runs []*Run, layout, exit string, huge bool) *Run {
	i := slices.IndexFunc(runs, func(r *Run) bool { return r.Layout == layout && r.Exit == exit && r.Huge == huge })
	if i < 0 {
		return nil
	}
	return runs[i]
}

// WorkloadWords describes the effect of the other policy on a workload, the reason, and the
// results of another kernel, in sentences with the figures.
func WorkloadWords(name string, runs []*Run) (text []string) {
	for _, j := range jobs {
		if j.name != name {
			continue
		}
		if setupOf(runs, "shared", "reaper", true) != nil {
			text = append(text, j.policies)
		}
		if j.kernels != "" && setupOf(runs, "", "", true) != nil {
			text = append(text, j.kernels)
		}
		for _, huge := range []bool{true, false} {
			pages := "With 2 MB blocks"
			if !huge {
				pages = "With 4 KB pages"
			}
			base := exit.Designs[0].Name
			purge := setupOf(runs, "shared", base, huge)
			for _, d := range exit.Designs[1:] {
				if s := sentence(j.name, j.figures, purge, setupOf(runs, "shared", d.Name, huge), "under "+base, "under "+d.Name, change); s != "" {
					text = append(text, pages+": "+s)
				}
			}
			other := setupOf(runs, "", "", huge)
			if other == nil {
				continue
			}
			if s := sentence(j.name, j.figures, purge, other, "on Grim", "on "+other.Kernel, multiple); s != "" {
				text = append(text, pages+": "+s)
			}
		}
	}
	return text
}

// sentence lists the figures of two runs side by side. It returns "" if one of them has
// none.
func sentence(workload string, figures []shown, a, b *Run, inA, inB string, compare func(a, b *Figure) string) string {
	if a == nil || b == nil {
		return ""
	}
	var parts []string
	for _, f := range figures {
		if !f.said {
			continue
		}
		x, y := a.Figure(workload, f.name), b.Figure(workload, f.name)
		if x != nil && y != nil {
			parts = append(parts, fmt.Sprintf("%s %s %s and %s %s", f.title, x.Amount(), inA, compare(x, y), inB))
		}
	}
	if parts == nil {
		return ""
	}
	return strings.Join(parts, "; ") + "."
}

// multiple returns b as a multiple of a.
func multiple(a, b *Figure) string {
	if a.Value <= 0 || b.Value <= 0 {
		return b.Amount()
	}
	return fmt.Sprintf("%s (%s)", b.Amount(), timesText(b.Value/a.Value))
}

// Figures makes the table of all workloads of one architecture, or nil if none was run.
func Figures(arch string, runs []*Run) *Table {
	t := &Table{Title: arch + ": workloads", Head: append([]string{"figure"}, Names(runs)...), Folded: true}
	type key struct{ workload, name string }
	var keys []key
	for _, r := range runs {
		for _, f := range r.Figures {
			if k := (key{f.Workload, f.Name}); !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	if keys == nil {
		return nil
	}
	slices.SortStableFunc(keys, func(a, b key) int { return cmp.Compare(place(a.workload, a.name), place(b.workload, b.name)) })
	for _, k := range keys {
		t.add(k.workload+": "+figureTitle(k.workload, k.name), runs, func(r *Run) string {
			if f := r.Figure(k.workload, k.name); f != nil {
				return f.Amount()
			}
			return none
		})
	}
	return t
}

// place returns the position of a figure in tables: with its workload, in the order of
// jobs. Figures that are not in jobs come last.
func place(workload, name string) int {
	const most = 100 // figures of a workload
	for i, j := range jobs {
		if j.name != workload {
			continue
		}
		for k, f := range j.figures {
			if f.name == name {
				return i*most + k
			}
		}
		return i*most + most - 1
	}
	return len(jobs) * most
}

// figureTitle returns a figure's name for people.
func figureTitle(workload, name string) string {
	for _, j := range jobs {
		for _, f := range j.figures {
			if j.name == workload && f.name == name {
				return strings.TrimSuffix(strings.TrimSuffix(f.title, " takes"), " costs")
			}
		}
	}
	return strings.ReplaceAll(name, "_", " ")
}

// workloadBars draws the figures of a workload, each on its own linear scale.
func workloadBars(name string, figures []shown, runs []*Run) *drawing {
	const title = 270
	d := &drawing{width: pictureWidth, height: 4}
	type row struct {
		f    shown
		most float64
	}
	var rows []row
	for _, f := range figures {
		most, some := 0.0, false
		for _, r := range runs {
			if v := r.Figure(name, f.name); v != nil {
				most, some = max(most, v.Value), true
			}
		}
		if some {
			rows = append(rows, row{f, most})
		}
	}
	if rows == nil {
		return nil
	}
	names := Names(runs)
	for _, r := range rows {
		d.text("name right", title-8, d.height+float64(len(runs))*barHeight/2+4, figureTitle(name, r.f.name))
		for k, run := range runs {
			if f := run.Figure(name, r.f.name); f != nil {
				width := 0.0
				if r.most > 0 {
					width = max(0, f.Value) / r.most * (pictureWidth - title - 120)
				}
				d.rect(run.class(), title, d.height, width, barHeight-1, names[k]+": "+f.Amount())
				d.text("value", title+width+4, d.height+barHeight-1.5, f.Amount())
			} else {
				d.text("value", title+4, d.height+barHeight-1.5, none)
			}
			d.height += barHeight
		}
		d.height += rowGap
	}
	return d
}
