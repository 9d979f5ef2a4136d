package main

import (
	"context"
	"fmt"

	"grim/qemu/bench"
)

// compare runs the same program on Grim and on Debian's Linux, with 2 MB pages
// and without.
func compare(ctx context.Context, o *options) error {
	var jobs []*job
	for _, arch := range o.archs {
		k, err := fetchLinux(ctx, arch)
		if err != nil {
			return fmt.Errorf("fetching Debian's kernel for %s: %w", arch, err)
		}
		for _, program := range o.programs {
			initrd, err := prepare(ctx, arch, program)
			if err != nil {
				return err
			}
			for _, huge := range []bool{true, false} {
				jobs = append(jobs,
					&job{
						Setup:   bench.Setup{Kernel: grim, Arch: arch, Layout: "shared", Exit: "purge", Huge: huge},
						program: program, image: grimImage(arch), initrd: initrd,
					},
					&job{
						Setup:   bench.Setup{Kernel: k.name, Arch: arch, Huge: huge},
						program: program, image: k.image, initrd: initrd,
					})
			}
		}
	}
	if err := bootAll(ctx, jobs, o); err != nil {
		return err
	}
	report := &bench.Report{Title: "Grim and Linux: what an exit costs", Command: "make compare"}
	for _, arch := range o.archs {
		if runs := runsOf(jobs, arch, "exitbench"); len(runs) > 0 {
			// In the order in which they were added above.
			grimHuge, linuxHuge, grimSmall, linuxSmall := runs[0], runs[1], runs[2], runs[3]
			report.Add(arch, runs, bench.Comparison(arch, runs, []*bench.Ratio{
				bench.NewRatio(grimHuge, linuxHuge), bench.NewRatio(grimHuge, linuxSmall), bench.NewRatio(grimSmall, linuxSmall),
			}))
		}
		if runs := runsOf(jobs, arch, "workload"); len(runs) > 0 {
			report.Add(arch+", workloads", runs, bench.Figures(arch, runs))
		}
	}
	return publish(report, "compare")
}
