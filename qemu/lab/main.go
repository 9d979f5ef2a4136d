// Command lab runs the benchmark programs in QEMU and reports: on Grim under
// every layout and exit policy (bench), side by side with Debian's Linux kernel
// (compare), or with the instructions of one case counted for each kernel
// function (profile). Kernels are built before, by make. qemu/BENCH.md explains
// what comes out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"
)

// options are what the command line of every lab command may say.
type options struct {
	archs    []string
	programs []string // of user/: exitbench, workload
	cases    string   // prefix of the names of the cases
	reps     int      // most repetitions of a case; 0: as the program has it
	jobs     int
	limit    time.Duration
	// Of profile: the setup.
	layout, exit string
	huge         bool
}

func main() {
	if len(os.Args) < 2 {
		fatal(errors.New("usage: lab bench|compare|profile [flags]"))
	}
	fs := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	arch := fs.String("arch", "amd64 arm64", "architectures")
	programs := fs.String("programs", "exitbench workload", "programs to run")
	o := options{}
	fs.StringVar(&o.cases, "case", "", "only the cases whose names start so")
	fs.IntVar(&o.reps, "n", 0, "at most this many repetitions of each case")
	fs.IntVar(&o.jobs, "j", runtime.NumCPU(), "boots at a time")
	fs.DurationVar(&o.limit, "timeout", 20*time.Minute, "time limit of one boot")
	fs.StringVar(&o.layout, "layout", "shared", "profile: layout")
	fs.StringVar(&o.exit, "exit", "purge", "profile: exit policy")
	fs.BoolVar(&o.huge, "hugepages", true, "profile: 2 MB blocks")
	fs.Parse(os.Args[2:])
	o.archs, o.programs = strings.Fields(*arch), strings.Fields(*programs)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch os.Args[1] {
	case "bench":
		err = benchmark(ctx, &o)
	case "compare":
		err = compare(ctx, &o)
	case "profile":
		err = profile(ctx, &o)
	default:
		err = fmt.Errorf("no command %q: it is bench, compare or profile", os.Args[1])
	}
	if err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "lab:", err)
	os.Exit(1)
}
