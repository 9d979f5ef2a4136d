package main

import (
	"fmt"
	"os"
	"os/exec"
	"unsafe"
)

// addr is where a slice's bytes are.
func addr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// at is memory that the kernel gave at an address; the runtime does not own it.
func at(p uintptr, n int) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&p))), n)
}

// ptr passes a variable's address to a raw system call.
func ptr[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

func hex(p uintptr) string { return fmt.Sprintf("%x", p) }

// self is a command that runs this binary again with other arguments.
func self(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stderr = os.Stderr
	return cmd
}

// ptrTo is where a slice's bytes are, as a pointer to be cast.
func ptrTo(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }
