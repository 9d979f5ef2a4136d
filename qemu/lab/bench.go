package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"grim/qemu/bench"
)

// grim is the kernel's name in a setup.
const grim = "Grim"

// setups are what bench measures on each architecture: every layout and policy
// with 2 MB blocks, then the default with 4 KB pages only. The workloads leave
// out the layouts, which differ in the cost of an entry alone, and add the other
// policy with 4 KB pages, where there is more to tear down.
func setups(arch, program string) (list []bench.Setup) {
	of := func(layout, exit string, huge bool) {
		list = append(list, bench.Setup{Kernel: grim, Arch: arch, Layout: layout, Exit: exit, Huge: huge})
	}
	of("shared", "purge", true)
	of("shared", "reaper", true)
	if program == "exitbench" {
		of("separate", "purge", true)
		of("separate", "reaper", true)
	} else {
		of("shared", "reaper", false)
	}
	of("shared", "purge", false)
	return list
}

// prepare builds a program and makes its initramfs.
func prepare(ctx context.Context, arch, program string) (initrd string, err error) {
	path, err := buildProgram(ctx, arch, program)
	if err != nil {
		return "", err
	}
	return archive(path)
}

// grimImage is where make put the kernel.
func grimImage(arch string) string { return filepath.Join("build", arch, "grim") }

func benchmark(ctx context.Context, o *options) error {
	var jobs []*job
	for _, arch := range o.archs {
		for _, program := range o.programs {
			initrd, err := prepare(ctx, arch, program)
			if err != nil {
				return err
			}
			for _, s := range setups(arch, program) {
				jobs = append(jobs, &job{Setup: s, program: program, image: grimImage(arch), initrd: initrd})
			}
		}
	}
	if err := bootAll(ctx, jobs, o); err != nil {
		return err
	}
	report := &bench.Report{Title: "Grim: what an exit costs", Command: "make bench"}
	for _, arch := range o.archs {
		if runs := runsOf(jobs, arch, "exitbench"); len(runs) > 0 {
			report.Add(arch, runs, bench.Medians(arch, runs))
		}
		if runs := runsOf(jobs, arch, "workload"); len(runs) > 0 {
			report.Add(arch+", workloads", runs, bench.Figures(arch, runs))
			for _, huge := range []bool{true, false} {
				purge, reaper := find(runs, "purge", huge), find(runs, "reaper", huge)
				report.Say(bench.Words(purge, reaper)...)
			}
		}
	}
	return publish(report, "bench")
}

// find is the run of the shared layout under a policy.
func find(runs []*bench.Run, exit string, huge bool) *bench.Run {
	for _, r := range runs {
		if r.Layout == "shared" && r.Exit == exit && r.Huge == huge {
			return r
		}
	}
	return &bench.Run{}
}

// runsOf are the results of one architecture's boots of one program.
func runsOf(jobs []*job, arch, program string) (runs []*bench.Run) {
	for _, j := range jobs {
		if j.Arch == arch && j.program == program {
			runs = append(runs, j.run)
		}
	}
	return runs
}

// publish prints the tables and writes them with the plots and the raw figures.
func publish(r *bench.Report, name string) error {
	dir := filepath.Join("build", "bench")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, t := range r.Tables() {
		fmt.Println()
		t.Write(os.Stdout)
	}
	data, err := json.MarshalIndent(struct {
		Command, Go string
		Runs        []*bench.Run
	}{r.Command, runtime.Version(), r.Runs()}, "", "\t")
	if err != nil {
		return err
	}
	base := filepath.Join(dir, name)
	if err := os.WriteFile(base+".json", append(data, '\n'), 0o644); err != nil {
		return err
	}
	for ext, write := range map[string]func(*os.File) error{
		".html": func(f *os.File) error { return r.HTML(f) },
		".md":   func(f *os.File) error { return r.Markdown(f) },
	} {
		if err := writeFile(base+ext, write); err != nil {
			return err
		}
	}
	fmt.Printf("\n%s.json, %s.md, %s.html\n", base, base, base)
	return nil
}

func writeFile(path string, write func(*os.File) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
