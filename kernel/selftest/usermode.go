package selftest

import (
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/mm/vm"
	"grim/proc"
)

var userModeTests = []test{
	{name: "user/exit-status", run: userExit, layouts: true},
	{name: "user/fork-wait", run: userFork, layouts: true, designs: true},
	{name: "user/permissions", run: userPermissions, layouts: true},
	{name: "user/no-kernel-access", run: userNoKernel, layouts: true},
	{name: "user/time-slices", run: userSlices, layouts: true},
}

func userExit(t *T) {
	for _, want := range []int{0, 7, 255} {
		var p program
		p.exit(want)
		if st := t.runProgram(&p); st != proc.ExitStatus(want) {
			t.Errorf("exit(%d) gives status %#x", want, uint32(st))
		}
	}
}

func userFork(t *T) {
	var child, p program
	child.exit(42)
	p.fork(&child)
	p.waitChild(stackVA - 128)
	p.exitByte(stackVA - 127)
	if st := t.runProgram(&p); st != proc.ExitStatus(42) {
		t.Errorf("the child's status comes back as %#x, want %#x", uint32(st), uint32(proc.ExitStatus(42)))
	}
}

// userPermissions checks every permission by an access of the CPU.
func userPermissions(t *T) {
	const ok = -1
	access := map[string]func(*program){
		"read":  func(p *program) { p.load(dataVA) },
		"write": func(p *program) { p.store(dataVA, 1) },
		"exec":  func(p *program) { p.jump(dataVA) },
	}
	for _, c := range []struct {
		prot arch.Prot
		want map[string]int
	}{
		{0, map[string]int{"read": 11, "write": 11, "exec": 11}},
		{arch.Read, map[string]int{"read": ok, "write": 11, "exec": 11}},
		{readWrite, map[string]int{"read": ok, "write": ok, "exec": 11}},
		{arch.Read | arch.Exec, map[string]int{"read": ok, "write": 11, "exec": ok}},
		{readWrite | arch.Exec, map[string]int{"read": ok, "write": ok, "exec": ok}},
	} {
		for name, want := range c.want {
			var p, ret program
			access[name](&p)
			p.exit(3)
			ret.exit(3) // what "exec" runs
			vs := t.space(&p)
			_, err := vs.Map(dataVA, arch.PageSize, readWrite, vm.Fixed|vm.Private|vm.Anon, nil, 0)
			t.check("map", err)
			t.check("copyout", vs.CopyOut(dataVA, ret.code))
			t.check("protect", vs.Protect(dataVA, arch.PageSize, c.prot))
			st := t.run(vs)
			wantStatus := proc.ExitStatus(3)
			if want != ok {
				wantStatus = proc.SignalStatus(syscall.Signal(want))
			}
			if st != wantStatus {
				t.Errorf("%s of a %v page: status %#x, want %#x", name, c.prot, uint32(st), uint32(wantStatus))
			}
		}
	}
}

// userNoKernel: no address of the kernel half can be read, written or executed.
func userNoKernel(t *T) {
	for _, va := range []arch.VA{arch.UserMax, arch.DirectBase, arch.DirectBase + 0x4020_0000, arch.KernelBase,
		arch.KernelBase + 0x20_0000, 0xffff_ffff_ffff_f000, 0xffff_ffff_ffe0_0000, 0x8000_0000_0000_0000} {
		t.noAccess("an address beyond user memory", va)
	}
}

// noAccess requires that user code that reads, writes or executes va ends by SIGSEGV.
func (t *T) noAccess(what string, va arch.VA) {
	for name, f := range map[string]func(*program){
		"read":  func(p *program) { p.load(va) },
		"write": func(p *program) { p.store(va, 1) },
		"exec":  func(p *program) { p.jump(va) },
	} {
		var p program
		f(&p)
		p.exit(0)
		if st := t.runProgram(&p); st != proc.SignalStatus(unix.SIGSEGV) {
			t.Errorf("%s of %s, %#x: %s, want SIGSEGV", name, what, uint64(va), statusText(st))
		}
	}
}

// userSlices: two processes that only spin do not stop a third, nor the kernel.
func userSlices(t *T) {
	var spin, quick program
	spin.spin()
	quick.exit(1)
	a, b := t.start(t.space(&spin)), t.start(t.space(&spin))
	for range 3 {
		if st := t.runProgram(&quick); st != proc.ExitStatus(1) {
			t.Errorf("status %#x", uint32(st))
		}
	}
	for _, p := range []*proc.Process{a, b} {
		t.check("kill", p.Signal(&proc.Siginfo{Signo: unix.SIGKILL}))
		if st := p.Wait().Status; st != proc.SignalStatus(unix.SIGKILL) {
			t.Errorf("a spinning process killed: status %#x", uint32(st))
		}
	}
}
