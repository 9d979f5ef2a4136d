// Package machine reads what the boot protocol says about the machine: the PVH start info
// and ACPI's MADT on amd64, the device tree or the EFI stub's block on arm64. Memory size,
// command line, initramfs, serial port, interrupt controller and timer come from here, not
// from constants.
//
// It is plain Go over a function that reads physical memory, so that all of it runs on any
// host. It is called once, at start-up, before there are other CPUs or goroutines. It
// allocates on the Go heap, keeps no state and does not block.
//
// Its input was written by firmware or by the user of an emulator. Input that makes no
// sense gives an error that names the field and its value. It never makes the kernel panic
// or allocate without bound.
package machine

import (
	"cmp"
	"fmt"
	"slices"
)

// Reader returns n bytes of physical memory from pa on, or nil if they cannot be reached.
// The caller must not write to them, and may read them only until its next call.
type Reader func(pa uint64, n int) []byte

// Range is a piece of the physical address space.
type Range struct {
	Base, Size uint64
}

// End returns the first address after r.
func (r Range) End() uint64 { return r.Base + r.Size }

func (r Range) overlaps(o Range) bool { return r.Base < o.End() && o.Base < r.End() }

func (r Range) String() string { return fmt.Sprintf("[%#x, %#x)", r.Base, r.End()) }

// Info is what can be known about a machine before its devices are touched. All addresses
// are physical.
type Info struct {
	Model string

	// Memory is RAM: whole pages, sorted, no two ranges touching. Reserved are ranges, in
	// RAM or not, that must not be handed out: firmware, device trees, the initramfs. The
	// kernel image is not in Reserved; the caller knows where it is.
	Memory, Reserved []Range

	CommandLine string
	Initrd      Range // Size 0: none
	Seed        []byte

	Console    Console
	Pins       Pins
	Screen     Screen
	Interrupts Interrupts
	Timer      Timer
	CPUs       []CPU // CPUs that may be started, including the boot CPU; at least one

	PSCI  string // how to call PSCI: "hvc", "smc" or ""
	Power Device // another way to end the machine
	Clock Device // real-time clock
	LED   LED    // a light that shows pass or fail
	RSDP  uint64 // ACPI's root pointer, 0 if there is none

	// Cards are the slots for SD and MMC cards.
	Cards []CardSlot

	// Ethernet is the network controller; Size 0: none that there is a driver for.
	Ethernet Ethernet

	// VirtIO is where virtio devices may be.
	VirtIO []MMIODevice

	// Watchdogs are the watchdogs that firmware may have left running.
	Watchdogs []Device

	// Warnings are messages for the console about what was found and could not be used.
	Warnings []string

	noMap []Range // reserved, and not to be mapped either; finish takes them out of Memory
}

func (in *Info) warn(format string, args ...any) {
	in.Warnings = append(in.Warnings, fmt.Sprintf(format, args...))
}

// CPU is a CPU that is there and may be used.
type CPU struct {
	// ID is the number by which the hardware knows the CPU: its APIC identifier; on arm64
	// the affinity fields of MPIDR_EL1.
	ID uint64
	// Method says how the CPU is started on arm64: "psci", "spin-table" with the word at
	// Release, or "" if it cannot be started.
	Method  string
	Release uint64
}

// addCPU adds a CPU if it is not in the list yet: ACPI may list a CPU twice.
func (in *Info) addCPU(c CPU) {
	if !slices.ContainsFunc(in.CPUs, func(o CPU) bool { return o.ID == c.ID }) {
		in.CPUs = append(in.CPUs, c)
	}
}

// Console is the serial port that messages go to.
type Console struct {
	Kind string // a kind of bindings.go; "" for none
	Base uint64 // physical address, or port number
	Size uint64
	IRQ  int    // number for the controller's driver (GIC: INTID, IOAPIC: GSI); -1: unknown
	Hz   uint32 // input clock; 0: leave the baud rate as it is

	RegShift, RegWidth int // 16550: log2 of the registers' distance; bytes of a register
}

// Screen is a framebuffer that firmware has set up. Width and Height are in pixels, Stride
// is in bytes. Size is 0 if there is none.
type Screen struct {
	Range
	Width, Height, Stride int
	Format                string // a name of the binding simple-framebuffer
}

// Interrupts is the interrupt controller.
type Interrupts struct {
	Kind   string  // a kind of bindings.go
	Dist   Range   // GIC distributor, IOAPIC, or the BCM2836's older controller
	CPU    Range   // GICv2 CPU interface, local APIC, or the BCM2836's per-CPU controller
	Redist []Range // GICv3 redistributor regions

	GSIBase uint32      // IOAPIC: number of its first input
	ISA     [16]ISALine // IOAPIC: where each ISA interrupt arrives
	PIC     bool        // there is a pair of 8259s, which must be masked
}

// ISALine says where an ISA interrupt arrives, according to the MADT's overrides.
type ISALine struct {
	GSI            uint32
	ActiveLow      bool
	LevelTriggered bool
}

// Timer is the per-CPU timer.
type Timer struct {
	IRQ   int    // virtual timer on arm64, the number for the controller's driver; unused on amd64
	Level bool   // level-triggered
	Hz    uint64 // "clock-frequency" of the device tree; 0: ask the CPU
}

const pageSize = 4096

// maxPA bounds physical addresses: neither architecture has more than 52 bits.
const maxPA = 1 << 52

// newRange checks a range that was read from a table. what names it in the error.
func newRange(what string, base, size uint64) (Range, error) {
	if base >= maxPA || size > maxPA-base {
		return Range{}, fmt.Errorf("%s: base %#x, size %#x is outside of the physical address space", what, base, size)
	}
	return Range{base, size}, nil
}

// normalize sorts ranges, merges those that touch, and drops empty ones. Each is rounded to
// whole pages: inward for memory, outward for reserved ranges.
func normalize(rs []Range, outward bool) []Range {
	var out []Range
	rs = slices.Clone(rs)
	slices.SortFunc(rs, func(a, b Range) int { return cmp.Compare(a.Base, b.Base) })
	for _, r := range rs {
		base, end := r.Base, r.End()
		if outward {
			base, end = base&^(pageSize-1), (end+pageSize-1)&^(pageSize-1)
		} else {
			base, end = (base+pageSize-1)&^(pageSize-1), end&^(pageSize-1)
		}
		if r.Size == 0 || base >= end {
			continue
		}
		if n := len(out); n > 0 && base <= out[n-1].End() {
			out[n-1].Size = max(out[n-1].End(), end) - out[n-1].Base
			continue
		}
		out = append(out, Range{base, end - base})
	}
	return out
}

// Usable returns Memory without Reserved and without the given ranges, sorted, in whole
// pages.
func (in *Info) Usable(without ...Range) []Range {
	return subtract(in.Memory, normalize(append(slices.Clone(in.Reserved), without...), true))
}

// subtract returns memory without holes. Both must be as normalize returns them.
func subtract(memory, holes []Range) []Range {
	var out []Range
	for _, m := range memory {
		base := m.Base
		for _, h := range holes {
			if h.End() <= base || h.Base >= m.End() {
				continue
			}
			if h.Base > base {
				out = append(out, Range{base, h.Base - base})
			}
			base = h.End()
		}
		if base < m.End() {
			out = append(out, Range{base, m.End() - base})
		}
	}
	return out
}

// Devices returns the ranges that the kernel maps as device memory, in whole pages.
func (in *Info) Devices() []Range {
	rs := append([]Range{
		in.Screen.Range, in.Interrupts.Dist, in.Interrupts.CPU, in.Power.Range, in.Clock.Range, in.LED.GPIO.Range,
	}, in.Interrupts.Redist...)
	if in.Console.Kind != PortCOM {
		rs = append(rs, Range{in.Console.Base, in.Console.Size})
	}
	for _, w := range in.Watchdogs {
		rs = append(rs, w.Range)
	}
	rs = append(rs, in.Others()...)
	return normalize(rs, true)
}

// Others returns the registers of those devices whose drivers are not the machine's own:
// cards, network, virtio.
func (in *Info) Others() (rs []Range) {
	for _, c := range in.Cards {
		rs = append(rs, c.Range, Range{c.Gate, 4})
	}
	if e := in.Ethernet; e.Size != 0 {
		rs = append(rs, e.Range, Range{e.Gate, 4})
		if e.Fuses.Size != 0 {
			rs = append(rs, e.Fuses, Range{e.FuseGate, 4})
		}
	}
	for _, v := range in.VirtIO {
		rs = append(rs, v.Range)
	}
	return rs
}

// checkDevices checks that no driven device lies in memory that is said to be RAM.
func (in *Info) checkDevices() error {
	for _, d := range in.Devices() {
		for _, m := range in.Memory {
			if d.overlaps(m) {
				return fmt.Errorf("memory %v is said to be where the device registers %v are: the boot loader's memory size is wrong for this board", m, d)
			}
		}
	}
	return nil
}

// CheckImage checks that the loader put the kernel, which takes the range image, into
// memory that exists and that nothing else needs.
func (in *Info) CheckImage(image Range) error {
	whole := false
	for _, m := range in.Memory {
		whole = whole || image.Base >= m.Base && image.End() <= m.End()
	}
	if !whole {
		return fmt.Errorf("the kernel at %v is not in one piece of usable memory: %v", image, in.Memory)
	}
	for _, r := range in.Reserved {
		if r.overlaps(image) {
			return fmt.Errorf("the kernel at %v was loaded over a reserved range, initramfs or device tree: %v", image, r)
		}
	}
	return nil
}

// finish brings the lists into the form that Info promises, and makes the checks that all
// protocols share.
func (in *Info) finish() error {
	if in.Initrd.Size != 0 {
		in.Reserved = append(in.Reserved, in.Initrd)
	}
	in.Memory = normalize(in.Memory, false)
	// The framebuffer is not mapped as memory: the kernel maps it as device memory.
	if in.Screen.Size != 0 {
		in.noMap = append(in.noMap, in.Screen.Range)
	}
	for _, r := range in.noMap {
		if in.Initrd.overlaps(r) {
			return fmt.Errorf("the initramfs at %v lies in reserved memory that is not to be mapped: %v", in.Initrd, r)
		}
	}
	in.Memory = subtract(in.Memory, normalize(in.noMap, true))
	in.Reserved = normalize(in.Reserved, true)
	if len(in.Memory) == 0 {
		return fmt.Errorf("no RAM in the memory map")
	}
	if len(in.CPUs) == 0 {
		in.CPUs = []CPU{{}}
	}
	return nil
}
