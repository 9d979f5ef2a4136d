package main

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

var sigframeTests = []test{
	{name: "signal-fpu-state", run: signalFPU},
	{name: "signal-codes", run: signalCodes},
	{name: "signal-altstack", run: signalAltstack},
	{name: "signal-altstack-full", run: signalAltstackFull},
	{name: "signal-altstack-wraps", run: signalAltstackWraps},
	{name: "signal-altstack-autodisarm", run: signalAutodisarm},
	{name: "signal-frame-refused", run: signalRefused},
}

// signalFPU: a handler starts with the FPU state of Linux: the initial state on amd64, the
// interrupted code's on arm64. Afterwards the interrupted code has its own state again.
func signalFPU() {
	quiet()
	child("FPU state", func() int {
		// Rounding towards zero, and on amd64 a masked exception raised.
		own := fpuState{[2]uint32{0x7f81, 0x0e7f}, [2]uint64{0x1122334455667788, 0x99aabbccddeeff00}}
		handler := fpuState{[2]uint32{0x1f80, 0x037f}, [2]uint64{}}
		if runtime.GOARCH == "arm64" {
			own.control = [2]uint32{3 << 22, 1 << 4}
			handler = own
		}
		if rawAction(unix.SIGUSR1, 0, 0) != 0 {
			return 1
		}
		pid, _ := rawSys2(unix.SYS_GETPID)
		tid, _ := rawSys2(unix.SYS_GETTID)
		after := own
		fpuKill(pid, tid, uintptr(unix.SIGUSR1), &after)
		switch {
		case sigRec.n != 1:
			return 2
		case sigRec.control[0] != handler.control[0] || uint16(sigRec.control[1]) != uint16(handler.control[1]):
			return 3
		case sigRec.vector != handler.vector:
			return 4
		case after.control[0] != own.control[0] || uint16(after.control[1]) != uint16(own.control[1]):
			return 5
		case after.vector != own.vector:
			return 6
		}
		return 0
	})
}

// causes of exceptions: machine code that ends with a return, the signal, si_code,
// and si_addr as an offset from the code, or noAddr for 0.
type cause struct {
	name  string
	code  []byte
	sig   unix.Signal
	want  int32
	addr  int
	skip  uint64 // distance from the PC that the handler sees to the return
	maybe bool   // an emulated CPU may not raise it
}

const (
	noAddr   = -1
	siKernel = 0x80
)

var causes = map[string][]cause{
	"amd64": {
		{"int3", []byte{0xcc, 0xc3}, unix.SIGTRAP, siKernel, noAddr, 0, false},

		// pushfq; orl $0x100, (rsp); popfq; nop; ret. The trap comes after the nop.
		{"step", []byte{0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0x90, 0xc3}, unix.SIGTRAP, 2, 10, 0, false},
		{"ud2", []byte{0x0f, 0x0b, 0xc3}, unix.SIGILL, 2, 0, 2, false},
		{"div", []byte{0x31, 0xc9, 0x31, 0xd2, 0xf7, 0xf1, 0xc3}, unix.SIGFPE, 1, 4, 2, false},
		{"hlt", []byte{0xf4, 0xc3}, unix.SIGSEGV, siKernel, noAddr, 1, false},
		{"int 0x50", []byte{0xcd, 0x50, 0xc3}, unix.SIGSEGV, siKernel, noAddr, 2, false},
		// mov $1<<47, rax; mov (rax), rax
		{"not canonical", []byte{0x48, 0xb8, 0, 0, 0, 0, 0, 0x80, 0, 0, 0x48, 0x8b, 0, 0xc3}, unix.SIGSEGV, siKernel, noAddr, 3, false},
		// fninit; fldcw 0x37b of the stack; fld1; fldz; fdivp; fwait; fninit. Divide by zero unmasked.
		{"x87 divide", []byte{0xdb, 0xe3, 0x68, 0x7b, 0x03, 0, 0, 0xd9, 0x2c, 0x24, 0x58, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x9b, 0xc3},
			unix.SIGFPE, 3, 17, 1, false},
		// push $0x1d80; ldmxcsr; pop; xorps xmm0, xmm0; pcmpeqd/cvt: 1/0 with divide by zero unmasked.
		{"SSE divide", []byte{0x68, 0x80, 0x1d, 0, 0, 0x0f, 0xae, 0x14, 0x24, 0x58, 0x0f, 0x57, 0xc0, 0xb8, 1, 0, 0, 0,
			0xf3, 0x0f, 0x2a, 0xc8, 0xf3, 0x0f, 0x5e, 0xc8, 0xc3}, unix.SIGFPE, 3, 22, 4, true},
	},
	"arm64": {
		{"udf", append(word(0), word(0xd65f03c0)...), unix.SIGILL, 1, 0, 4, false},
		{"brk", append(word(0xd4200000), word(0xd65f03c0)...), unix.SIGTRAP, 1, 0, 4, false},
		// msr daifset, #15: trapped at EL0
		{"daifset", append(word(0xd5034fdf), word(0xd65f03c0)...), unix.SIGILL, 1, 0, 4, false},
		{"pc alignment", code32(0xd503201f, 0xd65f03c0), unix.SIGBUS, 1, 2, 2, false},
	},
}

func code32(words ...uint32) (b []byte) {
	for _, w := range words {
		b = append(b, word(w)...)
	}
	return b
}

// signalCodes: si_code and si_addr of every exception are those of Linux.
func signalCodes() {
	quiet()
	for _, c := range causes[runtime.GOARCH] {
		p := machineCode(c.code)
		child(c.name, func() int {
			sigRec = sigRecord{skip: c.skip}
			if c.name == "step" {
				sigRec.editAt, sigRec.editValue = contextFlags, 0x202
			}
			if rawAction(c.sig, 0, 0) != 0 {
				return 1
			}
			if c.name == "pc alignment" {
				jump(p + 2)
			} else {
				jump(p)
			}
			switch {
			case sigRec.n == 0 && c.maybe:
				return 0
			case sigRec.n != 1:
				return 2
			case infoCode() != c.want:
				return 64 + int(infoCode()&63)
			case c.addr == noAddr && infoAddr() != 0:
				return 4
			case c.addr >= 0 && infoAddr() != p+uintptr(c.addr):
				return 5
			}
			return 0
		})
	}
	load := machineCode(map[string][]byte{
		"amd64": {0x8a, 0x07, 0xc3},             // mov (rdi), al; ret
		"arm64": code32(0x39400000, 0xd65f03c0), // ldrb w0, [x0]; ret
	}[runtime.GOARCH])
	none := addr(anon(4096))
	check("mprotect", unix.Mprotect(at(none, 4096), unix.PROT_NONE))
	f, err := os.CreateTemp("", "empty")
	check("create", err)
	defer os.Remove(f.Name())
	past, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	check("mmap", err)
	gone := addr(anon(4096))
	check("munmap", unix.Munmap(at(gone, 4096)))
	for _, c := range []struct {
		name string
		p    uintptr
		sig  unix.Signal
		code int32
	}{
		{"not mapped", gone + 5, unix.SIGSEGV, 1},
		{"not allowed", none + 5, unix.SIGSEGV, 2},
		{"behind a file's end", addr(past) + 5, unix.SIGBUS, 2},
		{"the kernel's", 0xffffffff80200000, unix.SIGSEGV, 1},
	} {
		child(c.name, func() int {
			sigRec = sigRecord{}
			if rawAction(c.sig, 0, 0) != 0 {
				return 1
			}
			return readAt(load, c.p, c.code)
		})
	}
}

// readAt reads p, which must fault, and checks the data for the handler.
func readAt(load, p uintptr, code int32) int {
	sigRec.skip = map[string]uint64{"amd64": 2, "arm64": 4}[runtime.GOARCH]
	callWith(load, p)
	switch {
	case sigRec.n != 1:
		return 3
	case infoCode() != code:
		return 64 + int(infoCode()&63)
	case infoAddr() != p:
		return 4
	}
	return 0
}

// onStack reports whether sp is in b.
func onStack(sp uintptr, b []byte) bool { return sp > addr(b) && sp <= addr(b)+uintptr(len(b)) }

// signalAltstack: the errors of sigaltstack(2), and the stack on which handlers run.
func signalAltstack() {
	quiet()
	b := anon(64 << 10)
	child("altstack", func() int {
		if sigaltstack(&stackT{sp: addr(b), size: 100}, nil) != unix.ENOMEM {
			return 1
		}
		if sigaltstack(&stackT{sp: addr(b), size: uintptr(len(b)), flags: 3}, nil) != unix.EINVAL {
			return 2
		}
		if sigaltstack(&stackT{sp: addr(b), size: uintptr(len(b)), flags: 4}, nil) != unix.EINVAL {
			return 3
		}
		if sigaltstack(&stackT{sp: addr(b), size: uintptr(len(b)), flags: ssOnstack}, nil) != 0 {
			return 4
		}
		var old stackT
		if sigaltstack(nil, &old) != 0 || old.sp != addr(b) || old.size != uintptr(len(b)) || old.flags != 0 {
			return 5
		}
		if rawAction(unix.SIGUSR1, 0, 0) != 0 || rawAction(unix.SIGUSR2, saOnstack, 0) != 0 {
			return 6
		}
		raise(unix.SIGUSR1)
		if sigRec.n != 1 || onStack(sigRec.sp, b) {
			return 7
		}
		raise(unix.SIGUSR2)
		if sigRec.n != 2 || !onStack(sigRec.sp, b) {
			return 8
		}
		if sigaltstack(&stackT{flags: ssDisable, sp: 7, size: 9}, nil) != 0 {
			return 9
		}
		if sigaltstack(nil, &old) != 0 || old.sp != 0 || old.size != 0 || old.flags != ssDisable {
			return 10
		}
		return 0
	})
	// On the stack itself: it cannot be changed, and is reported as in use.
	child("on the stack", func() int {
		if sigaltstack(&stackT{sp: addr(b), size: uintptr(len(b))}, nil) != 0 {
			return 1
		}
		set, old := &stackT{flags: ssDisable}, new(stackT)
		if r := callSys(addr(b)+32768, unix.SYS_SIGALTSTACK, ptr(set), 0); r != -int(unix.EPERM) {
			return 2
		}
		if r := callSys(addr(b)+32768, unix.SYS_SIGALTSTACK, 0, ptr(old)); r != 0 || old.flags != ssOnstack {
			return 3
		}
		return 0
	})
	// A stack of the minimum size, by AT_MINSIGSTKSZ.
	if n := auxv(51); n != 0 {
		child("smallest stack", func() int {
			size := max(n, map[string]uintptr{"amd64": 2048, "arm64": 5120}[runtime.GOARCH])
			if sigaltstack(&stackT{sp: addr(b), size: size}, nil) != 0 || rawAction(unix.SIGUSR1, saOnstack, 0) != 0 {
				return 1
			}
			raise(unix.SIGUSR1)
			if sigRec.n != 1 || !onStack(sigRec.sp, b[:size]) {
				return 2
			}
			return 0
		})
	} else {
		fail("no AT_MINSIGSTKSZ")
	}
}

// auxv returns a value of the auxiliary vector.
func auxv(tag uintptr) uintptr {
	all, err := unix.Auxv()
	check("auxv", err)
	for _, v := range all {
		if v[0] == tag {
			return v[1]
		}
	}
	return 0
}

// signalAltstackFull: a handler that faults runs again and again on the alternate stack.
// When the stack is full, SIGSEGV kills the process. It did not when the frame could be
// written below the stack: the next handler then started at the top again.
func signalAltstackFull() {
	quiet()
	b := anon(256 << 10)
	killedBy("full stack", wait(fork(func() int {
		sigRec.fault = 1
		if sigaltstack(&stackT{sp: addr(b) + 128<<10, size: 64 << 10}, nil) != 0 ||
			rawAction(unix.SIGSEGV, saOnstack|saNodefer, 0) != 0 {
			return 1
		}
		rawSys(unix.SYS_SETITIMER, unix.ITIMER_REAL, ptr(&[4]uintptr{0, 0, 10, 0}), 0) // ends a loop
		raise(unix.SIGSEGV)
		return 2
	})), unix.SIGSEGV)
}

// signalAltstackWraps: a stack whose end wraps around is accepted, but no handler runs on
// it, nor on the current stack.
func signalAltstackWraps() {
	quiet()
	for _, s := range []stackT{
		{sp: 0xffffffff00000000, size: 0x200000000},
		{sp: 0xffffffff00000000, size: 0x100000000},
		{sp: 0xfffffffffffff000, size: 0x100000},
		{sp: 0xffff800000000000, size: 1 << 20},
		{sp: 0xffffffffffff0000, size: 1 << 47}, // it seems to contain the current stack
	} {
		killedBy("stack at "+hex(s.sp), wait(fork(func() int {
			if sigaltstack(&s, nil) != 0 || rawAction(unix.SIGUSR1, saOnstack, 0) != 0 {
				return 1
			}
			raise(unix.SIGUSR1)
			return int(2 + sigRec.n)
		})), unix.SIGSEGV)
	}
}

// signalAutodisarm: with SS_AUTODISARM the stack is off while the handler runs, and
// on again after it.
func signalAutodisarm() {
	quiet()
	b := anon(64 << 10)
	child("autodisarm", func() int {
		set := stackT{sp: addr(b), size: uintptr(len(b)), flags: ssOnstack | ssAutodisarm}
		var old stackT
		if sigaltstack(&set, nil) != 0 || sigaltstack(nil, &old) != 0 || old.flags != ssAutodisarm {
			return 1
		}
		if rawAction(unix.SIGUSR1, saOnstack, 0) != 0 {
			return 2
		}
		raise(unix.SIGUSR1)
		if sigRec.n != 1 || !onStack(sigRec.sp, b) {
			return 3
		}
		if sigaltstack(nil, &old) != 0 || old.flags != ssAutodisarm || old.sp != addr(b) {
			return 4
		}
		// The stack pointer is on it all the time, but sigaltstack(2) does not count it as
		// in use.
		got := new(stackT)
		if r := callSys(addr(b)+32768, unix.SYS_SIGALTSTACK, ptr(&set), ptr(got)); r != 0 || got.flags != ssAutodisarm {
			return 5
		}
		return 0
	})
}

// signalRefused: a signal frame with values that user mode must not have ends the process
// by SIGSEGV. Allowed values are accepted.
func signalRefused() {
	quiet()
	type edit struct {
		name  string
		at    uintptr
		value uint64
		ok    bool
	}
	edits := map[string][]edit{
		"amd64": {
			{"no change", 8, 0, true}, // uc_link
			{"CS 0", 40 + 18*8, 0x002b000000000000, false},
			{"kernel CS", 40 + 18*8, 0x002b000000000010, false},
			{"SS 0", 40 + 18*8, 0x33, false},
			{"kernel SS", 40 + 18*8, 0x0018000000000033, false},
			{"CS without RPL", 40 + 18*8, 0x002b000000000030, true},
			{"all flags", contextFlags, ^uint64(0x100 | 0x400 | 0x40000), true},
			{"PC not canonical", contextPC, 1 << 47, false},
			{"kernel PC", contextPC, 0xffffffff80200000, false},
			{"no FPU state", 40 + 23*8, 0, true},
			{"FPU state at 8", 40 + 23*8, 8, false},
			{"FPU state of the kernel", 40 + 23*8, 0xffff800000000000, false},
		},
		"arm64": {
			{"no change", 8, 0, true},
			{"EL1h", contextFlags, 5, false},
			{"EL1t", contextFlags, 4, false},
			{"AArch32", contextFlags, 0x10, false},
			{"interrupts masked", contextFlags, 0x80, false},
			{"all masked", contextFlags, 0x3c0, false},
			{"reserved bits", contextFlags, 0xffffffff0c000020, true},
			{"kernel PC", contextPC, 0xffffffff80200000, false},
			{"no FPU state", 464, 0, false},
		},
	}[runtime.GOARCH]
	for _, e := range edits {
		ws := wait(fork(func() int {
			sigaction(unix.SIGSEGV, 0)
			sigRec = sigRecord{editAt: e.at, editValue: e.value}
			if rawAction(unix.SIGUSR1, 0, 0) != 0 {
				return 1
			}
			raise(unix.SIGUSR1)
			return 0
		}))
		if e.ok {
			equal(e.name, uint32(ws), 0)
		} else {
			killedBy(e.name, ws, unix.SIGSEGV)
		}
	}
}
