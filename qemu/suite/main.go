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
type tally struct{ passed, failed int }

func (t *tally) add(o tally) { t.passed += o.passed; t.failed += o.failed }

func main() {
	host := flag.Bool("host", true, "run the host tests")
	boots := flag.String("boots", "", "run only the boots whose title contains this")
	limit := flag.Duration("timeout", 600*time.Second, "time limit of one boot")
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
	fmt.Printf("whole suite: %s\n", since(start))
	fmt.Printf("%d passed, %d failed\n", total.passed, total.failed)
	if total.failed > 0 || total.passed == 0 {
		os.Exit(1)
	}
}

// since returns a duration, for people.
func since(t time.Time) string { return time.Since(t).Round(100 * time.Millisecond).String() }

// tail returns the last n lines of a text, indented.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return "    " + strings.Join(lines[max(0, len(lines)-n):], "\n    ")
}
