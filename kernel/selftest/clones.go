package selftest

import (
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/mm/vm"
	"grim/proc"
)

// More user code, emitted by clones_amd64.go and clones_arm64.go:
//
//	clone(flags, child)    clone(2) on the caller's stack, which emitted code never uses
//	orExit(status)         exit_group(status) if the last result is an error
//	loop(level, n, body)   body n times; level counts the loops around it
//	keep(v)                keep v in a register
//	expectKept(v, status)  exit_group(status) if it is not there any more

const (
	cloneThread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
		unix.CLONE_THREAD | unix.CLONE_SYSVSEM
	cloneVfork  = unix.CLONE_VM | unix.CLONE_VFORK | uint64(unix.SIGCHLD)
	cloneShared = unix.CLONE_VM | uint64(unix.SIGCHLD)
	cloneFork   = uint64(unix.SIGCHLD)
)

// cloneNumber is the address where clone(2) stores a number, if its flags say so
// (CLONE_PIDFD too).
const cloneNumber = uint64(stackVA - 256)

// Exit statuses that mean that a system call has failed that must not fail.
const (
	cloneFailed = 99
	waitFailed  = 98
)

// spawnChild is clone with a check of the error.
func (p *program) spawnChild(flags uint64, child func(*program)) {
	var c program
	child(&c)
	p.clone(flags, &c)
	p.orExit(cloneFailed)
}

// thread starts a thread. Its body must not return.
func (p *program) thread(body func(*program)) { p.spawnChild(cloneThread, body) }

// times repeats the code that body emits.
func (p *program) times(level int, n uint64, body func(*program)) {
	var b program
	body(&b)
	p.loop(level, n, &b)
}

// waitAll waits for any n children.
func (p *program) waitAll(level int, n uint64) {
	p.times(level, n, func(b *program) {
		b.call(unix.SYS_WAIT4, ^uint64(0), 0, 0, 0)
		b.orExit(waitFailed)
	})
}

// pause sleeps until a signal ends the process.
func (p *program) pause() {
	p.call(unix.SYS_PPOLL, 0, 0, 0, 0, 8)
	p.exit(97)
}

// gateVA is where gates are mapped.
const gateVA arch.VA = 0x2000_0000

// gates are shared pages in user memory, from gateVA on. A program waits at a gate by
// touching its page: the pager holds the fault until the test opens the gate. A program
// that has written to a page waits again when the page is written back, in the purge. Each
// gate is an object of its own, since a fault delays other faults of the same object.
type gates struct {
	arrived []chan struct{} // gets a message each time a program begins to wait
	open    []chan struct{}
	out     []chan struct{} // the same for writing back; not closed: no wait
	outs    atomic.Int32    // number of pages written back
	hold    atomic.Bool     // writing back must wait
}

// gate is the pager of one page.
type gate struct {
	*gates
	i int
}

// PageIn implements vm.Pager.
func (g gate) PageIn(_ int64, page []byte) error {
	clear(page)
	g.arrived[g.i] <- struct{}{}
	<-g.open[g.i]
	return nil
}

// PageOut implements vm.Pager.
func (g gate) PageOut(int64, []byte) error {
	if g.hold.Load() {
		g.arrived[g.i] <- struct{}{}
		<-g.out[g.i]
	}
	g.outs.Add(1)
	return nil
}

func (t *T) gates(vs *vm.VMSpace, n int) *gates {
	g := &gates{}
	for i := range n {
		g.arrived = append(g.arrived, make(chan struct{}, 64))
		g.open = append(g.open, make(chan struct{}))
		g.out = append(g.out, make(chan struct{}))
		o := vm.NewFileObject(t.VM, "gate", gate{g, i})
		t.check("gate", o.Truncate(arch.PageSize))
		_, err := vs.Map(gateVA+arch.VA(i)<<arch.PageShift, arch.PageSize, readWrite, vm.Fixed|vm.Shared, o, 0)
		o.Unref() // the mapping has its own reference
		t.check("map a gate", err)
	}
	return g
}

// await waits until a program has arrived at gate i.
func (t *T) await(g *gates, i int) {
	select {
	case <-g.arrived[i]:
	case <-time.After(10 * time.Second):
		t.Fatalf("nobody has come to gate %d after 10 s", i)
	}
}

// waitAt makes the program wait at gate i.
func (p *program) waitAt(i int) { p.load(gateVA + arch.VA(i)<<arch.PageShift) }

// within is eventually with a given time limit.
func (t *T) within(d time.Duration, what string, cond func() bool) {
	for deadline := time.Now().Add(d); !cond(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, d)
		}
	}
}

// processesEnd waits until there are only base processes: orphans, which no process waits
// for, are gone.
func (t *T) processesEnd(what string, base int64) {
	t.within(10*time.Second, what, func() bool { return t.Proc.Counts().Processes == base })
}

// children returns p's children, the oldest first.
func (t *T) children(p *proc.Process) []*proc.Process {
	return slices.DeleteFunc(t.Proc.Processes(), func(c *proc.Process) bool { return c.PPID() != p.PID() })
}

// wants fails the test unless p ends with the status.
func (t *T) wants(what string, p *proc.Process, want proc.Status) {
	t.within(40*time.Second, what+" ends", p.Exited)
	if st := p.Wait().Status; st != want {
		t.Errorf("%s: status %#x, want %#x", what, uint32(st), uint32(want))
	}
}

// dataPages maps n pages at dataVA.
func (t *T) dataPages(vs *vm.VMSpace, n uint64) {
	_, err := vs.Map(dataVA, n<<arch.PageShift, readWrite, vm.Fixed|vm.Private|vm.Anon, nil, 0)
	t.check("map", err)
}

// kill sends SIGKILL.
func (t *T) kill(p *proc.Process) {
	t.check("kill", p.Signal(&proc.Siginfo{Signo: unix.SIGKILL}))
}
