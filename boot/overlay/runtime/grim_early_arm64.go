//go:build grim_overlay

// Messages before there is a console: on the serial port that the device tree
// names, or else by a debugger's semihosting.

package runtime

import (
	"runtime/early"
	"unsafe"
)

// In assembly, sys_grim_arm64.s.

// semihostPutc puts a byte on the debugger's console, if there is a debugger.
func semihostPutc(c byte)

// powerOff asks PSCI to turn the machine off, by HVC or SMC; it returns if that
// does not happen.
func powerOff(psci uint32)

// tableRoot is TTBR1_EL1: the address of the tables in use, and some bits beside.
func tableRoot() uint64

// publish makes table entries visible to the CPU's walks.
func publish()

// earlyPort is the serial port of messages that come before the kernel has
// opened its console.
var earlyPort struct {
	console early.Console
	at      unsafe.Pointer // its registers; nil: there is none, or not mapped yet
	looked  bool           // for console
	mapped  bool           // or it was tried
}

// The address map, as in grim/arch.
const (
	directBase = 0xffff800000000000
	kernelBase = 0xffffffff80000000
)

// earlyLook finds the console. Looking may fault, if what should be the device tree's
// address is not that of memory; that happens once.
//
//go:nosplit
func earlyLook() {
	if p := &earlyPort; !p.looked {
		p.looked = true
		early.Find(bootArg, directBase, &p.console)
	}
}

// earlyPutc puts a byte on the machine's console, without the kernel's help.
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

// earlyMap makes the registers at pa reachable in the direct map of the tables that
// are in use, with an entry of the first table on the way that has none for it: the
// early ones know nothing of devices yet, the kernel's have the console. It returns
// nil if something else is there.
//
//go:nosplit
func earlyMap(pa uint64) unsafe.Pointer {
	const (
		valid, table = 1, 2
		address      = 1<<48 - 1<<12
		// A block of device memory (attribute index 1 of MAIR), accessed, not to be
		// executed (Arm ARM D8.3).
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

// earlyEnd ends a machine that the kernel has not taken over, once a debugger has
// had its chance: it is turned off if it has a serial line, where the reason was said.
// What is said on a screen only must stay there.
//
//go:nosplit
func earlyEnd() {
	earlyLook()
	if earlyPort.console.Kind != early.None {
		powerOff(earlyPort.console.PSCI)
	}
}

// earlyFault says that an exception came before the kernel has taken over, and ends
// the machine. It is called by earlyVectors, and a second time if it faults itself:
// then a debugger is all there is left.
//
//go:nosplit
func earlyFault(again bool, esr, far, pc uint64) {
	if again {
		earlyPort.console.Kind = early.None
		earlyPort.at, earlyPort.looked, earlyPort.mapped = nil, true, true
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

// earlyRefuse says why the entry code stops, and returns how PSCI is called if it
// could be said. If pc is not 0 the reason is an exception there. It runs with the MMU off, at the image's physical address and at any
// exception level; see package early for what it may not do.
//
//go:nosplit
func earlyRefuse(tree uint64, reason *byte, pc, esr, far uint64) (psci uint32) {
	var c early.Console
	early.Find(tree, 0, &c)
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
	return c.PSCI
}

// For the assembly: package early's ways to call PSCI, and earlyRefuse's answer where
// there is no console.
const (
	earlyHVC  = early.HVC
	earlySMC  = early.SMC
	noConsole = 3
)
