package main

import (
	"fmt"
	"html/template"
	"math"
	"runtime"
	"strings"

	"grim/proc/exit"
	"grim/qemu/bench"
)

// claim is a statement from the debate, and the experiment that answers it. qemu/LAB.md
// describes how to add one.
type claim struct {
	text string // in the project's own words
	who  string // the author and the date
	// experiment describes the experiment. otherwise describes how it was checked that the
	// experiment can have the opposite result.
	experiment, otherwise string
	boots                 []boot // the boots that it needs
	// judge evaluates the figures.
	judge func(f *findings) result
}

// result is the answer to a claim.
type result struct {
	verdict  string // one of the verdicts, or the result of open
	says     string // the reason, with figures
	table    *bench.Table
	more     *bench.Table // a second one
	bars     *bars
	pictures []picture
	exits    bool // show the timelines here
	lines    bool // show cost against resident pages here
}

// picture is a further picture, with a title.
type picture struct {
	Title string
	SVG   template.HTML
}

// bars is a picture with one bar for each design.
type bars struct {
	title string
	of    func(d *exit.Design) (value float64, note string)
}

const (
	holds  = "it holds"
	partly = "partly"
	fails  = "it does not hold"
)

func open(needs string) string { return "open: needs " + needs }

// claims are numbered from 1, in this order.
var claims = []claim{
	{
		text:       "One reaper for the machine makes everybody's exit queue.",
		who:        "the diff \"Faster _exit(2) for a faster userland\", tech@openbsd.org, 2 May 2025; its tester: 136.93 s to 125.83 s real, 280.55 s to 249.35 s system, 8 cores",
		experiment: "A build like make -j4: for each of 40 files a driver starts a compiler that touches 1 to 30 MB in pages of 4 KB. Time of the whole build, the longest way from exit1 to the wait that collects it, and how many dead processes wait to be finished. Then many processes of 16 MB that exit at the same moment: 16, worked out from the steps of one exit, for 1 to 8 CPUs, and four, measured. What is measured on several CPUs is in the host's time: five rounds, in each the designs one after the other, and of each design the quickest.",
		otherwise:  "inline does the same work without a reaper: its queue is empty, and its time on several CPUs is what no queue costs.",
		boots:      []boot{experiments("debate/exits,debate/build,debate/together"), inTurn(2, "debate/exits,debate/build"), parallel(2, "debate/rounds,debate/together"), parallel(4, "debate/rounds,debate/together")},
		judge:      judgeQueue,
	},
	{
		text:       "Without a reaper, dead threads are not freed until the process ends, and programs with many threads run out of them.",
		who:        "Claudio Jeker, tech@openbsd.org, 3 May 2025, of the first diff",
		experiment: "A process makes and ends 100 000 threads. How many thread objects there are at the worst moment, and how much memory they hold.",
		otherwise:  "inline has no reaper either, and frees them: what decides is when they are freed, not by whom.",
		boots:      []boot{experiments("debate/threads")},
		judge:      judgeThreads,
	},
	{
		text:       "Freeing a thread and its u-area is so cheap that there is no reason to delay it.",
		who:        "Theo de Raadt, tech@openbsd.org, 3 May 2025",
		experiment: "The instructions between the steps off-stack and zombie of an exit under inline: the last thread and its u-area are freed there. Beside them, what a thread costs from its making to its end, and what the exit of a process of 16 MB costs.",
		otherwise:  "A u-area that took more than a tenth of such an exit would turn the verdict; TestVerdictsTurn gives it such figures.",
		boots:      []boot{experiments("debate/exits"), experiments("debate/threads"), experiments("debate/charged")},
		judge:      judgeThreadCost,
	},
	{
		text:       "A parent may be handed a child whose mmap'd file is not coherent yet.",
		who:        "Theo de Raadt, tech@openbsd.org, 3 May 2025",
		experiment: "A child writes to 8 pages of a mapped file and exits; its parent waits, and at once it is counted how many pages the pager does not have, and how many read(2) gives wrongly. Once with a pager that takes no time, once with 1 ms a page. Then the same with a file on an ext4 disk (virtio): a quick one, one of 200 requests a second, and one with a bad sector. There, after another such child, the parent unmounts the disk at once.",
		otherwise:  "eager is the way for it to come out wrong; the self-tests exit/coherent and purge/slow-pager must fail under it, and do.",
		boots:      []boot{experiments("debate/coherent"), quick, onDisk("plain"), onDisk("slow"), onDisk("failing")},
		judge:      judgeCoherent,
	},
	{
		text:       "The heavy teardown has to leave the reaper; then processes are charged for cleaning up their own space, and their system time rises.",
		who:        "Theo de Raadt, 3 May 2025; mpi, 12 May 2025, tech@openbsd.org",
		experiment: "A process of 16 MB in pages of 4 KB exits: the child's system time, the parent's in wait, the reaper's. In the build of claim 1: how many dead processes are in the queue, at most and in the mean.",
		otherwise:  "The five designs give the same work to four different payers.",
		boots:      []boot{experiments("debate/charged"), experiments("debate/exits,debate/build")},
		judge:      judgeCharged,
	},
	{
		text:       "The guts of the map teardown can damage the kernel's mappings where user and kernel share page tables.",
		who:        "Theo de Raadt, tech@openbsd.org, 3 May 2025",
		experiment: "A kernel built to be broken, whose purge takes one root entry too many: the first of the kernel half. What the test of E2 says, and what becomes of the machine without tests, under both layouts.",
		otherwise:  "The kernel that is not broken passes the same test in the same way.",
		boots: []boot{quick, {name: "wrong half", tags: "wronghalf", test: "kernelmap/kernel-half", ends: true},
			{name: "wrong half, shared", tags: "wronghalf", test: "none", ends: true},
			{name: "wrong half, separate", tags: "wronghalf", test: "none", layout: "separate", ends: true}},
		judge: judgeHalf,
	},
	{
		text:       "A purge must not call pmap_destroy.",
		who:        "Theo de Raadt, tech@openbsd.org, 3 May 2025",
		experiment: "A kernel built to be broken, whose purge frees the root, on one CPU and on two. Then another one, whose threads do not leave the root when they end, as in a kernel that switches lazily: processes of many threads are killed on two CPUs.",
		otherwise:  "The kernel that is not broken passes the same tests on one CPU and on two.",
		boots: []boot{quick, {name: "wrong root", tags: "wrongroot", test: "none", ends: true}, {name: "wrong root, 2 CPUs", tags: "wrongroot", cpus: 2, test: "none", ends: true},
			{name: "wrong wake, threads", tags: "wrongwake", cpus: 2, real: true, test: "exit/kill-storm", ends: true}, inTurn(2, "reaper/roots,exit/kill-storm")},
		judge: judgeRoot,
	},
	{
		text:       "With the purge in the process the reaper becomes faster, because the map has less to give back.",
		who:        "the thread, tech@openbsd.org, 3 May 2025, 08:05 (the proposal in steps)",
		experiment: "The reaper's instructions in one exit, by resident size, and its share of the whole exit.",
		otherwise:  "Under reaper its share grows with the size.",
		boots:      []boot{experiments("debate/exits")},
		judge:      judgeShare,
	},
	{
		text:       "Waking the parent before the child is off its CPU lets the parent free what a CPU still stands on.",
		who:        "the attempt of September 2025, tech@openbsd.org, 14 to 16 September 2025 (random SIGSEGVs on arm64)",
		experiment: "A kernel built to be broken: under parent, an exiting thread makes its process a zombie and wakes the parent while it is still on its way out, for one more millisecond, and its CPU still has the root; the parent's wait frees both. Four such children exit at the same moment, on one CPU and on two. In the kernel that is not broken, on 2 and 4 CPUs: at every step of every exit, under every design, is a root that a CPU has loaded, or a u-area, free (reaper/roots-and-uareas)?",
		otherwise:  "The kernel that is not broken passes the same test; on one CPU the broken one passes as well, since the child has left by the time the parent runs.",
		boots: []boot{experiments("debate/exits"), inTurn(2, "reaper/roots,debate/together"), parallel(2, "reaper/roots"), parallel(4, "reaper/roots"),
			{name: "wrong wake", tags: "wrongwake", test: "debate/together", ends: true},
			{name: "wrong wake, 2 CPUs", tags: "wrongwake", cpus: 2, real: true, test: "debate/together", ends: true}},
		judge: judgeWoken,
	},
	{
		text:       "If wait frees the child's memory, children that nobody waits for stay fat zombies.",
		who:        "the answers to the attempt of September 2025, tech@openbsd.org",
		experiment: "500 children touch 256 KB each and end; nobody waits. What each holds, in page frames and in kernel memory.",
		otherwise:  "parent is the design that does it.",
		boots:      []boot{experiments("debate/zombies")},
		judge:      judgeZombies,
	},
	{
		text:       "Emptied page tables that are kept for the next process save work and interrupts between CPUs; so do caches of pages for each CPU.",
		who:        "FreeBSD's commit 01e5736d40 on recycled pmaps; mpi and dlg, tech@openbsd.org, March and April 2024 (7 to 13 % of a kernel build with 16 CPUs, 19 to 33 % with 32)",
		experiment: "What a new address space costs with emptied roots in stock, and without, and how many interrupts it sends to other CPUs; on two CPUs also how many interrupts the build of claim 1 sends.",
		otherwise:  "The stock is emptied before each measurement, or not: the same code runs.",
		boots:      []boot{experiments("debate/roots"), inTurn(2, "debate/roots,debate/build")},
		judge:      judgeRoots,
	},
	{
		text:       "Changes must leave the order of deadproc, knotes and wake-up alone.",
		who:        "Theo de Raadt, tech@openbsd.org, 3 May 2025",
		experiment: "At each step of an exit: would wait(2) find the child? An observer who is told at a step (a knote at note-exit, a handler at sigchld, a sleeper in wait at wakeup) sees just that.",
		otherwise:  "A kernel that sends SIGCHLD before the process is a zombie fails TestExitOrder (tried), and exit/order (see its comment).",
		boots:      []boot{experiments("debate/observers"), quick},
		judge:      judgeOrder,
	},
}

// span returns the time from the first to the last step of a context.
func span(e *bench.Exit, by exit.Context) (ns int64) {
	first := int64(-1)
	for _, s := range e.Steps {
		if s.Context != by.String() {
			continue
		}
		if first < 0 {
			first = s.NS
		}
		ns = s.NS - first
	}
	return ns
}

// between returns the time from one step to another.
func between(e *bench.Exit, from, to exit.Step) (ns int64) {
	for _, s := range e.Steps {
		switch s.Name {
		case from.String():
			ns -= s.NS
		case to.String():
			ns += s.NS
		}
	}
	return ns
}

// perDesign makes a table with a row for each design.
func perDesign(title string, head []string, row func(d *exit.Design) []string) *bench.Table {
	t := &bench.Table{Title: title, Head: append([]string{"design"}, head...)}
	for _, d := range exit.Designs {
		t.Rows = append(t.Rows, append([]string{d.Name}, row(d)...))
	}
	return t
}

func judgeQueue(f *findings) result {
	longest, queue := func(d *exit.Design) float64 { return f.figure(d, "build_longest_wait") }, func(d *exit.Design) float64 { return f.figure(d, "build_queue_most") }
	one, two, four := f.boot(experiments("").name), f.boot(parallel(2, "").name), f.boot(parallel(4, "").name)
	against := func(b *boot, d *exit.Design, name string) float64 { // as a multiple of purge's
		return b.figure(d, name) / max(1, b.figure(&exit.Purge, name))
	}
	const many = 16
	at := func(d *exit.Design, cpus int) float64 { return float64(crowd(f.exit(d, 16), many, cpus)) }
	r := result{
		table: perDesign("16 processes of 16 MB that exit at the same moment: instructions until the last is collected, worked out from the steps of one exit", []string{"1 CPU", "2 CPUs", "4 CPUs", "8 CPUs"}, func(d *exit.Design) (row []string) {
			for _, cpus := range []int{1, 2, 4, 8} {
				row = append(row, bench.Number(at(d, cpus)))
			}
			return row
		}),
		more: perDesign("a build with -j4, and four exits at the same moment; times are of the host on several CPUs, purge = 1", []string{"build, 1 CPU", "2", "4", "four exits, 2 CPUs", "4", "system time, 1 CPU", "longest exit1 to wait, instructions", "dead processes, most", "reaper's instructions"}, func(d *exit.Design) []string {
			row := []string{fmt.Sprintf("%.3f", against(one, d, "build_time"))}
			for _, name := range []string{"rounds_time", "together_time"} {
				for _, b := range []*boot{two, four} {
					row = append(row, fmt.Sprintf("%.2f", against(b, d, name)))
				}
			}
			return append(row, fmt.Sprintf("%.2f", against(one, d, "build_system")), bench.Number(longest(d)), bench.Number(queue(d)), bench.Number(f.figure(d, "build_reaper")))
		}),
		bars: &bars{"16 exits at the same moment on 4 CPUs, instructions until the last is collected", func(d *exit.Design) (float64, string) { return at(d, 4), bench.Number(at(d, 4)) }},
	}
	for _, b := range []*boot{one, two, four} {
		r.pictures = append(r.pictures, b.pictures()...)
	}
	r.says = fmt.Sprintf("Under reaper up to %.0f dead processes stand in its queue in the build, under inline %.0f, and the reaper works for %s instructions on behalf of others. On one CPU the build takes as long under every design (%.3f times purge's time under reaper): the work is the same whoever does it. More CPUs help only designs whose processes purge themselves: 16 exits at the same moment take %.2f times as long under reaper as under purge on 2 CPUs, %.2f times on 4 and %.2f times on 8. Measured, on a host of %d CPUs (load %s): the build takes %.2f and %.2f times as long under reaper on 2 and 4 CPUs, four exits at the same moment %.2f and %.2f times. These last figures mean something on an idle host only.",
		queue(&exit.Reaper), queue(&exit.Inline), bench.Number(f.figure(&exit.Reaper, "build_reaper")), against(one, &exit.Reaper, "build_time"),
		at(&exit.Reaper, 2)/at(&exit.Purge, 2), at(&exit.Reaper, 4)/at(&exit.Purge, 4), at(&exit.Reaper, 8)/at(&exit.Purge, 8), runtime.NumCPU(), hostLoad(),
		against(two, &exit.Reaper, "rounds_time"), against(four, &exit.Reaper, "rounds_time"), against(two, &exit.Reaper, "together_time"), against(four, &exit.Reaper, "together_time"))
	if r.verdict = fails; at(&exit.Reaper, 4) > 1.5*at(&exit.Purge, 4) && queue(&exit.Reaper) > queue(&exit.Inline) {
		r.verdict = holds + ", where there are CPUs that could help"
	}
	return r
}

func judgeThreads(f *findings) result {
	most, ended := func(d *exit.Design) float64 { return f.figure(d, "threads_most") }, func(d *exit.Design) float64 { return f.figure(d, "threads_ended") }
	r := result{
		verdict: fails,
		table: perDesign("100 000 threads", []string{"threads that ended", "most at a time", "memory held at the worst moment"}, func(d *exit.Design) []string {
			return []string{bench.Number(ended(d)), bench.Number(most(d)), bench.Number(f.figure(d, "threads_held")) + " bytes"}
		}),
		bars: &bars{"most thread objects at a time", func(d *exit.Design) (float64, string) { return most(d), bench.Number(most(d)) }},
	}
	if ended(&exit.Parent) < 100_000 && ended(&exit.Inline) == 100_000 {
		r.verdict = holds + " for a design that keeps them; a reaper is not needed to avoid it"
	}
	r.says = fmt.Sprintf("Under parent the process has run out after %.0f threads, all of which were held; under purge %.0f at a time, and under inline, which has no reaper, %.0f.",
		ended(&exit.Parent), most(&exit.Purge), most(&exit.Inline))
	return r
}

func judgeThreadCost(f *findings) result {
	each := func(d *exit.Design) float64 { return f.figure(d, "threads_each") }
	free, process := float64(between(f.exit(&exit.Inline, 16), exit.StepOffStack, exit.StepZombie)), f.figure(&exit.Purge, "charged_child")
	r := result{verdict: holds,
		table: perDesign("instructions for a thread, made and ended", []string{"instructions"}, func(d *exit.Design) []string { return []string{bench.Number(each(d))} }),
		bars:  &bars{"instructions for a thread, made and ended", func(d *exit.Design) (float64, string) { return each(d), bench.Number(each(d)) }},
		says: fmt.Sprintf("To free a thread and its u-area costs less than %s instructions, %.1f %% of the exit of a process of 16 MB. A thread costs %s from its making to its end under purge, with the way to the reaper, and %s under inline, without. (parent has used up all u-areas after fewer threads; its figure is of fresh ones.)",
			bench.Number(free), 100*free/process, bench.Number(each(&exit.Purge)), bench.Number(each(&exit.Inline)))}
	if free > process/10 {
		r.verdict = fails
	}
	return r
}

func judgeCoherent(f *findings) result {
	names := []string{"coherent_fast_disk", "coherent_fast_read", "coherent_slow_disk", "coherent_slow_read"}
	wrong := func(d *exit.Design) (n float64) {
		for _, name := range names {
			n += f.figure(d, name)
		}
		return n
	}
	disks := []*boot{f.boot(onDisk("plain").name), f.boot(onDisk("slow").name), f.boot(onDisk("failing").name)}
	onDisks := func(d *exit.Design, names ...string) (list []string) {
		for _, name := range names {
			for _, b := range disks {
				list = append(list, bench.Number(b.figure(d, name)))
			}
		}
		return list
	}
	r := result{exits: true,
		table: perDesign("pages, of 8, that are wrong right after wait", []string{"fast pager: pager", "fast pager: read(2)", "slow pager: pager", "slow pager: read(2)"}, func(d *exit.Design) (row []string) {
			for _, name := range names {
				row = append(row, bench.Number(f.figure(d, name)))
			}
			return row
		}),
		more: perDesign("a file of 64 pages on a disk: quick, slow, failing", []string{"wrong by read(2) or a mapping", "cannot be unmounted yet", "exit1 to wake-up, us", "wrong on the disk later", "errors that fsync told"}, func(d *exit.Design) []string {
			join := func(names ...string) string {
				list := onDisks(d, names...)
				if len(names) == 2 {
					for i, b := range disks {
						list[i] = bench.Number(b.figure(d, names[0]) + b.figure(d, names[1]))
					}
				}
				return strings.Join(list[:len(disks)], ", ")
			}
			var took []string
			for _, b := range disks {
				took = append(took, bench.Number(math.Round(b.figure(d, "disk_exit")/1000)))
			}
			return []string{join("disk_read", "disk_mapped"), join("disk_busy"), strings.Join(took, ", "), join("disk_stored"), join("disk_told")}
		})}
	var sound, bad []string
	for _, d := range exit.Designs {
		if wrong(d) > 0 {
			bad = append(bad, d.Name)
		} else {
			sound = append(sound, d.Name)
		}
	}
	r.says = fmt.Sprintf("Under %s every page is right; under %s %.0f of 8 pages are not with the pager when wait has returned, if the pager is slow, and read(2) gives %.0f of them wrongly.",
		strings.Join(sound, ", "), strings.Join(bad, ", "), f.figure(&exit.Eager, "coherent_slow_disk"), f.figure(&exit.Eager, "coherent_slow_read"))
	stale, busy, soundBusy := 0.0, 0.0, 0.0
	for _, d := range exit.Designs {
		for _, b := range disks {
			stale += b.figure(d, "disk_read") + b.figure(d, "disk_mapped")
			if d.Unsound {
				busy += b.figure(d, "disk_busy")
			} else {
				soundBusy += b.figure(d, "disk_busy")
			}
		}
	}
	r.says += fmt.Sprintf(" On a real disk %.0f pages were wrong, under any design and however slow the disk: read(2) and mappings share the frames of one page cache, and the disk is written later. A kernel whose read(2) has buffers of its own, as OpenBSD's, is the one that needs the wait.", stale)
	if busy > 0 {
		r.says += fmt.Sprintf(" What is handed over too early on a disk is its use: umount(2) right after wait said EBUSY %.0f times under the unsound designs, and %.0f times under the sound ones.", busy, soundBusy)
	}
	switch {
	case stale > 0 || soundBusy > 0:
		r.verdict = "ERROR: a page of a file on a disk is wrong, or a sound design keeps a disk in use"
	case len(bad) == 1 && bad[0] == "eager":
		r.verdict = holds + " for a zombie that comes before the teardown"
	case bad == nil:
		r.verdict = fails
	default:
		r.verdict = "ERROR: a sound design is not coherent"
	}
	return r
}

func judgeCharged(f *findings) result {
	child, parent := func(d *exit.Design) float64 { return f.figure(d, "charged_child") }, func(d *exit.Design) float64 { return f.figure(d, "charged_parent") }
	others := func(d *exit.Design, by exit.Context) float64 { return float64(span(f.exit(d, 16), by)) }
	r := result{verdict: holds,
		table: perDesign("instructions of the exit of a process of 16 MB, by who is charged", []string{"child", "parent's wait", "reaper, charged to nobody", "background, charged to nobody", "queue in the build: most", "mean"}, func(d *exit.Design) []string {
			return []string{bench.Number(child(d)), bench.Number(parent(d)), bench.Number(others(d, exit.InReaper)), bench.Number(others(d, exit.InBackground)),
				bench.Number(f.figure(d, "build_queue_most")), fmt.Sprintf("%.2f", f.figure(d, "build_queue_mean")/1000)}
		}),
		bars: &bars{"system time of the child's exit", func(d *exit.Design) (float64, string) { return child(d), bench.Number(child(d)) }},
	}
	r.says = fmt.Sprintf("The child's system time for its exit goes from %s instructions under reaper to %s under purge: mpi's remark holds. Under reaper %s instructions are nobody's. Under parent the parent pays %s in wait.",
		bench.Number(child(&exit.Reaper)), bench.Number(child(&exit.Purge)), bench.Number(others(&exit.Reaper, exit.InReaper)), bench.Number(parent(&exit.Parent)))
	var strips []bench.Strip
	for _, d := range exit.Designs {
		strips = append(strips, bench.Strip{Design: d.Name, Values: f.boot(experiments("").name).queue(d)})
	}
	r.pictures = []picture{{"", bench.Strips("dead processes that wait to be finished, over the time of the build of claim 1, on one CPU", strips)}}
	if child(&exit.Purge) < 10*child(&exit.Reaper) {
		r.verdict = fails
	}
	return r
}

func judgeHalf(f *findings) result {
	seen := f.boot("wrong half")
	r := result{table: &bench.Table{Title: "a purge that takes one entry of the kernel half", Head: []string{"layout", "the test of E2", "without tests"}}}
	caught := true
	for _, l := range []string{"shared", "separate"} {
		line := seen.line("kernelmap/kernel-half-stays [" + l + " purge]")
		end := f.boot("wrong half, " + l).ending()
		// A root that holds no entry of the kernel half has nothing to damage.
		nothing := l == "separate" && strings.HasPrefix(line, "ok") && strings.HasSuffix(end, " 0 failed")
		caught = caught && (strings.HasPrefix(line, "#") || nothing)
		r.table.Rows = append(r.table.Rows, []string{l, line, end})
	}
	healthy := f.boot(quick.name).passed("kernelmap/kernel-half-stays [shared purge]")
	r.says = "A kernel whose purge takes one entry too many is caught by kernelmap/kernel-half-stays; without the test the machine dies in the next process or interrupt that needs the mapping. The kernel that is not broken passes. Under separate the root of a process on amd64 maps what entry and exit need, which can be damaged too; on arm64 it has no entry of the kernel half, and nothing is damaged: the claim is about shared roots."
	if r.verdict = holds; !caught || !healthy {
		r.verdict, r.says = fails, "The test of E2 does not tell a broken purge from one that is not."
	}
	return r
}

func judgeRoot(f *findings) result {
	one, two, lazy := f.boot("wrong root").ending(), f.boot("wrong root, 2 CPUs").ending(), f.boot("wrong wake, threads").ending()
	r := result{table: &bench.Table{Title: "a purge that frees the root, and a root that is loaded elsewhere", Head: []string{"kernel", "CPUs", "what it says"},
		Rows: [][]string{{"purge frees the root", "1", one}, {"purge frees the root", "2", two}, {"threads stay on the root", "2", lazy}}}}
	r.verdict = holds
	r.says = "If the purge frees the root, uvmspace_free finds one that is gone already, and the kernel stops. If threads stay on the root when they end, another CPU has it loaded when the last one purges: the kernel's assertion stops it before tables are freed that this CPU may walk. A purge that empties the root and leaves it to the final free does not free twice, and in the kernel that is not broken each thread leaves the root before it counts as gone."
	healthy := f.boot(inTurn(2, "").name).passed("reaper/roots-and-uareas [shared purge]") && f.boot(quick.name).passed("reaper/roots-and-uareas [shared purge]")
	if strings.Contains(one, " 0 failed") || strings.Contains(two, " 0 failed") || strings.Contains(lazy, " 0 failed") || !healthy {
		r.verdict, r.says = fails, "The machine with the broken kernel runs to its end, or the one that is not broken does not."
	}
	return r
}

func judgeShare(f *findings) result {
	part := func(d *exit.Design, mb int) (ns, share float64) {
		e := f.exit(d, mb)
		ns = float64(e.In(exit.InReaper.String()))
		return ns, 100 * ns / float64(max(1, e.Total()))
	}
	r := result{lines: true, verdict: holds, table: perDesign("the reaper's instructions in one exit (share of the whole)", []string{"0 MB", "1 MB", "4 MB", "16 MB", "64 MB"}, func(d *exit.Design) (row []string) {
		for _, mb := range sizes {
			ns, share := part(d, mb)
			row = append(row, fmt.Sprintf("%s (%.1f %%)", bench.Number(ns), share))
		}
		return row
	})}
	small, _ := part(&exit.Purge, 0)
	large, share := part(&exit.Purge, 64)
	old, oldShare := part(&exit.Reaper, 64)
	r.says = fmt.Sprintf("Under purge the reaper needs %s instructions for an empty process and %s for one of 64 MB (%.1f %% of that exit); under reaper %s (%.1f %%).",
		bench.Number(small), bench.Number(large), share, bench.Number(old), oldShare)
	if large > 2*small || old < 10*large {
		r.verdict = fails
	}
	return r
}

func judgeWoken(f *findings) result {
	const test = "reaper/roots-and-uareas [shared "
	one, two := f.boot("wrong wake").ending(), f.boot("wrong wake, 2 CPUs").ending()
	r := result{exits: true, table: &bench.Table{Title: "a parent that is woken before the child is off its CPU", Head: []string{"CPUs", "what the kernel says"}, Rows: [][]string{{"1", one}, {"2", two}}}}
	sound := true
	r.more = perDesign("the kernel that is not broken: "+test[:len(test)-9], []string{"2 CPUs in turn", "2 in parallel", "4 in parallel"}, func(d *exit.Design) (row []string) {
		for _, b := range []*boot{f.boot(inTurn(2, "").name), f.boot(parallel(2, "").name), f.boot(parallel(4, "").name)} {
			passed := b.passed(test + d.Name + "]")
			sound = sound && passed
			row = append(row, map[bool]string{true: "passed", false: "FAILED"}[passed])
		}
		return row
	})
	r.says = "On one CPU the child has left its root before the parent runs, and nothing happens. On two the parent takes apart a root that the child's CPU has loaded; the kernel's assertion sees it, where another kernel goes on with tables that are used for something else by then. In every design here the zombie comes after the step off-stack or reaper, by the order that each timeline must show."
	switch {
	case !sound:
		r.verdict = "ERROR: reaper/roots-and-uareas fails in the kernel that is not broken"
	case strings.Contains(two, " 0 failed"):
		r.verdict = fails
	default:
		r.verdict = holds
	}
	return r
}

func judgeZombies(f *findings) result {
	frames, kernel := func(d *exit.Design) float64 { return f.figure(d, "zombies_frames") }, func(d *exit.Design) float64 { return f.figure(d, "zombies_kernel") }
	r := result{verdict: holds,
		table: perDesign("each of 500 zombies holds", []string{"zombies", "bytes of page frames", "bytes of kernel memory"}, func(d *exit.Design) []string {
			return []string{bench.Number(f.figure(d, "zombies_made")), bench.Number(frames(d)), bench.Number(kernel(d))}
		}),
		bars: &bars{"bytes that a zombie holds", func(d *exit.Design) (float64, string) {
			return frames(d) + kernel(d), bench.Number(frames(d) + kernel(d))
		}},
		says: fmt.Sprintf("A zombie holds %s bytes of page frames and %s of kernel memory under parent, and %s bytes of both under purge; %s bytes of frames there are the parent's own tables and stock, divided by 500.",
			bench.Number(frames(&exit.Parent)), bench.Number(kernel(&exit.Parent)), bench.Number(frames(&exit.Purge)+kernel(&exit.Purge)), bench.Number(frames(&exit.Purge)))}
	if frames(&exit.Parent) < 10*frames(&exit.Purge) {
		r.verdict = fails
	}
	return r
}

func judgeRoots(f *findings) result {
	two := f.boot(inTurn(2, "").name)
	d := &exit.Purge
	kept, fresh := f.figure(d, "roots_kept"), f.figure(d, "roots_fresh")
	sent := two.figure(d, "roots_kept_interrupts") + two.figure(d, "roots_fresh_interrupts")
	r := result{verdict: holds + " for the work; not for interrupts, of which there are none to save; pages for each CPU: " + open("a stock of frames for each CPU in the kernel"),
		table: &bench.Table{Title: "a new address space", Head: []string{"roots", "instructions, one CPU", "two CPUs", "interrupts sent, two CPUs"}, Rows: [][]string{
			{"kept, emptied", bench.Number(kept), bench.Number(two.figure(d, "roots_kept")), bench.Number(two.figure(d, "roots_kept_interrupts"))},
			{"made anew", bench.Number(fresh), bench.Number(two.figure(d, "roots_fresh")), bench.Number(two.figure(d, "roots_fresh_interrupts"))}}},
		more: perDesign("interrupts between 2 CPUs in a build of 81 processes", []string{"shoot-downs", "wake-ups of idle CPUs"}, func(d *exit.Design) []string {
			return []string{bench.Number(two.figure(d, "build_shootdowns")), bench.Number(two.figure(d, "build_wakeups"))}
		}),
		says: fmt.Sprintf("A new address space costs %s instructions with a root from stock and %s without: its kernel half is still valid. Neither sends an interrupt (%.0f in all): the kernel half of all roots points at the same tables, which never change after start, so there is nothing to tell other CPUs. A whole build under purge sends %.0f shoot-downs for 81 exits: each thread leaves its root by itself, so a purge has nobody to interrupt.",
			bench.Number(kept), bench.Number(fresh), sent, two.figure(d, "build_shootdowns"))}
	if fresh <= kept {
		r.verdict = fails
	}
	return r
}

func judgeOrder(f *findings) result {
	steps := []exit.Step{exit.StepNoteExit, exit.StepSpaceFreed, exit.StepZombie, exit.StepSIGCHLD, exit.StepWakeup}
	var head []string
	for _, s := range steps {
		head = append(head, s.String())
	}
	right := true
	r := result{exits: true, table: perDesign("would wait(2) find the child at this step?", head, func(d *exit.Design) (row []string) {
		for _, s := range steps {
			found := f.figure(d, "observers_"+s.String()) == 1
			if s == exit.StepNoteExit && found || s >= exit.StepSIGCHLD && !found {
				right = false
			}
			row = append(row, map[bool]string{true: "yes", false: "no"}[found])
		}
		return row
	})}
	r.says = "A knote hears of the end before the child can be waited for, under every design: it must not wait. SIGCHLD and the wake-up come when it can. If SIGCHLD came one step earlier, its handler's wait would find nothing, and the child would be lost to a program that waits in the handler only."
	if r.verdict = holds; !right {
		r.verdict = "ERROR: an order that no design has"
	}
	return r
}
