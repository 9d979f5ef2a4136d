package selftest

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/exit"
)

// debateTests are the experiments of `make debate` (qemu/debate). They measure the subjects
// of the debate about exit paths, under every exit design, and print figures. They run only
// if selftest= names them. qemu/debate judges what a figure says about a claim.
var debateTests = []test{
	{name: "debate/exits", run: debateExits, designs: true, lab: true},
	{name: "debate/charged", run: debateCharged, designs: true, lab: true},
	{name: "debate/build", run: debateBuild, designs: true, lab: true},
	{name: "debate/together", run: debateTogether, lab: true},
	{name: "debate/rounds", run: debateRounds, lab: true, real: true},
	{name: "debate/threads", run: debateThreads, designs: true, lab: true},
	{name: "debate/zombies", run: debateZombies, designs: true, lab: true},
	{name: "debate/coherent", run: debateCoherent, designs: true, lab: true},
	{name: "debate/observers", run: debateObservers, designs: true, lab: true},
	{name: "debate/roots", run: debateRoots, lab: true},
	{name: "debate/frames", run: debateFrames, lab: true},
}

// figure prints one result, in the form of user/workload.
func (t *T) figure(name string, value int64, unit string) {
	fmt.Printf("figure=%s.%s value=%d unit=%s\n", t.Design, name, value, unit)
}

// smallPages maps size bytes, a multiple of 2 MB, that never become blocks: the halves of
// each 2 MB have different rights.
func (t *T) smallPages(vs *vm.VMSpace, va arch.VA, size uint64) {
	for end := va + arch.VA(size); va < end; va += arch.BlockSize {
		t.mapped(vs, va, arch.BlockSize/2)
		t.mapFlags(vs, va+arch.BlockSize/2, arch.BlockSize/2, readWrite|arch.Exec, vm.Fixed|vm.Private|vm.Anon, nil)
	}
}

const pagesPerMB = 1 << 20 / arch.PageSize

// debateExits prints the steps of one exit for each size of memory: the quickest of three,
// after two that are not counted. On several CPUs the time of an exit includes what other
// CPUs did meanwhile.
func debateExits(t *T) {
	for _, mb := range []uint64{0, 1, 4, 16, 64} {
		var p program
		p.times(1, 2+3, func(b *program) {
			b.spawnChild(cloneFork, func(c *program) {
				c.touch(dataVA, arch.PageSize, 1+mb*pagesPerMB)
				c.exit(0)
			})
			b.waitAll(0, 1)
		})
		p.exit(0)
		vs := t.space(&p)
		t.smallPages(vs, dataVA, 66<<20)
		_, from := t.Proc.Events(0)
		parent := t.start(vs)
		pid := int32(parent.PID())
		parent.Wait()
		t.quiet()
		events, _ := t.Proc.Events(from)
		var children []int32
		began, ended := map[int32]int64{}, map[int32]int64{}
		for _, e := range events {
			if e.PID == pid {
				continue
			}
			if e.Step == exit.StepExit1 {
				children = append(children, e.PID)
				began[e.PID] = e.When
			}
			ended[e.PID] = e.When
		}
		best := children[2]
		for _, c := range children[2:] {
			if ended[c]-began[c] < ended[best]-began[best] {
				best = c
			}
		}
		tellExit(fmt.Sprintf("%s/%d", t.Design, mb), events, best)
	}
}

// tellExit prints the steps of one process, as lines of /proc/exits.
func tellExit(name string, events []proc.Event, pid int32) {
	for _, e := range events {
		if e.PID == pid {
			fmt.Printf("exit=%s %d %s %s %d %d %d %d\n", name, e.PID, e.Step, e.Context, e.When, e.Pages, e.Tables, e.CPU)
		}
	}
}

// debateCharged: the process that is charged the system time of the exit of a process of 16
// MB: of the third one, as the first finds the kernel's stocks empty. The kernel is the
// parent here.
func debateCharged(t *T) {
	for i := range 3 {
		var p program
		p.touch(dataVA, arch.PageSize, 16*pagesPerMB)
		p.exit(0)
		vs := t.space(&p)
		t.smallPages(vs, dataVA, 16<<20)
		q := t.start(vs)
		t.eventually("zombie", q.Exited)
		t.quiet()
		begin := t.Proc.Now()
		r := q.Wait()
		if i == 2 {
			t.figure("charged_parent", t.Proc.Now()-begin, "ns")
			t.figure("charged_child", r.Usage.SystemTime, "ns")
		}
	}
}

// buildProgram is a build with make -j4: a driver process for each of 40 files starts a
// compiler that touches 1 to 30 MB.
func (t *T) buildProgram() *vm.VMSpace {
	const files, jobs = 40, 4
	var p program
	for i := range uint64(files) {
		if i >= jobs {
			p.waitAll(0, 1)
		}
		p.spawnChild(cloneFork, func(driver *program) {
			driver.spawnChild(cloneFork, func(compiler *program) {
				compiler.touch(dataVA, arch.PageSize, (1+i*7%30)*pagesPerMB)
				compiler.exit(0)
			})
			driver.waitAll(0, 1)
			driver.exit(0)
		})
	}
	p.waitAll(0, jobs)
	p.exit(0)
	vs := t.space(&p)
	t.smallPages(vs, dataVA, 30<<20)
	return vs
}

// debateBuild is a build: its duration, and the queue of its exits.
func debateBuild(t *T) {
	vs := t.buildProgram()
	rec := t.record()
	begin, shoots, wakes := t.Proc.Now(), t.interrupts(shootDowns), t.interrupts(wakeUps)
	r := t.start(vs).Wait()
	t.figure("build_time", t.Proc.Now()-begin, "ns")
	t.figure("build_shootdowns", t.interrupts(shootDowns)-shoots, "interrupts")
	t.figure("build_wakeups", t.interrupts(wakeUps)-wakes, "interrupts")
	t.figure("build_system", r.Usage.SystemTime, "ns")
	t.quiet()
	if r.Status != 0 {
		t.Errorf("build: %s", statusText(r.Status))
	}

	began, taken := map[int32]int64{}, map[int32]int64{} // time of exit1, and of the reaper's start
	var longest, reaper, queue, most, area, last int64
	events := t.stop(rec)
	over := make([]int64, buildSpans) // the longest queue in each part of the time
	spanOf := func(at int64) int64 {
		return (at - begin) * (buildSpans - 1) / max(1, events[len(events)-1].When-begin)
	}
	for _, e := range events {
		area += queue * (e.When - max(last, begin))
		for i := spanOf(max(last, begin)); i <= spanOf(e.When); i++ {
			over[i] = max(over[i], queue)
		}
		last = e.When
		switch e.Step {
		case exit.StepExit1:
			began[e.PID] = e.When
		case exit.StepDead:
			queue++
			most = max(most, queue)
		case exit.StepReaper:
			taken[e.PID] = e.When
		case exit.StepWakeup:
			queue--
			longest = max(longest, e.When-began[e.PID])
			if at, ok := taken[e.PID]; ok {
				reaper += e.When - at
			}
		}
	}
	t.figure("build_longest_exit", longest, "ns")
	t.figure("build_longest_wait", longestCollected(events), "ns")
	t.figure("build_reaper", reaper, "ns")
	t.figure("build_queue_most", most, "processes")
	t.figure("build_queue_mean", 1000*area/max(1, last-begin), "thousandths")
	for i, n := range over {
		t.figure(fmt.Sprintf("build_queue_%02d", i), n, "processes")
	}
}

// buildSpans is the number of parts of its time for which a build reports the queue.
const buildSpans = 100

// Kinds of interrupts between CPUs.
func shootDowns(c arch.Counts) uint64 { return c.Shoot }
func wakeUps(c arch.Counts) uint64    { return c.Wake }

// interrupts returns how many interrupts of a kind all CPUs have taken.
func (t *T) interrupts(kind func(arch.Counts) uint64) (n int64) {
	m := t.Machine.(interface{ Counts(n int) arch.Counts })
	for i := range t.Machine.CPUs() {
		n += int64(kind(m.Counts(i)))
	}
	return n
}

// inRounds measures something under each design. Where time is real, it measures in several
// rounds, with all designs in each round, so that other work of the host disturbs all
// designs equally. The shortest time of each design counts. measure returns the time that
// it took, and a function that prints the results.
func (t *T) inRounds(name string, measure func() (took int64, tell func())) {
	rounds := 5
	if t.Virtual {
		rounds = 1
	}
	own := t.Design
	defer func() { t.Design = own }()
	best, tells := map[*exit.Design]int64{}, map[*exit.Design]func(){}
	for range rounds {
		for _, d := range exit.Designs {
			t.Design = d
			took, tell := measure()
			if best[d] == 0 || took < best[d] {
				best[d], tells[d] = took, tell
			}
		}
	}
	for _, d := range exit.Designs {
		t.Design = d
		tells[d]()
		t.figure(name, best[d], "ns")
	}
}

// debateRounds is the build again, for machines on which time is real.
func debateRounds(t *T) {
	t.inRounds("rounds_time", func() (int64, func()) {
		vs := t.buildProgram()
		rec := t.record()
		begin := t.Proc.Now()
		r := t.start(vs).Wait()
		took := t.Proc.Now() - begin
		t.quiet()
		if r.Status != 0 {
			t.Errorf("build under %s: %s", t.Design, statusText(r.Status))
		}
		longest := longestCollected(t.stop(rec))
		return took, func() {
			t.figure("rounds_system", r.Usage.SystemTime, "ns")
			t.figure("rounds_longest_wait", longest, "ns")
		}
	})
}

// longestCollected returns the longest time from exit1 to the end of the wait that collects the
// process.
func longestCollected(events []proc.Event) (ns int64) {
	began := map[int32]int64{}
	for _, e := range events {
		switch e.Step {
		case exit.StepExit1:
			began[e.PID] = e.When
		case exit.StepGone:
			ns = max(ns, e.When-began[e.PID])
		}
	}
	return ns
}

// debateTogether: four children of 16 MB end at the same moment, and their parent waits for
// all. It reports the duration, and the steps of each exit.
func debateTogether(t *T) {
	const n = 4
	t.inRounds("together_time", func() (int64, func()) {
		var p program
		for i := range n {
			p.spawnChild(cloneFork, func(c *program) {
				c.touch(dataVA, arch.PageSize, 16*pagesPerMB)
				c.waitAt(i)
				c.exit(0)
			})
		}
		p.waitAll(0, n)
		p.exit(0)
		vs := t.space(&p)
		t.smallPages(vs, dataVA, 16<<20)
		g := t.gates(vs, n)
		parent := t.start(vs)
		for i := range n {
			t.await(g, i)
		}
		children := t.children(parent)
		_, from := t.Proc.Events(0)
		for i := range n {
			close(g.open[i])
		}
		parent.Wait()
		t.quiet()
		events, _ := t.Proc.Events(from)
		end := int64(0)
		for _, e := range events {
			if e.Step == exit.StepGone && e.PID != int32(parent.PID()) {
				end = max(end, e.When)
			}
		}
		return end - events[0].When, func() {
			for i, c := range children {
				tellExit(fmt.Sprintf("together/%s/%d", t.Design, i), events, int32(c.PID()))
			}
		}
	})
}

// debateThreads: 100 000 threads, made and ended, a hundred at a time.
func debateThreads(t *T) {
	const n = 100_000
	var p program
	p.times(1, n/100, func(b *program) {
		b.makeThreads(0, 100)
		b.call(unix.SYS_SCHED_YIELD)
	})
	p.waitAt(0)
	p.exit(0)
	vs := t.space(&p)
	g := t.gates(vs, 1)
	var ended atomic.Int64
	t.OnExitStep(func(e *proc.Event) {
		if e.Step == exit.StepThreadDead {
			ended.Add(1)
		}
	})
	t.Cleanup(func() { t.OnExitStep(nil) })
	free := t.Mem.FreeFrames()
	most, least := int64(0), free
	begin := t.Proc.Now()
	q := t.start(vs)
	for arrived := false; !arrived && !q.Exited(); {
		select {
		case <-g.arrived[0]:
			arrived = true
		case <-time.After(500 * time.Microsecond):
		}
		most, least = max(most, t.Proc.Counts().Threads), min(least, t.Mem.FreeFrames())
	}
	took := t.Proc.Now() - begin
	soon(10*time.Millisecond, func() bool { return ended.Load() >= n }) // the last one may still be ending
	t.OnExitStep(nil)
	close(g.open[0])
	q.Wait()
	t.figure("threads_ended", ended.Load(), "threads")
	t.figure("threads_most", most, "threads")
	t.figure("threads_held", int64(free-least)<<arch.PageShift, "bytes")
	t.figure("threads_each", took/max(1, ended.Load()), "ns")
}

// debateZombies: children of 256 KB that are not waited for. Zombies that hold memory may
// be so large that there is no room for all. It reports the memory that each holds.
func debateZombies(t *T) {
	const n = 500
	var p program
	p.times(0, n, func(b *program) {
		b.spawnChild(cloneFork, func(c *program) {
			c.touch(dataVA, arch.PageSize, pagesPerMB/4)
			c.exit(3)
		})
	})
	p.waitAt(0)
	p.exit(0)
	vs := t.space(&p)
	t.smallPages(vs, dataVA, arch.BlockSize)
	g := t.gates(vs, 1)
	before := t.census()
	parent := t.start(vs)
	t.within(20*time.Second, "all are made", func() bool { return len(g.arrived[0]) > 0 || parent.Exited() })
	t.quiet()
	now := t.census()
	made := max(1, now.Processes-before.Processes-1)
	t.figure("zombies_made", made, "processes")
	t.figure("zombies_frames", int64(before.Frames-now.Frames)<<arch.PageShift/made, "bytes")
	kernel := int64(0)
	for k := range now.Charges {
		kernel += now.Charges[k] - before.Charges[k]
	}
	t.figure("zombies_kernel", kernel/made, "bytes")
	close(g.open[0])
	parent.Wait()
}

// probe is a page whose first use calls a function, in the user's context.
type probe struct{ at func() }

func (p probe) PageIn(_ int64, b []byte) error {
	clear(b)
	p.at()
	return nil
}
func (p probe) PageOut(int64, []byte) error { return nil }

// debateCoherent: a child writes to a mapped file, and its parent waits and then looks. It
// reports how many of the 8 pages differ from the child's writes, at the pager (the disk)
// and by read(2). A fast pager takes no time, a slow one 1 ms per page.
func debateCoherent(t *T) {
	for _, delay := range []time.Duration{0, time.Millisecond} {
		const n = 8
		pager := &memoryPager{delay: delay}
		obj := t.newFile(pager, n*pageBytes)
		disk, read := int64(0), int64(0)
		look := vm.NewFileObject(t.VM, "look", probe{func() {
			disk = n - int64(pager.taken())
			for i := range int64(n) {
				var b [1]byte
				if _, err := obj.ReadAt(b[:], i*pageBytes); err != nil || b[0] != 0x5a {
					read++
				}
			}
		}})
		t.check("truncate", look.Truncate(pageBytes))
		var p program
		p.spawnChild(cloneFork, func(c *program) {
			c.touch(farVA, arch.PageSize, n)
			c.exit(0)
		})
		p.waitAll(0, 1)
		p.load(gateVA)
		p.exit(0)
		vs := t.space(&p)
		t.mapFlags(vs, farVA, n*page, readWrite, vm.Fixed|vm.Shared, obj)
		t.mapFlags(vs, gateVA, page, readWrite, vm.Fixed|vm.Shared, look)
		look.Unref()
		if st := t.run(vs); st != 0 {
			t.Errorf("parent: %s", statusText(st))
		}
		t.quiet()
		obj.Unref()
		speed := "fast"
		if delay > 0 {
			speed = "slow"
		}
		t.figure("coherent_"+speed+"_disk", disk, "pages")
		t.figure("coherent_"+speed+"_read", read, "pages")
	}
}

// debateObservers: whether an observer that is told of each step of an exit would get the
// child from wait(2).
func debateObservers(t *T) {
	var mu atomic.Pointer[proc.Process]
	var found [exit.NumSteps]int64
	t.OnExitStep(func(e *proc.Event) {
		if p := mu.Load(); p != nil && e.PID == int32(p.PID()) {
			found[e.Step] = 1
			if p.State() == proc.Zombie {
				found[e.Step] = 2
			}
		}
	})
	t.Cleanup(func() { t.OnExitStep(nil) })
	var p program
	p.spawnChild(cloneFork, func(c *program) {
		c.waitAt(0)
		c.exit(0)
	})
	p.waitAll(0, 1)
	p.exit(0)
	vs := t.space(&p)
	g := t.gates(vs, 1)
	parent := t.start(vs)
	t.await(g, 0)
	mu.Store(t.children(parent)[0])
	close(g.open[0])
	parent.Wait()
	t.OnExitStep(nil)
	for s, n := range found {
		if n != 0 {
			t.figure("observers_"+exit.Step(s).String(), n-1, "found")
		}
	}
}

// debateRoots: the cost of a new address space and of its end, with emptied roots in stock
// and without: instructions, and interrupts to other CPUs.
func debateRoots(t *T) {
	cost := func(drain bool) (ns, interrupts int64) {
		before := t.interrupts(shootDowns)
		took := guestTime(9, func() time.Duration {
			if drain {
				t.Pmaps.Drain()
			}
			begin := time.Now()
			vs := t.newSpace()
			d := time.Since(begin)
			end(vs)
			return d
		})
		return int64(took), t.interrupts(shootDowns) - before
	}
	cost(false)
	for _, drain := range []bool{false, true} {
		name := "roots_kept"
		if drain {
			name = "roots_fresh"
		}
		ns, interrupts := cost(drain)
		t.figure(name, ns, "ns")
		t.figure(name+"_interrupts", interrupts, "interrupts")
	}
}

// framesAhead is the size of a CPU's stock in debateFrames, that of OpenBSD's per-CPU page
// caches.
const framesAhead = 16

// stock is a CPU's stock of frames before the allocator's one lock.
type stock struct {
	m      *phys.Memory
	frames [2 * framesAhead]phys.Frame
	n      int
}

// take returns a frame. An empty stock gets framesAhead frames under one lock.
func (s *stock) take() phys.Frame {
	if s.n == 0 {
		s.n = s.m.Stocked(phys.Kernel, s.frames[:framesAhead])
	}
	if s.n == 0 {
		panic("debate/frames: the allocator's stock is empty")
	}
	s.n--
	return s.frames[s.n]
}

// give gives a frame back. A full stock gives framesAhead frames back under one lock.
func (s *stock) give(f phys.Frame) {
	if s.n == len(s.frames) {
		s.drain(framesAhead)
	}
	s.frames[s.n] = f
	s.n++
}

// drain gives n frames back to the allocator.
func (s *stock) drain(n int) {
	s.n -= n
	b := phys.Batch{M: s.m}
	b.FreeZeroed(s.frames[s.n:][:n])
	b.Flush()
}

// debateFrames: the cost of a frame, taken from the allocator and given back, on all CPUs at
// the same time. Each frame takes the allocator's lock twice, or each CPU has a stock of
// frames before it. The frames are zeroed ones, which nothing writes to. On one CPU it also
// counts how many frames a build takes one by one.
func debateFrames(t *T) {
	// A CPU takes held frames and gives them back, rounds times. With what stocks hold, four
	// CPUs do not empty the allocator's stock of 256 zeroed frames.
	const held, rounds = 24, 400
	cpus := runtime.GOMAXPROCS(0)
	type way func() (take func() phys.Frame, give func(phys.Frame), end func())
	var single way = func() (func() phys.Frame, func(phys.Frame), func()) {
		return func() phys.Frame {
			f, err := t.Mem.AllocZero(phys.Kernel)
			if err != nil {
				panic("debate/frames: " + err.Error())
			}
			return f
		}, t.Mem.FreeZeroed, func() {}
	}
	var stocked way = func() (func() phys.Frame, func(phys.Frame), func()) {
		s := &stock{m: t.Mem}
		return s.take, s.give, func() { s.drain(s.n) }
	}
	measure := func(name string, w way) {
		taking := time.Duration(0) // the part of it in which frames are taken, on one CPU
		took := guestTime(5, func() time.Duration {
			t.Mem.Prezero(t.Mem.Total()) // fills the allocator's stock of zeroed frames
			var all sync.WaitGroup
			var taken atomic.Int64
			begin := time.Now()
			for range cpus {
				all.Go(func() {
					take, give, end := w()
					var frames [held]phys.Frame
					for range rounds {
						now := time.Now()
						for i := range frames {
							frames[i] = take()
						}
						taken.Add(int64(time.Since(now)))
						for _, f := range frames {
							give(f)
						}
					}
					end()
				})
			}
			all.Wait()
			taking = time.Duration(taken.Load())
			return time.Since(begin)
		})
		t.figure(name, int64(took)*1000/int64(cpus*rounds*held), "thousandths")
		t.figure(name+"_taken", int64(taking)*1000/int64(cpus*rounds*held), "thousandths")
	}
	measure("frames_single", single)
	measure("frames_stock", stocked)
	if cpus > 1 {
		return
	}
	taken := int64(0)
	t.Mem.Refuse(func(_ phys.Owner, s phys.Sort) bool {
		if s != phys.Block {
			taken++
		}
		return false
	})
	r := t.start(t.buildProgram()).Wait()
	t.quiet()
	t.Mem.Refuse(nil)
	if r.Status != 0 {
		t.Errorf("build: %s", statusText(r.Status))
	}
	t.figure("frames_build", taken, "frames")
}
