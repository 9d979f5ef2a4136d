// Command debate answers the claims of the debate about exit paths with experiments. It
// runs the boots that they need, prints claim, experiment, result and verdict, and writes
// one page with pictures. make debate builds the kernels before. qemu/LAB.md describes how
// to add a claim or an exit design.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"grim/proc/exit"
	"grim/qemu/bench"
)

func main() {
	arch := flag.String("arch", "amd64", "architecture")
	only := flag.Int("claim", 0, "number of the only claim to answer; 0: all")
	jobs := flag.Int("j", runtime.NumCPU(), "boots at a time")
	limit := flag.Duration("timeout", 15*time.Minute, "time limit of one boot")
	out := flag.String("o", "", "the page; empty: build/debate-ARCH.html")
	again := flag.Bool("again", false, "judge the serial output of the last run, and boot nothing")
	part := flag.String("boots", "", "boot only those with this in their name, and judge what the last run has left of the others")
	tags := flag.Bool("tags", false, "print the tags of the kernels that are needed, and do nothing")
	flag.Parse()
	var list []int
	for n := range claims {
		if *only == 0 || *only == n+1 {
			list = append(list, n+1)
		}
	}
	if list == nil {
		fatal(fmt.Errorf("there are claims 1 to %d", len(claims)))
	}
	boots := merge(list)
	if *tags {
		var list []string
		for _, b := range boots {
			if b.tags != "" && !slices.Contains(list, b.tags) {
				list = append(list, b.tags)
			}
		}
		fmt.Println(strings.Join(list, " "))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	begin := time.Now()
	if err := bootAll(ctx, boots, *arch, *jobs, *limit, *again, *part); err != nil {
		fatal(err)
	}
	fmt.Printf("%d boots in %v\n", len(boots), time.Since(begin).Round(time.Second))
	f := &findings{boots}
	results := map[int]result{}
	for _, n := range list {
		results[n] = f.answer(n)
		tell(n, results[n])
	}
	if *out == "" {
		*out = filepath.Join("build", "debate-"+*arch+".html")
	}
	if err := writePage(*out, *arch, list, results, f); err != nil {
		fatal(err)
	}
	fmt.Println("\npage:", *out)
	for n, r := range results {
		if strings.HasPrefix(r.verdict, "ERROR") {
			fatal(fmt.Errorf("claim %d: %s", n, r.verdict))
		}
	}
}

// answer judges claim n. There is no verdict if a boot that it needs has no output, as after
// -boots and -again.
func (f *findings) answer(n int) result {
	c := &claims[n-1]
	for _, b := range c.boots {
		if !f.boot(b.name).ran() {
			return result{verdict: "no verdict", says: "The boot \"" + b.name + "\" has not run."}
		}
	}
	return c.judge(f)
}

// tell prints one claim with its answer.
func tell(n int, r result) {
	c := &claims[n-1]
	fmt.Printf("\n%d. %s\n", n, c.text)
	for _, line := range [][2]string{{"who", c.who}, {"experiment", c.experiment}, {"other way", c.otherwise}, {"result", r.says}, {"verdict", r.verdict}} {
		fmt.Println(wrap(fmt.Sprintf("   %-11s", line[0]), line[1]))
	}
	for _, t := range r.tables {
		t.Write(os.Stdout)
	}
}

// wrap breaks a text into lines, with a title before the first.
func wrap(title, text string) string {
	const width = 92
	line, out := title, ""
	for _, w := range strings.Fields(text) {
		if len(line)+1+len(w) > width {
			out += line + "\n"
			line = strings.Repeat(" ", len(title))
		}
		line += " " + w
	}
	return out + line
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "debate:", err)
	os.Exit(1)
}

// costRuns returns the exits of one size each in a boot, as runs of package bench, one for
// each design. So their cost can be drawn against resident pages.
func (b *boot) costRuns() (runs []*bench.Run) {
	for _, d := range exit.Designs {
		r := &bench.Run{Setup: bench.Setup{Kernel: "Grim", Layout: "shared", Exit: d.Name, Huge: true}}
		for _, mb := range sizes {
			if e := b.exit(d, mb); mb > 0 && e != nil && e.Total() > 0 {
				r.Cases = append(r.Cases, bench.Case{Name: fmt.Sprintf("exit_anon_%dMB", mb), Median: float64(e.Total())})
			}
		}
		runs = append(runs, r)
	}
	return runs
}
