//go:build tamago && amd64

package amd64

import (
	"runtime"
	"runtime/goos"
	"unsafe"

	"grim/arch"
)

// faultRegs is the interrupted state, in the order in which faultEntry pushes it.
type faultRegs struct {
	r15, r14, r13, r12, r11, r10, r9, r8 uint64
	bp, di, si, dx, cx, bx, ax           uint64
	vector, code, pc, cs, flags, sp, ss  uint64
}

// lastFaults holds each CPU's latest exception in kernel code, for the crash report.
var lastFaults [maxCPUs]lastFault

type lastFault struct {
	valid bool
	regs  faultRegs
	cr2   uint64
}

// cpuOf returns the number of the CPU on one of whose interrupt stacks r lies.
func cpuOf(r *faultRegs) int {
	return int(uintptr(unsafe.Pointer(r))-areaCPU0) / areaStride
}

// stackGuards are all guard pages, for the crash report.
var stackGuards []arch.StackGuard

// StackGuards returns the guard pages of the kernel's fixed stacks.
func StackGuards() []arch.StackGuard { return stackGuards }

// faultKind returns the runtime's name for an exception.
func faultKind(vector, code uint64) runtime.FaultKind {
	switch vector {
	case 0:
		return runtime.FaultDivide
	case 16, 19:
		return runtime.FaultFloat
	case 6:
		return runtime.FaultIllegal
	case vecDebug, vecBreakpoint:
		return runtime.FaultTrap
	case 17:
		return runtime.FaultBus
	case vecPageFault:
		if code&1 == 0 {
			return runtime.FaultMap
		}
		return runtime.FaultAccess
	}
	return runtime.FaultOther
}

// kernelFault handles an exception in kernel code. The exception becomes a Go panic at the
// place where it happened; if that is not possible it ends the machine. kernelFault runs on
// the runtime's fault stack and must not allocate. g is the interrupted goroutine's.
func kernelFault(r *faultRegs, g uintptr) {
	last := &lastFaults[cpuOf(r)]
	c := runtime.FaultContext{
		G: g, PC: uintptr(r.pc), SP: uintptr(r.sp), FP: uintptr(r.bp),
		Kind: faultKind(r.vector, r.code),
	}
	cr2 := getCR2()
	if r.vector == vecPageFault {
		c.Addr = uintptr(cr2)
	}
	last.regs, last.cr2, last.valid = *r, cr2, true
	fatal := istOf(int(r.vector)) != istTrap
	if !fatal && runtime.InjectPanic(&c) {
		r.pc, r.sp = uint64(c.PC), uint64(c.SP)
		return
	}
	runtime.StopOthers()
	ReportFault()
	if r.cs&3 != 0 {
		// A fatal exception in user mode, such as a machine check: the goroutine is in
		// enter, with its frame pointer and its return address on top of its stack.
		area := (*cpuArea)(memory(areaCPU0 + cpuPage + uintptr(cpuOf(r))*areaStride))
		u := (*arch.UArea)(memory(uintptr(area.uarea)))
		c.SP = uintptr(u.Mach[0]) + 16
		c.PC = *(*uintptr)(memory(c.SP - 8))
	}
	runtime.FatalFault(&c)
}

// OverflowStack writes over the end of this CPU's system stack, for crash tests.
func OverflowStack()

// nestedFault ends the machine after a fault in the fault handler, or after a fault that
// came before there was a handler. It runs on an interrupt stack and relies on the console
// only.
func nestedFault(r *faultRegs) {
	last := &lastFaults[cpuOf(r)]
	last.regs, last.cr2, last.valid = *r, getCR2(), true
	say("\nfault while handling a fault, or too early to handle one\n")
	ReportFault()
	goexit(4)
}

// goexit ends the machine by the kernel's exit hook, or without the hook if there is none.
func goexit(code int32) {
	if goos.Exit != nil {
		goos.Exit(code)
	}
	debugExit(code)
	halt()
}

// ReportFault prints the registers of this CPU's latest exception in kernel code, and the
// bytes at its PC. If there was none it prints nothing. It allocates nothing.
func ReportFault() {
	last := &lastFaults[runtime.ThisCPU()]
	if !last.valid {
		return
	}
	last.valid = false // a fault in this function must not print the same again
	r := &last.regs
	if r.vector == vecPageFault {
		if stack := arch.Overflowed(stackGuards, arch.VA(last.cr2), arch.VA(r.sp)); stack != "" {
			say("kernel stack overflow: ")
			say(stack)
			say("\n")
		}
	}
	say("kernel exception: ")
	say(vectorNames[r.vector&31])
	show(", vector ", r.vector)
	show(" code ", r.code)
	show(" cr2 ", last.cr2)
	show(" cr3 ", getCR3())
	say("\n")
	show("rip ", r.pc)
	show(" cs ", r.cs)
	show(" flags ", r.flags)
	show(" rsp ", r.sp)
	show(" ss ", r.ss)
	for i, reg := range [...]struct {
		name string
		v    uint64
	}{
		{"rax ", r.ax}, {"rbx ", r.bx}, {"rcx ", r.cx}, {"rdx ", r.dx},
		{"rsi ", r.si}, {"rdi ", r.di}, {"rbp ", r.bp}, {"r8  ", r.r8},
		{"r9  ", r.r9}, {"r10 ", r.r10}, {"r11 ", r.r11}, {"r12 ", r.r12},
		{"r13 ", r.r13}, {"r14 ", r.r14}, {"r15 ", r.r15},
	} {
		if i%4 == 0 {
			say("\n")
		} else {
			say(" ")
		}
		show(reg.name, reg.v)
	}
	say("\n")
	if text := faultText(r); text != nil {
		say("code")
		for _, b := range text {
			say(" ")
			sayHex(uint64(b), 2)
		}
		say("\n")
	}
}

// faultText returns the instruction bytes at the fault, or nil if they are not kernel code.
func faultText(r *faultRegs) []byte {
	start, end := runtime.TextRegion()
	if r.pc < start || r.pc >= end {
		return nil
	}
	n := min(maxInstruction, end-r.pc)
	return unsafe.Slice((*byte)(memory(uintptr(r.pc))), n)
}

// CrashReport prints the registers and the instruction of the exception that made the
// kernel panic, if there was one. The runtime's exit hook calls it if the kernel ends with
// the status of a panic. The disassembler allocates, which may fail in a dying kernel and
// call the exit hook again; the second call prints nothing.
func CrashReport() {
	last := &lastFaults[runtime.ThisCPU()]
	if !last.valid {
		return
	}
	ReportFault()
	if text := faultText(&last.regs); text != nil {
		say(Disassemble(last.regs.pc, text))
		say("\n")
	}
}

// say, show and sayHex print without allocating, on any stack.
func say(s string) {
	put := goos.Printk
	if put == nil {
		return
	}
	for i := 0; i < len(s); i++ {
		put(s[i])
	}
}

func show(name string, v uint64) {
	say(name)
	sayHex(v, 16)
}

func sayHex(v uint64, digits int) {
	put := goos.Printk
	if put == nil {
		return
	}
	for i := digits - 1; i >= 0; i-- {
		put("0123456789abcdef"[v>>(4*uint(i))&15])
	}
}
