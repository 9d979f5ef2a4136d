//go:build tamago && arm64

package arm64

import (
	"math"
	"runtime"
	"sync/atomic"
	"unsafe"

	"grim/arch"
)

// maxCPUs bounds the CPUs that are used.
const maxCPUs = 16

// cpu is what the machine keeps of one CPU. Only that CPU uses it, but for what says
// otherwise. Its first part, which is used at each change of address space, fills a cache
// line, and the allocator aligns it to more than that.
type cpu struct {
	active arch.Root
	armed  int64 // what the timer is set to, so that setting it again costs nothing
	asid0  bool  // entries tagged with ASID 0 may be in the TLB
	counts arch.Counts
	_      [128 - 64]byte

	// What stays as it is once the CPU has a number; any CPU may read it.
	irqCPU
	release    uint64      // its word of the spin table
	start      *startBlock // what it was started with; nil for the boot CPU
	exceptions uintptr     // where its exception stack ends

	// userPC is where the interrupt that is being handled found user code; 0: the CPU slept.
	userPC uint64
	// asked is 1 when the CPU is to stop because the kernel dies on another one, and stopped
	// tells what it then was doing. Any CPU may read and write them.
	asked, stopped atomic.Uint32

	// lastFault is the latest exception in kernel code, for the crash report.
	lastFault kernelFrame
	faulted   bool
}

// cpus are the records of all CPUs, by number. The boot CPU's is needed before there is
// memory to take one from.
var cpus = [maxCPUs]*cpu{new(cpu)}

// thisCPU is the record of the calling CPU.
func thisCPU() *cpu { return (*cpu)(runtime.CPURecord()) }

// noTimer is cpu.armed when the timer is not.
const noTimer = math.MaxInt64

// useRecord makes record n that of the calling CPU.
func useRecord(n int) { runtime.SetCPURecord(unsafe.Pointer(cpus[n])) }

// fault notes an exception for the crash report.
func (c *cpu) fault(k *kernelFrame) { c.lastFault, c.faulted = *k, true }

// Counts is what interrupts CPU n has taken.
func (m *Machine) Counts(n int) arch.Counts {
	c := &cpus[n].counts
	return arch.Counts{Timer: atomic.LoadUint64(&c.Timer), Wake: atomic.LoadUint64(&c.Wake), Shoot: atomic.LoadUint64(&c.Shoot)}
}

// CPUs is arch.MMU's.
func (m *Machine) CPUs() int { return m.running }

// CPU is arch.MMU's.
func (u *mmu) CPU() int { return runtime.ThisCPU() }

// Broadcast is arch.MMU's: the TLBI instructions used here reach all CPUs.
func (u *mmu) Broadcast() bool { return true }

// Interrupt is arch.MMU's.
func (m *Machine) Interrupt(n int) { m.send(n, sgiShoot) }

// Wake is goos.Wake: it sends an interrupt to a CPU that sleeps in Idle or is in user mode.
func (m *Machine) Wake(n uint64) { m.send(int(n), sgiWake) }

// send sends an interrupt to a CPU. What this CPU has stored before is seen by the handler.
func (m *Machine) send(n, sgi int) {
	barrier()
	m.irqs.send(&cpus[n].irqCPU, sgi)
}

// Pause is arch.MMU's.
func (u *mmu) Pause() { yield() }
