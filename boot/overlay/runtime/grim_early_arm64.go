//go:build grim_overlay

// Messages before there is a console: on the serial port that the device tree names, or
// else through a debugger's semihosting.

package runtime

import (
	"runtime/early"
	"unsafe"
)

// In assembly, sys_grim_arm64.s.

// semihostPutc prints a byte on the debugger's console, if there is a debugger.
func semihostPutc(c byte)

// powerOff asks PSCI to turn the machine off, with HVC or SMC. It returns if that fails.
func powerOff(psci uint32)

// fixedPort returns the image's port for early output; kind is 0 if it has none.
func fixedPort() (kind, base, shift uint64)

// tableRoot returns TTBR1_EL1: the address of the present tables, and some other bits.
func tableRoot() uint64

// publish makes table entries visible to the CPU's walks.
func publish()

// earlyPort is the serial port for messages before the kernel has opened its console.
var earlyPort struct {
	console early.Console
	at      unsafe.Pointer // its registers; nil: there is none, or not mapped yet
	looked  bool           // console has been looked for
	mapped  bool           // it was mapped, or that was tried
}

// The address map, as in grim/arch.
const (
	directBase = 0xffff800000000000
	kernelBase = 0xffffffff80000000
)

// earlyLook finds the console. That may fault, once, if the supposed address of the device
// tree is not memory.
//
//go:nosplit
func earlyLook() {
	p := &earlyPort
	if p.looked {
		return
	}
	p.looked = true
	early.Find(bootArg, directBase, &p.console)
	fixedConsole(&p.console)
}

// fixedConsole sets c to the image's port for early output, and reports whether it has one.
// For a debugger the kind is None.
//
//go:nosplit
func fixedConsole(c *early.Console) bool {
	kind, base, shift := fixedPort()
	if kind == 0 {
		return false
	}
	if kind == early.Debugger {
		kind = early.None
	}
	c.Kind, c.Base, c.Shift, c.GPIO = uint32(kind), base, uint32(shift), 0
	return true
}

// EarlyMark prints a letter on the image's port for early output, if it has one. The letter
// says how far the start has come: boot/BOARDS.md has the list.
//
//go:nosplit
func EarlyMark(letter byte) {
	if kind, _, _ := fixedPort(); kind != 0 {
		earlyPutc(letter)
	}
}

// earlyMarkOff is EarlyMark with the MMU off; see earlyRefuse.
//
//go:nosplit
func earlyMarkOff(letter byte) {
	var c early.Console
	c.Kind, c.Base, c.Shift = early.None, 0, 0
	fixedConsole(&c)
	if c.Kind == early.None {
		semihostPutc(letter)
		return
	}
	c.Put(unsafe.Add(nil, uintptr(c.Base)), letter)
}

// earlyPutc prints a byte on the machine's console, without the kernel's help.
//
//go:nosplit
func earlyPutc(c byte) {
	p := &earlyPort
	earlyLook()
	if p.at == nil && !p.mapped {
		p.mapped = true
		if p.console.GPIO != 0 {
			if pins := earlyMap(p.console.GPIO); pins != nil {
				p.console.Pins(pins)
			}
		}
		if p.console.Kind != early.None {
			p.at = earlyMap(p.console.Base)
		}
	}
	if p.at == nil {
		semihostPutc(c)
		return
	}
	if c == '\n' {
		p.console.Put(p.at, '\r')
	}
	p.console.Put(p.at, c)
}

// earlyMap maps the registers at pa in the direct map of the present tables, with a new
// entry in the first table on the way that has none. The early tables have no devices yet;
// the kernel's have the console. It returns nil if something else is mapped there.
//
//go:nosplit
func earlyMap(pa uint64) unsafe.Pointer {
	const (
		valid, table = 1, 2
		address      = 1<<48 - 1<<12
		// A block of device memory (attribute index 1 of MAIR), accessed, not executable
		// (Arm ARM D8.3).
		device = 1<<54 | 1<<53 | 1<<10 | 1<<2 | valid
	)
	va := uint64(directBase) + pa
	next := tableRoot()
	for shift := uint(39); shift >= 12; shift -= 9 {
		// Tables are in the image or in the first heap.
		at := unsafe.Add(nil, uintptr(next&address-physBase)+kernelBase)
		e := (*uint64)(unsafe.Add(at, va>>shift&511*8))
		switch {
		case *e&valid == 0 && shift == 39:
			return nil // only a table can be there
		case *e&valid == 0:
			*e = pa>>shift<<shift | device
			if shift == 12 {
				*e |= table
			}
			publish()
			return unsafe.Add(nil, uintptr(va))
		case shift == 12 || *e&table == 0:
			if *e&^(1<<48-1)|*e&0xffc&^table == device&^valid && *e&address>>shift == pa>>shift {
				return unsafe.Add(nil, uintptr(va)) // mapped by an earlier call
			}
			return nil
		}
		next = *e
	}
	return nil
}

// earlyEnd ends a machine that the kernel has not taken over. First a debugger may end it.
// Then the machine is turned off if it has a serial line, on which the reason was printed.
// A message that is only on a screen must stay visible.
//
//go:nosplit
func earlyEnd() {
	earlyLook()
	if earlyPort.console.Kind != early.None {
		powerOff(earlyPort.console.PSCI)
	}
}

// earlyFault reports an exception before the kernel has taken over, and ends the machine.
// earlyVectors calls it, and calls it again if it faults itself: then only a debugger gets
// the message.
//
//go:nosplit
func earlyFault(again bool, esr, far, pc uint64) {
	if again {
		earlyPort.console.Kind = early.None
		earlyPort.at, earlyPort.looked, earlyPort.mapped = nil, true, true
		if fixedConsole(&earlyPort.console) { // it was the tree that faulted
			earlyPort.mapped = false
		}
	}
	earlyPrint("grim: exception before the kernel started, esr ")
	earlyHex(esr)
	earlyPrint(" far ")
	earlyHex(far)
	earlyPrint(" pc ")
	earlyHex(pc)
	earlyPrint("\n")
	haltCPU(3)
}

//go:nosplit
func earlyPrint(s string) {
	for i := 0; i < len(s); i++ {
		earlyPutc(s[i])
	}
}

//go:nosplit
func earlyHex(v uint64) {
	for shift := 60; shift >= 0; shift -= 4 {
		d := byte(v >> shift & 15)
		if d < 10 {
			earlyPutc('0' + d)
		} else {
			earlyPutc('a' + d - 10)
		}
	}
}

// earlyRefuse prints why the entry code stops, and returns how PSCI is called if it could
// print. If pc is not 0, the reason is an exception there. It runs with the MMU off, at the
// image's physical address and at any exception level. Package early describes what it must
// not do.
//
//go:nosplit
func earlyRefuse(tree uint64, reason *byte, pc, esr, far uint64) (psci uint32) {
	var c early.Console
	if !fixedConsole(&c) {
		early.Find(tree, 0, &c)
	}
	if c.Kind == early.None {
		return noConsole
	}
	if c.GPIO != 0 {
		c.Pins(unsafe.Add(nil, uintptr(c.GPIO)))
	}
	at := unsafe.Add(nil, uintptr(c.Base))
	for p := unsafe.Pointer(reason); *(*byte)(p) != 0; p = unsafe.Add(p, 1) {
		if *(*byte)(p) == '\n' {
			c.Put(at, '\r')
		}
		c.Put(at, *(*byte)(p))
	}
	if pc != 0 {
		c.Put(at, ':')
		c.Hex(at, 'e', esr)
		c.Hex(at, 'f', far)
		c.Hex(at, 'p', pc)
		c.Put(at, '\r')
		c.Put(at, '\n')
	}
	if fixed, _, _ := fixedPort(); fixed != 0 {
		early.Find(tree, 0, &c)
	}
	return c.PSCI
}

// For the assembly: package early's ways to call PSCI, and earlyRefuse's result if there is
// no console.
const (
	earlyHVC  = early.HVC
	earlySMC  = early.SMC
	noConsole = 3
)
