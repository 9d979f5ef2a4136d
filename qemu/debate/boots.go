package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
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
	test   string // selftest=
	layout string // "": shared
	tags   string // of a kernel that is broken on purpose: make kernel TAGS=
	cpus   string // "": 1
	fails  bool   // it is to fail
	// optional: if the kernel does not run on so many CPUs, the claim is open.
	optional bool

	run *bench.Run // its figures
	log string
	err error
}

// quick is the boot with the self-tests, under all designs.
var quick = boot{name: "self-tests", test: "quick"}

// experiments is the boot with some of the tests of kernel/selftest/debate.go. Boots of
// them that several claims need become one; see merge.
func experiments(test string) boot { return boot{name: test, test: test} }

// merge lists the boots of the claims, each once. If all claims are wanted, the
// experiments are one boot.
func merge(list []int) (boots []*boot) {
	all := len(list) == len(claims)
	for _, n := range list {
		for _, b := range claims[n-1].boots {
			if all && strings.HasPrefix(b.name, "debate/") {
				b.name, b.test = "experiments", "debate/"
			}
			if !slices.ContainsFunc(boots, func(o *boot) bool { return o.name == b.name }) {
				boots = append(boots, &b)
			}
		}
	}
	return boots
}

// start runs the boot; again: it reads what it has left the last time.
func (b *boot) start(ctx context.Context, arch string, limit time.Duration, again bool) {
	m, err := qemu.Lookup(arch, "")
	if err != nil {
		b.err = err
		return
	}
	dir := filepath.Join("build", arch)
	layout, args := "shared", []string{"exit=purge", "aslr=off", "selftest=" + b.test}
	if b.layout != "" {
		layout = b.layout
	}
	if b.cpus != "" {
		args = append(args, "cpus="+b.cpus)
	}
	kernel := dir
	if b.tags != "" {
		kernel += "-" + b.tags
	}
	c := &qemu.Config{Machine: m, Memory: "1G", CPUs: cpus(b.cpus), Kernel: kernel + "/grim", Initrd: dir + "/initramfs.cpio",
		Append: append(args, "layout="+layout), Icount: true}
	b.log = filepath.Join("build", "logs", "debate-"+strings.NewReplacer(" ", "-", ",", "", "/", "-").Replace(b.name)+"-"+arch+".log")
	if !again {
		_, b.err = qemu.Boot(ctx, c, limit, b.log, nil, nil)
	}
	text, err := os.ReadFile(b.log)
	if err != nil {
		return
	}
	b.run = &bench.Run{Setup: bench.Setup{Kernel: "Grim", Arch: arch, Layout: layout}}
	if err := b.run.Parse(bytes.NewReader(text)); err != nil && b.err == nil {
		b.err = err
	}
}

func cpus(s string) int {
	n := 1
	fmt.Sscan(s, &n)
	return n
}

// bootAll runs the boots, some at a time.
func bootAll(ctx context.Context, boots []*boot, arch string, jobs int, limit time.Duration, again bool) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, jobs)
	for i, b := range boots {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			begin, most := time.Now(), limit
			if b.fails || b.optional {
				most = 2 * time.Minute
			}
			b.start(ctx, arch, most, again)
			mu.Lock()
			defer mu.Unlock()
			fmt.Printf("boot %d of %d: %s: %s (%.0f s)\n", i+1, len(boots), b.name, b.verdict(), time.Since(begin).Seconds())
		})
	}
	wg.Wait()
	for _, b := range boots {
		if b.err != nil && !b.fails && !b.optional {
			return fmt.Errorf("%s: %w (serial output: %s)", b.name, b.err, b.log)
		}
	}
	return nil
}

func (b *boot) verdict() string {
	switch {
	case b.fails:
		return "ended: " + b.ending()
	case b.err != nil && b.optional:
		return "not there yet: " + b.err.Error()
	case b.err != nil:
		return "FAILED: " + b.err.Error()
	}
	return "done"
}

// lines are the lines of the serial output that match.
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

// line is what is said of a test: the first reason against it, or its line.
func (b *boot) line(test string) string {
	list := b.lines(regexp.MustCompile(`^(# |(not )?ok \d+ - )` + regexp.QuoteMeta(test)))
	if len(list) == 0 {
		return "(not run)"
	}
	return list[0]
}

func (b *boot) passed(test string) bool { return strings.HasPrefix(b.line(test), "ok ") }

func (b *boot) failed() bool { return b.err != nil }

var endings = regexp.MustCompile(`^(panic: |fatal error: |unexpected fault|not ok |kernel panic|\d+ passed, )`)

// ending is how a boot ended: its first complaint, or its closing line.
func (b *boot) ending() string {
	if list := b.lines(endings); len(list) > 0 {
		return list[0]
	}
	return "silence: the CPU reset or stood still"
}

// figure is one result of a design.
func (b *boot) figure(d *exit.Design, name string) float64 {
	if b.run == nil {
		return 0
	}
	if f := b.run.Figure(d.Name, name); f != nil {
		return f.Value
	}
	return 0
}

// findings is what the boots of the wanted claims have given.
type findings struct{ boots []*boot }

func (f *findings) boot(name string) *boot {
	for _, b := range f.boots {
		if b.name == name {
			return b
		}
	}
	return &boot{name: name}
}

// several is a boot on several CPUs; nil if the kernel did not run on them.
func (f *findings) several(name string) *boot {
	b := f.boot(name)
	if b.run == nil || len(b.lines(regexp.MustCompile(`^# goroutines run on `+b.cpus+` CPUs`))) == 0 {
		return nil
	}
	if b.err != nil && !b.fails {
		return nil
	}
	return b
}

// figure is one result of a design, on one CPU.
func (f *findings) figure(d *exit.Design, name string) float64 {
	for _, b := range f.boots {
		if b.cpus == "" && b.run != nil && b.run.Figure(d.Name, name) != nil {
			return b.figure(d, name)
		}
	}
	return 0
}

// sizes are those of debate/exits, in MB.
var sizes = []int{0, 1, 4, 16, 64}

// exit is the recorded exit of a process with so many MB.
func (f *findings) exit(d *exit.Design, mb int) *bench.Exit {
	for _, b := range f.boots {
		if b.run != nil {
			if e := b.run.ExitOf(fmt.Sprintf("%s/%d", d.Name, mb)); e != nil {
				return e
			}
		}
	}
	return &bench.Exit{}
}

// guarded is what the self-tests say of an invariant under a design: how many passed, or
// the reason of the first that failed as it must.
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
