//go:build tamago && arm64

package arm64

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"grim/arch"
)

// faultOwner is the machine, for the fault handlers, which may have to end it.
var faultOwner *Machine

// stackGuards has all guard pages, for the crash report.
var stackGuards []arch.StackGuard

// StackGuards returns the guard pages of the kernel's fixed stacks.
func StackGuards() []arch.StackGuard { return stackGuards }

// pending.esr is the syndrome of an SError that was pending before the kernel started.
// While taking is true, kernelFault takes an SError for that one.
var pending struct {
	taking bool
	esr    uint64
}

// setFaultMachine installs the vectors and unmasks SErrors. They stay unmasked in all
// kernel code, so that an SError caused by a kernel access ends the kernel, and not the
// program that runs next. An SError that was pending before that is only recorded.
func setFaultMachine(m *Machine) {
	faultOwner = m
	g, top := runtime.FaultStack()
	installVectors(g, top, exceptionStackBase()+exceptionStackSize)
	pending.taking = true
	openSErrors()
	pending.taking = false
}

// PendingSError returns the syndrome (ESR_EL1) of an SError that the kernel did not cause.
// was is false if there was none.
func (m *Machine) PendingSError() (esr uint64, was bool) { return pending.esr, pending.esr != 0 }

// kernelFault is called by the vectors on the runtime's fault stack. It must not allocate.
// It turns the fault into a Go panic at the interrupted code. If that is impossible it ends
// the machine.
func kernelFault(k *kernelFrame) {
	if pending.taking && k.Vector == vectorSError {
		pending.esr = k.ESR
		return
	}
	thisCPU().fault(k)
	faultOwner.Feed() // printing takes as long as the serial line needs
	c := runtime.FaultContext{
		G: uintptr(k.R[28]), PC: uintptr(k.PC), SP: uintptr(k.SP), LR: uintptr(k.R[30]), FP: uintptr(k.R[29]),
		Kind: faultKind(k), Addr: uintptr(k.FAR),
	}
	if k.Vector != 0 || !runtime.InjectPanic(&c) {
		runtime.StopOthers()
		ReportFault()
		runtime.FatalFault(&c)
	}
	k.R[28], k.PC, k.SP, k.R[30] = uint64(c.G), uint64(c.PC), uint64(c.SP), uint64(c.LR)
}

// lastResort is called by the vectors when kernelFault itself faulted.
func lastResort(k *kernelFrame) {
	print("fault while handling a fault\n")
	thisCPU().fault(k)
	ReportFault()
	faultOwner.Exit(4)
}

// vectorSError is the offset in the vector table of an SError of kernel code.
const vectorSError = 0x180

// faultKind returns the kind of Go panic for the fault.
func faultKind(k *kernelFrame) runtime.FaultKind {
	if k.Vector&0x180 != 0 { // not synchronous
		return runtime.FaultBus
	}
	switch ec(k.ESR) {
	case ecDataSame, ecInstrSame:
		switch s := k.ESR & faultStatusMask; {
		case s>>2 == 1, s>>2 == 2:
			return runtime.FaultMap
		case s>>2 == 3:
			return runtime.FaultAccess
		}
		return runtime.FaultBus
	case ecPCAlign, ecSPAlign:
		return runtime.FaultBus
	case ecFP:
		return runtime.FaultFloat
	case ecUnknown, ecIllegalState:
		return runtime.FaultIllegal
	case ecBreakSame, ecStepSame, ecWatchSame, ecBRK:
		return runtime.FaultTrap
	}
	return runtime.FaultOther
}

// ReportFault prints the registers of this CPU's latest exception in kernel code. It prints
// nothing if there was none, or if it has printed it already. It allocates nothing.
func ReportFault() {
	c := thisCPU()
	if !c.faulted {
		return
	}
	c.faulted = false // a fault during the report must not be reported again
	k := &c.lastFault
	if stack := arch.Overflowed(stackGuards, arch.VA(k.FAR), arch.VA(k.SP)); ec(k.ESR) == ecDataSame && stack != "" {
		print("kernel stack overflow: ", stack, "\n")
	}
	print("kernel exception: ", ecName(k.ESR), ", vector ")
	printHex(k.Vector, 3)
	show(" esr ", k.ESR)
	show(" far ", k.FAR)
	show("\npc  ", k.PC)
	show(" sp  ", k.SP)
	show(" pstate ", k.PSTATE)
	for i, r := range k.R {
		if i%4 == 0 {
			print("\n")
		} else {
			print(" ")
		}
		print("r", i)
		if i < 10 {
			print(" ")
		}
		show(" ", r)
	}
	print("\n")
	if text := faultText(k); text != nil {
		print("code ")
		printHex(uint64(binary.LittleEndian.Uint32(text)), 8)
		print("\n")
	}
}

// ecName returns the name of the exception class, for the crash report.
func ecName(esr uint64) string {
	switch ec(esr) {
	case ecUnknown:
		return "undefined instruction"
	case ecIllegalState:
		return "illegal execution state"
	case ecMSR:
		return "trapped register access"
	case ecInstrLower, ecInstrSame:
		return "instruction abort"
	case ecDataLower, ecDataSame:
		return "data abort"
	case ecPCAlign:
		return "misaligned PC"
	case ecSPAlign:
		return "misaligned SP"
	case ecFP:
		return "floating point"
	case ecSError:
		return "SError"
	case ecBreakLower, ecBreakSame, ecStepLower, ecStepSame, ecWatchLower, ecWatchSame, ecBRK:
		return "debug"
	}
	return "other exception class"
}

// faultText returns the instruction at the fault, if it is kernel code.
func faultText(k *kernelFrame) []byte {
	start, end := runtime.TextRegion()
	if k.PC < start || k.PC >= end || k.PC%4 != 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(nil, uintptr(k.PC))), 4)
}

// CrashReport prints the registers and the instruction of the exception that made the
// kernel panic, if there was one. The runtime's exit hook calls it if the kernel ends with
// the status of a panic. The disassembler allocates, which may fail in a dying kernel and
// call the exit hook again; the second call prints nothing.
func CrashReport() {
	c := thisCPU()
	if !c.faulted {
		return
	}
	ReportFault()
	if text := faultText(&c.lastFault); text != nil {
		print(Disassemble(c.lastFault.PC, text), "\n")
	}
}

func show(name string, v uint64) {
	print(name)
	printHex(v, 16)
}

// printHex prints v with the given number of digits. It does not use fmt, which allocates.
func printHex(v uint64, digits int) {
	var b [16]byte
	for i := range digits {
		b[i] = "0123456789abcdef"[v>>(4*(digits-1-i))&15]
	}
	print(string(b[:digits]))
}
