package main

import (
	"context"
	"fmt"

	"grim/proc/exit"
	"grim/qemu/bench"
	"grim/qemu/debian"
)

// compare runs the same program on Grim and on Debian's Linux, with and without 2 MB pages.
func compare(ctx context.Context, o *options) error {
	var jobs []*job
	for _, arch := range o.archs {
		k, err := debian.Kernel(ctx, arch)
		if err != nil {
			return fmt.Errorf("fetching Debian's kernel for %s: %w", arch, err)
		}
		for _, program := range o.programs {
			initrd, err := prepare(ctx, arch, program)
			if err != nil {
				return err
			}
			for _, huge := range []bool{false, true} {
				jobs = append(jobs,
					&job{
						Setup:   bench.Setup{Kernel: k.Name, Arch: arch, Huge: huge},
						program: program, image: k.Image, initrd: initrd,
					},
					&job{
						Setup:   bench.Setup{Kernel: grim, Arch: arch, Layout: "shared", Exit: exit.Designs[0].Name, Huge: huge},
						program: program, image: grimImage(arch), initrd: initrd,
					})
			}
		}
	}
	runs, err := bootAll(ctx, jobs, o)
	if err != nil {
		return err
	}
	return publish(compareReport(runs, o), "compare", o)
}

// compareReport compares the kernels: each Linux with the Grim of the same page size, and
// Linux without huge pages also with Grim's default.
func compareReport(runs []*bench.Run, o *options) *bench.Report {
	report := &bench.Report{Title: "Grim and Linux: what an exit costs", Command: o.target("compare"), Runs: runs, Modelled: o.model}
	for _, arch := range o.archs {
		if runs := runsOf(runs, arch, "exitbench"); len(runs) > 0 {
			if o.model {
				for _, core := range bench.Cores(runs) {
					of := bench.Modelled(runs, core)
					ratios := pairs(of)
					report.Add(arch+", "+core+" core", of, bench.Comparison(cyclesOf(arch, core), of, ratios))
					report.Tables(bench.MemoryTables(arch, core, runs)...)
					report.Compare(ratios...)
					report.Say(bench.MemoryWords(core, ratios)...)
				}
				continue
			}
			ratios := pairs(runs)
			report.Add(arch, runs, bench.Comparison(arch+": "+bench.Instructions, runs, ratios))
			report.Compare(ratios...)
			report.Say(bench.Verdict(arch, runs))
		}
		if runs := runsOf(runs, arch, "workload"); len(runs) > 0 {
			report.Add(arch+", workloads", runs, bench.Figures(arch, runs))
		}
	}
	return report
}

// pairs returns the comparisons of the runs of one architecture, which are in compare's
// order.
func pairs(runs []*bench.Run) []*bench.Ratio {
	linux4, grim4, linux2, grim2 := runs[0], runs[1], runs[2], runs[3]
	return []*bench.Ratio{bench.NewRatio(grim4, linux4), bench.NewRatio(grim2, linux2), bench.NewRatio(grim2, linux4)}
}
