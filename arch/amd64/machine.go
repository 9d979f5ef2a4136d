//go:build tamago && amd64

package amd64

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"

	"grim/arch"
)

// Config is what the machine needs to know at start-up. It comes from the boot information.
type Config struct {
	RAM     []Span // all memory that the direct map is to cover
	Devices []Span // further device windows, mapped uncached at DirectBase + PA
	Image   Image
	LAPIC   uint64 // physical address; 0: the address that the CPU reports
	IOAPIC  uint64 // physical address; 0: 0xfec00000, its place on every PC

	// Lines are the inputs of the I/O APIC that differ from the default. The default is
	// edge and active high for ISA inputs (0 to 15), level and active low for PCI inputs
	// (from 16).
	Lines map[int]Line

	// Mitigations are the words of the kernel argument mitigations=.
	Mitigations []string

	// CPUs are the APIC identifiers of the machine's CPUs; the boot CPU's may be missing.
	// At most MaxCPUs CPUs are used, or one if MaxCPUs is 0.
	CPUs    []uint32
	MaxCPUs int

	// Low returns a page below 1 MB, in which the other CPUs start, or false if there is
	// none.
	Low func() (arch.PA, bool)

	// Alloc returns a frame for page tables and stacks, below 4 GB: the boot tables reach
	// no further. Only New uses it.
	Alloc func() arch.PA
	// Raise is called for each interrupt of an I/O APIC line. It must not block or
	// allocate: runtime.RaiseIRQ.
	Raise func(line int)
}

// Line says how an input of the I/O APIC signals.
type Line struct{ Level, ActiveLow bool }

// Machine implements arch.Machine. There is one.
type Machine struct {
	Features Features
	spec     speculation

	tables   tables
	shared   arch.PA // root from which the SharedUK layout takes its kernel half
	separate arch.PA
	// areaTable is the page table of the entry area.
	areaTable arch.PA
	running   int // CPUs
	// warnings are problems that New found and that do not prevent running.
	warnings  []string
	startPage arch.PA // page below 1 MB in which a CPU starts; see trampoline.go
	slowInit  bool    // CPUs need time after INIT
	x2apic    bool    // the local APICs are accessed by MSRs
	raise     func(line int)

	lines  [irqLines]Line
	lapic  uintptr // direct-map addresses
	ioapic uintptr
	// ioapicBusy is 1 while a CPU reads or writes a register of the I/O APIC.
	ioapicBusy atomic.Uint32
	timer      timerClock

	ramSpans []Span
}

var _ arch.Machine = (*Machine)(nil)

// New builds the kernel's own page tables and descriptor tables, switches to them, and sets
// up traps, the interrupt controllers and the timer. It starts the other CPUs to see
// whether they are there. If the machine cannot be used, the error says what is missing.
func New(c Config) (*Machine, error) {
	m := &Machine{Features: decodeFeatures(cpuid), raise: c.Raise, running: 1, ramSpans: c.RAM}
	facts := readFacts(cpuid, rdmsr)
	m.spec = decideSpeculation(&facts, c.Mitigations)
	apicBase := rdmsr(msrAPICBase)
	m.x2apic = apicBase&apicX2 != 0
	m.slowInit = facts.vendor == "GenuineIntel" && facts.family == 15
	if c.LAPIC == 0 {
		c.LAPIC = apicBase & 0x000f_ffff_ffff_f000
	}
	if c.IOAPIC == 0 {
		c.IOAPIC = 0xfec00000
	}
	wrmsr(msrAPICBase, apicBase|apicEnable)

	boot, fault := runtime.StackGuards()
	c.Image.Guards = []arch.StackGuard{{Page: arch.VA(boot), Stack: "boot stack (g0)"}, {Page: arch.VA(fault), Stack: "fault handler's stack"}}
	stackGuards = slices.Concat(c.Image.Guards, areaGuards(0))
	m.tables = tables{alloc: c.Alloc, view: directPage, huge: m.Features.Page1GB}
	devices := append([]Span{{c.LAPIC, 4096}, {c.IOAPIC, 4096}}, c.Devices...)
	var areaTable arch.PA
	m.shared, m.separate, areaTable = m.tables.kernelRoots(c.RAM, devices, c.Image)
	m.buildAreaText(areaTable)
	m.buildArea(areaTable, 0)
	m.startCPU(cpus[0])

	m.lapic = direct(arch.PA(c.LAPIC))
	m.ioapic = direct(arch.PA(c.IOAPIC))
	maskPIC()
	m.startLAPIC()
	m.startIOAPIC(c.Lines)
	if err := m.startTimer(); err != nil {
		return nil, err
	}
	m.warnings = m.startOthers(areaTable, &c)
	machine = m
	m.tables.alloc = nil // a late use faults instead of taking a frame that is no longer free
	return m, nil
}

// machine is the only Machine, for code that it cannot be passed to.
var machine *Machine

// Warnings returns, for people, the problems that New found and that do not prevent
// running.
func (m *Machine) Warnings() []string { return m.warnings }

// direct returns the kernel's address of physical memory. It is valid both before and after
// the switch to the final tables; before it, below 4 GB only.
func direct(pa arch.PA) uintptr { return uintptr(arch.DirectBase) + uintptr(pa) }

// directPage returns a table page in the direct map. Safety: the frame is RAM that the
// caller owns, outside the Go heap.
func directPage(pa arch.PA) *tablePage {
	return (*tablePage)(memory(direct(pa)))
}

// memory returns a pointer to an address that Go's allocator does not know: in the direct
// map, a device window or the kernel's text. Safety: each caller says why its address is
// mapped; the garbage collector ignores what is not in the heap.
func memory(address uintptr) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(nil), address)
}

// Speculation returns what is done about speculative execution on this CPU.
func (m *Machine) Speculation() arch.Speculation {
	s := arch.Speculation{OnlySeparate: m.spec.separate, On: m.spec.on, Open: m.spec.open}
	if m.spec.ibpb {
		s.Barrier = func() {
			wrmsr(msrPredCmd, predIBPB)
			fillReturns() // IBPB leaves the return predictions on many CPUs
		}
	}
	return s
}

// ABI implements arch.Machine.
func (m *Machine) ABI() *arch.ABI { return &abi }

// InitUser implements arch.Machine.
func (m *Machine) InitUser(u *arch.UArea, pc, sp arch.VA) {
	m.forget(u)
	initUser(u, m.Features.FPU(), pc, sp)
}

// CopyUser implements arch.Machine.
func (m *Machine) CopyUser(dst, src *arch.UArea) {
	m.forget(dst)
	copyUser(dst, src, m.Features.FPU())
}

// GrowWindow maps size bytes of physical memory at va in the kernel window, writable and
// not executable, for runtime.GrowHeap. All arguments are multiples of the page size. It
// uses 2 MB blocks where alignment allows. alloc returns a frame for a page table.
func (m *Machine) GrowWindow(va arch.VA, pa arch.PA, size uint64, alloc func() arch.PA) error {
	if va < arch.KernelBase || uint64(va)+size > stacksBase || uint64(va)+size < uint64(va) {
		return fmt.Errorf("amd64: [%#x, %#x) is outside of the kernel window, which ends at %#x", va, uint64(va)+size, uint64(stacksBase))
	}
	t := m.tables
	t.alloc = alloc
	t.enter(m.shared, va, pa, size, kernData)
	return nil
}

// MapDevice maps [pa, pa+size), uncached, at arch.DirectBase + pa. The range must lie in
// the first 512 GB and not in RAM. alloc returns a frame for a page table.
func (m *Machine) MapDevice(pa arch.PA, size uint64, alloc func() arch.PA) error {
	if uint64(pa)+size > 512<<30 || uint64(pa)+size < uint64(pa) {
		return fmt.Errorf("amd64: device window [%#x, %#x) is not in the first 512 GB", pa, uint64(pa)+size)
	}
	base := pa &^ (arch.PageSize - 1)
	end := (uint64(pa) + size + arch.PageSize - 1) &^ (arch.PageSize - 1)
	if m.ram(uint64(base), end) {
		return fmt.Errorf("amd64: device window [%#x, %#x) lies in RAM", pa, uint64(pa)+size)
	}
	t := m.tables
	t.alloc = alloc
	t.enter(m.shared, arch.DirectBase+arch.VA(base), base, end-uint64(base), kernDevice)
	return nil
}

// ram reports whether a byte of [from, to) is RAM in the direct map.
func (m *Machine) ram(from, to uint64) bool {
	for _, s := range m.ramSpans {
		if from < s.Base+s.Size && s.Base < to {
			return true
		}
	}
	return false
}
