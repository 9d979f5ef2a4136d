//go:build grim_overlay

// Package goos holds the variables by which the kernel and TamaGo's packages
// hook themselves into the runtime. It holds variables only: functions that
// the runtime offers in return (SetClock, GrowHeap, WaitIRQ, ...) are in
// package runtime.
//
// Every hook is called with interrupts disabled and, where it says so, on the
// scheduler's stack, where nothing may allocate, block or take a mutex.
package goos

import "unsafe"

// TamaGo's contract. Grim's heap is bounded by the image and by
// runtime.GrowHeap; these are for TamaGo packages that name them. The linker lets
// packages outside of the distribution do so, or give them a value, only with a
// go:linkname here.
//
//go:linkname RamStart
//go:linkname RamSize
//go:linkname RamStackOffset
var (
	RamStart       uint
	RamSize        uint
	RamStackOffset uint
	Bloc           uintptr

	// Task starts an M on the CPU whose number is the M's (mOS.cpu of mp), which sits in
	// the kernel's waiting loop: there, it moves to the stack sp, makes gp the current
	// g, and calls fn, which does not return. It runs on the scheduler's stack, on any
	// CPU, and neither allocates nor blocks. ProcID is the number of the calling CPU.
	// Wake sends one interrupt to the CPU of that number, which sleeps in Idle or is in
	// user mode. All are nil while one CPU runs.
	ProcID func() uint64
	Task   func(sp, mp, gp, fn unsafe.Pointer)
	Wake   func(procid uint64)
)

// Hooks that the kernel sets once it can serve them.
var (
	// Printk puts one byte on the console. It may run on any stack and while
	// the kernel dies: no allocation, no lock, no write of a heap pointer.
	// What was printed before it was set is kept (the last 8 KB) and put out
	// in front of the next output.
	Printk func(c byte)

	// Exit ends the machine with a status and does not return.
	Exit func(code int32)

	// Idle sleeps the CPU with interrupts enabled until one has come in, and
	// returns with interrupts disabled. until is when the next timer is due
	// in nanotime's terms, negative if there is none; it may have passed.
	// Idle runs on the scheduler's stack and may call runtime.RaiseIRQ. It
	// must not sleep if an interrupt came in since it was called. Unset, an
	// idle CPU spins.
	Idle func(until int64)

	// Stop stops all other CPUs for good, as far as they react: the calling one dies. It may
	// run on any stack, and neither allocates nor locks.
	Stop func()

	// Leave is called on the scheduler's stack when the goroutine that has run on this
	// CPU is about to block, give way or end, and may go on with another CPU. It must not
	// allocate or block. Unset while one CPU runs.
	Leave func()

	// RandomData fills b with random bytes for package crypto/rand and for
	// runtime.Reseed. Unset, the runtime makes do with the CPU's generator or
	// its counter.
	RandomData func(b []byte)
)

// What the entry code found (rt0_grim_GOARCH.s); the runtime puts it here before
// any package is initialized.
var (
	// BootArg is the physical address handed over by the boot protocol: of
	// the hvm_start_info (PVH) or of the device tree (arm64 Image).
	BootArg uint64

	// PhysBase is the physical address behind virtual address
	// 0xffffffff80000000: image and initial heap are contiguous from there.
	PhysBase uint64
)
