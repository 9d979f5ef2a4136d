//go:build tamago && arm64

package arm64

import (
	"math"
	"runtime"
	"sync/atomic"
	"unsafe"

	"grim/arch"
)

// maxCPUs bounds the number of CPUs used.
const maxCPUs = 16

// cpu is the machine layer's record of one CPU. Only that CPU uses it, except for the
// fields whose comments say otherwise. The first fields, which are used at each change of
// address space, fill a cache line; the allocator aligns the record to more than a cache
// line.
type cpu struct {
	active arch.Root
	armed  int64 // the present setting of the timer, so that setting it to the same costs nothing
	asid0  bool  // entries tagged with ASID 0 may be in the TLB
	counts arch.Counts
	_      [128 - 64]byte

	// These fields do not change once the CPU has a number. Any CPU may read them.
	irqCPU
	release    uint64      // physical address of its word of the spin table
	start      *startBlock // the block with which it was started; nil for the boot CPU
	exceptions uintptr     // the end of its exception stack

	// userPC is the PC of the user code that the present interrupt found; 0: the CPU slept.
	userPC uint64
	// asked is 1 if the CPU must stop because the kernel dies on another CPU. stopped then
	// says what it was doing. Any CPU may read and write them.
	asked, stopped atomic.Uint32

	// lastFault is the latest exception in kernel code, for the crash report.
	lastFault kernelFrame
	faulted   bool
}

// cpus has the records of all CPUs, by number. The boot CPU's record is needed before
// memory can be allocated.
var cpus = [maxCPUs]*cpu{new(cpu)}

// thisCPU returns the record of the calling CPU.
func thisCPU() *cpu { return (*cpu)(runtime.CPURecord()) }

// noTimer is the value of cpu.armed when the timer is off.
const noTimer = math.MaxInt64

// useRecord makes record n the record of the calling CPU.
func useRecord(n int) { runtime.SetCPURecord(unsafe.Pointer(cpus[n])) }

// fault records an exception for the crash report.
func (c *cpu) fault(k *kernelFrame) { c.lastFault, c.faulted = *k, true }

// Counts returns how many interrupts of each kind CPU n has taken.
func (m *Machine) Counts(n int) arch.Counts {
	c := &cpus[n].counts
	return arch.Counts{Timer: atomic.LoadUint64(&c.Timer), Wake: atomic.LoadUint64(&c.Wake), Shoot: atomic.LoadUint64(&c.Shoot)}
}

// CPUs implements arch.MMU.
func (m *Machine) CPUs() int { return m.running }

// CPU implements arch.MMU.
func (u *mmu) CPU() int { return runtime.ThisCPU() }

// Broadcast implements arch.MMU: true, as the TLBI instructions used here reach all CPUs.
func (u *mmu) Broadcast() bool { return true }

// Interrupt implements arch.MMU.
func (m *Machine) Interrupt(n int) { m.send(n, sgiShoot) }

// Wake implements goos.Wake: it interrupts a CPU that sleeps in Idle or is in user mode.
func (m *Machine) Wake(n uint64) { m.send(int(n), sgiWake) }

// send sends an interrupt to CPU n. The handler sees all earlier stores of this CPU.
func (m *Machine) send(n, sgi int) {
	barrier()
	m.irqs.send(&cpus[n].irqCPU, sgi)
}

// Pause implements arch.MMU.
func (u *mmu) Pause() { yield() }
