//go:build grim_overlay

// Package goos has the variables through which the kernel and TamaGo's packages connect
// themselves to the runtime. It has only variables. The functions that the runtime offers
// in return (SetClock, GrowHeap, WaitIRQ, ...) are in package runtime.
//
// Every hook is called with interrupts disabled. Some, as their comments say, are called on
// the scheduler's stack, where code must not allocate, block or take a mutex.
package goos

import "unsafe"

// TamaGo's contract. Grim's heap is bounded by the image and by runtime.GrowHeap; these
// variables are for TamaGo packages that name them. The linker lets packages outside of the
// distribution name them, or give them a value, only with a go:linkname here.
//
//go:linkname RamStart
//go:linkname RamSize
//go:linkname RamStackOffset
var (
	RamStart       uint
	RamSize        uint
	RamStackOffset uint
	Bloc           uintptr

	// Task starts an M on the CPU whose number is the M's (mOS.cpu of mp). That CPU is in
	// the kernel's waiting loop. It must switch to the stack sp, make gp the current g, and
	// call fn, which does not return. Task runs on the scheduler's stack, on any CPU, and
	// neither allocates nor blocks. ProcID returns the number of the calling CPU. Wake
	// sends one interrupt to the CPU with that number, which sleeps in Idle or is in user
	// mode. All three are nil while one CPU runs.
	ProcID func() uint64
	Task   func(sp, mp, gp, fn unsafe.Pointer)
	Wake   func(procid uint64)
)

// Hooks that the kernel sets once it can serve them.
var (
	// Printk prints one byte on the console. It may run on any stack and while the kernel
	// dies: it must not allocate, lock, or write a heap pointer. Earlier output is kept
	// (the last 8 KB), and is printed before the first output after Printk was set.
	Printk func(c byte)

	// Exit ends the machine with a status and does not return.
	Exit func(code int32)

	// Idle sleeps with interrupts enabled until an interrupt has come, and returns with
	// interrupts disabled. until is when the next timer is due in nanotime's units,
	// negative if there is none; it may have passed. Idle runs on the scheduler's stack and
	// may call runtime.RaiseIRQ. It must not sleep if an interrupt has come since it was
	// called. If Idle is not set, an idle CPU spins.
	Idle func(until int64)

	// Stop stops all other CPUs for good, as far as they react, because the calling CPU
	// dies. It may run on any stack, and neither allocates nor locks.
	Stop func()

	// Leave is called on the scheduler's stack when the goroutine that has run on this CPU
	// is about to block, yield or end, and may continue on another CPU. It must not
	// allocate or block. It is not set while one CPU runs.
	Leave func()

	// RandomData fills b with random bytes, for package crypto/rand and for runtime.Reseed.
	// If it is not set, the runtime uses the CPU's generator or its counter.
	RandomData func(b []byte)
)

// Values that the entry code has found (rt0_grim_GOARCH.s). The runtime stores them here
// before any package is initialized.
var (
	// BootArg is the physical address handed over by the boot protocol: of
	// the hvm_start_info (PVH) or of the device tree (arm64 Image).
	BootArg uint64

	// PhysBase is the physical address of virtual address 0xffffffff80000000. Image and
	// initial heap are contiguous from there.
	PhysBase uint64
)
