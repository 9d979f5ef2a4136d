package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"grim/proc/exit"
	"grim/qemu"
	"grim/qemu/bench"
)

// boot is a boot that a claim needs.
type boot struct {
	name   string
	test   string // for selftest=: parts of names, separated by commas
	layout string // "": shared
	tags   string // for a kernel that is broken on purpose: make kernel TAGS=
	cpus   int    // 0: 1
	// real: the CPUs run at the same time, and time is the host's. Otherwise they run in
	// turn, and time counts the instructions of all CPUs.
	real bool
	disk string // "plain", "slow" or "failing": user/disk runs on such a disk
	ends bool   // it may end in any way: that is the result

	run *bench.Run // its figures
	log string
	err error
}

// quick is the boot with the quick self-tests, under all designs.
var quick = boot{name: "self-tests", test: "quick"}

// experiments returns the boot with some of the tests of kernel/selftest/debate.go.
func experiments(test string) boot { return boot{name: "experiments", test: test} }

// inTurn returns a boot on several CPUs that run in turn.
func inTurn(cpus int, test string) boot {
	return boot{name: fmt.Sprintf("%d CPUs", cpus), cpus: cpus, test: test}
}

// parallel returns a boot on several CPUs that run at the same time, if the host has that
// many.
func parallel(cpus int, test string) boot {
	return boot{name: fmt.Sprintf("%d CPUs in parallel", cpus), cpus: cpus, real: true, test: test}
}

// onDisk returns a boot with a kind of disk.
func onDisk(kind string) boot {
	return boot{name: kind + " disk", disk: kind, test: "none", real: true}
}

// merge returns the boots of the claims, each once, with the tests that any of the claims
// needs.
func merge(list []int) (boots []*boot) {
	for _, n := range list {
		for _, b := range claims[n-1].boots {
			i := slices.IndexFunc(boots, func(o *boot) bool { return o.name == b.name })
			if i < 0 {
				boots = append(boots, &b)
				continue
			}
			for _, test := range strings.Split(b.test, ",") {
				if have := strings.Split(boots[i].test, ","); !slices.Contains(have, test) {
					boots[i].test += "," + test
				}
			}
		}
	}
	return boots
}

// start runs the boot. again: it only reads the output of the last run.
func (b *boot) start(ctx context.Context, arch string, limit time.Duration, again bool) {
	m, err := qemu.Lookup(arch, "")
	if err != nil {
		b.err = err
		return
	}
	dir := filepath.Join("build", arch)
	layout, args := "shared", []string{"exit=purge", "aslr=off"}
	if b.layout != "" {
		layout = b.layout
	}
	if b.cpus > 0 {
		args = append(args, fmt.Sprintf("cpus=%d", b.cpus))
	}
	kernel := dir
	if b.tags != "" {
		kernel += "-" + b.tags
	}
	c := &qemu.Config{Machine: m, Memory: "1G", CPUs: max(1, b.cpus), Kernel: kernel + "/grim", Initrd: dir + "/initramfs.cpio",
		Append: append(args, "layout="+layout, "selftest="+b.test), Icount: !b.real}
	b.log = filepath.Join("build", "logs", "debate-"+strings.NewReplacer(" ", "-", ",", "", "/", "-").Replace(b.name)+"-"+arch+".log")
	if !again {
		os.Remove(b.log) // an old output must not pass for this boot's
		if b.disk != "" {
			b.err = b.makeDisk(ctx, c, arch)
		}
		if b.err == nil {
			_, b.err = qemu.Boot(ctx, c, limit, b.log, nil, nil)
		}
	}
	text, err := os.ReadFile(b.log)
	if err != nil {
		if b.err == nil {
			b.err = err
		}
		return
	}
	b.run = &bench.Run{Setup: bench.Setup{Kernel: "Grim", Arch: arch, Layout: layout}}
	if err := b.run.Parse(bytes.NewReader(text)); err != nil && b.err == nil {
		b.err = err
	}
}

// bootAll runs the boots, some at a time; those without part in their name are only read
// again.
func bootAll(ctx context.Context, boots []*boot, arch string, jobs int, limit time.Duration, again bool, part string) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, jobs)
	for i, b := range boots {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			begin, most := time.Now(), limit
			if b.ends {
				most = 3 * time.Minute
			}
			b.start(ctx, arch, most, again || !strings.Contains(b.name, part))
			mu.Lock()
			defer mu.Unlock()
			fmt.Printf("boot %d of %d: %s: %s (%.0f s)\n", i+1, len(boots), b.name, b.verdict(), time.Since(begin).Seconds())
		})
	}
	wg.Wait()
	for _, b := range boots {
		if !b.ran() && !again && strings.Contains(b.name, part) {
			return fmt.Errorf("%s: the kernel has not started: %v (serial output: %s)", b.name, b.err, b.log)
		}
		if b.ran() && b.err != nil && !b.ends {
			return fmt.Errorf("%s: %w (serial output: %s)", b.name, b.err, b.log)
		}
	}
	return nil
}

// ran reports whether the kernel has started. A boot that may end in any way has no result
// if QEMU itself has failed, or if the boot was left out.
func (b *boot) ran() bool { return len(b.lines(banner)) > 0 }

// banner is the kernel's first line.
var banner = regexp.MustCompile(`^Grim, (amd64|arm64), `)

func (b *boot) verdict() string {
	switch {
	case !b.ran():
		return "has not run"
	case b.ends:
		return "ended: " + b.ending()
	case b.err != nil:
		return "FAILED: " + b.err.Error()
	}
	return "done"
}

// lines returns the lines of the serial output that match.
func (b *boot) lines(re *regexp.Regexp) (list []string) {
	f, err := os.Open(b.log)
	if err != nil {
		return nil
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		if s := strings.TrimRight(sc.Text(), "\r"); re.MatchString(s) {
			list = append(list, s)
		}
	}
	return list
}

// line returns the line of a test: the first reason for its failure, or its result.
func (b *boot) line(test string) string {
	list := b.lines(regexp.MustCompile(`^(# |(not )?ok \d+ - )` + regexp.QuoteMeta(test)))
	if len(list) == 0 {
		return "(not run)"
	}
	return list[0]
}

func (b *boot) passed(test string) bool { return strings.HasPrefix(b.line(test), "ok ") }

var endings = regexp.MustCompile(`^(panic: |fatal error: |unexpected fault|not ok |kernel panic|\d+ passed, )`)

// ending returns how a boot ended: its first error, or its closing line.
func (b *boot) ending() string {
	if list := b.lines(endings); len(list) > 0 {
		return list[0]
	}
	return "silence: the CPU reset or stood still"
}

// figure returns one result of a design.
func (b *boot) figure(d *exit.Design, name string) float64 {
	if b.run == nil {
		return 0
	}
	if f := b.run.Figure(d.Name, name); f != nil {
		return f.Value
	}
	return 0
}

// findings are the results of the boots of the wanted claims.
type findings struct{ boots []*boot }

func (f *findings) boot(name string) *boot {
	for _, b := range f.boots {
		if b.name == name {
			return b
		}
	}
	return &boot{name: name}
}

// figure returns one result of a design, on one CPU.
func (f *findings) figure(d *exit.Design, name string) float64 {
	for _, b := range f.boots {
		if b.cpus == 0 && b.disk == "" && b.run != nil && b.run.Figure(d.Name, name) != nil {
			return b.figure(d, name)
		}
	}
	return 0
}

// sizes are the sizes of debate/exits, in MB.
var sizes = []int{0, 1, 4, 16, 64}

// exit returns the recorded exit of a process with mb MB, on one CPU.
func (f *findings) exit(d *exit.Design, mb int) *bench.Exit {
	for _, b := range f.boots {
		if e := b.exit(d, mb); e != nil && b.cpus == 0 {
			return e
		}
	}
	return &bench.Exit{}
}

// exit returns the same from one boot, or nil if there is none.
func (b *boot) exit(d *exit.Design, mb int) *bench.Exit {
	if b.run == nil {
		return nil
	}
	return b.run.ExitOf(fmt.Sprintf("%s/%d", d.Name, mb))
}

// together returns the exits of debate/together under a design.
func (b *boot) together(d *exit.Design) (exits []*bench.Exit) {
	for i := 0; b.run != nil; i++ {
		e := b.run.ExitOf(fmt.Sprintf("together/%s/%d", d.Name, i))
		if e == nil {
			break
		}
		exits = append(exits, e)
	}
	return exits
}

// pictures returns the timelines of simultaneous exits under each design, on one scale.
func (b *boot) pictures() (list []picture) {
	span := int64(0)
	for _, d := range exit.Designs {
		begin, end := bench.Span(b.together(d))
		span = max(span, end-begin)
	}
	where, unit := "one CPU", "instructions"
	if b.cpus > 0 {
		where = b.name
	}
	if b.real {
		unit = "ns"
	}
	for _, d := range exit.Designs {
		exits := b.together(d)
		if len(exits) == 0 {
			continue
		}
		begin, end := bench.Span(exits)
		took := bench.Number(float64(end-begin)) + " instructions"
		if b.real {
			took = bench.Number(math.Round(float64(end-begin)/1000)) + " us"
		}
		title := fmt.Sprintf("%s, %s: four exits at the same moment, %s", d.Name, where, took)
		list = append(list, picture{title, bench.Timeline(exits, span, unit)})
	}
	return list
}

// queue returns the length of the queue of dead processes during the build.
func (b *boot) queue(d *exit.Design) (list []float64) {
	for i := 0; b.run != nil; i++ {
		f := b.run.Figure(d.Name, fmt.Sprintf("build_queue_%02d", i))
		if f == nil {
			break
		}
		list = append(list, f.Value)
	}
	return list
}

// guarded returns the self-tests' result for an invariant under a design: how many tests
// passed, or the reason of the first that failed as expected.
func (f *findings) guarded(d *exit.Design, i exit.Invariant) string {
	b := d.Breach(i)
	if b == nil {
		return "kept"
	}
	note := regexp.MustCompile(`^ok .*[ \[]` + d.Name + `\] # breaks ` + i.String() + `: `)
	list := f.boot(quick.name).lines(note)
	if len(list) == 0 {
		return "breaks it: " + b.Reason
	}
	_, why, _ := strings.Cut(list[0], ": ")
	return fmt.Sprintf("breaks it, %d tests see it: %s", len(list), why)
}
