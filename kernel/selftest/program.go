package selftest

import (
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/mm/vm"
	"grim/proc"
)

// Addresses of a test's user code, stack and data.
const (
	codeVA  arch.VA = 0x40_0000
	stackVA arch.VA = 0x7000_0000
	dataVA  arch.VA = 0x1000_0000
	farVA   arch.VA = 0x7f00_0000_0000 // below another root entry
)

const readWrite = arch.Read | arch.Write

// program is user code in the making: a few machine instructions, so that a
// test decides exactly what user mode does. The instructions are emitted by
// program_amd64.go and program_arm64.go, which define:
//
//	load(va)               read the byte at va
//	store(va, b)           write the byte b
//	touch(va, stride, n)   write n bytes, stride apart (n > 0)
//	jump(va)               go on at va
//	call(nr, args...)      system call; its result is left for the next step
//	exitResult()           exit_group with the low byte of the last result
//	exitByte(va)           exit_group with the byte at va
//	spin()                 loop for ever; it hands over every 33 microseconds
//	handOver()             PAUSE or YIELD: see below
//	fork(child)            fork(2); the child runs child's code
//	expect(va, b, status)  go on if the byte at va is b, else exit_group(status)
//	await(va, b)           yield until the byte at va is b
//	exitFailed()           exit_group with 1 if the last result is an error, else 0
//	callTo(va), ret()      call what is at va; return from there
//	repeat(n, body)        n times (n > 0) what body emits, itself without repeat
//
// handOver gives an emulator's turn to the next CPU. QEMU 7.2 with -icount runs the CPUs in
// turn. A CPU that sets its timer loses its turn to the next CPU, which keeps it until its
// own timer is due. If the timer of the first CPU is due sooner than that, its thread is
// interrupted before its first instruction each time.
type program struct {
	code []byte
}

// exit ends the process with a status.
func (p *program) exit(status int) { p.call(unix.SYS_EXIT_GROUP, uint64(status)) }

// waitAny is wait4(2) for any child, whatever the program has done since its fork. Then the
// byte at status+1 is the child's exit status.
func (p *program) waitAny(status arch.VA) {
	p.call(unix.SYS_WAIT4, ^uint64(0), uint64(status), 0, 0)
}

// exitThread ends the thread.
func (p *program) exitThread() { p.call(unix.SYS_EXIT, 0) }

// space makes an address space with the program's code (read and execute) and a
// small stack.
func (t *T) space(p *program) *vm.VMSpace {
	vs, err := vm.New(t.VM, t.Layout, t.VM.Charges().Kernel())
	t.check("vm.New", err)
	if err := t.populate(vs, p); err != nil {
		vs.Purge(nil)
		vs.Release()
		t.Fatalf("user program: %v", err)
	}
	return vs
}

func (t *T) populate(vs *vm.VMSpace, p *program) error {
	n := uint64(arch.VA(len(p.code)).PageUp())
	if _, err := vs.Map(codeVA, n, readWrite, vm.Fixed|vm.Private|vm.Anon, nil, 0); err != nil {
		return err
	}
	if err := vs.CopyOut(codeVA, p.code); err != nil {
		return err
	}
	if err := vs.Protect(codeVA, n, arch.Read|arch.Exec); err != nil {
		return err
	}
	_, err := vs.Map(stackVA-8*arch.PageSize, 8*arch.PageSize, readWrite, vm.Fixed|vm.Private|vm.Anon, nil, 0)
	return err
}

// start runs the program in vs, whose reference it takes over.
func (t *T) start(vs *vm.VMSpace) *proc.Process { return t.startAfter(vs, nil) }

// startAfter is start, but calls setup, unless that is nil, when all is made and before the
// program's first instruction. With several CPUs the program may run before start returns.
func (t *T) startAfter(vs *vm.VMSpace, setup func(*proc.Thread)) *proc.Process {
	files, err := t.NewFiles()
	t.check("descriptor table", err)
	p, err := t.Proc.Spawn(proc.SpawnArgs{
		Name: "selftest", VM: vs, PC: codeVA, SP: stackVA - 64, Files: files, Design: t.Design, Setup: setup,
	})
	t.check("spawn", err)
	return p
}

// run starts the program in vs and waits for its end.
func (t *T) run(vs *vm.VMSpace) proc.Status {
	return t.start(vs).Wait().Status
}

// runProgram runs the program alone in a new address space.
func (t *T) runProgram(p *program) proc.Status { return t.run(t.space(p)) }

// soon waits until cond is true, and reports whether that happens within d.
func soon(d time.Duration, cond func() bool) bool {
	for deadline := time.Now().Add(d); !cond(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// quiet waits until no ended process is still being taken apart.
func (t *T) quiet() {
	t.eventually("all is taken apart", func() bool { return t.Proc.Counts().DeadThreads == 0 })
}

// eventually waits until cond is true, and fails the test if that takes too long.
func (t *T) eventually(what string, cond func() bool) {
	if !soon(5*time.Second, cond) {
		t.Fatalf("%s: not after 5 s", what)
	}
}
