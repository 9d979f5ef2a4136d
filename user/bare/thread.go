package bare

import (
	"syscall"
	"unsafe"
)

// ShortThread makes a thread that ends at once and never touches its stack, and waits until
// the kernel has cleared tid. Both are between two readings of the counter. ret is the
// result of clone. Defined in thread_$GOARCH.s.
func ShortThread(flags uintptr, stack unsafe.Pointer, tid *int32) (ret int, t0, t1 uint64)

// For the threads that Thread and Sleeper make. No thread uses the stack.
var (
	threadStack [16384]byte
	threadID    int32
)

// Thread is ShortThread with the flags that a thread library uses.
func Thread() (ret int, t0, t1 uint64) {
	return ShortThread(threadFlags|syscall.CLONE_PARENT_SETTID|syscall.CLONE_CHILD_CLEARTID, threadTop(), &threadID)
}

const threadFlags = syscall.CLONE_VM | syscall.CLONE_FS | syscall.CLONE_FILES | syscall.CLONE_SIGHAND |
	syscall.CLONE_THREAD | syscall.CLONE_SYSVSEM

// threadTop returns the start of a thread's stack.
func threadTop() unsafe.Pointer {
	top := unsafe.Add(unsafe.Pointer(&threadStack), len(threadStack))
	return unsafe.Add(top, -int(uintptr(top)%16)) // the ABI's alignment
}

// SleepingThread makes a thread that sleeps for ever and never touches its stack, so any
// number of threads may have the same stack. It returns the thread's number, or -errno.
// Defined in thread_$GOARCH.s.
func SleepingThread(flags uintptr, stack unsafe.Pointer) int

// Sleeper is SleepingThread with the flags that a thread library uses.
func Sleeper() int { return SleepingThread(threadFlags, threadTop()) }

// SpinningThread makes a thread that adds 1 to count and then runs user code for ever. It
// yields to the other CPUs of an emulator at each turn, and never touches its stack. It
// returns the thread's number, or -errno. Defined in thread_$GOARCH.s.
func SpinningThread(flags uintptr, stack unsafe.Pointer, count *uint64) int

// Spinner is SpinningThread with the flags that a thread library uses.
func Spinner(count *uint64) int { return SpinningThread(threadFlags, threadTop(), count) }

// Pause yields to the other CPUs of an emulator, while the caller waits in a loop.
func Pause()

// Add adds n to a word to which other threads and processes add too.
func Add(p *uint64, n uint64)
