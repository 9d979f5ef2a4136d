package selftest

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/exit"
)

var orderTests = []test{
	{name: "exit/order", run: exitOrder, layouts: true, designs: true},
}

// mixedExits is how many processes a round of mixed makes.
const mixedExits = 13

// mixed makes the program run children of all kinds, one after the other, each with its own
// way to end. It waits for its own children.
func (p *program) mixed(level int) {
	kinds := []func(*program){
		func(c *program) { c.exit(7) },
		func(c *program) { // memory of its own
			c.touch(dataVA, arch.PageSize, 8)
			c.exit(0)
		},
		func(c *program) { c.load(0x10) }, // SIGSEGV
		func(c *program) { // other threads sleep and spin
			c.thread((*program).pause)
			c.thread((*program).spin)
			c.exit(1)
		},
		func(c *program) { // the leader ends first
			c.thread(func(th *program) {
				th.touch(dataVA, arch.PageSize, 2)
				th.exitThread()
			})
			c.exitThread()
		},
		func(c *program) { // a borrower that the parent waits for
			c.spawnChild(cloneVfork, func(b *program) { b.exit(2) })
			c.exit(3)
		},
		func(c *program) { // a borrower that may outlive it
			c.spawnChild(cloneShared, func(b *program) {
				b.touch(dataVA, arch.PageSize, 4)
				b.exit(0)
			})
			c.touch(dataVA, arch.PageSize, 4)
			c.exit(0)
		},
		func(c *program) { // an orphan
			c.spawnChild(cloneFork, func(o *program) {
				o.touch(dataVA, arch.PageSize, 4)
				o.exit(0)
			})
			c.exit(0)
		},
		func(c *program) { // a grandchild that it waits for
			c.spawnChild(cloneFork, func(g *program) { g.exit(5) })
			c.waitAll(level, 1)
			c.exit(0)
		},
	}
	for _, kind := range kinds {
		p.spawnChild(cloneFork, kind)
	}
	p.waitAll(level, uint64(len(kinds)))
}

// mixedProcess starts a process that runs rounds of mixed.
func (t *T) mixedProcess(rounds uint64) *proc.Process { return t.start(t.mixedSpace(rounds)) }

// mixedSpace makes the address space of such a process.
func (t *T) mixedSpace(rounds uint64) *vm.VMSpace {
	var p program
	p.times(0, rounds, func(b *program) { b.mixed(1) })
	p.exit(0)
	vs := t.space(&p)
	t.dataPages(vs, 8)
	return vs
}

// recorder collects exit steps.
type recorder struct {
	mu     sync.Mutex
	events []proc.Event
}

func (t *T) record() *recorder {
	r := &recorder{}
	t.OnExitStep(func(e *proc.Event) {
		r.mu.Lock()
		r.events = append(r.events, *e)
		r.mu.Unlock()
	})
	t.Cleanup(func() { t.OnExitStep(nil) })
	return r
}

// stop ends the recording.
func (t *T) stop(r *recorder) []proc.Event {
	t.OnExitStep(nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events
}

// exitOrder (E6): in a mixed load the steps of every exit come in the contract's order for
// the exit design. knotes, zombie, SIGCHLD and wake-up have the same order in all designs.
// Broken by telling the parent before the state is Zombie (announce), and by Exiting after
// die (exit1).
func exitOrder(t *T) {
	base := t.Proc.Counts().Processes
	r := t.record()
	for range 4 {
		a, b := t.mixedProcess(2), t.mixedProcess(2)
		t.wants("mixed load", a, 0)
		t.wants("mixed load", b, 0)
	}
	t.processesEnd("orphans end", base)
	t.quiet()
	exits := 0
	for pid, steps := range byProcess(t.stop(r)) {
		exits++
		if bad := t.badOrder(steps); bad != "" {
			t.Errorf("process %d: %s: %v", pid, bad, stepNames(steps))
		}
	}
	if want := 4*2*2*mixedExits + 8; exits < want {
		t.Errorf("%d exits recorded, want %d", exits, want)
	}
}

// byProcess sorts events by process. It leaves out those of single threads.
func byProcess(events []proc.Event) map[int32][]proc.Event {
	out := map[int32][]proc.Event{}
	for _, e := range events {
		if e.Step != exit.StepThreadDead && e.Step != exit.StepDeadproc {
			out[e.PID] = append(out[e.PID], e)
		}
	}
	return out
}

// badOrder compares the steps of one exit with the contract. It returns a description of
// the problem, or "".
func (t *T) badOrder(steps []proc.Event) string {
	index := func(s exit.Step) int {
		return slices.IndexFunc(steps, func(e proc.Event) bool { return e.Step == s })
	}
	has := func(s exit.Step) bool { return index(s) >= 0 }
	order := t.Design.Unwaited
	if has(exit.StepZombie) {
		order = t.Design.Order
	}
	wanted := func(s exit.Step) bool {
		switch s {
		case exit.StepPurgeBegin, exit.StepPurgeEnd:
			return has(exit.StepPurgeBegin) // only the last user of a vmspace purges
		case exit.StepSIGCHLD:
			return has(s)
		}
		return true
	}
	var main, apart []proc.Event
	for _, e := range steps {
		if e.Context == exit.InBackground {
			apart = append(apart, e)
		} else {
			main = append(main, e)
		}
	}
	if has(exit.StepZombie) && !has(exit.StepWait) {
		// Its parent has ended without a wait, and the new parent does not want it: so it
		// is announced a second time.
		main = main[:1+slices.IndexFunc(main, func(e proc.Event) bool { return e.Step == exit.StepWakeup })]
		order = order[:1+slices.IndexFunc(order, func(s exit.Stage) bool { return s.Step == exit.StepWakeup })]
	}
	if bad := follows(main, order, wanted); bad != "" {
		return bad
	}
	return follows(apart, t.Design.Apart, wanted)
}

// follows compares steps with an order. The steps for which wanted returns true must be
// there.
func follows(steps []proc.Event, order []exit.Stage, wanted func(exit.Step) bool) string {
	for _, want := range order {
		switch {
		case !wanted(want.Step):
			continue
		case len(steps) == 0:
			return "missing: " + want.Step.String()
		case steps[0].Step != want.Step:
			return "want " + want.Step.String() + " instead of " + steps[0].Step.String()
		case steps[0].Context != want.By:
			return want.Step.String() + " by the " + steps[0].Context.String()
		}
		steps = steps[1:]
	}
	if len(steps) > 0 {
		return "too much: " + steps[0].Step.String()
	}
	return ""
}

func stepNames(events []proc.Event) (names []string) {
	for _, e := range events {
		names = append(names, e.Step.String())
	}
	return names
}

// ignoreSIGCHLD uses four words of zeros at va.
func (p *program) ignoreSIGCHLD(va arch.VA) {
	p.store(va, 1) // SIG_IGN
	p.call(unix.SYS_RT_SIGACTION, uint64(unix.SIGCHLD), uint64(va), 0, 8)
	p.orExit(96)
}
