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

// How a CPU is started. PSCI's CPU_ON, or its word of the spin table, makes it begin at
// secondaryEntry, where the image is in memory, with the MMU off. Its startBlock has the
// values with which it sets up the MMU. If the block has no task, the CPU reports that it
// is alive and stops: by CPU_OFF, or, without PSCI, in a loop that waits for an event and
// looks for the task. So the start of a CPU to see whether it exists and the start of a CPU
// to run an M are the same.
//
// Only one CPU at a time may start others, as there is only one word that names the
// startBlock. New does it first. Later any CPU may call Task, which waits for its turn.

// startBlock has the data with which a CPU is started. It is accessed through the direct
// map. Machine code contains its offsets. The started CPU reads the first part while its
// MMU is off, so that part must not change after it has been cleaned from the caches.
type startBlock struct {
	mair, tcr, ttbr0, ttbr1 uint64 // 0; ttbr0 maps secondaryEntry at its physical address
	sctlr, high, self, root uint64 // 32; high and self are virtual addresses; root is the final TTBR0
	conduit, cpu            uint64 // 64; the conduit of PSCI; the CPU's number
	mpidr                   uint64 // 80; affinity of the CPU that this block is for
	_                       [5]uint64
	alive, started          uint64 // 128; each becomes 1: the CPU has come up; it runs its M
	fn, sp, g               uint64 // 144; the task; fn is 0 if there is none
	midr, ctr               uint64 // 168; MIDR_EL1 and CTR_EL0 of the CPU, once it has come up
	_                       uint64
	// An exception of the CPU before it runs Go code. The CPU may store it with its cache
	// off, so other CPUs must not store to this cache line.
	esr, far, pc, faulted uint64 // 192
	_                     [4]uint64
}

var _ = [1]struct{}{}[unsafe.Sizeof(startBlock{})-256]

// startLimit is how long a CPU may take to start, in nanoseconds. An emulator on a busy
// host may run the CPU's thread late.
const startLimit = 5_000_000_000

// PSCI functions and results (DEN 0022, section 5).
const (
	psciCPUOn     = 0xc4000003
	psciOnPending = -5
	psciAlreadyOn = -4
)

// defined in start.s
func smccc3(function, a, b, c uint64, smc bool) int64
func secondaryAddress() (entry, high, vectors uintptr)
func readStartRegs() (mair, tcr, sctlr uint64)
func cleanLine(va uintptr)
func sendEvent()
func startBlockWord() *uint64 // holds the physical address of the block that secondaryEntry uses

// secondarySize is a bound on the size of secondaryEntry and secondaryMap together, and on
// that of secondaryVectors.
const secondarySize = 0xa00

// startOthers starts the wanted number of CPUs, to see whether they exist, and numbers them
// in that order. c.CPUs may contain the boot CPU, which is skipped. The warnings describe
// problems.
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
	entry, high, vectors := secondaryAddress()
	first, last := min(entry, vectors), max(entry, vectors)
	page := func() (arch.PA, error) {
		pa := m.mmu.alloc()
		clear(directAt(pa)[:])
		return pa, nil
	}
	identity, err := identityMap(page, directAt, physOfImage(first), uint64(last-first)+secondarySize)
	if err == nil { // for secondaryVectors
		t := &kernelTables{root: identity, alloc: page, at: directAt}
		err = t.mapRange(arch.VA(blocks), blocks, arch.PageSize, kernelData|pteNG)
	}
	if err != nil {
		return []string{err.Error()}
	}
	lost := 0
	for _, o := range others {
		n := m.running
		slot := n + lost // of the block and of the stack
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
		b.high, b.self, b.cpu, b.mpidr = uint64(high), uint64(uintptr(unsafe.Pointer(b))), uint64(n), o.MPIDR&mpidrAffinity
		if o.Method == "psci" {
			b.conduit = uint64(m.conduit)
		}
		if r.exceptions, err = m.mapStack(slot, exceptionStackSize, "exception stack (SP_EL1)"); err != nil {
			warnings = append(warnings, err.Error())
			continue
		}
		cpus[n] = r
		if result := m.startup(r); result != 0 {
			warnings = append(warnings, fmt.Sprintf("CPU %#x does not start: PSCI's CPU_ON says %d", o.MPIDR, result))
			lost++ // the stack stays mapped
			continue
		}
		if why := b.awaitAlive(); why != "" {
			// It may still start: its block and its stack are not used for another CPU.
			warnings = append(warnings, fmt.Sprintf("CPU %#x does not start%s", o.MPIDR, why))
			lost++
			continue
		}
		m.rules.join(b.midr, b.ctr)
		if end, err := m.mapStack(maxCPUs+n, runtime.SystemStackBytes, fmt.Sprintf("system stack (g0) of CPU %d", n)); err != nil {
			warnings = append(warnings, err.Error())
		} else {
			runtime.SetSystemStack(n, end)
		}
		m.running++
	}
	m.featuresHere() // what the others ask for
	return warnings
}

// awaitAlive waits until the CPU has come up. If it does not come up, the result says what
// is known about that.
func (b *startBlock) awaitAlive() (why string) {
	for end := runtime.Nanotime() + startLimit; atomic.LoadUint64(&b.alive) == 0; yield() {
		if runtime.Nanotime() >= end {
			return ": it does not come"
		}
		cleanLines(uintptr(unsafe.Pointer(&b.esr)), 32)
		if atomic.LoadUint64(&b.faulted) != 0 {
			return fmt.Sprintf(": exception, esr %#x far %#x pc %#x", b.esr, b.far, b.pc)
		}
	}
	return ""
}

// cleanLines cleans and invalidates the cache lines of [va, va+n): a CPU whose caches are off
// sees what is stored there, and this CPU sees what that CPU stores.
func cleanLines(va, n uintptr) {
	line := uintptr(4) << (readCTR() >> ctrDminAt & 15)
	for at := va &^ (line - 1); at < va+n; at += line {
		cleanLine(at)
	}
}

// startup makes a CPU begin at secondaryEntry. It allocates nothing. It returns PSCI's
// result.
func (m *Machine) startup(r *cpu) int64 {
	entry, _, _ := secondaryAddress()
	word := startBlockWord()
	at := uintptr(unsafe.Pointer(r.start))
	// The block must be in memory before the word: a CPU that waits in secondaryEntry reads
	// the word again and again, and then the block.
	cleanLines(at, unsafe.Sizeof(startBlock{}))
	atomic.StoreUint64(word, uint64(at-uintptr(arch.DirectBase)))
	cleanLines(uintptr(unsafe.Pointer(word)), 8)
	pa := uint64(physOfImage(entry))
	if r.release != 0 {
		release := (*uint64)(Ptr(arch.PA(r.release)))
		atomic.StoreUint64(release, pa)
		cleanLines(uintptr(unsafe.Pointer(release)), 8)
		sendEvent()
		return 0
	}
	// A CPU that has called CPU_OFF may not be off yet, so try again.
	for end := runtime.Nanotime() + startLimit; ; yield() {
		result := int64(int32(smccc3(psciCPUOn, r.mpidr, pa, 0, m.conduit == SMC)))
		if result != psciAlreadyOn && result != psciOnPending || runtime.Nanotime() >= end {
			return result
		}
	}
}

// await waits until a word is not 0, at most ns nanoseconds. It yields, for emulators that
// run one CPU at a time.
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

// Task implements goos.Task: it starts the M at mp on its CPU. It runs on the scheduler's
// stack, where it is not preempted, and does not allocate.
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
		sendEvent() // the CPU waits for an event in secondaryEntry
	} else {
		m.startup(r)
	}
	if !await(&b.started, startLimit) {
		show("CPU's exception before its first code: esr ", b.esr)
		show(" far ", b.far)
		show(" pc ", b.pc)
		print("\n")
		panic("arm64: a CPU that had started before does not start")
	}
	starting.Store(0)
}

// secondary is the first Go code on a CPU that was started to run an M. secondaryEntry
// calls it on the M's g0, without a P, so it must not allocate or store pointers.
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

// The exception stacks of all CPUs but the boot CPU, and then the system stacks of their
// schedulers, lie in the last 2 MB of the kernel window. Each is at the end of areaStride
// bytes, whose other pages are not mapped.
const (
	areaBase   = 0xffffffffffe00000
	areaStride = 0x8000
)

// mapStack maps the stack with number n and returns its end.
func (m *Machine) mapStack(n int, size arch.VA, name string) (uintptr, error) {
	end := areaBase + arch.VA(n+1)*areaStride
	start := end - size
	for va := start; va < end; va += arch.PageSize {
		if err := m.live().mapRange(va, m.mmu.alloc(), arch.PageSize, kernelData); err != nil {
			return 0, err
		}
	}
	barrier()
	stackGuards = append(stackGuards, arch.StackGuard{Page: start - arch.PageSize, Stack: name})
	slices.SortFunc(stackGuards, compareGuards)
	return uintptr(end), nil
}
