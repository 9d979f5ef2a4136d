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
	verdict  string // one of the verdicts, with what restricts it
	says     string // the reason, with figures
	tables   []*bench.Table
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

// claims are numbered from 1, in this order.
var claims = []claim{
	{
		text:       "One reaper for the machine makes everybody's exit queue.",
		who:        "the diff \"Faster _exit(2) for a faster userland\", tech@openbsd.org, 2 May 2025; its tester: 136.93 s to 125.83 s real, 280.55 s to 249.35 s system, 8 cores",
		experiment: "A build like make -j4: for each of 40 files a driver starts a compiler that touches 1 to 30 MB in pages of 4 KB. Measured are the time of the whole build, its system time, the longest time from a process's exit1 to the end of the wait that collects it, and how many dead processes wait to be finished. Then many processes of 16 MB exit at the same moment: sixteen on 1 to 8 CPUs, whose time is worked out from the steps of one exit, and four, whose time is measured. On several CPUs times are the host's. The kernel measures all designs five times in turn there, and the quickest round of each design counts.",
		otherwise:  "inline does the same work without a reaper. The only dead process there is the one that is just ending, and the time on several CPUs is what no queue costs.",
		boots:      []boot{experiments("debate/exits,debate/build,debate/together"), inTurn(2, "debate/exits,debate/build"), parallel(2, "debate/rounds,debate/together"), parallel(4, "debate/rounds,debate/together")},
		judge:      judgeQueue,
	},
	{
		text:       "Without a reaper, dead threads are not freed until the process ends, and programs with many threads run out of them.",
		who:        "Claudio Jeker, tech@openbsd.org, 3 May 2025, of the first diff",
		experiment: "A process makes and ends 100 000 threads. The experiment counts the thread objects, and the memory that they hold, at the worst moment.",
		otherwise:  "inline has no reaper either, and frees them: what decides is when they are freed, not by whom.",
		boots:      []boot{experiments("debate/threads")},
		judge:      judgeThreads,
	},
	{
		text:       "Freeing a thread and its u-area is so cheap that there is no reason to delay it.",
		who:        "Theo de Raadt, tech@openbsd.org, 3 May 2025",
		experiment: "Under inline the last thread and its u-area are freed between the steps off-stack and zombie of an exit. The instructions between these steps are compared with those of the whole exit of a process of 16 MB, and with those of a thread from its making to its end.",
		otherwise:  "A u-area that took more than a tenth of such an exit would turn the verdict; TestVerdictsTurn gives it such figures.",
		boots:      []boot{experiments("debate/exits"), experiments("debate/threads"), experiments("debate/charged")},
		judge:      judgeThreadCost,
	},
	{
		text:       "A parent may be handed a child whose mmap'd file is not coherent yet.",
		who:        "Theo de Raadt, tech@openbsd.org, 3 May 2025",
		experiment: "A child writes to 8 pages of a mapped file and exits, and its parent waits. As soon as wait has returned, the experiment counts the pages that the pager does not have, and those that read(2) gives wrongly. The pager takes no time in one run, and 1 ms a page in another. The experiment is then repeated with a file of 64 pages on an ext4 disk (virtio): on a quick disk, on a disk that does 200 requests a second, and on a disk with a bad sector. There the parent of another such child unmounts the disk at once.",
		otherwise:  "Under eager it comes out wrong, and the self-tests exit/coherent and purge/slow-pager, which must fail there, do.",
		boots:      []boot{experiments("debate/coherent"), quick, onDisk("plain"), onDisk("slow"), onDisk("failing")},
		judge:      judgeCoherent,
	},
	{
		text:       "The heavy teardown has to leave the reaper; then processes are charged for cleaning up their own space, and their system time rises.",
		who:        "Theo de Raadt, 3 May 2025; mpi, 12 May 2025, tech@openbsd.org",
		experiment: "A process of 16 MB in pages of 4 KB exits. Measured are its own system time for the exit, its parent's in wait, and the instructions of the reaper. In the build of claim 1 the experiment counts the dead processes in the queue, over the time of the build.",
		otherwise:  "The five designs let four different parties pay for the same work, and the table shows each of them pay.",
		boots:      []boot{experiments("debate/charged"), experiments("debate/exits,debate/build")},
		judge:      judgeCharged,
	},
	{
		text:       "The guts of the map teardown can damage the kernel's mappings where user and kernel share page tables.",
		who:        "Theo de Raadt, tech@openbsd.org, 3 May 2025",
		experiment: "A kernel is built to be broken: its purge takes one root entry too many, the first of the kernel half. It is booted under both layouts, once with the test of E2 and once without tests.",
		otherwise:  "The kernel that is not broken passes the same test in the same way.",
		boots: []boot{quick, {name: "wrong half", tags: "wronghalf", test: "kernelmap/kernel-half", ends: true},
			{name: "wrong half, shared", tags: "wronghalf", test: "none", ends: true},
			{name: "wrong half, separate", tags: "wronghalf", test: "none", layout: "separate", ends: true}},
		judge: judgeHalf,
	},
	{
		text:       "A purge must not call pmap_destroy.",
		who:        "Theo de Raadt, tech@openbsd.org, 3 May 2025",
		experiment: "A kernel is built to be broken: its purge frees the root. It is booted on one CPU and on two. The threads of another broken kernel do not leave the root when they end, as in a kernel that switches roots lazily. There, processes of many threads are killed on two CPUs.",
		otherwise:  "The kernel that is not broken passes the same tests on one CPU and on two.",
		boots: []boot{quick, {name: "wrong root", tags: "wrongroot", test: "none", ends: true}, {name: "wrong root, 2 CPUs", tags: "wrongroot", cpus: 2, test: "none", ends: true},
			{name: "wrong wake, threads", tags: "wrongwake", cpus: 2, real: true, test: "exit/kill-storm", ends: true}, inTurn(2, "reaper/roots,exit/kill-storm")},
		judge: judgeRoot,
	},
	{
		text:       "With the purge in the process the reaper becomes faster, because the map has less to give back.",
		who:        "the thread, tech@openbsd.org, 3 May 2025, 08:05 (the proposal in steps)",
		experiment: "Processes of 0 to 64 MB exit. The reaper's instructions in one exit are counted, and compared with those of the whole exit.",
		otherwise:  "Under reaper, where the process does not purge, the reaper's share grows with the size.",
		boots:      []boot{experiments("debate/exits")},
		judge:      judgeShare,
	},
	{
		text:       "Waking the parent before the child is off its CPU lets the parent free what a CPU still stands on.",
		who:        "the attempt of September 2025, tech@openbsd.org, 14 to 16 September 2025 (random SIGSEGVs on arm64)",
		experiment: "A kernel is built to be broken: under parent, an exiting thread makes its process a zombie and wakes the parent one millisecond before it has left its CPU, which still has the root. The parent's wait frees both. Four such children exit at the same moment, on one CPU and on two. In the kernel that is not broken, the test reaper/roots-and-uareas looks at every step of every exit, under every design, on 2 and on 4 CPUs, whether a root that a CPU has loaded, or a u-area in use, is free.",
		otherwise:  "The kernel that is not broken passes the same test; on one CPU the broken one passes as well, since the child has left by the time the parent runs.",
		boots: []boot{experiments("debate/exits"), inTurn(2, "reaper/roots,debate/together"), parallel(2, "reaper/roots"), parallel(4, "reaper/roots"),
			{name: "wrong wake", tags: "wrongwake", test: "debate/together", ends: true},
			{name: "wrong wake, 2 CPUs", tags: "wrongwake", cpus: 2, real: true, test: "debate/together", ends: true}},
		judge: judgeWoken,
	},
	{
		text:       "If wait frees the child's memory, children that nobody waits for stay fat zombies.",
		who:        "the answers to the attempt of September 2025, tech@openbsd.org",
		experiment: "500 children touch 256 KB each and end, and their parent does not wait. The experiment counts the page frames and the kernel memory that each of them holds.",
		otherwise:  "Under parent zombies hold their memory, under the other designs they do not: the same test counts both.",
		boots:      []boot{experiments("debate/zombies")},
		judge:      judgeZombies,
	},
	{
		text:       "Emptied page tables that are kept for the next process save work and interrupts between CPUs; so do caches of pages for each CPU.",
		who:        "FreeBSD's commit 01e5736d40 on recycled pmaps; mpi and dlg, tech@openbsd.org, March and April 2024 (7 to 13 % of a kernel build with 16 CPUs, 19 to 33 % with 32)",
		experiment: "A new address space is made with emptied roots in stock, and without. Its instructions are counted, and the interrupts that it sends to other CPUs. On two CPUs the interrupts of the build of claim 1 are counted, too. Then all CPUs take page frames and give them back: from the allocator, which has one lock, or with a stock of 16 frames for each CPU before it. The stock belongs to the experiment, the kernel has none; so the frames that a build takes one by one are counted as well.",
		otherwise:  "The stock of roots is emptied before each measurement, or not: the same code runs. Frames come from the same allocator in both runs, and TestVerdictsTurn gives the judge figures that turn each half of the verdict.",
		boots:      []boot{experiments("debate/roots,debate/frames,debate/build"), inTurn(2, "debate/roots,debate/frames,debate/build"), parallel(2, "debate/frames"), parallel(4, "debate/frames")},
		judge:      judgeRoots,
	},
	{
		text:       "Changes must leave the order of deadproc, knotes and wake-up alone.",
		who:        "Theo de Raadt, tech@openbsd.org, 3 May 2025",
		experiment: "At each step of an exit the experiment asks whether wait(2) would find the child. An observer who is told at a step (a knote at note-exit, a handler at sigchld, a sleeper in wait at wakeup) sees just that.",
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
		tables: []*bench.Table{perDesign("16 processes of 16 MB that exit at the same moment: instructions until the last is collected, worked out from the steps of one exit", []string{"1 CPU", "2 CPUs", "4 CPUs", "8 CPUs"}, func(d *exit.Design) (row []string) {
			for _, cpus := range []int{1, 2, 4, 8} {
				row = append(row, bench.Number(at(d, cpus)))
			}
			return row
		}), perDesign("a build with -j4; times are of the host on several CPUs, and multiples of purge's", []string{"time, 1 CPU", "2", "4", "system time, 1 CPU", "2", "4", "longest exit1 to wait, 1 CPU", "2", "4"}, func(d *exit.Design) (row []string) {
			for _, name := range []string{"time", "system", "longest_wait"} {
				row = append(row, fmt.Sprintf("%.3f", against(one, d, "build_"+name)))
				for _, b := range []*boot{two, four} {
					row = append(row, fmt.Sprintf("%.2f", against(b, d, "rounds_"+name)))
				}
			}
			return row
		}), perDesign("the queue of that build, and four exits at the same moment", []string{"dead processes, most", "reaper's instructions", "longest exit1 to wait, instructions", "four exits, 2 CPUs", "4"}, func(d *exit.Design) []string {
			row := []string{bench.Number(queue(d)), bench.Number(f.figure(d, "build_reaper")), bench.Number(longest(d))}
			for _, b := range []*boot{two, four} {
				row = append(row, fmt.Sprintf("%.2f", against(b, d, "together_time")))
			}
			return row
		})},
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
		tables: []*bench.Table{perDesign("100 000 threads", []string{"threads that ended", "most at a time", "memory held at the worst moment"}, func(d *exit.Design) []string {
			return []string{bench.Number(ended(d)), bench.Number(most(d)), bench.Number(f.figure(d, "threads_held")) + " bytes"}
		})},
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
		tables: []*bench.Table{perDesign("instructions for a thread, made and ended", []string{"instructions"}, func(d *exit.Design) []string { return []string{bench.Number(each(d))} })},
		bars:   &bars{"instructions for a thread, made and ended", func(d *exit.Design) (float64, string) { return each(d), bench.Number(each(d)) }},
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
		tables: []*bench.Table{perDesign("pages, of 8, that are wrong right after wait", []string{"fast pager: pager", "fast pager: read(2)", "slow pager: pager", "slow pager: read(2)"}, func(d *exit.Design) (row []string) {
			for _, name := range names {
				row = append(row, bench.Number(f.figure(d, name)))
			}
			return row
		}), perDesign("a file of 64 pages on a disk: quick, slow, failing", []string{"wrong by read(2) or a mapping", "cannot be unmounted yet", "exit1 to wake-up, us", "wrong on the disk later", "errors that fsync told"}, func(d *exit.Design) []string {
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
		})}}
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
		tables: []*bench.Table{perDesign("instructions of the exit of a process of 16 MB, by who is charged", []string{"child", "parent's wait", "reaper, charged to nobody", "background, charged to nobody", "queue in the build: most", "mean"}, func(d *exit.Design) []string {
			return []string{bench.Number(child(d)), bench.Number(parent(d)), bench.Number(others(d, exit.InReaper)), bench.Number(others(d, exit.InBackground)),
				bench.Number(f.figure(d, "build_queue_most")), fmt.Sprintf("%.2f", f.figure(d, "build_queue_mean")/1000)}
		})},
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
	seenAs := &bench.Table{Title: "a purge that takes one entry of the kernel half", Head: []string{"layout", "the test of E2", "without tests"}}
	r := result{tables: []*bench.Table{seenAs}}
	caught := true
	for _, l := range []string{"shared", "separate"} {
		line := seen.line("kernelmap/kernel-half-stays [" + l + " purge]")
		end := f.boot("wrong half, " + l).ending()
		// A root that holds no entry of the kernel half has nothing to damage.
		nothing := l == "separate" && strings.HasPrefix(line, "ok") && strings.HasSuffix(end, " 0 failed")
		caught = caught && (strings.HasPrefix(line, "#") || nothing)
		seenAs.Rows = append(seenAs.Rows, []string{l, line, end})
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
	r := result{tables: []*bench.Table{{Title: "a purge that frees the root, and a root that is loaded elsewhere", Head: []string{"kernel", "CPUs", "what it says"},
		Rows: [][]string{{"purge frees the root", "1", one}, {"purge frees the root", "2", two}, {"threads stay on the root", "2", lazy}}}}}
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
	r := result{lines: true, verdict: holds, tables: []*bench.Table{perDesign("the reaper's instructions in one exit (share of the whole)", []string{"0 MB", "1 MB", "4 MB", "16 MB", "64 MB"}, func(d *exit.Design) (row []string) {
		for _, mb := range sizes {
			ns, share := part(d, mb)
			row = append(row, fmt.Sprintf("%s (%.1f %%)", bench.Number(ns), share))
		}
		return row
	})}}
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
	sound := true
	whole := perDesign("the kernel that is not broken: "+test[:len(test)-9], []string{"2 CPUs in turn", "2 in parallel", "4 in parallel"}, func(d *exit.Design) (row []string) {
		for _, b := range []*boot{f.boot(inTurn(2, "").name), f.boot(parallel(2, "").name), f.boot(parallel(4, "").name)} {
			passed := b.passed(test + d.Name + "]")
			sound = sound && passed
			row = append(row, map[bool]string{true: "passed", false: "FAILED"}[passed])
		}
		return row
	})
	r := result{exits: true, tables: []*bench.Table{
		{Title: "a parent that is woken before the child is off its CPU", Head: []string{"CPUs", "what the kernel says"}, Rows: [][]string{{"1", one}, {"2", two}}},
		whole,
	}}
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
		tables: []*bench.Table{perDesign("each of 500 zombies holds", []string{"zombies", "bytes of page frames", "bytes of kernel memory"}, func(d *exit.Design) []string {
			return []string{bench.Number(f.figure(d, "zombies_made")), bench.Number(frames(d)), bench.Number(kernel(d))}
		})},
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
	one := f.boot(experiments("").name)
	single, stock := one.figure(d, "frames_single")/1000, one.figure(d, "frames_stock")/1000
	taken := one.figure(d, "frames_build")
	// An exit gives its frames back in batches, so a stock would save at most what it costs to
	// take them one by one.
	part := 100 * taken * (one.figure(d, "frames_single_taken") - one.figure(d, "frames_stock_taken")) / 1000 / max(1, one.figure(d, "build_time"))
	frames := &bench.Table{Title: "a page frame, taken and given back, on all CPUs at the same time", Head: []string{"frames", "instructions, 1 CPU", "2 CPUs in turn", "ns, 2 in parallel", "4 in parallel"}}
	for _, way := range [][2]string{{"from the one lock", "frames_single"}, {"16 in stock for each CPU", "frames_stock"}} {
		row := []string{way[0]}
		for _, b := range []*boot{one, two, f.boot(parallel(2, "").name), f.boot(parallel(4, "").name)} {
			row = append(row, fmt.Sprintf("%.1f", b.figure(d, way[1])/1000))
		}
		frames.Rows = append(frames.Rows, row)
	}
	r := result{
		tables: []*bench.Table{{Title: "a new address space", Head: []string{"roots", "instructions, one CPU", "two CPUs", "interrupts sent, two CPUs"}, Rows: [][]string{
			{"kept, emptied", bench.Number(kept), bench.Number(two.figure(d, "roots_kept")), bench.Number(two.figure(d, "roots_kept_interrupts"))},
			{"made anew", bench.Number(fresh), bench.Number(two.figure(d, "roots_fresh")), bench.Number(two.figure(d, "roots_fresh_interrupts"))}}},
			perDesign("interrupts between 2 CPUs in a build of 81 processes", []string{"shoot-downs", "wake-ups of idle CPUs"}, func(d *exit.Design) []string {
				return []string{bench.Number(two.figure(d, "build_shootdowns")), bench.Number(two.figure(d, "build_wakeups"))}
			}), frames},
		says: fmt.Sprintf("A new address space costs %s instructions with a root from stock and %s without: its kernel half is still valid. Neither sends an interrupt (%.0f in all): the kernel half of all roots points at the same tables, which never change after start, so there is nothing to tell other CPUs. A whole build under purge sends %.0f shoot-downs for 81 exits: each thread leaves its root by itself, so a purge has nobody to interrupt. A frame costs %.0f instructions with its two locks, and %.0f with a stock before them. The build takes %s frames one by one, and gives them back in batches, so that a stock would save up to %.1f %% of its instructions on one CPU. What waiting for the lock costs is in the columns of CPUs in parallel, in the host's time.",
			bench.Number(kept), bench.Number(fresh), sent, two.figure(d, "build_shootdowns"), single, stock, bench.Number(taken), part)}
	switch roots, stocks := kept < fresh, stock < single; {
	case roots && stocks:
		r.verdict = holds + " for the work; there are no interrupts to save"
	case roots:
		r.verdict = partly + ": kept tables save work, a stock of frames does not"
	case stocks:
		r.verdict = partly + ": a stock of frames saves work, kept tables do not"
	default:
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
	r := result{exits: true, tables: []*bench.Table{perDesign("would wait(2) find the child at this step?", head, func(d *exit.Design) (row []string) {
		for _, s := range steps {
			found := f.figure(d, "observers_"+s.String()) == 1
			if s == exit.StepNoteExit && found || s >= exit.StepSIGCHLD && !found {
				right = false
			}
			row = append(row, map[bool]string{true: "yes", false: "no"}[found])
		}
		return row
	})}}
	r.says = "A knote hears of the end before the child can be waited for, under every design: it must not wait. SIGCHLD and the wake-up come when it can. If SIGCHLD came one step earlier, its handler's wait would find nothing, and the child would be lost to a program that waits in the handler only."
	if r.verdict = holds; !right {
		r.verdict = "ERROR: an order that no design has"
	}
	return r
}
