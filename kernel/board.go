//go:build tamago

package kernel

import (
	"time"
	"unsafe"

	"grim/arch"
	"grim/arch/amd64"
	"grim/kernel/console"
	"grim/proc/elf"
)

// board is the machine, as far as start-up and shut-down need more than package proc uses.
// board_amd64.go and board_arm64.go make it from the data of the boot protocol.
type board interface {
	arch.Machine

	// Warnings returns the problems that were found and that the machine can run with.
	Warnings() []string
	// Speculation returns the measures against speculative execution.
	Speculation() arch.Speculation
	// DescribeCPU returns the CPU and its features, for people.
	DescribeCPU() string
	// Port is the console. Put works on any stack, and while the kernel dies. Read blocks
	// until there is input.
	console.Port
	Read(p []byte) (int, error)
	// MaskLine masks interrupts of a device's line, UnmaskLine unmasks them. A
	// level-sensitive line is masked each time it is raised.
	MaskLine(line int)
	UnmaskLine(line int)
	// Idle, Task and Wake are goos.Idle, Task and Wake.
	Idle(until int64)
	Task(sp, mp, gp, fn unsafe.Pointer)
	Wake(cpu uint64)
	// Counts returns how many interrupts of each kind a CPU has taken.
	Counts(cpu int) arch.Counts
	// StopOthers is goos.Stop.
	StopOthers()
	// MapHeap maps physical memory behind the heap. table returns a frame for a page table.
	MapHeap(va arch.VA, pa arch.PA, size uint64, table func() arch.PA) error
	// PageOps returns this CPU's best ways of clearing and copying pages.
	PageOps() arch.PageOps
	// Random fills p from the CPU's generator. It returns false if there is none. Jitter
	// returns a number whose low bits are unpredictable.
	Random(p []byte) bool
	Jitter() uint64
	// UserCPU returns the data about the CPU for programs (auxiliary vector). FPU returns
	// the form of their FPU state on amd64.
	UserCPU() elf.CPU
	FPU() amd64.FPU
	// WallTime returns the time of day, if the machine has a clock.
	WallTime() (time.Time, error)
	// Exit ends the machine with a status, as far as that is possible. Restart resets it.
	Exit(status int32)
	Restart()
}

// exitPanic is the runtime's status after a Go panic or a fatal fault.
const exitPanic = 2
