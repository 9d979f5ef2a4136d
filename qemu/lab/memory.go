package main

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"grim/qemu"
	"grim/qemu/bench"
)

// defaultCores are a large and a small core: with the caches and latencies of a server's,
// and of a Cortex-A53. An instruction of the large core takes half a cycle, as two run at a
// time.
const defaultCores = "large/32:8/32:8/1024:16/8192:16/0.5:12:40:200 small/32:4/32:2/512:16/0/1:13:13:160"

// modelReps is how often each case is repeated under the model, which takes some thirty
// times as long as QEMU alone. From the second repetition on, the results hardly differ.
const modelReps = 5

// target returns the make target that does what o says.
func (o *options) target(name string) string {
	if o.model {
		return "make " + name + " MODEL=1"
	}
	return "make " + name
}

func cyclesOf(arch, core string) string { return arch + ", " + core + " core: modelled cycles" }

// prepareModel finds the cases to run, and builds the plugin.
func (o *options) prepareModel(ctx context.Context) error {
	names, err := list(ctx, "exitbench")
	if err != nil {
		return err
	}
	for _, n := range names {
		// The cases on several CPUs come last. The model has one CPU.
		if strings.HasPrefix(n, o.cases) && !bench.OnSeveralCPUs(n) {
			o.names = append(o.names, n)
		}
	}
	if len(o.names) == 0 {
		return fmt.Errorf("no case on one CPU begins with %q; the model has one CPU", o.cases)
	}
	dir := filepath.Join("build", "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	o.plugin = filepath.Join(dir, "cache.so")
	version, err := pluginVersion(ctx)
	if err != nil {
		return err
	}
	return compileC(ctx, o.plugin, fmt.Sprintf("-DPLUGIN_VERSION=%d", version), "-shared", "-fPIC", "-fvisibility=hidden",
		"qemu/cache/plugin.c", "qemu/cache/model.c")
}

// compileC runs the host's C compiler.
func compileC(ctx context.Context, out string, args ...string) error {
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "gcc"
	}
	if _, err := exec.LookPath(cc); err != nil {
		return fmt.Errorf("no C compiler: install gcc and libc6-dev (as Debian calls them), or set CC: %w", err)
	}
	msg, err := exec.CommandContext(ctx, cc, append([]string{"-O2", "-Wall", "-Wextra", "-Werror", "-o", out}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cc, err, msg)
	}
	return nil
}

// pluginVersion returns the version of the plugin interface to declare. QEMU accepts a
// range: 0 to 1 up to QEMU 8.2, from 2 on since 9.0. The parts that the plugin uses are the
// same in both.
func pluginVersion(ctx context.Context) (int, error) {
	out, err := exec.CommandContext(ctx, qemu.Binary("amd64"), "--version").Output()
	if err != nil {
		out, err = exec.CommandContext(ctx, qemu.Binary("arm64"), "--version").Output()
	}
	if err != nil {
		return 0, err
	}
	major := 0
	if _, err := fmt.Sscanf(string(out), "QEMU emulator version %d", &major); err != nil {
		return 0, fmt.Errorf("QEMU's version: %q: %w", out, err)
	}
	if major >= 9 {
		return 2, nil
	}
	return 1, nil
}

// pluginArgument returns QEMU's argument for the plugin: the readings of each case in the
// program, and the files to write.
func (o *options) pluginArgument(program string, names []string, out, sites string) (string, error) {
	f, err := elf.Open(program)
	if err != nil {
		return "", err
	}
	defer f.Close()
	begin, reset, err := bench.FindMarks(f)
	if err != nil {
		return "", err
	}
	arg := []string{o.plugin, "out=" + out, fmt.Sprintf("begin=%x", begin), fmt.Sprintf("reset=%x", reset)}
	if sites != "" {
		arg = append(arg, "sites="+sites)
	}
	for _, c := range o.cores {
		arg = append(arg, "core="+c)
	}
	for _, n := range names {
		w, warmup, err := bench.FindWindow(f, n)
		if err != nil {
			return "", err
		}
		arg = append(arg, fmt.Sprintf("case=%x:%x:%d", w.From, w.To, warmup))
	}
	return strings.Join(arg, ","), nil
}

// readMemory adds the plugin's results to the run.
func (j *job) readMemory(o *options, run *bench.Run) error {
	f, err := os.Open(j.memory())
	if err != nil {
		return err
	}
	defer f.Close()
	return run.ReadMemory(f, o.names)
}

// memory returns the file that the plugin writes in this boot.
func (j *job) memory() string { return strings.TrimSuffix(j.log(), ".log") + ".memory" }

// profileMemory shows one case's cycles, by function of the kernel.
func profileMemory(ctx context.Context, o *options) error {
	if err := o.oneCase(ctx); err != nil {
		return err
	}
	if o.reps == 0 {
		o.reps = modelReps
	}
	if err := o.prepareModel(ctx); err != nil {
		return err
	}
	if o.names[0] != o.cases {
		return fmt.Errorf("case %s comes behind %s, whose name begins so", o.cases, o.names[0])
	}
	page := &bench.MemoryProfile{Case: o.cases}
	for _, arch := range o.archs {
		if err := o.profileMemoryOn(ctx, arch, page); err != nil {
			return err
		}
	}
	for _, t := range page.Tables() {
		fmt.Println()
		t.Write(os.Stdout)
	}
	if err := os.MkdirAll(filepath.Join("build", "bench"), 0o755); err != nil {
		return err
	}
	out := filepath.Join("build", "bench", "profile-"+o.cases+".html")
	if err := writeFile(out, func(f *os.File) error { return page.HTML(f) }); err != nil {
		return err
	}
	fmt.Println("\n" + out)
	return nil
}

func (o *options) profileMemoryOn(ctx context.Context, arch string, page *bench.MemoryProfile) error {
	initrd, err := prepare(ctx, arch, "exitbench")
	if err != nil {
		return err
	}
	j := &job{
		Setup:   bench.Setup{Kernel: grim, Arch: arch, Layout: o.layout, Exit: o.exit, Huge: o.huge},
		program: "exitbench", image: grimImage(arch), initrd: initrd,
	}
	c, err := j.config(o)
	if err != nil {
		return err
	}
	base := filepath.Join("build", "logs", "profile-model-"+arch)
	plugin, err := o.pluginArgument(strings.TrimSuffix(initrd, ".cpio"), o.names[:1], base+".memory", base+".sites")
	if err != nil {
		return err
	}
	c.Extra = append(c.Extra, "-plugin", plugin)
	if _, err := qemu.Boot(ctx, c, o.limit, base+".log", nil, nil); err != nil {
		return fmt.Errorf("profile: %w (serial output: %s.log)", err, base)
	}
	kernel, err := openKernel(grimImage(arch) + ".elf")
	if err != nil {
		return err
	}
	cases, err := os.Open(base + ".memory")
	if err != nil {
		return err
	}
	defer cases.Close()
	sites, err := os.Open(base + ".sites")
	if err != nil {
		return err
	}
	defer sites.Close()
	return page.Add(j.Setup.String(), kernel, cases, sites)
}
