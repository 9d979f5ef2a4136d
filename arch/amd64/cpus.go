//go:build tamago && amd64

package amd64

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"grim/arch"
)

// cpu is what the machine keeps of one CPU. Only that CPU uses it, but for what says
// otherwise. It fills two cache lines, and the allocator aligns it: prefetching CPUs take
// lines in pairs.
type cpu struct {
	apicID   uint32
	area     *cpuArea  // its page of the entry area, by its address in the direct map
	areaVA   uint64    // and by the address that the assembly uses
	active   arch.Root // the user root; Table is 0 when there is none
	deadline int64     // what the timer is programmed for; math.MaxInt64: disarmed
	reported uint64    // NMIs that have been shown

	// last is the u-area that ran here last; compared, never followed. Other CPUs may
	// set it to 0.
	last uintptr

	counts arch.Counts // NMI is in area

	_ [32]byte
}

// cpus are the records of all CPUs, by number.
var cpus [maxCPUs]*cpu

const _ = -(unsafe.Sizeof(cpu{}) ^ 128)

// thisCPU is the record of the calling CPU.
func thisCPU() *cpu { return (*cpu)(runtime.CPURecord()) }

// forget makes every CPU take u, which may be a u-area used anew, for one that it has
// not run. No CPU runs u now, so none stores it at the same time.
func (m *Machine) forget(u *arch.UArea) {
	for i := range m.running {
		if c := cpus[i]; atomic.LoadUintptr(&c.last) == uintptr(unsafe.Pointer(u)) {
			atomic.StoreUintptr(&c.last, 0)
		}
	}
}

// Counts is what interrupts CPU n has taken.
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
