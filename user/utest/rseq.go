package main

import (
	"encoding/binary"
	"math/bits"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var rseqTests = []test{
	{name: "rseq-register", run: rseqRegister},
	{name: "rseq-moves", run: rseqMoves},
	{name: "rseq-abort", run: rseqAbort},
	{name: "rseq-nonsense", run: rseqNonsense},
}

// sysRseq is rseq(2)'s number.
var sysRseq = map[string]uintptr{"amd64": 334, "arm64": 293}[runtime.GOARCH]

const rseqSig = 0xd428bc00

// rseqCode is a section that never ends by itself, followed by its abort code, which ends
// the process with status 7.
var rseqCode = map[string]struct{ section, abort []byte }{
	"amd64": {[]byte{0xeb, 0xfe}, // jmp .
		[]byte{0xbf, 7, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05}}, // mov edi, 7; mov eax, exit_group; syscall
	"arm64": {[]byte{0, 0, 0, 0x14}, // b .
		[]byte{0xe0, 0, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4}}, // mov x0, #7; mov x8, #exit_group; svc
}[runtime.GOARCH]

// rseqPage makes a page with an area at its beginning and a descriptor, followed by a page
// with the code.
func rseqPage() []byte {
	b := anon(2 * 4096)
	le, at := binary.LittleEndian, uint64(addr(b))+rseqCodeAt
	copy(b[rseqCodeAt:], rseqCode.section)
	le.PutUint32(b[rseqCodeAt+256-4:], rseqSig)
	copy(b[rseqCodeAt+256:], rseqCode.abort)
	le.PutUint64(b[64+8:], at)                             // start_ip
	le.PutUint64(b[64+16:], uint64(len(rseqCode.section))) // post_commit_offset
	le.PutUint64(b[64+24:], at+256)                        // abort_ip
	check("mprotect", unix.Mprotect(b[4096:], unix.PROT_READ|unix.PROT_EXEC))
	return b
}

// rseqCodeAt is the offset of the code in the memory of rseqPage.
const rseqCodeAt = 4096

// rseqRegister: errors, and the CPU's number.
func rseqRegister() {
	quiet()
	b := rseqPage()
	equal("status", wait(fork(func() int {
		at := addr(b)
		for i, c := range [...]struct {
			at, size, flags, sig uintptr
			want                 syscall.Errno
		}{
			{at, 32, 1, rseqSig, unix.EINVAL},
			{at + 8, 32, 0, rseqSig, unix.EINVAL},
			{at, 16, 0, rseqSig, unix.EINVAL},
			{0xffff800000000000, 32, 0, rseqSig, unix.EFAULT},
			{at, 32, 2, rseqSig, unix.EINVAL},
			{at, 32, 0, rseqSig, 0},
			{at, 32, 0, rseqSig, unix.EBUSY},
			{at, 32, 0, 1, unix.EPERM},
			{at + 32, 32, 0, rseqSig, unix.EINVAL},
		} {
			if got := rawCall(sysRseq, c.at, c.size, c.flags, c.sig); got != -int(c.want) {
				return 10 + i
			}
		}
		var cpu uint32
		for range 100 {
			rawCall(unix.SYS_GETCPU, ptr(&cpu))
			if binary.LittleEndian.Uint32(b[4:]) == cpu && binary.LittleEndian.Uint32(b[0:]) == cpu {
				if rawCall(sysRseq, at, 32, 1, rseqSig) != 0 || binary.LittleEndian.Uint32(b[4:]) != ^uint32(0) {
					return 2
				}
				return 0
			}
		}
		return 1
	})).ExitStatus(), 0)
}

// rseqMoves: the area and getcpu(2) say on which CPU a thread is that is moved to each in
// turn.
func rseqMoves() {
	quiet()
	b := rseqPage()
	var all [16]uint64 // a set of CPUs
	sysMust(unix.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(all), ptr(&all))
	one := [16]uint64{all[0] & -all[0]}
	sysMust(unix.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(one), ptr(&one))
	equal("Cpus_allowed_list", line(read("/proc/thread-self/status"), "Cpus_allowed_list"), itoa(bits.TrailingZeros64(one[0])))
	sysMust(unix.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(all), ptr(&all))
	equal("status", wait(fork(func() int {
		if rawCall(sysRseq, addr(b), 32, 0, rseqSig) != 0 {
			return 1
		}
		for range 3 {
			for cpu := uint32(0); cpu < 64; cpu++ {
				if all[0]>>cpu&1 == 0 {
					continue
				}
				one[0] = 1 << cpu
				if rawCall(unix.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(one), ptr(&one)) != 0 {
					return 2
				}
				got := cpu + 1
				rawCall(unix.SYS_GETCPU, ptr(&got))
				if got != cpu {
					return 3
				}
				if binary.LittleEndian.Uint32(b[4:]) != cpu {
					return 4
				}
			}
		}
		return 0
	})).ExitStatus(), 0)
}

// enterSection registers the area and runs the section.
func enterSection(b []byte, descriptor uint64) int {
	if rawCall(sysRseq, addr(b), 32, 0, rseqSig) != 0 {
		return 1
	}
	code := addr(b) + rseqCodeAt
	fn := unsafe.Pointer(&code)
	binary.LittleEndian.PutUint64(b[8:], descriptor)
	(*(*func())(unsafe.Pointer(&fn)))()
	return 2
}

// rseqAbort: a thread that has lost its CPU in a section continues at the abort address.
func rseqAbort() {
	quiet()
	b := rseqPage()
	pid := fork(func() int { return enterSection(b, uint64(addr(b))+64) })
	var ws unix.WaitStatus
	for range 1000 { // a stop takes the CPU away
		time.Sleep(2 * time.Millisecond)
		check("kill", unix.Kill(pid, unix.SIGSTOP))
		check("kill", unix.Kill(pid, unix.SIGCONT))
		got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
		if err != unix.EINTR {
			check("wait4", err)
		}
		if got == pid {
			equal("status", ws.ExitStatus(), 7)
			return
		}
	}
	fail("the section was never aborted")
}

// rseqNonsense: a descriptor in kernel memory is SIGSEGV.
func rseqNonsense() {
	quiet()
	b := rseqPage()
	pid := fork(func() int {
		sigaction(unix.SIGSEGV, 0)
		return enterSection(b, 0xffff800000000000)
	})
	time.Sleep(20 * time.Millisecond)
	_ = unix.Kill(pid, unix.SIGSTOP) // it may have ended by itself
	_ = unix.Kill(pid, unix.SIGCONT)
	killedBy("child", wait(pid), unix.SIGSEGV)
}
