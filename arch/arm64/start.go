//go:build tamago && arm64

package arm64

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"

	"grim/arch"
)

// How a CPU is started: by PSCI's CPU_ON, or by its word of the spin table, it begins at
// secondaryEntry, where the image is in memory, with the MMU off. Its startBlock has what it
// sets the MMU up with. A CPU that finds no task there says that it is alive and stops: by
// CPU_OFF, or, where there is no PSCI, in a loop that waits for an event and looks for the
// task. So starting a CPU to see whether it is there, and starting it to run an M, are the
// same.
//
// All of this is done by one CPU at a time, as there is one of the word that names the startBlock: New does it
// first; later any CPU may call Task, which waits for its turn.

// Processor is one that may be started.
type Processor struct {
	MPIDR   uint64 // its affinity
	Method  string // "psci" or "spin-table"
	Release uint64 // physical address of its word of the spin table
}

// startBlock is what a CPU is started with. It is reached through the direct map. Machine
// code knows its offsets. The started CPU reads the first part while its MMU is off, so that
// part must not change after it has been cleaned from the caches.
type startBlock struct {
	mair, tcr, ttbr0, ttbr1 uint64 // 0; ttbr0 maps secondaryEntry where it is in memory
	sctlr, high, self, root uint64 // 32; high and self are virtual addresses, root is TTBR0's at last
	conduit, cpu            uint64 // 64; how PSCI is called; the CPU's number
	_                       [6]uint64
	alive, started          uint64 // 128; 1: it has come up; it runs its M
	fn, sp, g               uint64 // 144; the task. fn is 0 while there is none
	_                       [11]uint64
}

var _ = [1]struct{}{}[unsafe.Sizeof(startBlock{})-256]

// startLimit is how long a CPU may take, in nanoseconds: an emulator on a busy host gives its
// thread the first turn late.
const startLimit = 5_000_000_000

// PSCI functions and results (DEN 0022, section 5).
const (
	psciCPUOn     = 0xc4000003
	psciOnPending = -5
	psciAlreadyOn = -4
)

// defined in start.s
func smccc3(function, a, b, c uint64, smc bool) int64
func secondaryAddress() (entry, high uintptr)
func readStartRegs() (mair, tcr, sctlr uint64)
func cleanLine(va uintptr) // to memory, for an observer without caches
func sendEvent()
func startBlockWord() *uint64 // where secondaryEntry looks for its block: a physical address

// secondarySize is more than the code has that runs with the MMU off.
const secondarySize = 256

// startOthers starts as many of the CPUs as are asked for, to see that they are there, and
// gives them numbers in that order. The boot CPU may be among them. The warnings say what
// does not work.
func (m *Machine) startOthers(c *Config) (warnings []string) {
	self := readMPIDR() & mpidrAffinity
	want := min(max(c.MaxCPUs, 1), maxCPUs)
	var others []Processor
	for _, o := range c.CPUs {
		if o.MPIDR != self && len(others) < want-1 {
			others = append(others, o)
		}
	}
	if len(others) == 0 {
		return nil
	}
	blocks := m.mmu.alloc()
	clear(directAt(blocks)[:])
	entry, high := secondaryAddress()
	code := physOfImage(entry)
	page := func() (arch.PA, error) {
		pa := m.mmu.alloc()
		clear(directAt(pa)[:])
		return pa, nil
	}
	identity, err := identityMap(page, directAt, code, secondarySize)
	if err != nil {
		return []string{err.Error()}
	}
	lost := 0
	for _, o := range others {
		n := m.running
		slot := n + lost // of the block and the stack
		r := &cpu{irqCPU: irqCPU{mpidr: o.MPIDR}, release: o.Release, armed: noTimer}
		if o.Method == "psci" && m.conduit == NoPSCI || o.Method != "psci" && o.Method != "spin-table" {
			warnings = append(warnings, fmt.Sprintf("CPU %#x: started by %q, which is not known here", o.MPIDR, o.Method))
			continue
		}
		if err := m.irqs.prepare(&r.irqCPU); err != nil {
			warnings = append(warnings, err.Error())
			continue
		}
		b := (*startBlock)(unsafe.Add(Ptr(blocks), uintptr(slot)*unsafe.Sizeof(startBlock{})))
		r.start = b
		b.mair, b.tcr, b.sctlr = readStartRegs()
		b.ttbr0, b.ttbr1, b.root = uint64(identity), uint64(m.root)+upper, uint64(m.root)
		b.high, b.self, b.cpu = uint64(high), uint64(uintptr(unsafe.Pointer(b))), uint64(n)
		if o.Method == "psci" {
			b.conduit = uint64(m.conduit)
		}
		if r.exceptions, err = m.exceptionStackOf(slot); err != nil {
			warnings = append(warnings, err.Error())
			continue
		}
		cpus[n] = r
		if result := m.startup(r); result != 0 {
			warnings = append(warnings, fmt.Sprintf("CPU %#x does not start: PSCI's CPU_ON says %d", o.MPIDR, result))
			lost++ // the stack stays
			continue
		}
		if !await(&b.alive, startLimit) {
			// It may come yet: its number and all that it knows of are given to nobody else.
			warnings = append(warnings, fmt.Sprintf("CPU %#x does not start", o.MPIDR))
			lost++
			continue
		}
		m.running++
	}
	return warnings
}

// startup has a CPU begin at secondaryEntry. It allocates nothing. The result is PSCI's.
func (m *Machine) startup(r *cpu) int64 {
	entry, _ := secondaryAddress()
	word := startBlockWord()
	at := uintptr(unsafe.Pointer(r.start))
	atomic.StoreUint64(word, uint64(at-uintptr(arch.DirectBase)))
	barrier()
	cleanLine(uintptr(unsafe.Pointer(word)))
	cleanLine(at)
	cleanLine(at + 64)
	pa := uint64(physOfImage(entry))
	if r.release != 0 {
		release := (*uint64)(Ptr(arch.PA(r.release)))
		atomic.StoreUint64(release, pa)
		barrier()
		cleanLine(uintptr(unsafe.Pointer(release)))
		sendEvent()
		return 0
	}
	// A CPU that has called CPU_OFF may not be off yet.
	for end := runtime.Nanotime() + startLimit; ; yield() {
		result := int64(int32(smccc3(psciCPUOn, r.mpidr, pa, 0, m.conduit == SMC)))
		if result != psciAlreadyOn && result != psciOnPending || runtime.Nanotime() >= end {
			return result
		}
	}
}

// await waits for a word, at most so many nanoseconds. It hands over to the other CPUs of an
// emulator that runs one at a time.
func await(word *uint64, ns int64) bool {
	for end := runtime.Nanotime() + ns; atomic.LoadUint64(word) == 0; yield() {
		if runtime.Nanotime() >= end {
			return false
		}
	}
	return true
}

// starting is 1 while a CPU is in Task.
var starting atomic.Uint32

// Task is goos.Task: it starts the M at mp on its CPU. It runs on the scheduler's stack,
// where nothing else can take its turn, and does not allocate.
func (m *Machine) Task(sp, mp, gp, fn unsafe.Pointer) {
	for !starting.CompareAndSwap(0, 1) {
		yield()
	}
	r := cpus[runtime.CPUOf(mp)]
	b := r.start
	b.sp, b.g = uint64(uintptr(sp)), uint64(uintptr(gp))
	atomic.StoreUint64(&b.fn, uint64(uintptr(fn)))
	if r.release != 0 {
		barrier()
		sendEvent() // it waits for that, in secondaryEntry
	} else {
		m.startup(r)
	}
	if !await(&b.started, startLimit) {
		panic("arm64: a CPU that had started before does not start")
	}
	starting.Store(0)
}

// secondary is the first code in Go on a CPU that was started to run an M: on the M's g0,
// without a P, so it must not allocate or store pointers. It is called by secondaryEntry.
func secondary(b *startBlock) {
	m := faultOwner
	useRecord(int(b.cpu))
	c := thisCPU()
	g, top := runtime.FaultStack()
	installVectors(g, top, c.exceptions)
	openSErrors()
	m.clearHistory()
	m.featuresHere()
	m.irqs.initCPU(&c.irqCPU)
	setCNTV(0, 0)
	m.irqs.enable(m.timerLine)
	atomic.StoreUint64(&b.started, 1)
}

// The exception stacks of all CPUs but the boot CPU's lie in the last 2 MB of the kernel
// window, each at the end of areaStride bytes of which the rest is not mapped.
const (
	areaBase   = 0xffffffffffe00000
	areaStride = 0x8000
)

// exceptionStackOf maps the exception stack of number n and returns where it ends.
func (m *Machine) exceptionStackOf(n int) (uintptr, error) {
	end := areaBase + arch.VA(n+1)*areaStride
	start := end - exceptionStackSize
	for va := start; va < end; va += arch.PageSize {
		if err := m.live().mapRange(va, m.mmu.alloc(), arch.PageSize, kernelData); err != nil {
			return 0, err
		}
	}
	barrier()
	stackGuards = append(stackGuards, arch.StackGuard{Page: start - arch.PageSize, Stack: "exception stack (SP_EL1)"})
	slices.SortFunc(stackGuards, compareGuards)
	return uintptr(end), nil
}
