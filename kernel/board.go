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

// board is the machine as start-up and shut-down need it, beyond what package
// proc does. board_amd64.go and board_arm64.go make it from what the boot
// protocol said.
type board interface {
	arch.Machine

	// Warnings are what was found and could be done without, for people.
	Warnings() []string
	// Speculation is what is done about speculative execution.
	Speculation() arch.Speculation
	// DescribeCPU is the CPU and its features, for people.
	DescribeCPU() string
	// Port is the console: Put works on any stack, and while the kernel dies. Read
	// blocks until input has come in.
	console.Port
	Read(p []byte) (int, error)
	// MaskLine and UnmaskLine stop and let come interrupts of a device's line. A line of a
	// level is masked each time it is raised.
	MaskLine(line int)
	UnmaskLine(line int)
	// Idle, Task and Wake are goos.Idle, Task and Wake.
	Idle(until int64)
	Task(sp, mp, gp, fn unsafe.Pointer)
	Wake(cpu uint64)
	// Counts is what interrupts a CPU has taken.
	Counts(cpu int) arch.Counts
	// StopOthers is goos.Stop.
	StopOthers()
	// MapHeap maps physical memory behind the heap; table gives a frame for a
	// page table.
	MapHeap(va arch.VA, pa arch.PA, size uint64, table func() arch.PA) error
	// PageOps are how this CPU clears and copies pages best.
	PageOps() arch.PageOps
	// Random fills p from the CPU's generator; false if there is none. Jitter
	// is a number whose low bits nobody can predict.
	Random(p []byte) bool
	Jitter() uint64
	// UserCPU is what programs are told of the CPU (auxiliary vector); FPU is
	// the form of their FPU state on amd64.
	UserCPU() elf.CPU
	FPU() amd64.FPU
	// WallTime is the time of day, if the machine has a clock.
	WallTime() (time.Time, error)
	// Exit ends the machine with a status, as far as it can; Restart resets it.
	Exit(status int32)
	Restart()
}

// exitPanic is the runtime's status after a Go panic or a fatal fault.
const exitPanic = 2
