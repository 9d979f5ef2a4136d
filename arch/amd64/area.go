package amd64

import (
	"unsafe"

	"grim/arch"
)

// The entry area is the memory that must be mapped whichever root is active:
// the text that switches CR3, IDT, GDT, TSS and the interrupt stacks. It is the
// last 2 MB of the address space, in the root entry of the kernel window: a
// user root of the separate layout has a table of its own there that leads to
// the entry area only. Its text is a copy of entryText, made at start-up.
//
// It lies above the kernel's heap because Go code compares its stack pointer
// with the bottom of its goroutine's stack: on an interrupt stack, ordinary Go
// functions then find enough room.
const (
	areaBase = 0xffffffffffe00000
	areaText = areaBase          // one page, executable
	areaIDT  = areaBase + 0x1000 // one page, read-only

	// Each CPU has areaStride bytes. The assembly finds them from a stack
	// pointer by masking, so areaStride is a power of two and areaCPU0 a
	// multiple of it.
	areaCPU0   = areaBase + 0x10000
	areaStride = 0x10000
	maxCPUs    = 16

	// Offsets in a CPU's part. What is not listed is not mapped: a stack that
	// overflows faults.
	trapStack  = 0x1000 // 16 KB, IST1: all but the following
	cpuPage    = 0x5000 // struct cpuArea, right above IST1's top
	nmiStack   = 0x7000 // 12 KB, IST2: NMI, machine check
	faultStack = 0xb000 // 12 KB, IST3: double fault

	trapStackTop  = cpuPage
	nmiStackTop   = 0xa000
	faultStackTop = 0xe000
)

// areaGuards are the pages below the interrupt stacks of CPU n, which are not mapped
// because nothing is mapped there.
func areaGuards(n int) []arch.StackGuard {
	part := areaCPU0 + arch.VA(n)*areaStride
	return []arch.StackGuard{
		{Page: part + trapStack - arch.PageSize, Stack: "interrupt stack"},
		{Page: part + nmiStack - arch.PageSize, Stack: "NMI stack"},
		{Page: part + faultStack - arch.PageSize, Stack: "double-fault stack"},
	}
}

// cpuArea is a CPU's page of the entry area. The assembly reaches it as GS base
// after SYSCALL and relative to IST1 otherwise, and takes the offsets from
// go_asm.h.
type cpuArea struct {
	self       uint64 // address of this struct
	scratch    uint64 // a register while there is no stack to put it on
	scratch2   uint64
	uarea      uint64 // direct-map address of the u-area in user mode
	kernelCR3  uint64 // to load when user mode is left; 0: nothing to switch
	userCR3    uint64 // to load when user mode is entered; 0: nothing to switch
	kernelRoot uint64 // the bare kernel root, for the paths that trust nothing
	kernelFS   uint64 // FS base of kernel code: the runtime's thread pointer
	pending    uint64 // interrupts taken and not yet dispatched, by vector-32
	nmis       uint64 // NMIs taken
	onTrap     uint64 // kernel text to go on in: exception or interrupt
	onSyscall  uint64 // SYSCALL
	onFault    uint64 // exception in kernel mode
	toSysret   uint64 // entry-area text that ends the separate layout's return
	toIret     uint64
	modern     uint64 // 1: both of the following, and no verw
	fsgsbase   uint64 // 1: RDFSBASE and so on may be used
	xsave      uint64 // 1: XSAVE, else FXSAVE
	mxcsr      uint64 // MXCSR for kernel code, in the low half
	verw       uint64 // selector for VERW to clear the CPU's buffers with; 0: need not
	specCtrl   uint64 // IA32_SPEC_CTRL, which entryTextIBRS writes
	faultG     uint64 // the g of the runtime's fault handler; 0: not yet, faults are fatal
	faultTop   uint64 // and the top of its stack

	// How a CPU is stopped when the kernel dies on another one (stop.go).
	stop    uint64 // 1: the next NMI asks for it
	stopped uint64 // 1: it has stopped, at
	stopPC  uint64
	stopCS  uint64

	// What a CPU is started with, and what it says in return (start.go).
	alive   uint64 // 1: it has come to secondaryEntry
	tsc     uint64 // its time-stamp counter then
	started uint64 // 1: it runs its M, and takes interrupts
	taskFn  uint64 // what to run; 0: nothing yet
	taskSP  uint64
	taskG   uint64

	saved [3]uint64 // registers during that

	iret [6]uint64 // DI, then what IRETQ pops

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
