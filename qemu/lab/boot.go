package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"grim/qemu"
	"grim/qemu/bench"
)

// job is one boot: a setup and the program that runs in it.
type job struct {
	bench.Setup
	program string // under user/
	image   string // the kernel
	initrd  string
	run     *bench.Run
}

func (j *job) title() string { return fmt.Sprintf("%s on %s", j.program, j.Setup.String()) }

// log returns the file of the boot's serial output.
func (j *job) log() string {
	name := strings.NewReplacer(" ", "-", "=", "-").Replace(j.title())
	return filepath.Join("build", "logs", name+".log")
}

// arguments returns the kernel command line, with the program's options at its end.
// Addresses are not random: the number of a process's table pages depends on them, and the
// figures must be the same in each run.
func (j *job) arguments(o *options) []string {
	var args []string
	switch {
	case j.Kernel == grim:
		huge := "on"
		if !j.Huge {
			huge = "off"
		}
		args = []string{"init=/init", "selftest=none", "layout=" + j.Layout, "exit=" + j.Exit, "hugepages=" + huge, "aslr=off"}
		if o.cpus > 1 {
			args = append(args, fmt.Sprintf("cpus=%d", o.cpus))
		}
		args = append(append(args, strings.Fields(o.args)...), "--")
	default:
		console := "ttyS0"
		if j.Arch == "arm64" {
			console = "ttyAMA0"
		}
		huge := "always"
		if !j.Huge {
			huge = "never"
		}
		args = []string{"console=" + console, "quiet", "panic=-1", "norandmaps", "transparent_hugepage=" + huge, "--"}
	}
	return append(args, o.programArguments()...)
}

func (o *options) programArguments() (args []string) {
	if o.cases != "" {
		args = append(args, "-c", o.cases)
	}
	if o.reps > 0 {
		args = append(args, "-n", fmt.Sprint(o.reps))
	}
	return args
}

// config returns the boot's machine. Both kernels get the same: the architecture's default
// with 1 GB, and guest time that counts instructions.
func (j *job) config(o *options) (*qemu.Config, error) {
	m, err := qemu.Lookup(j.Arch, "")
	if err != nil {
		return nil, err
	}
	c := &qemu.Config{
		Machine: m, Memory: "1G", Kernel: j.image, Initrd: j.initrd,
		Append: j.arguments(o), Icount: true, CPUs: o.cpus,
	}
	if j.Arch == "amd64" {
		// Each iteration of "rep stosb" counts as an instruction. Without ERMS, Linux
		// clears memory with "rep stosq", which counts an eighth of that.
		c.Extra = []string{"-cpu", "max,-erms"}
	}
	return c, nil
}

// firstLine records the time at which a text appears.
type firstLine struct {
	start time.Time
	text  []byte
	seen  bytes.Buffer
	after time.Duration
}

func (f *firstLine) Write(p []byte) (int, error) {
	if f.after == 0 {
		f.seen.Write(p)
		if bytes.Contains(f.seen.Bytes(), f.text) {
			f.after = time.Since(f.start)
			f.seen.Reset()
		}
	}
	return len(p), nil
}

// boot runs the job and reads its output. It succeeds if the program ran to its end; on
// Grim the boot's verdict must be good too.
func (j *job) boot(ctx context.Context, o *options) error {
	c, err := j.config(o)
	if err != nil {
		return err
	}
	if o.model {
		plugin, err := o.pluginArgument(strings.TrimSuffix(j.initrd, ".cpio"), o.names, j.memory(), "")
		if err != nil {
			return err
		}
		c.Extra = append(c.Extra, "-plugin", plugin)
	}
	first := &firstLine{start: time.Now(), text: []byte(j.program + " arch=")}
	_, bootErr := qemu.Boot(ctx, c, o.limit, j.log(), first, nil)
	out, err := os.Open(j.log())
	if err != nil {
		return bootErr
	}
	defer out.Close()
	run := &bench.Run{Setup: j.Setup, Command: commandLine(c), Wall: first.after}
	if err := run.Parse(out); err != nil {
		return fmt.Errorf("%s: %w", j.log(), err)
	}
	if !run.Done || j.Kernel == grim && bootErr != nil {
		if bootErr == nil {
			bootErr = fmt.Errorf("%s did not come to its end", j.program)
		}
		return fmt.Errorf("%s: %w (serial output: %s)", j.title(), bootErr, j.log())
	}
	if o.model {
		if err := j.readMemory(o, run); err != nil {
			return err
		}
	}
	j.run = run
	return nil
}

// commandLine returns the command line, as a user would type it, and QEMU's version.
func commandLine(c *qemu.Config) string {
	words := append([]string{qemu.Binary(c.Machine.Arch)}, c.Command()...)
	for i, w := range words {
		if strings.Contains(w, " ") {
			words[i] = "'" + w + "'"
		}
	}
	line := strings.Join(words, " ")
	if dir, err := os.Getwd(); err == nil {
		line = strings.ReplaceAll(line, dir+"/", "")
	}
	out, err := exec.Command(words[0], "--version").Output()
	if err != nil {
		return line
	}
	version, _, _ := strings.Cut(string(out), "\n")
	return line + "   # " + version
}

// bootAll runs the jobs, several at a time, and reports each when it ends. After the first
// error it starts no more jobs, and waits for the running ones.
func bootAll(ctx context.Context, jobs []*job, o *options) ([]*bench.Run, error) {
	began := time.Now()
	var (
		mu    sync.Mutex // failed and the terminal
		first error
		wg    sync.WaitGroup
		slots = make(chan struct{}, max(1, o.jobs))
	)
	for i, j := range jobs {
		slots <- struct{}{}
		mu.Lock()
		stop := first != nil
		mu.Unlock()
		if stop {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			start := time.Now()
			err := j.boot(ctx, o)
			mu.Lock()
			defer mu.Unlock()
			verdict := "done"
			if err != nil {
				verdict = "FAILED"
				if first == nil {
					first = err
				}
			}
			fmt.Printf("boot %d of %d: %s: %s, %.0f s\n", i+1, len(jobs), j.title(), verdict, time.Since(start).Seconds())
		})
	}
	wg.Wait()
	if first != nil {
		return nil, first
	}
	fmt.Printf("%d boots in %v\n", len(jobs), time.Since(began).Round(time.Second))
	var runs []*bench.Run
	for _, j := range jobs {
		runs = append(runs, j.run)
	}
	return runs, nil
}
