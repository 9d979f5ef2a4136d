package sys

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/arch/amd64"
	"grim/arch/arm64"
	"grim/kernel/fs"
	"grim/mm/charge"
	"grim/mm/phys"
	"grim/mm/phys/phystest"
	"grim/mm/pmap"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/elf"
)

// machine is a computer for tests. It has real frames, page tables, processes, files and
// system calls of either architecture. The user code of its CPU is Go functions that make
// system calls. The code of each user thread is a goroutine, which takes turns with the
// kernel's goroutine in Run.
type machine struct {
	arch.OneCPU
	charged  charge.Totals
	t        *testing.T
	abi      *arch.ABI
	nums     map[string]int
	mem      *phys.Memory
	half     phys.Frame
	pm       *pmap.System
	vm       *vm.System
	fs       *fs.FS
	k        *proc.Kernel
	s        *System
	out      bytes.Buffer // console; outMu
	mu       sync.Mutex
	free     int
	anywhere func(*user) // code at every address that has no other code
	litters  bool        // the test leaves files, and so frames, behind

	users    sync.Map // *arch.UArea -> *user
	programs sync.Map // uint64 -> func(*user): by pc, and by mark for children
	nextMark uint64
	reboots  []bool
}

// mark returns the register that tells which code a forked child runs.
func (m *machine) mark() int {
	if m.abi.Name == "amd64" {
		return amd64.R15
	}
	return arm64.X0 + 27
}

var machines = []struct {
	abi    *arch.ABI
	format *arch.Format
	names  []string
}{
	{amd64.ABI(), &amd64.Format, namesAMD64[:]},
	{&arm64.ABI, &arm64.Format, namesARM64[:]},
}

// onBoth runs a test on a machine of each architecture. After the test, every frame,
// process and file must be back (E4).
func onBoth(t *testing.T, test func(m *machine)) {
	for i := range machines {
		t.Run(machines[i].abi.Name, func(t *testing.T) { test(newMachine(t, i, 4096)) })
	}
}

func newMachine(t *testing.T, i, frames int) *machine {
	t.Helper()
	d := &machines[i]
	m := &machine{t: t, abi: d.abi, nums: map[string]int{}, mem: phystest.New(t, frames), nextMark: 100}
	for n, name := range d.names {
		if name != "" {
			m.nums[name] = n
		}
	}
	var err error
	if m.half, err = m.mem.AllocZero(phys.Kernel); err != nil {
		t.Fatal(err)
	}
	m.pm = pmap.NewSystem(m.mem, d.format, m)
	m.vm = vm.NewSystem(vm.Config{Mem: m.mem, Pmaps: m.pm})
	m.s, err = New(Config{
		ABI: d.abi, VM: m.vm,
		Wall:   func() int64 { return 1_700_000_000_123_456_789 },
		Memory: func() (uint64, uint64) { return 64 << 20, 32 << 20 },
		Random: func(p []byte) {
			for i := range p {
				p[i] = byte(i + 1)
			}
		},
		Reboot: func(restart bool) { m.reboots = append(m.reboots, restart) },
		FPU:    amd64.FPU{Features: 7, Size: 832},
		CPU:    elf.CPU{Platform: "test", HWCap: 3},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.k, err = proc.New(proc.Config{
		Machine: m, Memory: m.mem, Pmaps: m.pm, VM: m.vm, Syscalls: m.s, Signals: m.s,
		Slice: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	m.fs, err = fs.New(fs.Config{
		NewPages: func(name string, payer *charge.User) (fs.Pages, error) {
			return vm.NewUserFile(m.vm, name, nil, payer)
		},
		Charges: m.vm.Charges(),
		Frames:  m.mem, Proc: m.s.ProcSource(), Monotonic: m.k.Now,
		Console: fs.OutputFunc(func(p []byte) { m.mu.Lock(); m.out.Write(p); m.mu.Unlock() }),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.s.Attach(m.k, m.fs)
	m.free = m.mem.FreeFrames()
	m.charged = m.vm.Charges().Totals()
	t.Cleanup(func() {
		m.k.Close()
		if !t.Failed() {
			m.baseline()
		}
	})
	return m
}

func (m *machine) baseline() {
	m.t.Helper()
	for m.k.Counts().DeadThreads > 0 {
		time.Sleep(100 * time.Microsecond)
	}
	m.pm.Drain()
	if err := m.mem.Audit(); err != nil {
		m.t.Errorf("audit: %v", err)
	}
	if st := m.vm.Stats(); st.Spaces != 0 || st.Entries != 0 {
		m.t.Errorf("still alive: %+v", st)
	}
	if c := m.k.Counts(); c.Processes != 0 || c.Threads != 0 || c.PIDs != 0 {
		m.t.Errorf("still alive: %+v", c)
	}
	if st := m.fs.Stats(); st.Files != 0 {
		m.t.Errorf("open files: %+v", st)
	}
	if n := fs.BuffersInUse(); n != 0 {
		m.t.Errorf("%d buffers are not given back", n)
	}
	if n := m.vm.Charges().Totals(); n != m.charged && !m.litters {
		m.t.Errorf("charged at the end: %v, at the start: %v", n, m.charged)
	}
	if n := m.mem.FreeFrames(); n != m.free && !m.litters {
		m.t.Errorf("%d frames free, want %d as at the start", n, m.free)
	}
}

func (m *machine) KernelHalf(arch.Layout) arch.PA { return m.half.PA() }
func (m *machine) Activate(arch.Root)             {}
func (m *machine) Deactivate()                    {}
func (m *machine) ASIDs() int                     { return 0 }
func (m *machine) FlushPage(arch.Root, arch.VA)   {}
func (m *machine) FlushASID(arch.Root)            {}
func (m *machine) FlushAll()                      {}
func (m *machine) SyncInstructions(arch.PA, int)  {}
func (m *machine) ABI() *arch.ABI                 { return m.abi }
func (m *machine) Dispatch()                      {}
func (m *machine) SetTimer(int64)                 {}

func (m *machine) InitUser(u *arch.UArea, pc, sp arch.VA) {
	*u = arch.UArea{}
	m.users.Delete(u) // a new program, or a reused u-area
	u.Frame[m.abi.PC], u.Frame[m.abi.SP] = uint64(pc), uint64(sp)
}

func (m *machine) CopyUser(dst, src *arch.UArea) {
	m.users.Delete(dst)
	*dst = *src
}

// user is a thread's user mode.
type user struct {
	m       *machine
	u       *arch.UArea
	resume  chan struct{}
	trapped chan arch.Trap
}

// Run lets the user code of u continue until its next trap.
func (m *machine) Run(u *arch.UArea) {
	pc := u.Frame[m.abi.PC]
	v, ok := m.users.Load(u)
	if !ok {
		x := &user{m: m, u: u, resume: make(chan struct{}), trapped: make(chan arch.Trap)}
		v = x
		m.users.Store(u, x)
		fn, _ := m.programs.Load(u.Frame[m.mark()])
		if u.Frame[m.mark()] == 0 {
			fn, _ = m.programs.Load(pc)
		}
		if fn == nil && m.anywhere != nil {
			fn = m.anywhere
		}
		if fn == nil {
			panic(fmt.Sprintf("machine: no code at pc %#x", pc))
		}
		go func() {
			<-x.resume
			fn.(func(*user))(x)
			x.exit(0)
		}()
	}
	x := v.(*user)
	x.resume <- struct{}{}
	u.Trap = <-x.trapped
}

// forget drops the user code of a u-area, which belongs to a new program now, or to no
// program.
func (u *user) forget() { u.m.users.Delete(u.u) }

// handlerBase is the page of the handlers' addresses. It holds no code: the machine
// recognizes the pc.
const handlerBase = 0x7000_0000

// call makes a system call by name and returns its raw result. It first runs the signal
// handlers that the kernel has pushed.
func (u *user) call(name string, args ...uint64) uint64 {
	n, ok := u.m.nums[name]
	if !ok {
		u.m.t.Errorf("no system call %q on %s", name, u.m.abi.Name)
	}
	return u.callNumber(uint64(n), args...)
}

func (u *user) callNumber(n uint64, args ...uint64) uint64 {
	f, abi := &u.u.Frame, u.m.abi
	start := f[abi.PC]
	u.setNumber(n)
	for i, a := range args {
		f[abi.Arg[i]] = a
	}
	f[abi.PC] = start + abi.SyscallBytes
	for {
		u.trap(arch.Trap{Kind: arch.Syscall})
		for f[abi.PC] >= handlerBase && f[abi.PC] < handlerBase+1000 {
			u.handle()
		}
		if f[abi.PC] != start {
			return f[arch.RetSlot]
		}
		f[abi.PC] = start + abi.SyscallBytes // restarted
	}
}

// trap enters the kernel and returns when user mode continues.
func (u *user) trap(t arch.Trap) {
	u.enter(t)
	<-u.resume
}

// enter does the work of the machine layer's entry. amd64 keeps the number separately from
// RAX, which becomes the result.
func (u *user) enter(t arch.Trap) {
	if t.Kind == arch.Syscall && u.m.abi.Name == "amd64" {
		u.u.Frame[u.m.abi.Number] = u.u.Frame[amd64.RAX]
	}
	u.trapped <- t
}

// setNumber sets the register from which the system-call instruction takes the number.
func (u *user) setNumber(n uint64) {
	if u.m.abi.Name == "amd64" {
		u.u.Frame[amd64.RAX] = n
	} else {
		u.u.Frame[u.m.abi.Number] = n
	}
}

// handle runs the handler for which the kernel has set the registers, and rt_sigreturn.
func (u *user) handle() {
	f, abi := &u.u.Frame, u.m.abi
	fn, ok := u.m.programs.Load(f[abi.PC])
	if !ok {
		panic("machine: no handler")
	}
	sp := f[abi.SP]
	if abi.Name == "amd64" {
		if sp%16 != 8 {
			u.m.t.Errorf("handler's SP is %#x", sp)
		}
	}
	f[abi.PC] = 0x6000_0000 // past the handler's first instruction
	fn.(func(*user, int))(u, int(f[abi.Arg[0]]))
	f[abi.SP] = sp
	if abi.Name == "amd64" {
		f[abi.SP] += 8 // RET
	}
	u.setNumber(uint64(u.m.nums["rt_sigreturn"]))
	u.trap(arch.Trap{Kind: arch.Syscall})
}

// errno returns the error of a raw result.
func errno(r uint64) syscall.Errno {
	if r > ^uint64(4095) {
		return syscall.Errno(-r)
	}
	return 0
}

// ok fails the test if a call failed.
func (u *user) ok(name string, args ...uint64) uint64 {
	u.m.t.Helper()
	r := u.call(name, args...)
	if e := errno(r); e != 0 {
		u.m.t.Errorf("%s%#x: %v", name, args, e)
	}
	return r
}

// want fails the test unless the call ends with the error e.
func (u *user) want(e syscall.Errno, name string, args ...uint64) {
	u.m.t.Helper()
	if r := u.call(name, args...); errno(r) != e {
		u.m.t.Errorf("%s%#x = %#x (%v), want %v", name, args, r, errno(r), e)
	}
}

// exit ends the thread: the kernel does not return to it.
func (u *user) exit(code int) {
	f, abi := &u.u.Frame, u.m.abi
	u.setNumber(uint64(u.m.nums["exit"]))
	f[abi.Arg[0]] = uint64(code)
	u.forget()
	u.enter(arch.Trap{Kind: arch.Syscall})
	runtime.Goexit()
}

// vs returns the address space, by the thread of the u-area.
func (u *user) vs() *vm.VMSpace {
	for _, p := range u.m.k.Processes() {
		for _, tid := range p.TIDs() {
			if t := u.m.k.Thread(tid); t != nil && t.U == u.u {
				return t.VM()
			}
		}
	}
	panic("machine: thread not found")
}

// store and load are accesses of user code to its memory.
func (u *user) store(va arch.VA, b []byte) arch.VA {
	if err := u.vs().CopyOut(va, b); err != nil {
		u.m.t.Errorf("store at %#x: %v", va, err)
	}
	return va
}

func (u *user) load(va arch.VA, n int) []byte {
	b := make([]byte, n)
	if err := u.vs().CopyIn(b, va); err != nil {
		u.m.t.Errorf("load at %#x: %v", va, err)
	}
	return b
}

func (u *user) word(va arch.VA) uint64 { return le.Uint64(u.load(va, 8)) }

// Addresses of every test program: 64 KB of data. Strings are at the end of the last page,
// so that a read beyond them faults.
const (
	dataVA  = 0x10_0000
	dataLen = 64 << 10
	codeVA  = 0x5000_0000
)

// str stores a string and returns its address.
func (u *user) str(s string) uint64 {
	va := arch.VA(dataVA + dataLen - len(s) - 1)
	return uint64(u.store(va, append([]byte(s), 0)))
}

// run spawns a process whose code is fn and returns its wait status.
func (m *machine) run(fn func(u *user)) proc.Status {
	m.t.Helper()
	vs, err := vm.New(m.vm, arch.SharedUK, m.vm.Charges().Kernel())
	if err != nil {
		m.t.Fatal(err)
	}
	for _, r := range [][2]uint64{{dataVA, dataLen}, {0x20_0000, 1 << 20}} {
		if _, err := vs.Map(arch.VA(r[0]), r[1], arch.Read|arch.Write, vm.Fixed|vm.Private|vm.Anon, nil, 0); err != nil {
			m.t.Fatal(err)
		}
	}
	vs.SetBrk(0x40_0000)
	m.nextMark++
	pc := codeVA + m.nextMark<<8
	m.programs.Store(pc, fn)
	p, err := m.k.Spawn(proc.SpawnArgs{
		Name: "test", VM: vs, PC: arch.VA(pc), SP: 0x30_0000,
		Files: &files{fds: fs.NewFDTable(64, m.vm.Charges().Kernel()), place: m.fs.NewPlace()},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return m.wait(p)
}

func (m *machine) wait(p *proc.Process) proc.Status {
	done := make(chan proc.Status, 1)
	go func() { done <- p.Wait().Status }()
	select {
	case st := <-done:
		return st
	case <-time.After(5 * time.Minute): // the host may be slow
		m.t.Fatalf("process %d does not end: %v", p.PID(), p.State())
	}
	return 0
}

// passes runs fn and fails the test unless the process exits with 0.
func (m *machine) passes(fn func(u *user)) {
	m.t.Helper()
	if st := m.run(fn); !st.Exited() || st.ExitStatus() != 0 {
		m.t.Errorf("status %#x", st)
	}
}

// child registers code for a child and sets its mark, which fork copies.
func (u *user) child(fn func(u *user)) {
	u.m.mu.Lock()
	u.m.nextMark++
	mark := u.m.nextMark
	u.m.mu.Unlock()
	u.m.programs.Store(mark, fn)
	u.u.Frame[u.m.mark()] = mark
}

// fork makes a child process that runs fn.
func (u *user) fork(fn func(u *user)) uint64 {
	u.child(fn)
	pid := u.ok("clone", uint64(unix.SIGCHLD))
	u.u.Frame[u.m.mark()] = 0
	return pid
}
