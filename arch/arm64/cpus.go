//go:build tamago && arm64

package arm64

import (
	"runtime"
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
	_      [128 - 32]byte

	// lastFault is the latest exception in kernel code, for the crash report.
	lastFault kernelFrame
	faulted   bool
}

// cpus are the records of all CPUs, by number. The boot CPU's is needed before there is
// memory to take one from.
var cpus = [maxCPUs]*cpu{new(cpu)}

// thisCPU is the record of the calling CPU.
func thisCPU() *cpu { return (*cpu)(runtime.CPURecord()) }

// useRecord makes record n that of the calling CPU.
func useRecord(n int) { runtime.SetCPURecord(unsafe.Pointer(cpus[n])) }

// fault notes an exception for the crash report.
func (c *cpu) fault(k *kernelFrame) { c.lastFault, c.faulted = *k, true }

// CPUs is arch.MMU's.
func (u *mmu) CPUs() int { return 1 }

// CPU is arch.MMU's.
func (u *mmu) CPU() int { return runtime.ThisCPU() }

// Broadcast is arch.MMU's: the TLBI instructions used here reach all CPUs.
func (u *mmu) Broadcast() bool { return true }

// Interrupt is arch.MMU's.
func (u *mmu) Interrupt(n int) { panic("arch: an interrupt to another CPU, and there is one") }

// Task is goos.Task, and Wake goos.Wake.
func (m *Machine) Task(sp, mp, gp, fn unsafe.Pointer) { panic("arm64: one CPU runs") }
func (m *Machine) Wake(n uint64)                      { panic("arm64: one CPU runs") }

// Pause is arch.MMU's.
func (u *mmu) Pause() { yield() }
