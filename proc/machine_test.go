package proc

import (
	"fmt"
	"iter"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"grim/arch"
	"grim/arch/amd64"
	"grim/mm/charge"
	"grim/mm/phys"
	"grim/mm/phys/phystest"
	"grim/mm/pmap"
	"grim/mm/vm"
	"grim/proc/exit"
)

// machine is a computer for tests. It has real frames, page tables and vmspaces, and a CPU
// whose user code is Go functions. A user thread's code runs as a coroutine that Run
// resumes; it traps by handing control back. The CPUs are the host's: the goroutines of all
// threads may be in Run at the same time.
type machine struct {
	arch.OneCPU
	t     testing.TB
	k     *Kernel
	mem   *phys.Memory
	vm    *vm.System
	pmaps *pmap.System
	half  phys.Frame
	abi   *arch.ABI
	free  int // frames before anything ran

	users    sync.Map // *arch.UArea -> *user
	byTID    sync.Map // int -> *user
	handlers sync.Map // arch.VA -> func(*user, Siginfo)
	nextID   atomic.Uint64
	runs     atomic.Int64

	// After an interrupt, the thread gives way.
	interrupted atomic.Bool
	timer       *[2]int64 // Config.TimerWords

	mu     sync.Mutex
	events []Event
	onStep func(e *Event)
	quiet  bool // record no events (benchmarks)
}

// testABIs are the two ABIs. The result of a call shares a register with the number on
// amd64, and with argument 0 on arm64; restarting a system call has to undo that.
var testABIs = map[string]*arch.ABI{
	"amd64": {Name: "amd64", PC: 2, SP: 1, Number: 0, Arg: [6]int{3, 4, 5, 6, 7, 8}, TLS: 9, SyscallBytes: 2, Cause: testCause},
	"arm64": {Name: "arm64", PC: 2, SP: 1, Number: 8, Arg: [6]int{0, 3, 4, 5, 6, 7}, TLS: 9, SyscallBytes: 4, Cause: testCause},
}

// testCause takes the code of an exception from its trap.
func testCause(u *arch.UArea) (int32, arch.VA) { return int32(u.Trap.Code), u.Trap.Addr }

// newMachine makes a machine with so many frames of RAM. When the test ends, every frame,
// process, thread and number must be back (E4).
func newMachine(t testing.TB, frames int, change func(*Config)) *machine {
	t.Helper()
	m := &machine{t: t, mem: phystest.New(t, frames), abi: testABIs["amd64"]}
	half, err := m.mem.AllocZero(phys.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	m.half = half
	for i := arch.KernelHalf; i < arch.Entries; i++ {
		m.mem.Table(half)[i] = arch.PTE(i) << 40
	}
	m.pmaps = pmap.NewSystem(m.mem, &amd64.Format, m)
	m.vm = vm.NewSystem(vm.Config{Mem: m.mem, Pmaps: m.pmaps})
	m.free = m.mem.FreeFrames()
	cfg := Config{
		Machine: m, Memory: m.mem, Pmaps: m.pmaps, VM: m.vm, Syscalls: m, Signals: m,
		Slice:      time.Millisecond,
		Trace:      m.trace,
		TimerWords: func(_ int, w *[2]int64) { m.timer = w },
		Waits: func() Waiting {
			if m.interrupted.CompareAndSwap(true, false) {
				return WaitsUrgent
			}
			return 0
		},
	}
	if change != nil {
		change(&cfg)
	}
	if m.k, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.k.Close()
		if !t.Failed() {
			m.baseline()
		}
	})
	return m
}

// baseline fails the test if anything is left of what ran (E4).
func (m *machine) baseline() {
	m.t.Helper()
	m.settle()
	m.pmaps.Drain()
	if err := m.mem.Audit(); err != nil {
		m.t.Errorf("audit: %v", err)
	}
	if n := m.mem.FreeFrames(); n != m.free {
		m.t.Errorf("%d frames free, want %d as at the start", n, m.free)
	}
	if s := m.vm.Stats(); s != (vm.SystemStats{}) {
		m.t.Errorf("still alive: %+v", s)
	}
	if n := m.vm.Charges().Totals(); n != (charge.Totals{}) {
		m.t.Errorf("still charged: %v", n)
	}
	if n := m.vm.Charges().References(); n != 0 {
		m.t.Errorf("%d references to users left", n)
	}
	if c := m.k.Counts(); c.Processes != 0 || c.Threads != 0 || c.PIDs != 0 || c.DeadThreads != 0 || c.Forks != c.Released {
		m.t.Errorf("still alive: %+v", c)
	}
}

// hangs is how long a test waits for what does not come. It only has to be shorter than the
// limit of go test: the host may be slow.
const hangs = 5 * time.Minute

// settle waits until the reaper has nothing to do.
func (m *machine) settle() {
	m.t.Helper()
	eventually(m.t, "the reaper has nothing to do", func() bool { return m.k.Counts().DeadThreads == 0 })
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(hangs); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func (m *machine) trace(e *Event) {
	m.mu.Lock()
	if !m.quiet {
		m.events = append(m.events, *e)
	}
	hook := m.onStep
	m.mu.Unlock()
	if e.Step == exit.StepThreadDead {
		if u, ok := m.byTID.LoadAndDelete(int(e.TID)); ok {
			u.(*user).stop()
		}
	}
	if hook != nil {
		hook(e)
	}
}

// recorded returns the steps so far, in a copy: a space that is taken apart in the background
// may add steps when its process is long gone.
func (m *machine) recorded() []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.events)
}

// stages returns the exit stages of a process so far, without those of single threads. With
// apart it returns the stages that are done in the background, otherwise the others.
func (m *machine) stages(pid int, apart bool) (stages []exit.Stage) {
	for _, e := range m.recorded() {
		if int(e.PID) == pid && e.Step != exit.StepThreadDead && e.Step != exit.StepDeadproc && (e.Context == exit.InBackground) == apart {
			stages = append(stages, exit.Stage{Step: e.Step, By: e.Context})
		}
	}
	return stages
}

// steps returns the exit steps of a process so far.
func (m *machine) steps(pid int) (steps []exit.Step) {
	for _, e := range m.recorded() {
		if int(e.PID) == pid && e.Step != exit.StepThreadDead && e.Step != exit.StepDeadproc {
			steps = append(steps, e.Step)
		}
	}
	return steps
}

// The MMU is one without a TLB; package pmap has its own tests.
func (m *machine) KernelHalf(arch.Layout) arch.PA { return m.half.PA() }
func (m *machine) Activate(arch.Root)             {}
func (m *machine) Deactivate()                    {}
func (m *machine) ASIDs() int                     { return 0 }
func (m *machine) FlushPage(arch.Root, arch.VA)   {}
func (m *machine) FlushASID(arch.Root)            {}
func (m *machine) FlushAll()                      {}
func (m *machine) SyncInstructions(arch.PA, int)  {}
func (m *machine) ABI() *arch.ABI                 { return m.abi }
func (m *machine) SetTimer(int64)                 {}

func (m *machine) Dispatch() {
	m.interrupted.Store(true)
	for i := range m.timer {
		atomic.StoreInt64(&m.timer[i], math.MaxInt64)
	}
}

func (m *machine) InitUser(u *arch.UArea, pc, sp arch.VA) {
	u.Frame = arch.Frame{}
	u.Frame[m.abi.PC], u.Frame[m.abi.SP] = uint64(pc), uint64(sp)
}

func (m *machine) CopyUser(dst, src *arch.UArea) { dst.Frame = src.Frame }

// Run resumes the user code of u until it traps. Meanwhile u-area and root must be in use
// (E3).
func (m *machine) Run(u *arch.UArea) {
	v, ok := m.users.Load(u)
	if !ok {
		panic("machine: Run of a u-area that no thread has")
	}
	m.runs.Add(1)
	x := v.(*user)
	x.check()
	x.step()
	x.check()
}

// program is a user thread's code; returning from it is exit(0).
type program func(u *user)

// coroutine is code that was interrupted by a trap, or has not begun.
type coroutine struct {
	next func() (struct{}, bool)
	stop func()
}

// user is a thread's user mode.
type user struct {
	m     *machine
	t     *Thread
	yield func(struct{}) bool
	co    coroutine
	call  func(t *Thread) (uint64, error)
	raw   bool // the call sets the registers itself
	pc    uint64
	saved []savedFrame
	trap  arch.Trap
}

// savedFrame is what a signal frame on the user stack would contain.
type savedFrame struct {
	regs  arch.Frame
	mask  Sigset
	co    coroutine
	yield func(struct{}) bool
	call  func(t *Thread) (uint64, error)
	raw   bool
	pc    uint64
}

// killed unwinds the code of a thread that has ended.
type killed struct{}

// bind gives thread t its code.
func (m *machine) bind(t *Thread, fn program) {
	u := &user{m: m, t: t}
	u.start(func() { fn(u) })
	m.users.Store(t.U, u)
	m.byTID.Store(t.TID(), u)
}

func (u *user) start(fn func()) {
	next, stop := iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			if r := recover(); r != nil && r != (killed{}) {
				panic(r)
			}
		}()
		u.yield = yield
		fn()
		u.Exit(0)
	})
	u.co = coroutine{next, stop}
}

func (u *user) stop() {
	u.co.stop()
	for _, s := range u.saved {
		s.co.stop()
	}
}

func (u *user) step() {
	f := &u.t.U.Frame
	if u.call != nil && f[u.m.abi.PC] == u.pc {
		f[u.m.abi.PC] += u.m.abi.SyscallBytes // the kernel asked to start the call again
		u.t.U.Trap = arch.Trap{Kind: arch.Syscall}
		return
	}
	u.co.next()
	u.t.U.Trap = u.trap
}

// check is E3 from the CPU's side. It fails if the reaper frees a u-area or a root before
// the thread has left it: to see that, move k.exit2(t) in exit1 before leaveSiblings.
func (u *user) check() {
	m := u.m
	if f := u.t.frame; !m.mem.InUse(f) || m.mem.Owner(f) != phys.UArea {
		panic(fmt.Sprintf("E3: thread %d runs on u-area frame %#x, which is free", u.t.TID(), uint32(f)))
	}
	if f := phys.FrameOf(u.t.pm.Root().Table); !m.mem.InUse(f) || m.mem.Owner(f) != phys.Root {
		panic(fmt.Sprintf("E3: thread %d runs on root frame %#x, which is free", u.t.TID(), uint32(f)))
	}
}

// doTrap hands control to the kernel.
func (u *user) doTrap(trap arch.Trap) {
	u.trap = trap
	if !u.yield(struct{}{}) {
		panic(killed{})
	}
}

// Sys makes a system call whose effect is fn.
func (u *user) Sys(fn func(t *Thread) (uint64, error)) (uint64, error) {
	return u.sys(fn, false)
}

func (u *user) sys(fn func(t *Thread) (uint64, error), raw bool) (uint64, error) {
	f := &u.t.U.Frame
	u.call, u.raw, u.pc = fn, raw, f[u.m.abi.PC]
	f[u.m.abi.PC] += u.m.abi.SyscallBytes
	f[u.m.abi.Number], f[u.m.abi.Arg[0]] = 99, 0xa0
	u.doTrap(arch.Trap{Kind: arch.Syscall})
	u.call = nil
	f = &u.t.U.Frame
	if r := int64(f[arch.RetSlot]); r < 0 && r > -4096 {
		if r <= -512 {
			panic(fmt.Sprintf("user code sees the kernel's own error %d", -r))
		}
		return 0, syscall.Errno(-r)
	}
	return f[arch.RetSlot], nil
}

// Syscall implements Config.Syscalls.
func (m *machine) Syscall(t *Thread) {
	v, _ := m.users.Load(t.U)
	u := v.(*user)
	if t.sysRet != t.U.Frame[arch.RetSlot] {
		panic("machine: the loop lost the register that the result overwrites")
	}
	raw := u.raw
	r, err := u.call(t)
	if raw && err == nil {
		return
	}
	if err != nil {
		r = -uint64(err.(syscall.Errno))
	}
	t.U.Frame[arch.RetSlot] = r
}

// Push implements SignalABI: the handler becomes the running code.
func (m *machine) Push(t *Thread, info *Siginfo, act *Sigaction, oldMask Sigset) error {
	h, ok := m.handlers.Load(act.Handler)
	if !ok {
		return syscall.EFAULT
	}
	v, _ := m.users.Load(t.U)
	u := v.(*user)
	u.saved = append(u.saved, savedFrame{t.U.Frame, oldMask, u.co, u.yield, u.call, u.raw, u.pc})
	u.call = nil
	sig := *info
	u.start(func() {
		h.(func(*user, Siginfo))(u, sig)
		u.sys(u.sigreturn, true)
	})
	return nil
}

func (u *user) sigreturn(t *Thread) (uint64, error) {
	s := u.saved[len(u.saved)-1]
	u.saved = u.saved[:len(u.saved)-1]
	done := u.co
	t.U.Frame = s.regs
	u.co, u.yield, u.call, u.raw, u.pc = s.co, s.yield, s.call, s.raw, s.pc
	done.stop()
	t.SetMask(s.mask)
	return 0, nil
}

// Handle installs a handler.
func (u *user) Handle(s syscall.Signal, flags uint64, fn func(u *user, info Siginfo)) {
	va := arch.VA(0x1000 + u.m.nextID.Add(1)*16)
	u.m.handlers.Store(va, fn)
	u.Action(s, Sigaction{Handler: va, Flags: flags})
}

func (u *user) Action(s syscall.Signal, act Sigaction) {
	u.must(func(t *Thread) (uint64, error) {
		_, err := t.Process().Sigaction(s, &act)
		return 0, err
	})
}

// must is Sys for calls that may not fail.
func (u *user) must(fn func(t *Thread) (uint64, error)) uint64 {
	r, err := u.Sys(fn)
	if err != nil {
		panic(fmt.Sprintf("system call failed: %v", err))
	}
	return r
}

// Exit and ExitGroup do not return.
func (u *user) Exit(code int) {
	u.Sys(func(t *Thread) (uint64, error) { t.Exit(code); return 0, nil })
	panic("exit returned")
}

func (u *user) ExitGroup(code int) {
	u.Sys(func(t *Thread) (uint64, error) { t.ExitGroup(code); return 0, nil })
	panic("exit_group returned")
}

// Clone makes a process or a thread that runs fn.
func (u *user) Clone(a ForkArgs, fn program) (int, error) {
	hook := a.OnChild
	a.OnChild = func(c *Thread) error {
		if hook != nil {
			if err := hook(c); err != nil {
				return err
			}
		}
		u.m.bind(c, fn)
		return nil
	}
	r, err := u.Sys(func(t *Thread) (uint64, error) {
		id, err := t.Fork(a)
		return uint64(id), err
	})
	return int(r), err
}

// Fork makes a child process. It must not fail.
func (u *user) Fork(fn program) int {
	pid, err := u.Clone(ForkArgs{ExitSignal: syscall.SIGCHLD}, fn)
	if err != nil {
		panic(fmt.Sprintf("fork: %v", err))
	}
	return pid
}

// threadFlags are the flags of an ordinary thread.
const threadFlags = CloneVM | CloneSighand | CloneFS | CloneFiles | CloneThread

// Thread makes a thread. It must not fail.
func (u *user) Thread(fn program) int {
	tid, err := u.Clone(ForkArgs{Flags: threadFlags}, fn)
	if err != nil {
		panic(fmt.Sprintf("clone: %v", err))
	}
	return tid
}

// Wait waits for any child, or for the child with that pid.
func (u *user) Wait(pid int) (WaitResult, error) { return u.Wait4(pid, 0) }

func (u *user) Wait4(pid int, options uint32) (w WaitResult, err error) {
	_, err = u.Sys(func(t *Thread) (uint64, error) {
		w, err = t.Wait4(pid, options)
		return 0, err
	})
	return w, err
}

// Exec runs fn in a new vmspace.
func (u *user) Exec(name string, fn program) error { return u.ExecAs(name, nil, fn) }

// ExecAs is Exec of a program that gets the credentials c.
func (u *user) ExecAs(name string, c *Cred, fn program) error {
	_, err := u.sys(func(t *Thread) (uint64, error) {
		err := t.Exec(name, c, func(vs *vm.VMSpace) (arch.VA, arch.VA, error) { return 0x400000, 0x7fff0000, nil })
		if err == nil {
			old := u.co
			u.call = nil
			u.m.byTID.Store(t.TID(), u)
			u.start(func() { fn(u) })
			// The old code is in the middle of the call that ends it.
			go old.stop()
		}
		return 0, err
	}, true)
	return err
}

// Kill sends a signal.
func (u *user) Kill(pid int, s syscall.Signal) error {
	_, err := u.Sys(func(t *Thread) (uint64, error) {
		return 0, t.Kill(pid, &Siginfo{Signo: s, Code: SI_USER, PID: int32(t.p.pid)})
	})
	return err
}

// Sleep is a system call that sleeps for ever.
func (u *user) Sleep() error {
	_, err := u.Sys(func(t *Thread) (uint64, error) { return 0, t.Sleep(nil, Forever) })
	return err
}

// Spin runs in user mode until stop returns true. Only the timer interrupts it.
func (u *user) Spin(stop func() bool) {
	for stop == nil || !stop() {
		runtime.Gosched()
		u.doTrap(arch.Trap{Kind: arch.Interrupt})
	}
}

// Asleep runs in user mode until thread t sleeps in the kernel: then what it waits for wakes it.
func (u *user) Asleep(t *Thread) { u.Spin(func() bool { return t.waits.Load() != 0 }) }

// Turns runs in user mode for a while, which is counted: others run in between.
func (u *user) Turns() {
	n := 0
	u.Spin(func() bool { n++; return n > 1000 })
}

// PID and TID are the process's and the thread's numbers.
func (u *user) PID() int { return u.t.p.pid }

// Map maps anonymous memory. Store and Load access memory through the page tables, with
// faults.
func (u *user) Map(n uint64, flags vm.MapFlags, obj vm.Object) arch.VA {
	return arch.VA(u.must(func(t *Thread) (uint64, error) {
		va, err := t.VM().Map(0, n, arch.Read|arch.Write, flags, obj, 0)
		return uint64(va), err
	}))
}

func (u *user) Store(va arch.VA, b byte) { u.touch(va, arch.Write, func(p *byte) { *p = b }) }

func (u *user) Load(va arch.VA) (b byte) {
	u.touch(va, arch.Read, func(p *byte) { b = *p })
	return b
}

func (u *user) touch(va arch.VA, want arch.Prot, fn func(*byte)) {
	for {
		pm := u.t.pm
		pm.Lock()
		if mp, ok := pm.LookupLocked(va); ok && mp.Prot&want == want {
			fn(&u.m.mem.Bytes(mp.Frame)[va&(arch.PageSize-1)])
			pm.Unlock()
			return
		}
		pm.Unlock()
		u.doTrap(arch.Trap{Kind: arch.PageFault, Addr: va, Code: uint64(want) << 56})
	}
}

// SetUint32 and Uint32 access a word as the kernel does.
func (u *user) SetUint32(va arch.VA, v uint32) {
	u.must(func(t *Thread) (uint64, error) { return 0, t.VM().WriteUint32(va, v) })
}

func (u *user) Uint32(va arch.VA) uint32 {
	return uint32(u.must(func(t *Thread) (uint64, error) {
		v, err := t.VM().ReadUint32(va)
		return uint64(v), err
	}))
}

// spawn starts a child of the kernel that runs fn.
func (m *machine) spawn(a SpawnArgs, fn program) *Process {
	m.t.Helper()
	vs, err := vm.New(m.vm, arch.SharedUK, m.vm.Charges().Kernel())
	if err != nil {
		m.t.Fatal(err)
	}
	a.VM = vs
	a.PC = 0x400000
	a.Setup = func(t *Thread) { m.bind(t, fn) }
	if a.Name == "" {
		a.Name = "test"
	}
	p, err := m.k.Spawn(a)
	if err != nil {
		vs.Release()
		m.t.Fatal(err)
	}
	return p
}

// run runs fn as a process to its end, and fails the test if the status is not want.
func (m *machine) run(want Status, fn program) {
	m.t.Helper()
	p := m.spawn(SpawnArgs{}, fn)
	done := make(chan WaitResult, 1)
	go func() { done <- p.Wait() }()
	select {
	case r := <-done:
		if r.Status != want {
			m.t.Errorf("process ended with status %#x, want %#x", r.Status, want)
		}
	case <-time.After(hangs):
		buf := make([]byte, 1<<16)
		m.t.Fatalf("hangs; %+v\n%s", m.k.Counts(), buf[:runtime.Stack(buf, true)])
	}
}

// files is a descriptor table for tests.
type files struct {
	open   *atomic.Int64
	closed func()
	onExec func() // called by CloseOnExec; nil: nothing
}

func newFiles(open *atomic.Int64, closed func()) *files {
	open.Add(1)
	return &files{open: open, closed: closed}
}

func (f *files) PayFor(*charge.User)                          {}
func (f *files) Fork(CloneFlags, *charge.User) (Files, error) { return newFiles(f.open, f.closed), nil }
func (f *files) Shared() bool                                 { return false }
func (f *files) CloseOnExec() {
	if f.onExec != nil {
		f.onExec()
	}
}
func (f *files) CloseAll() {
	f.open.Add(-1)
	if f.closed != nil {
		f.closed()
	}
}

// forDesigns runs a test under every exit design that keeps the given invariants.
func forDesigns(t *testing.T, frames int, fn func(t *testing.T, m *machine), about ...exit.Invariant) {
	for _, d := range exit.Designs {
		if slices.ContainsFunc(about, func(i exit.Invariant) bool { return d.Breach(i) != nil }) {
			continue
		}
		t.Run(d.Name, func(t *testing.T) {
			fn(t, newMachine(t, frames, func(c *Config) { c.Design = d }))
		})
	}
}
