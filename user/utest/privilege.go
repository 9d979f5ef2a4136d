package main

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var privilegeTests = []test{
	{name: "privilege-instructions", run: privilegeInstructions},
	{name: "privilege-registers-kept", run: privilegeRegisters},
}

// privileged has privileged instructions. Each must end the process and do nothing else.
// Encodings: Intel SDM volume 2; Arm ARM C6.
var privileged = map[string][]instruction{
	"amd64": {
		{"hlt", []byte{0xf4}, unix.SIGSEGV},
		{"cli", []byte{0xfa}, unix.SIGSEGV},
		{"sti", []byte{0xfb}, unix.SIGSEGV},
		{"in al,dx", []byte{0xec}, unix.SIGSEGV},
		{"out dx,al", []byte{0xee}, unix.SIGSEGV},
		{"wrmsr", []byte{0x0f, 0x30}, unix.SIGSEGV},
		{"rdmsr", []byte{0x0f, 0x32}, unix.SIGSEGV},
		{"mov rax,cr3", []byte{0x0f, 0x20, 0xd8}, unix.SIGSEGV},
		{"mov cr3,rax", []byte{0x0f, 0x22, 0xd8}, unix.SIGSEGV},
		{"invlpg [rax]", []byte{0x0f, 0x01, 0x38}, unix.SIGSEGV},
		{"swapgs", []byte{0x0f, 0x01, 0xf8}, unix.SIGSEGV},
		{"sysretq", []byte{0x48, 0x0f, 0x07}, unix.SIGSEGV},
		{"lgdt [rax]", []byte{0x0f, 0x01, 0x10}, unix.SIGSEGV},
		{"int 0x20", []byte{0xcd, 0x20}, unix.SIGSEGV},
		{"int 0x8", []byte{0xcd, 0x08}, unix.SIGSEGV},
		{"iretq to nowhere", []byte{0x6a, 0, 0x6a, 0, 0x6a, 0, 0x6a, 0, 0x6a, 0, 0x48, 0xcf}, unix.SIGSEGV},
		{"non-canonical load", []byte{0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x8a, 0x00}, unix.SIGSEGV},
		{"mov ss,ax with a kernel selector", []byte{0xb8, 0x10, 0, 0, 0, 0x8e, 0xd0}, unix.SIGSEGV},
	},
	"arm64": {
		{"mrs x0,ttbr0_el1", word(0xd5382000), unix.SIGILL},
		{"msr ttbr0_el1,x0", word(0xd5182000), unix.SIGILL},
		{"msr vbar_el1,x0", word(0xd518c000), unix.SIGILL},
		{"mrs x0,sctlr_el1", word(0xd5381000), unix.SIGILL},
		{"tlbi vmalle1", word(0xd508871f), unix.SIGILL},
		{"eret", word(0xd69f03e0), unix.SIGILL},
		{"msr daifset,#15", word(0xd5034fdf), unix.SIGILL},
		{"hvc #0", word(0xd4000002), unix.SIGILL},
		{"smc #0", word(0xd4000003), unix.SIGILL},
		{"hlt #0", word(0xd4400000), unix.SIGILL},
		{"dc isw,x0", word(0xd5087640), unix.SIGILL},
	},
}

func privilegeInstructions() {
	quiet()
	for _, in := range privileged[runtime.GOARCH] {
		p := machineCode(in.code)
		dies(in.name, in.want, func() { jump(p) })
	}
	if runtime.GOARCH == "arm64" {
		cacheType()
	}
}

// cacheType: a program may read CTR_EL0 (Arm ARM D24.2.34), and finds lines of 16 bytes to a
// page there. Where CPUs differ, the kernel answers. Broken by: no answer.
func cacheType() {
	p := machineCode(append(word(0xd53b0020), word(0xd65f03c0)...)) // mrs x0,ctr_el0; ret
	fn := &p
	ctr := (*(*func() uint64)(unsafe.Pointer(&fn)))()
	for _, log := range []uint64{ctr & 15, ctr >> 16 & 15} {
		if log < 2 || log > 10 || ctr>>31&1 == 0 {
			fail("CTR_EL0 %#x: lines of %d words", ctr, 1<<log)
		}
	}
}

// privilegeRegisters: system calls return whatever values are in the registers, and
// whatever the number is.
func privilegeRegisters() {
	for nr := range uintptr(64) {
		_, _, errno := syscall.RawSyscall6(100_000+nr, ^uintptr(0), 1<<63, 0xdeadbeef, 1<<47, 7, ^uintptr(6))
		if errno != unix.ENOSYS {
			fail("unknown system call %d: %v, want ENOSYS", 100_000+nr, errno)
		}
	}
	_, _, errno := syscall.RawSyscall6(^uintptr(0), 0, 0, 0, 0, 0, 0)
	equal("system call -1", errno, unix.ENOSYS)
}
