package bare

import (
	"syscall"
	"unsafe"
)

// Call makes a system call with up to six arguments. It returns the kernel's result: -errno
// if the call failed.
func Call(nr uintptr, a ...uintptr) int {
	var v [6]uintptr
	copy(v[:], a)
	return call6(nr, v[0], v[1], v[2], v[3], v[4], v[5])
}

// call6 makes the system call. The standard library's function is not used: it is elsewhere
// in the file, and each part that runs is mapped with its neighbours, which adds pages to
// every fork and exit. Defined in call_$GOARCH.s.
func call6(nr, a0, a1, a2, a3, a4, a5 uintptr) int

// Fork returns the child's pid, 0 in the child, or -errno.
func Fork() int { return Call(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD)) }

// Wait waits for a child (pid -1: any) and returns its pid and status, or -errno. It waits
// again after a signal.
func Wait(pid int) (int, uint32) {
	var status uint32
	for {
		r := Call(syscall.SYS_WAIT4, uintptr(pid), uintptr(unsafe.Pointer(&status)), 0, 0)
		if r != -int(syscall.EINTR) {
			return r, status
		}
	}
}

// Yield lets others run.
func Yield() { Call(syscall.SYS_SCHED_YIELD) }

// Map is mmap(2) of fd, or of anonymous memory if flags has MAP_ANON. It returns nil if it
// failed.
func Map(at unsafe.Pointer, size uintptr, prot, flags, fd int) unsafe.Pointer {
	r := Call(syscall.SYS_MMAP, uintptr(at), size, uintptr(prot), uintptr(flags), uintptr(fd), 0)
	if r < 0 {
		return nil
	}
	return unsafe.Add(nil, r)
}

// Anon maps private anonymous memory, readable and writable. It returns nil if it failed.
func Anon(size uintptr) unsafe.Pointer {
	return Map(nil, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON, -1)
}

// SharedMemory maps anonymous memory that forked children share.
func SharedMemory(size uintptr) unsafe.Pointer {
	return Map(nil, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED|syscall.MAP_ANON, -1)
}

// Unmap is munmap(2).
func Unmap(p unsafe.Pointer, size uintptr) int {
	return Call(syscall.SYS_MUNMAP, uintptr(p), size)
}

// Touch writes one byte every step bytes.
func Touch(p unsafe.Pointer, size, step uintptr) {
	for o := uintptr(0); o < size; o += step {
		*(*byte)(unsafe.Add(p, o)) = 1
	}
}

// CString returns a constant text that ends with a zero byte, as a pointer for the kernel.
func CString(s string) *byte {
	if s[len(s)-1] != 0 {
		Fail("CString: no zero byte at the end of ", s)
	}
	return unsafe.StringData(s)
}

// Open is openat(2) from the working directory. path ends with a zero byte.
func Open(path string, flags int, perm uint32) int {
	return Call(syscall.SYS_OPENAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(CString(path))), uintptr(flags), uintptr(perm))
}

// Unlink removes a file. path ends with a zero byte.
func Unlink(path string) int {
	return Call(syscall.SYS_UNLINKAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(CString(path))), 0)
}

// Close closes a descriptor.
func Close(fd int) { Call(syscall.SYS_CLOSE, uintptr(fd)) }

// Read is read(2).
func Read(fd int, p []byte) int {
	return Call(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
}

// Write is write(2).
func Write(fd int, p []byte) int {
	return Call(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
}

// Pipe makes a pipe: bytes written to w are read from r. err is -errno if it failed.
func Pipe() (r, w, err int) {
	var fd [2]int32
	err = Call(syscall.SYS_PIPE2, uintptr(unsafe.Pointer(&fd)), 0)
	return int(fd[0]), int(fd[1]), err
}

// Monotonic returns CLOCK_MONOTONIC in nanoseconds, or -errno.
func Monotonic() int64 {
	var ts syscall.Timespec
	const clockMonotonic = 1
	if r := Call(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&ts))); r < 0 {
		return int64(r)
	}
	return ts.Sec*1e9 + ts.Nsec
}

// PowerOff ends the machine if this is the first process. Otherwise it does nothing.
func PowerOff() {
	if Call(syscall.SYS_GETPID) != 1 {
		return
	}
	var magic1, magic2 uint32 = syscall.LINUX_REBOOT_MAGIC1, syscall.LINUX_REBOOT_MAGIC2
	Call(syscall.SYS_REBOOT, uintptr(magic1), uintptr(magic2), syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

// atFDCWD is a variable, because the constant cannot be converted to uintptr.
var atFDCWD = -100 // AT_FDCWD, linux/fcntl.h
