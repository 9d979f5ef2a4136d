// Package selftest tests the exit contract and its foundations on the machine itself: real
// page tables walked by the CPU, real user mode, real traps. Every test runs in a goroutine
// of its own. After each, frames, table pages and kernel objects must be as before (E4), or
// it has failed.
//
// A test's comment says how the tested code was once broken, to see the test fail.
package selftest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"grim/arch"
	"grim/kernel/fs"
	"grim/kernel/tap"
	"grim/mm/charge"
	"grim/mm/phys"
	"grim/mm/pmap"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/exit"
)

// Env is the kernel under test.
type Env struct {
	Machine arch.Machine
	Mem     *phys.Memory
	Pmaps   *pmap.System
	VM      *vm.System
	FS      *fs.FS
	Proc    *proc.Kernel
	Layout  arch.Layout  // the boot's default
	Design  *exit.Design // the same
	Select  string       // "none", or which tests run: see selection
	Report  *tap.Report

	// Image has the addresses of the kernel's own sections.
	Image Image
	// Format is the CPU's page-table format.
	Format *arch.Format
	// KernelRights returns the rights that a present entry of the kernel half, a leaf or a
	// table, leaves to kernel code, and whether it leaves user code any right.
	KernelRights func(e arch.PTE, leaf bool) (p arch.Prot, user bool)
	// OnExitStep sets a function that is called at each exit step; nil: none. It is called
	// with locks of package proc held, so it must not call back.
	OnExitStep func(f func(e *proc.Event))
	// Standing is how many goroutines services keep that start when a program first wants
	// them.
	Standing func() int

	// Pin keeps a goroutine on its CPU, and running, until Unpin.
	Pin, Unpin func()

	// ConsoleWaits is console.Console.Waits.
	ConsoleWaits func() (told, late int64)
	// Virtual: time is a count of instructions.
	Virtual bool
	// Soak is the duration of the mixed load, which is seeded by Seed; 0: none.
	Soak time.Duration
	Seed uint64
	// Exits is how many exits soak/exits makes on each CPU; 0: none.
	Exits uint64
	// HeapBytes is the full size of the kernel's heap.
	HeapBytes uint64
	// NewFiles makes a descriptor table for a process, with the console on 0 to 2.
	NewFiles func() (proc.Files, error)
	// Exec starts a program of the file system as a child of the kernel.
	Exec func(path string, args []string, layout arch.Layout, d *exit.Design) (*proc.Process, error)
}

// Image has the addresses of the kernel's sections. Ends are exclusive.
type Image struct {
	Text, EText, Rodata, ERodata, Data, End arch.VA

	Guards []arch.StackGuard // below the kernel's fixed stacks
}

// test is one self-test. In every boot, a test with layouts runs once under each layout,
// and one with designs under each exit design. The others run once, with the boot's
// defaults.
type test struct {
	name    string
	run     func(t *T)
	layouts bool
	designs bool
	// guards is the invariant that the test tests, if there are designs that break it.
	// Under these the test must fail: see judge.
	guards exit.Invariant
	slow   bool // left out of the quick set
	lab    bool // an experiment, which runs only with "selftest=debate"
	// timed: the test judges times. It runs only where time counts the instructions of one
	// CPU. With several CPUs, an emulator counts the instructions of all CPUs, which it
	// runs in turn.
	timed bool
	// virtual: the test judges times that several CPUs in turn do not change. It runs only
	// where time is a count of instructions.
	virtual bool
	real    bool // the test needs a machine whose CPUs run at the same time
	cpus    bool // the test is about several CPUs, and does not run on one
	// absent: the kernel's arguments do not ask for the test.
	absent bool
}

// tests has all tests by topic, in the order in which they run: foundations first.
var tests = slices.Concat(frameTests, pageTableTests, kernelMapTests, userModeTests, machineTests, cpuTests, mapTests,
	cowTests, purgeTests, exitPathTests, cpuExitTests, pressureTests, faultTests, heapTests, fileTests, turnTests, consoleTests, debateTests)

// Run runs the selected tests and reports each.
func Run(e *Env) {
	if e.Select == "none" {
		return
	}
	// The runtime counts its own goroutines too. It starts the one that marks with the
	// first collection, which must not be in the middle of a test.
	runtime.GC()
	if n := runtime.GOMAXPROCS(0); n > 1 {
		fmt.Printf("# goroutines run on %d CPUs\n", n)
	}
	if err := e.Mem.Audit(); err != nil {
		e.Report.Result("frames/count-of-all", []string{err.Error()})
	}
	for _, c := range tests {
		if !e.selected(c) {
			continue
		}
		for _, layout := range e.layouts(c) {
			for _, d := range e.designs(c) {
				e.runOne(c, layout, d)
			}
		}
	}
	runPrograms(e)
	runHogs(e)
	runSoak(e)
	e.wholeAudit()
}

// wholeAudit recounts every frame of memory, once. After each test, that would take most of
// the time on a machine with much memory: see walked.
func (e *Env) wholeAudit() {
	var reasons []string
	if err := e.Mem.Audit(); err != nil {
		reasons = []string{err.Error()}
	}
	e.Report.Result("frames/recount-of-all", reasons)
}

// selected reports whether a test must run in this boot.
func (e *Env) selected(c test) bool {
	if c.absent || c.cpus && runtime.GOMAXPROCS(0) == 1 {
		return false
	}
	if c.timed && (!e.Virtual || runtime.GOMAXPROCS(0) > 1) {
		return false
	}
	if c.virtual && !e.Virtual || c.real && e.Virtual {
		return false
	}
	if c.lab && !strings.HasPrefix(e.Select, "debate") {
		return false
	}
	return selection(e.Select).takes(c.name, c.slow)
}

func (e *Env) layouts(c test) []arch.Layout {
	if c.layouts {
		return []arch.Layout{arch.SharedUK, arch.Separate}
	}
	return []arch.Layout{e.Layout}
}

func (e *Env) designs(c test) []*exit.Design {
	if c.designs {
		return exit.Designs
	}
	return []*exit.Design{e.Design}
}

// runOne runs one test under one layout and exit design and looks for leaks.
func (e *Env) runOne(c test, layout arch.Layout, d *exit.Design) {
	name := c.name
	var under []string
	if c.layouts {
		under = append(under, layout.String())
	}
	if c.designs {
		under = append(under, d.Name)
	}
	if under != nil {
		name += " [" + strings.Join(under, " ") + "]"
	}
	t := &T{Env: e, Layout: layout, Design: d}
	before, walks := e.census(), e.walks()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer t.runCleanups()
		c.run(t)
	}()
	<-done
	// Under a design that breaks an invariant, nothing may leak either.
	if reasons, _ := t.judge(&c); len(reasons) == 0 {
		t.leaks(before)
		t.walked(walks)
	}
	reasons, note := t.judge(&c)
	e.Report.Result(name+note, reasons)
}

// judge returns the reasons for which a test has failed. Under a design that breaks the
// invariant of the test, the test must have failed for the reason of the design, and for no
// other; then note describes it.
func (t *T) judge(c *test) (reasons []string, note string) {
	breach := t.Design.Breach(c.guards)
	seen := ""
	for _, r := range t.reasons {
		if breach != nil && r.broken == c.guards && strings.Contains(r.text, breach.Reason) {
			if seen == "" {
				seen = r.text
			}
			continue
		}
		reasons = append(reasons, r.text)
	}
	switch {
	case breach == nil || len(reasons) > 0:
		return reasons, ""
	case seen == "":
		return []string{fmt.Sprintf("the test passes, though exit=%s breaks %v: it should say that %s", t.Design, c.guards, breach.Reason)}, ""
	}
	return nil, fmt.Sprintf(" # breaks %v: %s", c.guards, seen)
}

// T is a running test.
type T struct {
	*Env
	Layout   arch.Layout
	Design   *exit.Design
	reasons  []reason
	cleanups []func()
}

// reason is why a test failed.
type reason struct {
	text   string
	broken exit.Invariant // 0: anything else
}

// Errorf records a reason why the test has failed, and continues.
func (t *T) Errorf(format string, args ...any) { t.Brokenf(0, format, args...) }

// Brokenf is Errorf for a reason that shows that an invariant is broken.
func (t *T) Brokenf(i exit.Invariant, format string, args ...any) {
	t.reasons = append(t.reasons, reason{fmt.Sprintf(format, args...), i})
}

// Fatalf records a reason and ends the test. It may be called only by the test's own
// goroutine.
func (t *T) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// check ends the test if err is not nil.
func (t *T) check(what string, err error) {
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// Cleanup runs f after the test, the latest first.
func (t *T) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *T) runCleanups() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

// census has the numbers that a test must leave unchanged (E4).
type census struct {
	Frames     int // free frames
	Spaces     int64
	Entries    int64
	Objects    int64
	Processes  int64
	Threads    int64
	PIDs       int
	Inodes     int64
	Files      int64
	Goroutines int
	Charges    charge.Totals
	Payers     int64 // references to users
}

func (e *Env) census() census {
	e.Pmaps.Drain() // the stock of emptied roots counts as free
	v, p, f := e.VM.Stats(), e.Proc.Counts(), e.FS.Stats()
	return census{
		Frames: e.Mem.FreeFrames(), Spaces: v.Spaces, Entries: v.Entries, Objects: v.Objects,
		Processes: p.Processes, Threads: p.Threads, PIDs: p.PIDs,
		Inodes: f.Inodes, Files: f.Files, Goroutines: runtime.NumGoroutine() - p.IdleWorkers - e.Standing(),
		Charges: e.VM.Charges().Totals(), Payers: e.VM.Charges().References(),
	}
}

// settle is how long dead threads may take to be reaped, and goroutines to end.
const settle = 2 * time.Second

// leaks compares the state with that before the test, and recounts the frames that are or
// have been in use. wholeAudit recounts all of memory at the end.
func (t *T) leaks(before census) {
	t.settles(before)
	if err := t.Mem.AuditChanged(); err != nil {
		t.Errorf("recount of frames: %v", err)
	}
}

// walks is the state that walked compares with.
type walks struct {
	phys.Walked
	used int // blocks of RAM that are not wholly free
}

func (e *Env) walks() walks {
	s := e.Mem.Stats()
	return walks{e.Mem.Walked(), s.Total/arch.BlockPages - s.FreeBlocks}
}

// walked checks that neither the test nor the recount after it has gone over all frames of
// a large memory. They may look at the blocks that were in use before, or of which frames
// were taken since, and a few more, several times.
// Broken by: Owners without its first two cases; a test that calls Audit; an AuditChanged
// that looks at all places that are not RAM (8 GB).
func (t *T) walked(before walks) {
	const times, more = 4, 16
	now := t.walks()
	looked, changed := now.Frames-before.Frames, uint64(before.used)+now.Opened-before.Opened
	if most := times * (changed + more) * arch.BlockPages; looked > most {
		t.Errorf("walks looked at %d frames, want up to %d: %d blocks of 512 frames were in use, %d more were taken since",
			looked, most, before.used, now.Opened-before.Opened)
	}
}

// settles waits until everything is as before. There may be fewer goroutines: some may have
// been ending on another CPU when before was taken.
func (t *T) settles(before census) {
	var after census
	for deadline := time.Now().Add(settle); ; time.Sleep(time.Millisecond) {
		after = t.census()
		if after.Goroutines < before.Goroutines {
			before.Goroutines = after.Goroutines
		}
		if after == before {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("leak: before %+v", before)
			t.Errorf("leak: after  %+v", after)
			if after.Goroutines != before.Goroutines {
				text := make([]byte, 16<<10)
				t.Errorf("%s", text[:runtime.Stack(text, true)])
			}
			break
		}
	}
}
