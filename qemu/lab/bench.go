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
// with 2 MB blocks, then the default with 4 KB pages only.
func setups(arch string) (list []bench.Setup) {
	for _, layout := range []string{"shared", "separate"} {
		for _, exit := range []string{"purge", "reaper"} {
			list = append(list, bench.Setup{Kernel: grim, Arch: arch, Layout: layout, Exit: exit, Huge: true})
		}
	}
	return append(list, bench.Setup{Kernel: grim, Arch: arch, Layout: "shared", Exit: "purge"})
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
		initrd, err := prepare(ctx, arch, "exitbench")
		if err != nil {
			return err
		}
		for _, s := range setups(arch) {
			jobs = append(jobs, &job{Setup: s, program: "exitbench", image: grimImage(arch), initrd: initrd})
		}
	}
	if err := bootAll(ctx, jobs, o); err != nil {
		return err
	}
	report := &bench.Report{Title: "Grim: what an exit costs", Command: "make bench"}
	for _, arch := range o.archs {
		runs := runsOf(jobs, arch, "exitbench")
		report.Add(arch, runs, bench.Medians(arch, runs))
	}
	return publish(report, "bench")
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
