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

// How a CPU is started (SDM volume 3, 8.4.4). INIT stops it, and a startup interrupt makes
// it begin in the trampoline, which leads to secondaryEntry. A CPU that finds no task there
// records that it is alive, and stops. So a CPU is started in the same way to see whether
// it is there and to run an M. In between it is stopped with interrupts disabled, and uses
// nothing of the kernel, not even its tables.
//
// There is only one trampoline, so one CPU at a time starts another. New does it first.
// Later any CPU may call Task, which waits for its turn.

// How long the steps take at most. The manual asks for 10 ms after INIT, for CPUs of its
// time. CPUs with a 64-bit mode need no wait, except for Intel's first.
const (
	initMoment  = 10_000        // ns
	initOld     = 10_000_000    // for Intel's family 15
	startMoment = 200_000       // after that the startup interrupt is sent again
	startLimit  = 5_000_000_000 // after that the CPU counts as missing; an emulator on a busy host is slow
)

// startOthers starts the CPUs with these APIC identifiers, at most as many as are asked
// for, to see whether they are there. It numbers those that are there, in that order. The
// boot CPU may be among the identifiers. The warnings say what does not work.
func (m *Machine) startOthers(table arch.PA, c *Config) (warnings []string) {
	self := m.apicID()
	cpus[0].apicID = self
	want := min(max(c.MaxCPUs, 1), maxCPUs)
	var others []uint32
	for _, id := range c.CPUs {
		if id != self && !slices.Contains(others, id) && len(others) < want-1 {
			others = append(others, id)
		}
	}
	if len(others) == 0 {
		return nil
	}
	page, ok := arch.PA(0), false
	if c.Low != nil {
		page, ok = c.Low()
	}
	if !ok {
		return []string{"no free page below 1 MB to start the other CPUs in: only one runs"}
	}
	m.startPage = page
	root := m.tables.page()
	copy(directPage(root)[arch.KernelHalf:], directPage(m.shared)[arch.KernelHalf:])
	m.tables.enter(root, arch.VA(page), page, arch.PageSize, kernText)
	code := trampoline(page, trampolineRegs{
		cr0: uint32(getCR0()), cr3: uint32(root), cr4: uint32(getCR4() &^ cr4PCIDE),
		efer: uint32(rdmsr(msrEFER) &^ eferLMA), entry: secondaryAddress(),
	})
	copy(unsafe.Slice((*byte)(memory(direct(page))), arch.PageSize), code)
	for _, id := range others {
		if id > maxXAPIC && !m.x2apic {
			warnings = append(warnings, fmt.Sprintf("CPU with APIC identifier %#x: reached in x2APIC mode only, which firmware has not turned on", id))
			continue
		}
		n := m.running
		m.buildArea(table, n)
		cpus[n].apicID = id
		a := cpus[n].area
		a.kernelFS = 0
		m.setTrampolineArg(n)
		before := rdtsc()
		m.sendStartup(id, &a.alive)
		after := rdtsc()
		if atomic.LoadUint64(&a.alive) == 0 {
			// The CPU may still start later. It then finds no task, and stops.
			warnings = append(warnings, fmt.Sprintf("CPU with APIC identifier %#x does not start", id))
			m.ipi(id, icrInit)
			continue
		}
		if off := outside(a.tsc, before, after); off != 0 {
			// The kernel's clock uses one formula for all CPUs.
			warnings = append(warnings, fmt.Sprintf("CPU %d: its time-stamp counter is off by %d ticks: time is not the same there", n, off))
		}
		stackGuards = append(stackGuards, areaGuards(n)...)
		m.mapSystemStack(n)
		m.running++
	}
	return warnings
}

// mapSystemStack maps a stack for the scheduler of CPU n.
func (m *Machine) mapSystemStack(n int) {
	end := stacksBase + arch.VA(n+1)*stackStride
	start := end - runtime.SystemStackBytes
	for va := start; va < end; va += arch.PageSize {
		m.tables.enter(m.shared, va, m.tables.page(), arch.PageSize, kernData)
	}
	stackGuards = append(stackGuards, arch.StackGuard{Page: start - arch.PageSize, Stack: fmt.Sprintf("system stack (g0) of CPU %d", n)})
	runtime.SetSystemStack(n, uintptr(end))
}

// setTrampolineArg makes the trampoline start CPU n.
func (m *Machine) setTrampolineArg(n int) {
	at := (*uint64)(memory(direct(m.startPage) + trampArg))
	atomic.StoreUint64(at, cpus[n].areaVA)
}

// sendStartup makes a CPU begin in the trampoline, and waits until *word is not 0, or for
// startLimit at most. It allocates nothing.
func (m *Machine) sendStartup(id uint32, word *uint64) {
	wait := int64(initMoment)
	if m.slowInit {
		wait = initOld
	}
	m.ipi(id, icrInit)
	await(nil, wait)
	for range 2 {
		m.ipi(id, icrStartup|uint32(m.startPage>>arch.PageShift))
		if await(word, startMoment) {
			return
		}
	}
	await(word, startLimit)
}

// await waits until *word is not 0 and returns true, or returns false after ns nanoseconds.
// word may be nil. On an emulator that runs one CPU at a time, the pause lets the other
// CPUs run.
func await(word *uint64, ns int64) bool {
	for end := runtime.Nanotime() + ns; ; pause() {
		if word != nil && atomic.LoadUint64(word) != 0 {
			return true
		}
		if runtime.Nanotime() >= end {
			return false
		}
	}
}

// starting is 1 while a CPU is in Task.
var starting atomic.Uint32

// Task is goos.Task: it starts the M at mp on its CPU. It runs on the scheduler's stack, so
// that no other goroutine can run on this CPU meanwhile, and does not allocate.
func (m *Machine) Task(sp, mp, gp, fn unsafe.Pointer) {
	for !starting.CompareAndSwap(0, 1) {
		pause()
	}
	n := runtime.CPUOf(mp)
	c := cpus[n]
	a := c.area
	a.kernelFS = uint64(runtime.TLSBase(mp))
	a.taskSP, a.taskG = uint64(uintptr(sp)), uint64(uintptr(gp))
	atomic.StoreUint64(&a.taskFn, uint64(uintptr(fn)))
	m.setTrampolineArg(n)
	m.sendStartup(c.apicID, &a.started)
	if atomic.LoadUint64(&a.started) == 0 {
		panic("amd64: a CPU that had started before does not start")
	}
	starting.Store(0)
}

// secondary is the first Go code on a CPU that was started to run an M. It runs on the M's
// g0, without a P, so it must not allocate or store pointers. secondaryEntry calls it.
func secondary(a *cpuArea) {
	n := int(a.self-areaCPU0) / areaStride
	m := machine
	m.startCPU(cpus[n])
	m.startLAPIC()
	m.startTimerHere()
	atomic.StoreUint64(&a.started, 1)
}

// secondaryAddress returns the address of secondaryEntry, which is never called from Go.
func secondaryAddress() uint64
