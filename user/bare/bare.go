// Package bare lets a Go program run without Go's runtime. Such a program has a few
// kilobytes of memory and one thread, and forks like a C program. The benchmarks need that:
// with a process that has a garbage collector, a heap and four threads, they would mostly
// measure these.
//
// A program imports bare and is linked with bare as its entry point:
//
//	go build -ldflags '-E grim/user/bare.start'
//
// The program's main then runs on the first thread's own stack. As in every Go program, the
// runtime is in the file, but it was never started: there is no heap, no goroutine, no init
// function and no panic. So the program must not allocate (no closures that escape, no
// maps, no string concatenation, no fmt), start a goroutine, defer or recover. Of the
// standard library, it may use only constants and functions without state. An index out of
// range ends the process by a signal.
// The same file runs on Linux and on Grim, on amd64 and arm64.
package bare

import (
	"syscall"
	"unsafe"
)

// vector is the address of argc, argv and envp from the kernel (System V ABI, "Process
// Initialization"). start sets it.
var vector *[1 << 20]uintptr

// g takes the place of the goroutine that compiled code looks at in function prologues. Its
// stack guard is 0, below every stack pointer, so no function asks for a larger stack.
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

// NumArgs returns argc.
func NumArgs() int { return int(vector[0]) }

// Arg returns argument i as C passes it.
func Arg(i int) *byte { return *(**byte)(unsafe.Pointer(&vector[1+i])) }

// Environ returns envp.
func Environ() **byte { return (**byte)(unsafe.Pointer(&vector[2+NumArgs()])) }

// String returns the text at p up to its zero byte.
func String(p *byte) string {
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return unsafe.String(p, n)
}

// Now returns the counter that user mode may read: the TSC, or CNTVCT_EL0 after an ISB, so
// that it is not read early. Defined in counter_$GOARCH.s.
func Now() uint64

// Frequency returns the counter's rate in Hz as the machine states it (CNTFRQ_EL0), or 0 if
// it must be calibrated. Defined in counter_$GOARCH.s.
func Frequency() uint64

// Exit ends the process.
func Exit(status int) {
	for {
		Call(syscall.SYS_EXIT_GROUP, uintptr(status))
	}
}
