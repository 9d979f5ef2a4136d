package amd64

import (
	"unsafe"

	"grim/arch"
)

// The entry area is the memory that must be mapped whichever root is active: the code that
// switches CR3, the IDT, GDT and TSS, and the interrupt stacks. It is the last 2 MB of the
// address space, below the same root entry as the kernel window. A user root of the
// separate layout has tables of its own below that entry, which lead to the entry area
// only. The code in the area is a copy of entryText, made at start-up.
//
// The area lies above the kernel's heap because Go code compares its stack pointer with the
// bottom of its goroutine's stack: on an interrupt stack, ordinary Go functions then find
// that there is enough room.
const (
	areaBase = 0xffffffffffe00000
	areaText = areaBase          // one page, executable
	areaIDT  = areaBase + 0x1000 // one page, read-only

	// Each CPU has areaStride bytes. The assembly masks a stack pointer to find them, so
	// areaStride is a power of two and areaCPU0 a multiple of it.
	areaCPU0   = areaBase + 0x10000
	areaStride = 0x10000
	maxCPUs    = 16

	// Offsets in a CPU's part. Pages that are not named here are not mapped, so that a
	// stack overflow faults.
	trapStack  = 0x1000 // 16 KB, IST1: all vectors but those of the next two
	cpuPage    = 0x5000 // struct cpuArea, right above IST1's top
	nmiStack   = 0x7000 // 12 KB, IST2: NMI, machine check
	faultStack = 0xb000 // 12 KB, IST3: double fault

	trapStackTop  = cpuPage
	nmiStackTop   = 0xa000
	faultStackTop = 0xe000
)

// The system stacks of all CPUs' schedulers but the boot CPU's lie in the 2 MB below the
// entry area, which only the kernel's root and the shared layout map. Each is at the end of
// stackStride bytes, whose other pages are not mapped.
const (
	stacksBase  = areaBase - 2<<20
	stackStride = 0x8000
)

// areaGuards returns the guard pages below the interrupt stacks of CPU n. Nothing is ever
// mapped there.
func areaGuards(n int) []arch.StackGuard {
	part := areaCPU0 + arch.VA(n)*areaStride
	return []arch.StackGuard{
		{Page: part + trapStack - arch.PageSize, Stack: "interrupt stack"},
		{Page: part + nmiStack - arch.PageSize, Stack: "NMI stack"},
		{Page: part + faultStack - arch.PageSize, Stack: "double-fault stack"},
	}
}

// cpuArea is a CPU's page of the entry area. After SYSCALL the assembly reaches it through
// the GS base, otherwise relative to IST1. It takes the offsets from go_asm.h.
type cpuArea struct {
	self       uint64 // address of this struct
	scratch    uint64 // holds a register while there is no stack
	scratch2   uint64
	uarea      uint64 // direct-map address of the u-area of the thread in user mode
	kernelCR3  uint64 // root to load when user mode is left; 0: CR3 stays
	userCR3    uint64 // root to load when user mode is entered; 0: CR3 stays
	kernelRoot uint64 // the bare kernel root, for fatal exceptions, which may come with any CR3
	kernelFS   uint64 // FS base of kernel code: the runtime's thread pointer
	pending    uint64 // interrupts taken and not yet dispatched, by vector-32
	nmis       uint64 // NMIs taken
	onTrap     uint64 // kernel code that handles an exception or interrupt in user mode
	onSyscall  uint64 // kernel code that handles SYSCALL
	onFault    uint64 // kernel code that handles an exception in kernel mode
	toSysret   uint64 // entry-area code that returns to user mode by SYSRET in the separate layout
	toIret     uint64
	modern     uint64 // 1: fsgsbase and xsave are 1, and verw is 0
	fsgsbase   uint64 // 1: RDFSBASE and its like may be used
	xsave      uint64 // 1: XSAVE is used, else FXSAVE
	mxcsr      uint64 // MXCSR for kernel code, in the low half
	verw       uint64 // selector for VERW, which clears the CPU's buffers; 0: not needed
	specCtrl   uint64 // IA32_SPEC_CTRL, which entryTextIBRS writes
	faultG     uint64 // g of the runtime's fault handler; 0 before there is one: faults are fatal
	faultTop   uint64 // top of that g's stack

	// For stopping this CPU when the kernel dies on another one (stop.go).
	stop    uint64 // 1: the next NMI is to stop this CPU
	stopped uint64 // 1: it has stopped; stopPC and stopCS say where
	stopPC  uint64
	stopCS  uint64

	// For starting this CPU (start.go).
	alive   uint64 // 1: this CPU has reached secondaryEntry
	tsc     uint64 // its time-stamp counter at that moment
	started uint64 // 1: it runs its M and takes interrupts
	taskFn  uint64 // the function to run; 0: none yet
	taskSP  uint64
	taskG   uint64

	saved [3]uint64 // registers while IBRS is written

	iret [6]uint64 // RDI, then what IRETQ pops

	gdt  [gdtEntries]uint64
	gdtr [2]uint64 // descriptor-table register image, 10 bytes at offset 6
	idtr [2]uint64
	tss  tss
}

const _ = uint(4096 - unsafe.Sizeof(cpuArea{})) // fits its page

// Offsets of the parts of entryText.
const (
	textSyscall = 0x00
	textSysret  = 0x100
	textIret    = 0x120
	textVectors = 0x400
	vectorSize  = 16
)
