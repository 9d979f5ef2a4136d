//go:build tamago && amd64

package amd64

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"grim/arch"
)

// cpu is the machine's record of one CPU. Only that CPU uses it, unless a field's comment
// says otherwise. It fills two cache lines, to which the allocator aligns it, because CPUs
// that prefetch take lines in pairs.
type cpu struct {
	apicID   uint32
	area     *cpuArea  // its page of the entry area, at its direct-map address
	areaVA   uint64    // the page's address in the entry area, which the assembly uses
	active   arch.Root // the user root; Table is 0 when there is none
	deadline int64     // deadline that the timer is programmed for; math.MaxInt64: disarmed
	reported uint64    // how many NMIs have been printed

	// last is the address of the u-area that ran here last. It is compared only, never
	// dereferenced. Other CPUs may set it to 0.
	last uintptr

	counts arch.Counts // NMI stays 0: area counts NMIs

	_ [32]byte
}

// cpus are the records of all CPUs, by number.
var cpus [maxCPUs]*cpu

const _ = -(unsafe.Sizeof(cpu{}) ^ 128)

// thisCPU returns the record of the calling CPU.
func thisCPU() *cpu { return (*cpu)(runtime.CPURecord()) }

// forget makes every CPU forget that it ran u last, as u may be a u-area that is used anew.
// No CPU runs u now, so none stores its address at the same time.
func (m *Machine) forget(u *arch.UArea) {
	for i := range m.running {
		if c := cpus[i]; atomic.LoadUintptr(&c.last) == uintptr(unsafe.Pointer(u)) {
			atomic.StoreUintptr(&c.last, 0)
		}
	}
}

// Counts returns the numbers of interrupts that CPU n has taken.
func (m *Machine) Counts(n int) arch.Counts {
	c := cpus[n]
	return arch.Counts{
		Timer: atomic.LoadUint64(&c.counts.Timer), Wake: atomic.LoadUint64(&c.counts.Wake),
		Shoot: atomic.LoadUint64(&c.counts.Shoot), NMI: atomic.LoadUint64(&c.area.nmis),
	}
}

// CPUs implements arch.MMU.
func (m *Machine) CPUs() int { return m.running }

// CPU implements arch.MMU.
func (m *Machine) CPU() int { return runtime.ThisCPU() }

// Broadcast implements arch.MMU: no instruction flushes the TLB of another CPU.
func (m *Machine) Broadcast() bool { return m.running == 1 }

// Interrupt implements arch.MMU.
func (m *Machine) Interrupt(n int) { m.ipi(cpus[n].apicID, icrFixed|vecShoot) }

// Wake is goos.Wake: it sends an interrupt to a CPU that sleeps in Idle or is in user mode.
func (m *Machine) Wake(n uint64) { m.ipi(cpus[n].apicID, icrFixed|vecWake) }

// Pause implements arch.MMU.
func (m *Machine) Pause() { pause() }
