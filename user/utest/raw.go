package main

import (
	"fmt"
	"os"
	"os/exec"
	"unsafe"
)

// addr returns the address of a slice's bytes.
func addr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// at returns memory at an address from the kernel. The runtime does not own it.
func at(p uintptr, n int) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&p))), n)
}

// ptr passes a variable's address to a raw system call.
func ptr[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

func hex(p uintptr) string { return fmt.Sprintf("%x", p) }

// self returns a command that runs this binary with other arguments.
func self(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stderr = os.Stderr
	return cmd
}

// ptrTo returns the address of a slice's bytes as a pointer, for a conversion.
func ptrTo(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }
