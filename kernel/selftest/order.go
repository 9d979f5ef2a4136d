package selftest

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/proc"
)

var orderTests = []test{
	{name: "exit/order", run: exitOrder, layouts: true, policies: true},
}

// mixedExits is how many processes a round of mixed makes.
const mixedExits = 13

// mixed makes the program run one child after the other of every kind that ends
// in its own way, and wait for those that are its own.
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
		func(c *program) { // a borrower that outlives it, perhaps
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
func (t *T) mixedProcess(rounds uint64) *proc.Process {
	var p program
	p.times(0, rounds, func(b *program) { b.mixed(1) })
	p.exit(0)
	vs := t.space(&p)
	t.dataPages(vs, 8)
	return t.start(vs)
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

// exitOrder (E6): in a mixed load every exit's steps come in the contract's
// order: under purge the memory is gone before the process is dead, under reaper
// before it is a zombie; knotes, zombie, SIGCHLD and wake-up never change.
// Broken by telling the parent before the state is Zombie (announce), and by
// p.purge after p.die (exit1).
func exitOrder(t *T) {
	base := t.Proc.Counts().Processes
	r := t.record()
	for range 4 {
		a, b := t.mixedProcess(2), t.mixedProcess(2)
		t.wants("mixed load", a, 0)
		t.wants("mixed load", b, 0)
	}
	t.processesEnd("orphans end", base)
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

// byProcess sorts events by process, leaving out those of single threads.
func byProcess(events []proc.Event) map[int32][]proc.Event {
	out := map[int32][]proc.Event{}
	for _, e := range events {
		if e.Step != proc.StepThreadDead && e.Step != proc.StepDeadproc {
			out[e.PID] = append(out[e.PID], e)
		}
	}
	return out
}

// badOrder compares the steps of one exit with the contract. It gives what is
// wrong; empty: nothing.
func (t *T) badOrder(steps []proc.Event) string {
	index := func(s proc.Step) int {
		return slices.IndexFunc(steps, func(e proc.Event) bool { return e.Step == s })
	}
	if index(proc.StepZombie) >= 0 && index(proc.StepWait) < 0 {
		// Its parent ended without a wait, and the new one does not want it: it
		// is announced a second time.
		steps = steps[:index(proc.StepWakeup)+1]
	}
	at := map[proc.Step]int{}
	for i, e := range steps {
		if _, twice := at[e.Step]; twice {
			return "twice: " + e.Step.String()
		}
		at[e.Step] = i
	}
	has := func(s proc.Step) bool { _, ok := at[s]; return ok }
	want := []proc.Step{proc.StepExit1, proc.StepUserDone, proc.StepFilesDone}
	purge := []proc.Step{proc.StepPurgeBegin, proc.StepPurgeEnd}
	purges := has(proc.StepPurgeBegin) // the last user of a vmspace alone does
	if purges && t.Policy == proc.PolicyPurge {
		want = append(want, purge...)
	}
	want = append(want, proc.StepDead, proc.StepNoteExit, proc.StepReaper)
	if purges && t.Policy == proc.PolicyReaper {
		want = append(want, purge...)
	}
	want = append(want, proc.StepSpaceFreed)
	if has(proc.StepZombie) {
		want = append(want, proc.StepZombie)
	} else { // nobody will wait
		want = append(want, proc.StepGone)
	}
	if has(proc.StepSIGCHLD) {
		want = append(want, proc.StepSIGCHLD)
	}
	want = append(want, proc.StepWakeup)
	if has(proc.StepWait) {
		want = append(want, proc.StepWait, proc.StepGone)
	}
	for i, s := range want {
		switch {
		case i >= len(steps):
			return "missing: " + s.String()
		case steps[i].Step != s:
			return "want " + s.String() + " instead of " + steps[i].Step.String()
		}
	}
	if len(steps) > len(want) {
		return "too much: " + steps[len(want)].Step.String()
	}
	context := proc.InProcess
	if t.Policy == proc.PolicyReaper {
		context = proc.InReaper
	}
	if purges && steps[at[proc.StepPurgeBegin]].Context != context {
		return "purged by the " + steps[at[proc.StepPurgeBegin]].Context.String()
	}
	return ""
}

func stepNames(events []proc.Event) (names []string) {
	for _, e := range events {
		names = append(names, e.Step.String())
	}
	return names
}

// ignoreSIGCHLD needs four words of zeros at va to work with.
func (p *program) ignoreSIGCHLD(va arch.VA) {
	p.store(va, 1) // SIG_IGN
	p.call(unix.SYS_RT_SIGACTION, uint64(unix.SIGCHLD), uint64(va), 0, 8)
	p.orExit(96)
}
