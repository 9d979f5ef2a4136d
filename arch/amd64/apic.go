//go:build tamago && amd64

package amd64

// The local APIC (SDM volume 3, chapter 10) and the I/O APIC (82093AA data sheet). TamaGo's
// amd64/lapic and soc/intel/ioapic reach them by 32-bit addresses. A kernel in the upper
// half of the address space has them in its direct map only, so this file drives the few
// registers.

// Local APIC registers.
const (
	lapicTPR      = 0x80
	lapicEOI      = 0xb0
	lapicID       = 0x20
	lapicICR      = 0x300 // interrupt command; in xAPIC mode its high half is a register of its own
	lapicICRHigh  = 0x310
	lapicSpurious = 0xf0
	lapicTimer    = 0x320
	lapicThermal  = 0x330
	lapicPerf     = 0x340
	lapicLINT0    = 0x350
	lapicLINT1    = 0x360
	lapicError    = 0x370
	lapicInitial  = 0x380
	lapicCurrent  = 0x390
	lapicDivide   = 0x3e0

	lapicEnable      = 1 << 8
	lvtMasked        = 1 << 16
	lvtNMI           = 4 << 8
	lvtDeadline      = 2 << 17
	lapicDivideByOne = 0xb
)

// mmio32 returns the pointer to a device register. Safety: the address is in a device
// window that New mapped uncached.
func mmio32(at uintptr) *uint32 { return (*uint32)(memory(at)) }

// apicRead reads a register of this CPU's local APIC, and apicWrite writes one. The
// register is in memory, or, in x2APIC mode, an MSR (SDM volume 3, 10.12.1.2).
//
//go:noinline
//go:nosplit
func (m *Machine) apicRead(reg uintptr) uint32 {
	if m.x2apic {
		return uint32(rdmsr(msrX2APIC + uint32(reg>>4)))
	}
	return *mmio32(m.lapic + reg)
}

//go:noinline
//go:nosplit
func (m *Machine) apicWrite(reg uintptr, v uint32) {
	if m.x2apic {
		wrmsr(msrX2APIC+uint32(reg>>4), uint64(v))
		return
	}
	*mmio32(m.lapic + reg) = v
}

// apicID returns this CPU's APIC identifier.
func (m *Machine) apicID() uint32 {
	id := m.apicRead(lapicID)
	if !m.x2apic {
		id >>= 24
	}
	return id
}

// ipi sends an interrupt to the CPU with the APIC identifier id. command is icrFixed and a
// vector, icrNMI, icrInit, or icrStartup and a page number. The interrupt's handler sees
// what this CPU has stored before: a store to an uncached register waits for earlier
// stores, and before a write of the MSR, which does not wait (SDM volume 3, 10.12.3), there
// is a fence.
//
// nosplit: between the two halves of the command this goroutine must not be replaced by
// another on this CPU, nor move to another CPU.
//
//go:nosplit
func (m *Machine) ipi(id, command uint32) {
	if m.x2apic {
		fence()
		wrmsr(msrX2APIC+lapicICR>>4, icrX2(id, command))
		return
	}
	m.apicWrite(lapicICRHigh, id<<24)
	m.apicWrite(lapicICR, command)
	for m.apicRead(lapicICR)&icrPending != 0 {
		pause()
	}
}

func (m *Machine) endOfInterrupt() { m.apicWrite(lapicEOI, 0) }

// startLAPIC enables the local APIC with everything masked but NMI, which comes on LINT1.
func (m *Machine) startLAPIC() {
	for _, lvt := range []uintptr{lapicTimer, lapicThermal, lapicPerf, lapicLINT0, lapicError} {
		m.apicWrite(lvt, lvtMasked|vecSpurious)
	}
	m.apicWrite(lapicLINT1, lvtNMI)
	m.apicWrite(lapicTPR, 0)
	m.apicWrite(lapicSpurious, lapicEnable|vecSpurious)
	m.endOfInterrupt()
}

// I/O APIC registers and redirection-entry bits.
const (
	ioapicSelect = 0x00
	ioapicWindow = 0x10
	ioapicVer    = 0x01
	ioapicTable  = 0x10

	redirLow    = 1 << 13 // active low
	redirLevel  = 1 << 15
	redirMasked = 1 << 16

	isaLines = 16
)

//go:nosplit
func (m *Machine) ioapicRead(reg uint32) uint32 {
	*mmio32(m.ioapic + ioapicSelect) = reg
	return *mmio32(m.ioapic + ioapicWindow)
}

//go:nosplit
func (m *Machine) ioapicWrite(reg, v uint32) {
	*mmio32(m.ioapic + ioapicSelect) = reg
	*mmio32(m.ioapic + ioapicWindow) = v
}

// startIOAPIC masks all lines and makes each raise its own vector on this CPU.
func (m *Machine) startIOAPIC(special map[int]Line) {
	lines := int(m.ioapicRead(ioapicVer)>>16&0xff) + 1
	self := m.apicID() << 24 // an identifier over 254 needs interrupt remapping
	for n := range min(lines, irqLines) {
		pci := n >= isaLines
		m.lines[n] = Line{Level: pci, ActiveLow: pci}
		if l, ok := special[n]; ok {
			m.lines[n] = l
		}
		m.ioapicWrite(ioapicTable+2*uint32(n)+1, self)
		low := uint32(vecIRQ+n) | redirMasked
		if m.lines[n].Level {
			low |= redirLevel
		}
		if m.lines[n].ActiveLow {
			low |= redirLow
		}
		m.ioapicWrite(ioapicTable+2*uint32(n), low)
	}
}

// MaskLine stops the interrupts of an I/O APIC line, and UnmaskLine lets them come. A
// level-triggered line is masked each time it raises an interrupt, until its driver has
// served the device and unmasks it.
func (m *Machine) MaskLine(line int)   { m.maskLine(line, redirMasked) }
func (m *Machine) UnmaskLine(line int) { m.maskLine(line, 0) }

// maskLine sets the mask bit of a line. Only one CPU at a time does it, as reading or
// writing a register takes two accesses. nosplit: if the goroutine lost its CPU in here,
// Dispatch on that CPU would wait for it for ever.
//
//go:nosplit
func (m *Machine) maskLine(line int, mask uint32) {
	for !m.ioapicBusy.CompareAndSwap(0, 1) {
		pause()
	}
	reg := ioapicTable + 2*uint32(line)
	m.ioapicWrite(reg, m.ioapicRead(reg)&^uint32(redirMasked)|mask)
	m.ioapicBusy.Store(0)
}

// maskPIC silences the two 8259s. It first moves them to vectors of their own, so that a
// spurious interrupt is not taken for an exception. If there is no PIC the writes have no
// effect.
func maskPIC() {
	const initialise, cascaded, mode8086 = 0x11, 4, 1
	for _, w := range []struct {
		port uint16
		v    uint8
	}{
		{0x20, initialise}, {0x21, 48}, {0x21, cascaded}, {0x21, mode8086}, {0x21, 0xff},
		{0xa0, initialise}, {0xa1, 56}, {0xa1, 2}, {0xa1, mode8086}, {0xa1, 0xff},
	} {
		out8(w.port, w.v)
	}
}
