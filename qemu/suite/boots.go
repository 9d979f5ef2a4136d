package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/u-root/u-root/pkg/dt"

	"grim/qemu"
)

// boot is one boot of the suite.
type boot struct {
	arch, machine, mem string
	args               []string
	debug              bool   // the kernel that `make kernel DEBUG=1` built
	sixth              bool   // the kernel that `make kernel SIXTH=1` built
	told               string // description of what the model is made to do, by
	pokes              []qemu.Poke
	edit               func(*dt.Node) // and by changes of the board's tree
	release            string         // the kernel that this release of Go built; "" for the go command's own
	cpu                string         // CPU model in place of the machine's; "": the machine's
	cpus               int            // number of CPUs; 0: one, or the machine's fixed number
	slow               bool           // the serial output is read slowly when the guest asks for that
	icount             bool           // time is virtual, so the tests that judge times run
	parallel           bool           // the CPUs run at the same time, not in turn
	banner             string         // pattern that the serial output must match; "": none
	runs               []runs         // code that must run
}

// less leaves out the tests that take longest. The first boot runs them, and the boot of
// arm64 with two CPUs those about memory (hog/).
const (
	less    = noChurn + ",-hog/"
	noChurn = "selftest=all,-threads/many,-timer-cpu-limit,-soak"
)

// suiteBoots covers both architectures and both layouts with every test. Tests about exits
// run under every exit design in each boot, the others under the named design. Then every
// other machine and the least memory boot with the quick set.
var suiteBoots = []boot{
	{arch: "amd64", machine: "q35", mem: "256M", args: []string{"layout=shared", "exit=purge"}, icount: true},
	{arch: "arm64", machine: "virt", mem: "256M", args: []string{"layout=shared", "time=real", less}, debug: true},
	{arch: "amd64", machine: "q35", mem: "256M", args: []string{"layout=separate", "exit=purge", less}, icount: true},
	{arch: "arm64", machine: "virt", mem: "256M", args: []string{"layout=separate", "exit=purge", less}, icount: true},
	{arch: "amd64", machine: "q35", mem: "256M", cpus: 2, args: []string{"layout=shared", "exit=reaper", less}, banner: twoRun},
	{arch: "arm64", machine: "virt", mem: "256M", cpus: 2, args: []string{"layout=separate", "exit=inline", noChurn}, banner: twoRun},
	// The exit design that is qemu/LAB.md's example, and the experiments of make debate.
	{arch: "amd64", machine: "q35", mem: "256M", sixth: true, args: []string{"selftest=exit/", "exit=halfway"}, icount: true,
		banner: `(?m)^ok \d+ - exit/order \[separate halfway\]`},
	{arch: "arm64", machine: "virt", mem: "512M", args: []string{"selftest=debate/"}, icount: true},
	// A design that is unsound on purpose says so, and harms no other.
	{arch: "amd64", machine: "q35", mem: "256M", args: []string{"selftest=program/", "exit=parent"}, icount: true,
		banner: `(?m)^warning: exit=parent is unsound on purpose(.*\n)+?ok \d+ - program/thread-churn # breaks E5: `},
	{arch: "arm64", machine: "virt", mem: "256M", args: []string{"selftest=program/", "exit=eager"}, icount: true,
		banner: `(?m)^warning: exit=eager is unsound on purpose: it breaks E1`},
	{arch: "amd64", machine: "microvm", mem: "128M", args: []string{"selftest=quick"}},
	{arch: "arm64", machine: "virt-gicv3", mem: "1G", args: []string{"selftest=quick"}},
	{arch: "arm64", machine: "virt-el2", mem: "128M", args: []string{"selftest=quick"}},
	{arch: "amd64", machine: "q35", mem: "64M", args: []string{"selftest=quick,hog/socketpairs,hog/in-flight,hog/backlog,hog/eventfds,hog/memfds"}},
	{arch: "arm64", machine: "virt", mem: "64M", args: []string{"selftest=quick"}},
	// A CPU that is vulnerable to Meltdown, with all measures about speculation, whatever
	// the CPU.
	{arch: "amd64", machine: "q35", mem: "128M", cpu: "Haswell", args: []string{"selftest=exec", "layout=shared", "mitigations=ibpb,ibrs,verw"},
		banner: `(?m)^layout: separate \(because of Meltdown\),(.*\n)+?speculation: IBRS at entry, IBPB between users, VERW; open to SSB`},
	// Serial ports that are not ready: a 16550 and Cadence's. (QEMU's PL011 never says so.)
	{arch: "amd64", machine: "q35", mem: "128M", args: []string{"selftest=console/"}, slow: true, banner: transmitted},
	{arch: "arm64", machine: "xlnx-zcu102", mem: "2G", args: []string{"selftest=console/"}, slow: true, banner: transmitted},
	// 2 million frames.
	{arch: "arm64", machine: "virt", mem: "8G", args: []string{"selftest=frames/"}},
	{arch: "arm64", machine: "virt-uboot", mem: "1G", args: []string{"selftest=quick"}},
	{arch: "arm64", machine: "virt-uboot-imx8mp", mem: "3G", args: []string{"selftest=frames/"}},
	{arch: "arm64", machine: "virt-uefi", mem: "1G", args: []string{"selftest=quick"}},
	// Boards run one CPU here. The quick set comes to its end with two on raspi3b too, which
	// was run by hand. How long that takes on an idle host was not measured.
	{arch: "arm64", machine: "raspi3b", mem: "1G", args: []string{"selftest=quick", "cpus=1"}},
	// The other CPUs start, in every way that exists, and every interrupt controller
	// reaches them. Two CPUs of the last machine exist only in its tree.
	{arch: "amd64", machine: "q35", mem: "128M", cpus: 8, args: []string{"selftest=cpus/", "cpus=8"}, banner: "CPUs: 8 found, 8 run"},
	{arch: "amd64", machine: "microvm", mem: "128M", cpus: 4, args: []string{"selftest=cpus/", "cpus=4"}, banner: fourRun},
	{arch: "arm64", machine: "virt", mem: "128M", cpus: 4, args: []string{"selftest=cpus/", "cpus=2"}, banner: "CPUs: 4 found, 2 run"},
	{arch: "arm64", machine: "virt-gicv3", mem: "128M", cpus: 4, args: []string{"selftest=cpus/", "cpus=4"}, banner: fourRun},
	{arch: "arm64", machine: "virt-el2", mem: "128M", cpus: 4, args: []string{"selftest=cpus/", "cpus=4"}, banner: fourRun},
	{arch: "arm64", machine: "raspi3b", mem: "1G", args: []string{"selftest=cpus/", "cpus=4"}, banner: fourRun},
	{arch: "arm64", machine: "raspi4b", mem: "2G", args: []string{"selftest=cpus/", "cpus=4"}, banner: fourRun},
	{arch: "arm64", machine: "imx8mp-evk", mem: "6G", cpus: 4, args: []string{"selftest=cpus/", "cpus=4"}, banner: fourRun},
	{arch: "arm64", machine: "xlnx-zcu102", mem: "2G", cpus: 2, args: []string{"selftest=cpus/", "cpus=4"},
		banner: `warning: CPU 0x2 does not start: PSCI's CPU_ON says -2\n(.*\n)*?CPUs: 4 found, 2 run`},
	// CPU 2 comes when CPU 1 is called, and the other way round: each waits for its own turn.
	// Broken by: secondaryEntry taking any block (3 run, and interrupts go astray); words
	// that are not memory left unmapped.
	{arch: "arm64", machine: "raspi3b", mem: "1G", args: []string{"selftest=cpus/", "cpus=3"}, told: "words-swapped", edit: swapWords,
		banner: `warning: CPU 0x1 does not start: it does not come\n(.*\n)*?CPUs: 4 found, 2 run`},
	{arch: "arm64", machine: "raspi3b", mem: "1G", args: []string{"selftest=cpus/", "cpus=4"}, told: "words-hidden", edit: hideWords, banner: fourRun},
	// What cores with errata ask for, whatever the core: every flush has its second
	// invalidation, and programs' reads of CTR_EL0 trap. The kernel half is replaced at a
	// physical address. Broken by: features that looks for another word than tlbi, and than ctr.
	{arch: "arm64", machine: "virt", mem: "128M", args: []string{"selftest=privilege,pagetable/,cow/", "mitigations=tlbi,ctr"}, icount: true,
		runs: []runs{
			{functions: []string{"grim/arch/arm64.flushVA.abi0", "grim/arch/arm64.flushASID.abi0", "grim/arch/arm64.flushAll.abi0"}},
			{functions: []string{"grim/arch/arm64.trapCTR.abi0"}},
			{functions: []string{"grim/arch/arm64.replaceCode"}, at: physical},
		}},
	// Four CPUs, in turn and in parallel. Two run in other boots, too: with exit=reaper and
	// exit=inline above, and on boards that have four.
	{arch: "amd64", machine: "q35", mem: "256M", cpus: 4, args: []string{"selftest=meet/,threads/,exit/,program/cpus", "cpus=4"}, icount: true, banner: "goroutines run on 4 CPUs"},
	{arch: "arm64", machine: "virt", mem: "256M", cpus: 4, args: []string{"selftest=meet/,threads/,program/cpus", "cpus=4"}, parallel: true, banner: "goroutines run on 4 CPUs"},
	// The mixed load of make soak, for some seconds. The output has its seed, and how often each
	// operation was done.
	{arch: "amd64", machine: "q35", mem: "512M", cpus: 4, args: []string{"selftest=soak/", "cpus=4", "soak=12s"}, parallel: true, banner: soaked},
	{arch: "arm64", machine: "virt", mem: "512M", cpus: 4, args: []string{"selftest=soak/", "cpus=4", "soak=12s"}, parallel: true, banner: soaked},
	// How threads are scheduled on four CPUs in turn.
	{arch: "arm64", machine: "virt", mem: "256M", cpus: 4, args: []string{"selftest=program/sched", "cpus=4"}, icount: true, banner: fourRun},
	// The tree names the mini UART, and the pins carry the PL011.
	{arch: "arm64", machine: "raspi3b-pl011", mem: "1G", args: []string{"selftest=frames/counts"}, told: "pins-alt0", pokes: pinsALT0},
	{arch: "arm64", machine: "raspi4b", mem: "2G", args: []string{"selftest=quick", "cpus=1"}},
	{arch: "arm64", machine: "imx8mp-evk", mem: "6G", args: []string{"selftest=quick", "cpus=1"}},
	// A boot loader's watchdog that runs, with 4 seconds, and cannot be stopped. The boot
	// takes longer: without the driver, the board is reset during the boot.
	{arch: "arm64", machine: "imx8mp-evk", mem: "6G", args: []string{"selftest=frames/"}, told: "running-watchdog", pokes: runningWatchdog},
	{arch: "arm64", machine: "xlnx-zcu102", mem: "2G", args: []string{"selftest=quick", "cpus=1"}},
	{arch: "arm64", machine: "xlnx-zcu102-el2", mem: "2G", args: []string{"selftest=quick", "cpus=1"}},
}

// transmitted is what the self-test of a slow port prints.
const transmitted = `(?m)^# console/slow: [1-9]\d* transmit interrupts`

// soaked is what the mixed load prints: each operation has been done.
const soaked = `(?m)^soak: 9 workers for 12s, seed \d+\n(.*\n)*?soak:( [a-z]+=[1-9]\d*){10}$`

// fourRun and twoRun are the banner's line on CPUs.
const (
	fourRun = "CPUs: 4 found, 4 run"
	twoRun  = "CPUs: 2 found, 2 run"
)

// pinsALT0 sets the functions of GPIO 14 and 15.
var pinsALT0 = []qemu.Poke{{At: 0x3f200004, Data: []byte{0, 0x40, 2, 0}}}

// runningWatchdog stores WCR of the i.MX 8M Plus's first watchdog: WT, WDA, SRS, WDE.
var runningWatchdog = []qemu.Poke{{At: 0x30280000, Data: []byte{0x34, 0x07}}}

func (b *boot) title() string {
	words := append([]string{b.arch, b.machine, b.mem}, b.args...)
	if b.cpu != "" {
		words = append(words, b.cpu)
	}
	if b.cpus != 0 {
		words = append(words, fmt.Sprintf("CPUS=%d", b.cpus))
	}
	if b.parallel {
		words = append(words, "ICOUNT=0")
	}
	if b.debug {
		words = append(words, "DEBUG=1")
	}
	if b.sixth {
		words = append(words, "SIXTH=1")
	}
	if b.told != "" {
		words = append(words, b.told)
	}
	if b.release != "" {
		words = append(words, "go"+b.release)
	}
	return strings.Join(words, " ")
}

func (b *boot) selected(pattern string) bool { return strings.Contains(b.title(), pattern) }

// log returns the file of the boot's serial output.
func (b *boot) log() string {
	name := strings.NewReplacer(" ", "-", "=", "-", "/", "").Replace(b.title())
	return "build/logs/" + name + ".log"
}

// lines returns the boot's serial output with the line ends of a text. The console sends CR
// LF.
func (b *boot) lines() (string, error) {
	text, err := os.ReadFile(b.log())
	return strings.ReplaceAll(string(text), "\r\n", "\n"), err
}

// editTree writes the board's tree with the changes of b.edit.
func (b *boot) editTree(m *qemu.Machine) (name string, err error) {
	t, err := os.ReadFile(filepath.Join(qemu.FilesDir, m.Board.Tree))
	if err == nil {
		t, err = editTree(t, b.edit)
	}
	name = strings.TrimSuffix(b.log(), ".log") + ".dtb"
	if err != nil {
		return name, err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return name, err
	}
	return name, os.WriteFile(name, t, 0o666)
}

// editTree returns a device tree with changes.
func editTree(b []byte, edit func(*dt.Node)) ([]byte, error) {
	fdt, err := dt.ReadFDT(io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))))
	if err != nil {
		return nil, err
	}
	edit(fdt.RootNode)
	var w bytes.Buffer
	_, err = fdt.Write(&w)
	return w.Bytes(), err
}

// swapWords exchanges two CPUs' words of the spin table: the CPU that comes is not the one
// that was called. hideWords takes the page with the words out of the memory that may be
// mapped.
func swapWords(r *dt.Node) {
	cpus := node(r, "cpus")
	first, second := node(cpus, "cpu@1"), node(cpus, "cpu@2")
	a, _ := first.LookProperty("cpu-release-addr")
	b, _ := second.LookProperty("cpu-release-addr")
	a.Value, b.Value = b.Value, a.Value
}

func hideWords(r *dt.Node) {
	reserved := node(r, "reserved-memory")
	reserved.Children = append(reserved.Children, tree("words@0", dt.Property{Name: "no-map"}, dt.Property{Name: "reg", Value: []byte{0, 0, 0, 0, 0, 0, 0x10, 0}}))
}

// selectBoots returns the boots whose title contains the pattern.
func selectBoots(pattern string) []boot {
	var sel []boot
	for _, b := range suiteBoots {
		if b.selected(pattern) {
			sel = append(sel, b)
		}
	}
	return sel
}

// bootAll runs the boots, several at a time, and reports when each starts and ends.
func bootAll(ctx context.Context, boots []boot, jobs int, limit time.Duration) tally {
	var (
		mu    sync.Mutex // total and the terminal
		total tally
		wg    sync.WaitGroup
		slots = make(chan struct{}, jobs)
	)
	for i := range boots {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			b := &boots[i]
			label := fmt.Sprintf("boot %d of %d: %s", i+1, len(boots), b.title())
			mu.Lock()
			fmt.Println(label, "...")
			mu.Unlock()
			if reason := cannotBoot(b.arch, b.machine); reason != nil {
				mu.Lock()
				defer mu.Unlock()
				fmt.Printf("%s: skipped: %v\n", label, reason)
				return
			}
			start := time.Now()
			v, err := b.run(ctx, limit)

			mu.Lock()
			defer mu.Unlock()
			total.passed += v.Passed
			if err == nil {
				fmt.Printf("%s: %d passed, %s\n", label, v.Passed, since(start))
				return
			}
			total.failed += max(v.Failed, 1) - 1
			text, _ := b.lines()
			total.fail("%s: FAILED after %s: %v\n%s", label, since(start), err, strings.Join(notOK.FindAllString(text, 4), ""))
			fmt.Printf("  last lines of %s:\n%s\n", b.log(), tail(text, 30))
		})
	}
	wg.Wait()
	return total
}

// notOK matches a failed test's lines in the serial output: the reasons, then its name.
var notOK = regexp.MustCompile(`(?m)^(?:# .*\n)*not ok .*\n`)

// cannotBoot returns the reason why a machine cannot boot here without a fault of Grim: the
// installed QEMU is older than the machine. .ci/run installs a newer one.
func cannotBoot(arch, machine string) error {
	m, err := qemu.Lookup(arch, machine)
	if err != nil || m.Board == nil || m.Board.Since == 0 {
		return nil
	}
	return m.Missing()
}

func (b *boot) run(ctx context.Context, limit time.Duration) (*qemu.Verdict, error) {
	m, err := qemu.Lookup(b.arch, b.machine)
	if err != nil {
		return &qemu.Verdict{}, err
	}
	dir := buildDir(b.release, b.arch)
	if b.debug {
		dir += "-debug"
	}
	if b.sixth {
		dir += "-sixth"
	}
	c := &qemu.Config{
		Machine: m, Memory: b.mem,
		Kernel: dir + "/grim",
		Initrd: dir + "/initramfs.cpio",
		Append: b.args,
		Icount: !b.parallel && (b.icount || m.Board == nil), // a busy host must not decide
		Pokes:  b.pokes,
		CPUs:   b.cpus,

		SlowReader: b.slow,
	}
	if b.cpu != "" {
		c.Extra = []string{"-cpu", b.cpu}
	}
	if b.edit != nil {
		name, err := b.editTree(&m)
		if err != nil {
			return &qemu.Verdict{}, err
		}
		c.Extra = append(c.Extra, "-dtb", name) // the last one counts
	}
	trace, err := b.traceArgs(dir)
	if err != nil {
		return &qemu.Verdict{}, err
	}
	c.Extra = append(c.Extra, trace...)
	v, err := qemu.Boot(ctx, c, limit, b.log(), nil, nil)
	if err == nil {
		err = b.ran(dir)
	}
	if err != nil || b.banner == "" {
		return v, err
	}
	text, err := b.lines()
	if err == nil && !regexp.MustCompile(b.banner).MatchString(text) {
		err = fmt.Errorf("the serial output has nothing that matches %q", b.banner)
	}
	return v, err
}
