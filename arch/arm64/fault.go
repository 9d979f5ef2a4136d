//go:build tamago && arm64

package arm64

import (
	"runtime"
	"unsafe"
)

// Fault is an exception that kernel code caused.
type Fault struct {
	R              [31]uint64 // R0-R30
	SP, PC, PSTATE uint64
	ESR, FAR       uint64
	Vector         uint64 // offset in the vector table: 0 is an ordinary one
	Instruction    uint32 // at PC, 0 if PC is not in the kernel's text
}

var (
	lastFault  Fault
	faulted    bool
	faultOwner *Machine // to end the machine
)

// LastFault is the kernel's latest fault, for printing it with its instruction
// disassembled; false if there was none.
func LastFault() (*Fault, bool) { return &lastFault, faulted }

// setFaultMachine installs the vectors.
func setFaultMachine(m *Machine) {
	faultOwner = m
	installVectors(runtime.FaultStack())
}

// kernelFault is called by the vectors on the runtime's fault stack, where it
// must not allocate. It prints the registers and turns the fault into a Go panic
// of the interrupted code if it can; else it ends the machine.
func kernelFault(k *kernelFrame) {
	f := &lastFault
	*f = Fault{R: k.R, SP: k.SP, PC: k.PC, PSTATE: k.PSTATE, ESR: k.ESR, FAR: k.FAR, Vector: k.Vector}
	faulted = true
	if text, etext, _, _, _, _ := runtime.Sections(); uintptr(f.PC) >= text && uintptr(f.PC) < etext && f.PC%4 == 0 {
		f.Instruction = *(*uint32)(unsafe.Add(nil, f.PC))
	}
	f.print()
	c := runtime.FaultContext{
		G: uintptr(k.R[28]), PC: uintptr(k.PC), SP: uintptr(k.SP), LR: uintptr(k.R[30]), FP: uintptr(k.R[29]),
		Kind: faultKind(k), Addr: uintptr(k.FAR),
	}
	if k.Vector != 0 || !runtime.InjectPanic(&c) {
		runtime.FatalFault(&c)
	}
	k.R[28], k.PC, k.SP, k.R[30] = uint64(c.G), uint64(c.PC), uint64(c.SP), uint64(c.LR)
}

// lastResort is called by the vectors when kernelFault itself faulted.
func lastResort(k *kernelFrame) {
	print("fault while handling a fault\n")
	f := Fault{R: k.R, SP: k.SP, PC: k.PC, PSTATE: k.PSTATE, ESR: k.ESR, FAR: k.FAR, Vector: k.Vector}
	f.print()
	faultOwner.Exit(4)
}

// faultKind is what the runtime makes its panic of.
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

func (f *Fault) print() {
	print("kernel fault, vector ")
	printHex(f.Vector)
	print(": esr=")
	printHex(f.ESR)
	print(" far=")
	printHex(f.FAR)
	print(" instruction=")
	printHex(uint64(f.Instruction))
	print("\n")
	for i, r := range f.R {
		print("r", i, "=")
		printHex(r)
		if i%4 == 3 {
			print("\n")
		} else {
			print(" ")
		}
	}
	print("sp=")
	printHex(f.SP)
	print("\npc=")
	printHex(f.PC)
	print(" pstate=")
	printHex(f.PSTATE)
	print("\n")
}

// printHex prints 16 digits; fmt allocates.
func printHex(v uint64) {
	var b [16]byte
	for i := range b {
		b[i] = "0123456789abcdef"[v>>(60-4*i)&15]
	}
	print(string(b[:]))
}
