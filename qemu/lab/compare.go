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
			return fmt.Errorf("Debian's kernel for %s: %w", arch, err)
		}
		initrd, err := prepare(ctx, arch, "exitbench")
		if err != nil {
			return err
		}
		for _, huge := range []bool{true, false} {
			jobs = append(jobs,
				&job{
					Setup:   bench.Setup{Kernel: grim, Arch: arch, Layout: "shared", Exit: "purge", Huge: huge},
					program: "exitbench", image: grimImage(arch), initrd: initrd,
				},
				&job{
					Setup:   bench.Setup{Kernel: k.name, Arch: arch, Huge: huge},
					program: "exitbench", image: k.image, initrd: initrd,
				})
		}
	}
	if err := bootAll(ctx, jobs, o); err != nil {
		return err
	}
	report := &bench.Report{Title: "Grim and Linux: what an exit costs", Command: "make compare"}
	for _, arch := range o.archs {
		runs := runsOf(jobs, arch, "exitbench")
		grimHuge, linuxHuge, grimSmall, linuxSmall := runs[0], runs[1], runs[2], runs[3]
		report.Add(arch, runs, bench.Comparison(arch, runs, []*bench.Ratio{
			bench.NewRatio(grimHuge, linuxHuge), bench.NewRatio(grimHuge, linuxSmall), bench.NewRatio(grimSmall, linuxSmall),
		}))
	}
	return publish(report, "compare")
}
