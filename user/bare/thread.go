package bare

import (
	"syscall"
	"unsafe"
)

// ShortThread makes a thread that ends at once and never touches its stack, and
// waits until the kernel has cleared tid, between two readings of the counter.
// ret is what clone returned. Defined in thread_$GOARCH.s.
func ShortThread(flags uintptr, stack unsafe.Pointer, tid *int32) (ret int, t0, t1 uint64)

// Of the thread that Thread makes; nothing runs on its stack.
var (
	threadStack [16384]byte
	threadID    int32
)

// Thread is ShortThread with the flags that a thread library uses.
func Thread() (ret int, t0, t1 uint64) {
	const flags = syscall.CLONE_VM | syscall.CLONE_FS | syscall.CLONE_FILES | syscall.CLONE_SIGHAND |
		syscall.CLONE_THREAD | syscall.CLONE_SYSVSEM | syscall.CLONE_PARENT_SETTID | syscall.CLONE_CHILD_CLEARTID
	top := unsafe.Add(unsafe.Pointer(&threadStack), len(threadStack))
	top = unsafe.Add(top, -int(uintptr(top)%16)) // the ABI's alignment
	return ShortThread(flags, top, &threadID)
}
