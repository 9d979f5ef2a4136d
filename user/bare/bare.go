// Package bare lets a Go program run without Go's runtime: a program of a few
// kilobytes of memory and one thread, which forks like a C program. The
// benchmarks need that, for a process with a garbage collector, a heap and four
// threads would measure mostly those.
//
// A program imports bare and is linked with bare as its entry point:
//
//	go build -ldflags '-E grim/user/bare.start'
//
// Its main then runs on the first thread's own stack. The runtime is in the file,
// as in every Go program, but was never started: there is no heap, no goroutine,
// no init function and no panic. So nothing may allocate (no closures that
// escape, no maps, no string concatenation, no fmt), start a goroutine, defer or
// recover, and of the standard library only constants and functions without
// state may be used. An index out of range ends the process by a signal.
//
// The same file runs on Linux and on Grim, on amd64 and arm64.
package bare

import (
	"syscall"
	"unsafe"
)

// vector is where the kernel left argc, argv and envp (System V ABI, "Process
// Initialization"); start sets it.
var vector *[1 << 20]uintptr

// g stands for the goroutine that compiled code looks at in function prologues.
// Its stack guard is 0, below every stack pointer, so no function asks for a
// larger stack.
//
//lint:ignore U1000 assembly uses it
var g [1024]byte

// tls is the thread-local block of amd64: the word below FS holds g.
//
//lint:ignore U1000 assembly uses it
var tls [2]uintptr

// start is the entry point: it sets up g and calls run. Defined in start_$GOARCH.s.
//
//lint:ignore U1000 assembly uses it
func start()

//go:linkname programMain main.main
func programMain()

// run is the first Go function; start calls it.
//
//lint:ignore U1000 assembly uses it
func run() {
	programMain()
	Exit(0)
}

// NumArgs is argc.
func NumArgs() int { return int(vector[0]) }

// Arg is argument i as C passes it, and Environ where the environment's pointers
// begin.
func Arg(i int) *byte { return *(**byte)(unsafe.Pointer(&vector[1+i])) }

// Environ is envp.
func Environ() **byte { return (**byte)(unsafe.Pointer(&vector[2+NumArgs()])) }

// String is the text at p up to its zero byte.
func String(p *byte) string {
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return unsafe.String(p, n)
}

// Now is the counter that user mode may read: the TSC, or CNTVCT_EL0 behind an
// ISB, so that it is not read early. Defined in counter_$GOARCH.s.
func Now() uint64

// Frequency is the counter's rate in Hz as the machine states it (CNTFRQ_EL0),
// or 0 where it must be calibrated. Defined in counter_$GOARCH.s.
func Frequency() uint64

// Exit ends the process.
func Exit(status int) {
	for {
		Call(syscall.SYS_EXIT_GROUP, uintptr(status))
	}
}
