// Command suite is `make test`: the host tests of every package under the race detector,
// builds with the other supported releases of Go, then the boots. It ends with one line "N
// passed, N failed". It fails if any test failed, if no test ran, or if a boot did not end
// well.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"time"
)

// tally counts test results over the whole suite.
type tally struct {
	passed, failed int
	failures       []string // descriptions, repeated at the end of the suite's output
}

func (t *tally) add(o tally) {
	t.passed += o.passed
	t.failed += o.failed
	t.failures = append(t.failures, o.failures...)
}

// fail counts a failure and prints its description.
func (t *tally) fail(format string, args ...any) {
	t.failed++
	text := fmt.Sprintf(format, args...)
	fmt.Println(text)
	t.failures = append(t.failures, head(text, 12))
}

func main() {
	host := flag.Bool("host", true, "run the host tests")
	boots := flag.String("boots", "", "run only the boots whose title contains this")
	limit := flag.Duration("timeout", 900*time.Second, "time limit of one boot")
	jobs := flag.Int("j", runtime.NumCPU(), "boots at a time")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var total tally
	start := time.Now()
	if *host {
		total.add(hostTests(ctx))
	}
	built, others := buildOthers(ctx, *boots)
	total.add(built)
	total.add(bootAll(ctx, append(selectBoots(*boots), others...), *jobs, *limit))
	// The other parts boot one machine at a time. Two lists of about the same length run in
	// parallel.
	var machines, programs tally
	var wg sync.WaitGroup
	wg.Go(func() {
		machines.add(crashAll(ctx, *boots, *limit))
		machines.add(codeAll(*boots))
		machines.add(refuseAll(ctx, *boots))
		machines.add(disksAll(ctx, *boots))
	})
	if *jobs == 1 {
		wg.Wait()
	}
	wg.Go(func() {
		programs.add(sessionAll(ctx, *boots, *limit))
		programs.add(programsAll(ctx, *boots))
		programs.add(ownAll(ctx, *boots, *limit))
	})
	wg.Wait()
	total.add(machines)
	total.add(programs)
	for _, f := range total.failures {
		fmt.Println("failed:", f)
	}
	fmt.Printf("whole suite: %s\n", since(start))
	fmt.Printf("%d passed, %d failed\n", total.passed, total.failed)
	if total.failed > 0 || total.passed == 0 {
		os.Exit(1)
	}
}

// since returns a duration, for people.
func since(t time.Time) string { return time.Since(t).Round(100 * time.Millisecond).String() }

// head returns the first n lines of a text, cut to 300 bytes each.
func head(s string, n int) string {
	lines := strings.SplitN(strings.TrimSpace(s), "\n", n+1)
	lines = lines[:min(len(lines), n)]
	for i, l := range lines {
		lines[i] = l[:min(len(l), 300)]
	}
	return strings.Join(lines, "\n")
}

// tail returns the last n lines of a text, indented.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return "    " + strings.Join(lines[max(0, len(lines)-n):], "\n    ")
}
