//go:build grim_overlay

// The operating system below the runtime. There is none, so this file and its neighbours
// grim_*.go take its place. Each CPU has one M and one P permanently (grim_cpus.go). Kernel
// Go code runs with interrupts disabled; only the idle hook enables them.

package runtime

import (
	"internal/runtime/atomic"
	"internal/stringslite"
	"runtime/goos"
	"unsafe"
)

// From Go 1.27 on, the linker lets assembly of other packages refer to a function of this
// package only with a go:linkname. Crash tests of grim/arch/... switch to the boot stack.
//
//go:linkname systemstack

// In assembly, sys_grim_GOARCH.s.

// haltCPU stops the CPU for good, with interrupts disabled. If there may be a debug-exit
// device, it first gets the code.
func haltCPU(code int32)

// hwseed returns 64 bits from the CPU's random number generator, or from its counter if
// there is no generator.
func hwseed() uint64

const _PAGESIZE = 4096

type mOS struct {
	cpuM // grim_cpus.go

	// cpu is the number of the CPU to which the M is pinned. It is set before the M runs
	// and never changes. 0 is the boot CPU, which m0 has.
	cpu int32

	// record is the kernel's record of the CPU: see SetCPURecord.
	record unsafe.Pointer
}

// ThisCPU returns the number of the calling CPU. It is also the number of the calling M. An
// M never leaves its CPU, but a goroutine that blocks or yields may continue on another
// one.
//
//go:nosplit
func ThisCPU() int { return int(getg().m.cpu) }

// CPUOf returns the number of the CPU to which the M at mp is pinned, for goos.Task.
func CPUOf(mp unsafe.Pointer) int { return int((*m)(mp).cpu) }

// CPURecord returns the record that SetCPURecord has set for the calling CPU. It costs two
// loads, for code that cannot afford more. SetCPURecord is called once on each CPU. The
// collector does not see the record, so it must be kept alive elsewhere.
//
//go:nosplit
func CPURecord() unsafe.Pointer { return getg().m.record }

//go:nowritebarrier
func SetCPURecord(p unsafe.Pointer) {
	*(*uintptr)(unsafe.Pointer(&getg().m.record)) = uintptr(p)
}

// noArgs is an argument list with no arguments, no environment and no
// auxiliary vector.
var noArgs [4]*byte

func sysargs(int32, **byte) {
	argc, argv = 0, &noArgs[0]
}

// bootArg and physBase are stored by the entry code; see goos.BootArg and goos.PhysBase.
// The entry code cannot store there itself, because the linker lets assembly of this
// package refer only to the package's own variables.
var bootArg, physBase uint64

func osinit() {
	goos.BootArg, goos.PhysBase = bootArg, physBase
	physPageSize = _PAGESIZE
	numCPUStartup = getCPUCount()
	getg().m.procid = 1
	initHeapBounds()
	archinit()
	// A user thread's goroutine needs 4 KB in fork, and 8 KB in exec and page faults on
	// files. If it started with the runtime's 2 KB, each would grow its stack once, for 18
	// 000 instructions, and free it at the end.
	startingStackSize = 8 << 10
}

func getCPUCount() int32 { return 1 }

// userStart is the start function of the last goroutine started outside of package runtime:
// nearly always a user thread's.
var userStart uintptr

// startsSystem is isSystemGoroutine(gp, false) with a memory: it remembers userStart, and
// so seldom has to look up a function's name.
func startsSystem(gp *g) bool {
	if gp.startpc == userStart {
		return false
	}
	if isSystemGoroutine(gp, false) {
		return true
	}
	if f := findfunc(gp.startpc); f.valid() && !stringslite.HasPrefix(funcname(f), "runtime.") {
		userStart = gp.startpc
	}
	return false
}

// faultStackBytes is the size of the stack of fault handlers.
const faultStackBytes = 32 << 10

// mpreinit gives an M the stack and g for fault handlers; see FaultStack. Below the stack
// is a page that StackGuards returns, so the stack is not heap memory.
func mpreinit(mp *m) {
	gs := malg(-1)
	mem := persistentalloc(_PAGESIZE+faultStackBytes, _PAGESIZE, &memstats.other_sys)
	gs.stack.lo = uintptr(mem) + _PAGESIZE
	gs.stack.hi = gs.stack.lo + faultStackBytes
	gs.stackguard0, gs.stackguard1 = gs.stack.lo+stackGuard, ^uintptr(0) // as malg
	gs.m = mp
	mp.gsignal = gs
	mp.cpu = int32(mp.id)
	ms[mp.cpu].set(mp)
}

// StackGuards returns the unused pages below the runtime's own fixed stacks. The kernel
// leaves them unmapped when it makes its page tables. boot is the page below the entry
// code's stack, which is g0's; fault is the page below FaultStack.
func StackGuards() (boot, fault uintptr) {
	below := func(lo uintptr) uintptr { return lo&^(_PAGESIZE-1) - _PAGESIZE }
	return below(m0.g0.stack.lo), below(m0.gsignal.stack.lo)
}

func minit()        { getg().m.procid = uint64(getg().m.id) + 1 }
func unminit()      {}
func mdestroy(*m)   {}
func goenvs()       { goenvs_unix() }
func osyield()      { procyield(1) }
func osyield_no_g() { procyield(1) }

func exitThread(*atomic.Uint32) {
	throw("the M of a CPU was asked to exit")
}

// exit ends the machine. If the kernel has no console yet, earlyPutc prints the kept
// output.
func exit(code int32) {
	if goos.Printk == nil {
		flushEarly()
	}
	if goos.Exit != nil {
		goos.Exit(code)
	}
	for {
		haltCPU(code)
	}
}

// crash is called where GOTRACEBACK=crash would dump core.
func crash() { exit(2) }

//go:nosplit
func usleep(usec uint32) {
	for end := nanotime() + int64(usec)*1000; nanotime() < end; {
		procyield(10)
	}
}

//go:nosplit
func usleep_no_g(usec uint32) { usleep(usec) }

// Files: there are none below the runtime.

func open(*byte, int32, int32) int32          { return -1 }
func closefd(int32) int32                     { return -1 }
func read(int32, unsafe.Pointer, int32) int32 { return -1 }

// Package os asks with fcntl whether standard output blocks.
//
//go:linkname fcntl
//go:nosplit
func fcntl(fd, cmd, arg int32) (ret, errno int32) { return -1, _ENOSYS }
