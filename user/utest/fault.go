package main

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

var faultTests = []test{
	{name: "fault-null", run: faultNull},
	{name: "fault-kernel-addresses", run: faultKernel},
	{name: "fault-instructions", run: faultInstructions},
	{name: "fault-recovered", run: faultRecovered},
	{name: "fault-stack-overflow", run: faultStack},
}

// peek and poke access a byte at any address, without a check.
func peek(p uintptr) byte { return *pointer(p) }
func poke(p uintptr)      { *pointer(p) = 1 }

func pointer(p uintptr) *byte { return (*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&p))) }

// dies runs f in a child with default signal actions, which sig must kill.
func dies(what string, sig unix.Signal, f func()) {
	killedBy(what, wait(fork(func() int {
		for _, s := range []unix.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGTRAP} {
			sigaction(s, 0)
		}
		f()
		return 0
	})), sig)
}

func faultNull() {
	quiet()
	dies("read of 0", unix.SIGSEGV, func() { sink = int(peek(0)) })
	dies("write of 8", unix.SIGSEGV, func() { poke(8) })
}

// faultKernel: user mode cannot read, write or execute any kernel address.
func faultKernel() {
	quiet()
	for _, p := range []uintptr{1 << 47, 0xffff800000000000, 0xffff800000200000, 0xffffffff80000000,
		0xffffffff80200000, 0xfffffffffffff000, 0x0000800000000000, 0x8000000000000000, 0xffff7ffffffff000} {
		dies("read of "+hex(p), unix.SIGSEGV, func() { sink = int(peek(p)) })
		dies("write of "+hex(p), unix.SIGSEGV, func() { poke(p) })
		dies("jump to "+hex(p), unix.SIGSEGV, func() { jump(p) })
	}
}

// jump calls the code at p as a func().
func jump(p uintptr) {
	fn := &p // a func value points to a word with the code's address
	(*(*func())(unsafe.Pointer(&fn)))()
}

// machineCode puts instructions into a page of their own and makes it executable.
func machineCode(code []byte) uintptr {
	b := anon(4096)
	copy(b, code)
	check("mprotect", unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC))
	return addr(b)
}

// instruction is a few bytes of machine code, and the signal that must end it.
type instruction struct {
	name string
	code []byte
	want unix.Signal
}

func word(w uint32) []byte { return []byte{byte(w), byte(w >> 8), byte(w >> 16), byte(w >> 24)} }

var instructions = map[string][]instruction{
	"amd64": {
		{"ud2", []byte{0x0f, 0x0b}, unix.SIGILL},
		{"int3", []byte{0xcc}, unix.SIGTRAP},
		{"div by zero", []byte{0x31, 0xc9, 0x31, 0xd2, 0xf7, 0xf1}, unix.SIGFPE}, // xor ecx,ecx; xor edx,edx; div ecx
	},
	"arm64": {
		{"udf", word(0), unix.SIGILL},
		{"brk", word(0xd4200000), unix.SIGTRAP},
	},
}

func faultInstructions() {
	quiet()
	for _, in := range instructions[runtime.GOARCH] {
		p := machineCode(in.code)
		dies(in.name, in.want, func() { jump(p) })
	}
	b := anon(4096) // data is not code
	copy(b, []byte{0xc3, 0, 0, 0, 0xc0, 0x03, 0x5f, 0xd6})
	dies("run of a data page", unix.SIGSEGV, func() { jump(addr(b)) })
}

// faultRecovered: the runtime's own SIGSEGV handler turns a nil dereference into a panic.
// The signal frame and its restoration go through the kernel.
func faultRecovered() {
	for range 100 {
		func() {
			defer func() {
				if recover() == nil {
					fail("a nil dereference did not panic")
				}
			}()
			var p *int
			sink = *p
		}()
	}
}

// faultStack: a write below the stack's guard ends the process.
func faultStack() {
	quiet()
	b, err := unix.Mmap(-1, 0, 64<<10, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	check("mmap", err)
	check("mprotect", unix.Mprotect(b[32<<10:], rw))
	dies("write below", unix.SIGSEGV, func() {
		for i := len(b) - 1; i >= 0; i -= 512 {
			b[i] = 1
		}
	})
	if _, err := os.ReadFile("/proc/self/status"); err != nil {
		fail("/proc/self/status: %v", err)
	}
}
