package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"grim/proc/exit"
	"grim/qemu/bench"
)

// grim is the kernel's name in a setup.
const grim = "Grim"

// setups returns the setups that bench measures on each architecture: every exit design
// with 2 MB blocks, then the default design with the other layout and with only 4 KB pages.
// The workloads leave out the layouts, which differ only in the cost of an entry. They add
// the other designs with 4 KB pages, with which there is more to tear down.
func setups(arch, program string) (list []bench.Setup) {
	of := func(layout, design string, huge bool) {
		list = append(list, bench.Setup{Kernel: grim, Arch: arch, Layout: layout, Exit: design, Huge: huge})
	}
	for _, d := range exit.Designs {
		of("shared", d.Name, true)
	}
	base := exit.Designs[0].Name
	if program == "exitbench" {
		of("separate", base, true)
		of("shared", base, false)
		return list
	}
	for _, d := range exit.Designs {
		of("shared", d.Name, false)
	}
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

// grimImage is the kernel that make has built.
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
	runs, err := bootAll(ctx, jobs, o)
	if err != nil {
		return err
	}
	return publish(benchReport(runs, o), "bench", o)
}

func benchReport(runs []*bench.Run, o *options) *bench.Report {
	report := &bench.Report{Title: "Grim: what an exit costs", Command: o.target("bench"), Runs: runs, Modelled: o.model}
	for _, arch := range o.archs {
		if runs := runsOf(runs, arch, "exitbench"); len(runs) > 0 {
			if o.model {
				for _, core := range bench.Cores(runs) {
					of := bench.Modelled(runs, core)
					report.Add(arch+", "+core+" core", of, bench.Medians(cyclesOf(arch, core), of))
					report.Tables(bench.MemoryTables(arch, core, runs)...)
				}
				continue
			}
			report.Add(arch, runs, bench.Medians(arch+": "+bench.Instructions, runs), bench.Spreads(arch, runs))
			report.Say(bench.Verdict(arch, runs))
		}
		if runs := runsOf(runs, arch, "workload"); len(runs) > 0 {
			report.Add(arch+", workloads", runs, bench.Figures(arch, runs))
		}
	}
	return report
}

// runsOf returns the results of one architecture's boots of one program. exitbench has
// cases, workload has figures.
func runsOf(all []*bench.Run, arch, program string) (runs []*bench.Run) {
	for _, r := range all {
		if r.Arch == arch && (program == "workload") == (len(r.Figures) > 0) {
			runs = append(runs, r)
		}
	}
	return runs
}

// results are the raw figures of a command, in the form of build/bench/NAME.json.
type results struct {
	Command, Go string
	Runs        []*bench.Run
}

// publish prints the tables and words, and writes them to files with the pictures and the
// raw figures. It writes the tables to o.into too.
func publish(r *bench.Report, name string, o *options) error {
	dir := filepath.Join("build", "bench")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, t := range r.AllTables() {
		fmt.Println()
		t.Write(os.Stdout)
	}
	fmt.Println()
	for _, w := range r.Words() {
		fmt.Println(w)
	}
	data, err := json.MarshalIndent(results{r.Command, runtime.Version(), r.Runs}, "", "\t")
	if err != nil {
		return err
	}
	if o.model {
		name += "-model"
	}
	base := filepath.Join(dir, name)
	if err := os.WriteFile(base+".json", append(data, '\n'), 0o644); err != nil {
		return err
	}
	var markdown bytes.Buffer
	if err := r.Markdown(&markdown); err != nil {
		return err
	}
	if err := os.WriteFile(base+".md", markdown.Bytes(), 0o644); err != nil {
		return err
	}
	if err := writeFile(base+".html", func(f *os.File) error { return r.HTML(f) }); err != nil {
		return err
	}
	fmt.Printf("\n%s.json, %s.md, %s.html\n", base, base, base)
	if o.into == "" {
		return nil
	}
	if err := bench.Paste(o.into, r.Command, markdown.String()); err != nil {
		return err
	}
	fmt.Println(o.into, "has these tables now")
	if name != "compare" {
		return nil
	}
	pictures := filepath.Join(filepath.Dir(o.into), "pictures")
	if err := bench.Pictures(pictures, r.Runs); err != nil {
		return err
	}
	fmt.Println(pictures, "has the readme's pictures now")
	return nil
}

// again makes the reports from the figures of an earlier run.
func again(o *options, name string, report func([]*bench.Run, *options) *bench.Report) error {
	data, err := os.ReadFile(o.from)
	if err != nil {
		return err
	}
	var was results
	if err := json.Unmarshal(data, &was); err != nil {
		return fmt.Errorf("%s: %w", o.from, err)
	}
	if was.Command != o.target(name) {
		return fmt.Errorf("%s has the figures of %q, not of %s", o.from, was.Command, o.target(name))
	}
	return publish(report(was.Runs, o), name, o)
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
