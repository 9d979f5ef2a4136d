// Command lab runs the benchmark programs in QEMU and reports the results: on Grim under
// every exit design (bench), in comparison with Debian's Linux kernel (compare), or with
// the instructions of one case counted for each kernel function (profile). make builds the
// kernels before. qemu/BENCH.md explains the results.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"

	"grim/proc/exit"
)

// options are the options of all lab commands.
type options struct {
	archs    []string
	programs []string // of user/: exitbench, workload
	cases    string   // prefix of the names of the cases
	reps     int      // maximum repetitions of a case; 0: the program's own
	jobs     int
	into     string // file to paste the tables into; "": none
	from     string // figures of an earlier run, instead of boots
	limit    time.Duration
	cpus     int      // of the machine
	args     string   // further kernel arguments, of Grim
	part     bool     // the command line says that this is not a complete run
	model    bool     // run everything through cache models
	cores    []string // these models, in the form of qemu/cache/model.h
	plugin   string   // the plugin that runs them
	names    []string // names of the cases to run; used only with model
	// The setup for profile.
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
	fs.IntVar(&o.cpus, "cpus", 1, "CPUs of the machine, all of which the kernels use")
	fs.StringVar(&o.into, "into", "", "bench, compare: put the tables into this file, between its marks")
	fs.StringVar(&o.args, "append", "", "further arguments of Grim's kernel")
	fs.BoolVar(&o.model, "model", false, "model the caches of some cores")
	cores := fs.String("cores", defaultCores, "cores to model, NAME/L1D/L1I/L2/L3/INSTRUCTION:L2:L3:MEMORY; a cache is KILOBYTES:WAYS or 0")
	fs.StringVar(&o.from, "from", "", "bench, compare: take the figures from this JSON file and boot nothing")
	fs.StringVar(&o.layout, "layout", "shared", "profile: layout")
	fs.StringVar(&o.exit, "exit", exit.Designs[0].Name, "profile: exit design")
	fs.BoolVar(&o.huge, "hugepages", true, "profile: 2 MB blocks")
	fs.Parse(os.Args[2:])
	o.archs, o.programs, o.cores = strings.Fields(*arch), strings.Fields(*programs), strings.Fields(*cores)

	o.part = o.reps != 0 || len(o.programs) != 2

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := o.run(ctx, os.Args[1]); err != nil {
		fatal(err)
	}
}

func (o *options) run(ctx context.Context, command string) error {
	if command == "profile" {
		if o.model {
			return profileMemory(ctx, o)
		}
		return profile(ctx, o)
	}
	if command == "calls" {
		return calls(ctx, o)
	}
	if o.model {
		o.programs = []string{"exitbench"} // the only program with readings that the plugin knows
		if o.reps == 0 {
			o.reps = modelReps
		}
	}
	measure, report := benchmark, benchReport
	switch command {
	case "bench":
	case "compare":
		measure, report = compare, compareReport
	default:
		return fmt.Errorf("no command %q: it is bench, compare or profile", command)
	}
	if o.into != "" && (o.args != "" || o.cases != "" || o.part || len(o.archs) != 2) {
		return errors.New("INTO= takes the tables of a whole run: without CASE, REPS, ARCH and APPEND")
	}
	if o.from != "" {
		return again(o, command, report)
	}
	if err := o.choosePrograms(ctx); err != nil {
		return err
	}
	if o.model {
		if err := o.prepareModel(ctx); err != nil {
			return err
		}
	}
	return measure(ctx, o)
}

// choosePrograms leaves out the programs without a case of the wanted names.
func (o *options) choosePrograms(ctx context.Context) error {
	var all, with []string
	for _, program := range o.programs {
		names, err := list(ctx, program)
		if err != nil {
			return err
		}
		all = append(all, names...)
		if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, o.cases) }) {
			with = append(with, program)
		}
	}
	if with == nil {
		return fmt.Errorf("no case or workload starts with %q; there are\n%s", o.cases, wrap(all))
	}
	o.programs = with
	return nil
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "lab:", err)
	os.Exit(1)
}
